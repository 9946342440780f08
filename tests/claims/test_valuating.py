"""Valuation through the commands: which package pays, what is used up, the steps, and computing again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from imis_core.errors import ImisError
from tests.claims.conftest import TERMS, Clinic

pytestmark = pytest.mark.audited
STEPS = ["price", "limit", "deductible", "coinsurance", "copayment", "category_cap", "ceiling"]


def insured(clinic: Clinic, number: str, terms: dict[str, Any], package: str | None = None) -> None:
    """A person with a package of these terms beside 12 months and no premium."""
    code = package or f"P-{number}"
    clinic.package(code, {"insurance_months": 12, **terms})
    if package is None:
        clinic.person(number)
    clinic.insure(number, code)


def test_products_before_services_as_entered(clinic: Clinic) -> None:
    """The ceiling is used up by the products first, then by the services, each in order of entry."""
    insured(clinic, "N7", {"ceiling": {"level": "treatment", "general": "250"}, "items": TERMS["items"]})
    clinic.submit("C1", "LAB", "DRUG", "ADVICE", ("DRUG", 1, "80"), number="N7")
    assert clinic.paid("C1") == ["70.00", "100.00", "0.00", "80.00"]
    assert [line["item"] for line in clinic.show("C1")["lines"]] == ["LAB", "DRUG", "ADVICE", "DRUG"]


def test_every_line_keeps_its_steps(clinic: Clinic) -> None:
    """Each step with the amount after it, in the order of the rules."""
    terms = {
        "deductible": {"level": "treatment", "general": "20"},
        "ceiling": {"level": "treatment", "general": "50"},
        "items": {"LAB": {"percent": 80}},
    }
    insured(clinic, "N7", terms)
    clinic.submit("C1", "LAB", number="N7")
    clinic.process()
    (line,) = clinic.show("C1")["lines"]
    assert [step["name"] for step in line["steps"]] == STEPS
    assert [step["amount"] for step in line["steps"]] == [
        "100.00",
        "100.00",
        "80.00",
        "64.00",
        "64.00",
        "64.00",
        "50.00",
    ]
    assert (line["unit_price"], line["deducted"], line["above_ceiling"]) == ("100.00", "20.00", "14.00")


def test_amounts_of_what_waits_and_of_what_is_rejected(clinic: Clinic) -> None:
    """A claim in waiting has no amounts yet; for what is rejected nothing is paid; `approved` is before limits."""
    insured(clinic, "N7", {"items": {"LAB": {"percent": 50}}})
    clinic.submit("C1", "LAB", "DRUG", number="N7")
    before = clinic.show("C1")
    assert (before["claimed"], before["approved"], before["payable"]) == ("200.00", None, None)
    clinic.process()
    after = clinic.show("C1")
    assert (after["claimed"], after["approved"], after["payable"]) == ("200.00", "100.00", "50.00")
    assert (after["lines"][1]["payable"], after["lines"][1]["steps"]) == ("0.00", [])
    clinic.submit("C2", "DRUG", number="N7")
    refused = clinic.show("C2")
    assert (refused["status"], refused["approved"], refused["payable"]) == ("rejected", "0.00", "0.00")
    assert refused["lines"][0]["payable"] == "0.00"
    assert clinic.app.do("claims.list", {"status": "rejected"})[0]["payable"] == "0.00"


@pytest.mark.parametrize(
    ("first", "second", "payable"),
    [
        ({"percent": 50}, {"percent": 80}, "80.00"),  # the best share
        ({"limit": "fixed", "amount": 60}, {"limit": "fixed", "amount": 70}, "70.00"),  # the best limit
        ({"percent": 80}, {"limit": "fixed", "amount": 90}, "90.00"),  # the smaller share for the patient
        ({"percent": 80}, {"limit": "fixed", "amount": 70}, "80.00"),
        ({"percent": 80}, {"limit": "fixed", "amount": 0}, "100.00"),  # 0 is unlimited
        ({"percent": 80}, {"limit": "fixed", "amount": 101}, "100.00"),  # above the price
    ],
)
def test_of_several_packages_the_better_one_pays(
    clinic: Clinic, first: dict[str, Any], second: dict[str, Any], payable: str
) -> None:
    """The best share and the best fixed limit are compared at the price, whichever policy came first."""
    for number, (one, other) in (("N7", (first, second)), ("N8", (second, first))):
        insured(clinic, number, {"items": {"LAB": one}})
        insured(clinic, number, {"items": {"LAB": other}}, package=f"Q-{number}")
        clinic.submit(f"C-{number}", "LAB", number=number)
        assert clinic.paid(f"C-{number}") == [payable]


def test_on_a_tie_the_share_pays(clinic: Clinic) -> None:
    """Equal for the patient: co-insurance goes before the fixed limit, which shows in whose ceiling is used."""
    insured(clinic, "N7", {"items": {"LAB": {"limit": "fixed", "amount": 80}}})
    ceiling = {"level": "treatment", "general": "10"}
    insured(clinic, "N7", {"items": {"LAB": {"percent": 80}}, "ceiling": ceiling}, package="Q")
    clinic.submit("C1", "LAB", number="N7")
    assert clinic.paid("C1") == ["10.00"]


def test_claims_together_are_valuated_by_target_date_and_code(clinic: Clinic) -> None:
    """The ceiling goes to the earlier claim, of one day to the smaller code, however they came in."""
    insured(clinic, "N7", {"ceiling": {"level": "policy", "general": "250"}, "items": {"LAB": {}}})
    for code, day in (("C3", "2021-02-02"), ("C2", "2021-02-02"), ("C1", "2021-02-03"), ("C4", "2021-02-01")):
        clinic.submit(code, "LAB", number="N7", **{"from": day})
    clinic.process()
    assert [clinic.show(code)["payable"] for code in ("C1", "C2", "C3", "C4")] == ["0.00", "100.00", "50.00", "100.00"]


def test_claims_computed_again_together_keep_what_each_had(clinic: Clinic) -> None:
    """A later claim that was valuated first keeps its share when both are named again."""
    insured(clinic, "N7", {"ceiling": {"level": "policy", "general": "150"}, "items": {"LAB": {}}})
    clinic.submit("LATE", "LAB", number="N7", **{"from": "2021-03-01"})
    clinic.process()
    clinic.submit("EARLY", "LAB", number="N7")
    clinic.process()
    found = {code: clinic.show(code)["payable"] for code in ("LATE", "EARLY")}
    assert found == {"LATE": "100.00", "EARLY": "50.00"}
    clinic.submit("NEW", "LAB", number="N7", **{"from": "2021-01-15"})
    clinic.process("LATE", "EARLY", "NEW")
    assert {code: clinic.show(code)["payable"] for code in found} == found
    assert clinic.show("NEW")["payable"] == "0.00"


def test_nothing_that_changes_later_changes_a_result(clinic: Clinic) -> None:
    """Another level of the facility, another kind of item, other prices and a new package version: the same result."""
    terms = {
        "ceiling_interpretation": "facility",
        "ceiling": {"level": "treatment", "inpatient": "0", "outpatient": "150"},
        "items": {"LAB": {}, "DRUG": {}},
    }
    insured(clinic, "N7", terms)
    clinic.submit("C1", "LAB", "DRUG", number="N7")
    assert clinic.paid("C1") == ["50.00", "100.00"]
    clinic.app.do("providers.change", {"provider": "HC", "level": "hospital"})
    for code, kind in (("LAB", "product"), ("DRUG", "service")):
        clinic.app.do("catalogue.define_item", {"code": code, "name": code, "kind": kind, "price": "1"})
    prices = {"LAB": "1", "DRUG": "1"}
    clinic.app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2021-02-02", "prices": prices})
    version = {"scheme": "chf", "code": "P-N7", "name": "P", "valid_from": "2021-02-02"}
    clinic.app.do("benefit_packages.define", {**version, "terms": {"insurance_months": 12}})
    clinic.process("C1")
    assert [line["payable"] for line in clinic.show("C1")["lines"]] == ["50.00", "100.00"]


def test_a_deductible_larger_than_any_amount_takes_everything(clinic: Clinic) -> None:
    """The largest deductible that terms can say is computed with, not refused or wrapped."""
    insured(clinic, "N7", {"deductible": {"level": "person", "general": "92233720368547758.07"}, "items": {"LAB": {}}})
    clinic.submit("C1", "LAB", number="N7")
    assert clinic.paid("C1") == ["0.00"]
    assert clinic.show("C1")["lines"][0]["deducted"] == "100.00"


def test_only_claims_that_are_there_and_open_are_processed(clinic: Clinic) -> None:
    """An unknown claim is told with its place, a rejected one refuses the run; no claim named is no claim done."""
    clinic.submit("C1", "LAB")
    clinic.submit("C2", "EXTRA")
    for names, code in ((["C1", "NONE"], "not_found"), (["C1", "C2"], "claims.wrong_state")):
        with pytest.raises(ImisError) as caught:
            clinic.process(*names)
        assert caught.value.code == code
        assert clinic.show("C1")["status"] == "checked"
    empty = clinic.app.do("claims.process", {"scheme": "chf", "claims": []})
    assert empty == {"processed": 0, "valuated": 0, "rejected": 0}
    with pytest.raises(ImisError) as caught:
        clinic.app.do("claims.process", {"scheme": "none"})
    assert caught.value.code == "input.invalid"


def test_a_claim_is_named_by_code_or_id(clinic: Clinic) -> None:
    """Processing and showing take either."""
    identity = clinic.submit("C1", "LAB")["id"]
    assert clinic.process(identity)["valuated"] == 1
    assert clinic.show(identity)["code"] == "C1"


def test_two_runs_at_once_valuate_every_claim_once(clinic: Clinic) -> None:
    """The second run waits and finds the rest: no claim is posted twice, and the ceiling is spent once."""
    insured(clinic, "N7", {"ceiling": {"level": "policy", "general": "250"}, "items": {"LAB": {}}})
    for n in range(4):
        clinic.submit(f"C{n}", "LAB", number="N7")
    barrier = Barrier(2)

    def run(names: tuple[str, ...]) -> int:
        barrier.wait()
        return int(clinic.process(*names)["valuated"])

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, ((), ("C0", "C1", "C2", "C3"))))
    assert done[1] == 4  # the named ones are valuated, or computed again
    accounts = clinic.app.do("ledger.balances", {"scheme": "chf"})["accounts"]
    assert (accounts["benefits_expense"], accounts["benefits_payable"]) == ("250.00", "-250.00")
    (usage,) = clinic.app.rows("SELECT used FROM core.cover_usage")
    assert usage["used"] == 25_000
