"""What counts, provisions, intervals and waiting periods leave: eligibility says what a claim of the day gets."""

from __future__ import annotations

from typing import Any

from tests.claims.conftest import TERMS, Clinic, clinic, rejections

__all__ = ["clinic"]


def check(clinic: Clinic, *items: str, **more: Any) -> Any:
    return clinic.app.do("eligibility.check", {"number": "N7", "provider": "HC", "items": list(items), **more})


def insured(clinic: Clinic, on: str = "2021-01-01", **terms: Any) -> None:
    clinic.package("P", {"insurance_months": 12, "items": TERMS["items"], **terms})
    clinic.person("N7")
    clinic.insure("N7", "P", on)


def test_counts_left_go_down_with_claims(clinic: Clinic) -> None:
    """An absent count is unlimited, 0 none; only claims of the policy period that are not rejected count."""
    insured(clinic, max_visits=2, max_consultations=1, max_surgeries=0)
    for code, line, day in (("C1", "LAB", "2021-02-01"), ("C2", "ADVICE", "2021-02-02"), ("C3", "CUT", "2021-02-03")):
        clinic.submit(code, line, number="N7", **{"from": day})
    answer = check(clinic, "LAB", "ADVICE", "CUT", "BIRTH")
    (coverage,) = answer["coverages"]
    assert coverage["counts_left"] == {
        "hospitalisations": None, "visits": 1, "consultations": 0, "surgeries": 0, "deliveries": None,
        "antenatal": None,
    }  # fmt: skip
    assert [(i["allowed"], i["reason"]) for i in answer["items"]] == [
        (True, None), (False, "max_consultations"), (False, "max_surgeries"), (True, None),
    ]  # fmt: skip


def test_what_is_left_of_an_item(clinic: Clinic) -> None:
    """The quantity left, and what the scheme pays of one unit if less than one is left."""
    insured(clinic, items={"DRUG": {"max_provisions": 3}, "LAB": {}, "BED": {"max_provisions": 0}})
    clinic.submit("C1", ("DRUG", "2.5", "100"), number="N7")
    drug, lab, bed = check(clinic, "DRUG", "LAB", "BED")["items"]
    assert (drug["allowed"], drug["quantity_left"], drug["scheme_pays"], drug["patient_pays"]) == (
        True, "0.5", "50.00", "50.00",
    )  # fmt: skip
    assert (lab["quantity_left"], lab["earliest"]) == (None, "2021-06-30")
    assert (bed["allowed"], bed["reason"], bed["quantity_left"], bed["scheme_pays"], bed["patient_pays"]) == (
        False, "max_provisions", "0", "0.00", "100.00",
    )  # fmt: skip


def test_the_earliest_day_is_after_waiting_and_interval(clinic: Clinic) -> None:
    """The first day on which both allow the item, looking at claims of later days too."""
    item = {"code": "SCAN", "name": "SCAN", "kind": "service", "price": "10", "frequency_days": 30}
    clinic.app.do("catalogue.define_item", item)
    prices = {"SCAN": "10", "LAB": "10", "DRUG": "10"}
    clinic.app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-02", "prices": prices})
    insured(clinic, items={"SCAN": {"waiting_months": 1}, "LAB": {"waiting_months": 2}, "DRUG": {}})
    for day in ("2021-02-05", "2021-03-20"):
        assert rejections(clinic.submit(day, "SCAN", number="N7", **{"from": day}))[1] == [None]
    scan, lab, drug = check(clinic, "SCAN", "LAB", "DRUG", on="2021-01-20")["items"]
    # Allowed from 1 February, but 5 February and then 20 March are too near: 30 days after the last of them.
    assert (scan["allowed"], scan["reason"], scan["earliest"]) == (False, "waiting_period", "2021-04-19")
    assert (lab["reason"], lab["earliest"]) == ("waiting_period", "2021-03-01")
    assert (drug["reason"], drug["earliest"]) == (None, "2021-01-20")
    (scan,) = check(clinic, "SCAN", on="2021-03-01")["items"]
    assert (scan["reason"], scan["earliest"]) == ("frequency", "2021-04-19")
