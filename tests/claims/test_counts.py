"""Checks that look at other claims: counts by category, provisions, waiting periods; and who is locked meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from imis_core.claims.states import VOID_NUMBERS
from imis_core.eligibility.history import UNCOUNTED
from imis_core.errors import Refusal
from imis_core.testing.app import TestApp
from tests.claims.conftest import TERMS, Clinic, rejections


def insured(clinic: Clinic, number: str, on: str = "2021-01-01", **terms: Any) -> str:
    """A person with a package of these terms; every item is covered in full."""
    clinic.package(f"P-{number}", {"insurance_months": 12, "items": TERMS["items"], **terms})
    clinic.person(number)
    return clinic.insure(number, f"P-{number}", on)


def quantities(answer: Any) -> list[str]:
    return [line["quantity_approved"] for line in answer["lines"]]


@pytest.mark.parametrize(
    ("count", "name", "line", "more"),
    [
        ("max_hospitalisations", "max_hospitalisations", "BED", {}),
        ("max_hospitalisations", "max_hospitalisations", "LAB", {"to": "2021-02-02"}),
        ("max_visits", "max_visits", "LAB", {}),
        ("max_consultations", "max_consultations", "ADVICE", {}),
        ("max_surgeries", "max_surgeries", "CUT", {}),
        ("max_deliveries", "max_deliveries", "BIRTH", {}),
        ("max_antenatal", "max_antenatal", "CHECKUP", {}),
    ],
)
def test_a_used_up_count_refuses_all_lines(
    clinic: Clinic, count: str, name: str, line: str, more: dict[str, Any]
) -> None:
    """The claim after the last one that is allowed; claims of another category and of nobody else count."""
    insured(clinic, "N7", **{count: 1})
    assert rejections(clinic.submit("C1", line, number="N7", **more))[0] is None
    assert rejections(clinic.submit("C2", line, "DRUG", number="N7", **more)) == ("all_lines_rejected", [name, name])
    other = "CUT" if line != "CUT" else "LAB"
    assert rejections(clinic.submit("C3", other, number="N7"))[0] is None
    assert rejections(clinic.submit("C4", line, **more))[0] is None


def test_a_count_of_none_allows_none(clinic: Clinic) -> None:
    """0 is none, not unlimited."""
    insured(clinic, "N7", max_visits=0)
    assert rejections(clinic.submit("C1", "LAB", number="N7")) == ("all_lines_rejected", ["max_visits"])


def test_rejected_claims_do_not_count(clinic: Clinic) -> None:
    """Only claims that are not rejected are counted, whether stored before or earlier in the same submission."""
    insured(clinic, "N7", max_visits=1)
    batch = [clinic.claim(f"C{n}", line, number="N7") for n, line in enumerate(["EXTRA", "LAB", "LAB"])]
    answers = clinic.app.do_all("claims.submit", batch)
    assert [rejections(a)[1] for a in answers] == [["not_covered"], [None], ["max_visits"]]


def test_a_claim_that_is_refused_at_entry_does_not_count(clinic: Clinic) -> None:
    """A code that is taken is refused, and the next claim of the submission has the visit."""
    insured(clinic, "N7", max_visits=1)
    clinic.submit("TAKEN", "LAB")
    batch = [clinic.claim(code, "LAB", number="N7") for code in ("TAKEN", "FRESH", "LATE")]
    first, second, third = clinic.app.do_all("claims.submit", batch)
    assert isinstance(first, Refusal)
    assert first.code == "claims.duplicate_code"
    assert (rejections(second)[1], rejections(third)[1]) == ([None], ["max_visits"])


def test_counts_are_of_the_policy_period(clinic: Clinic) -> None:
    """A renewal starts again; a later claim of the period counts for an earlier one that comes in after it."""
    insured(clinic, "N7", on="2020-02-01", max_visits=1)
    (policy,) = clinic.app.do("coverage.list", {"number": "N7"})
    clinic.app.do("coverage.renew", {"coverage": policy["id"], "on": "2021-01-15"})
    days = {"C1": "2021-01-31", "C2": "2021-02-01", "C3": "2020-03-01", "C4": "2021-06-01"}
    found = {code: rejections(clinic.submit(code, "LAB", number="N7", **{"from": day})) for code, day in days.items()}
    assert {code: lines[0] for code, (_, lines) in found.items()} == {
        "C1": None, "C2": None, "C3": "max_visits", "C4": "max_visits",
    }  # fmt: skip


def test_provisions_are_cut_to_what_is_left(clinic: Clinic) -> None:
    """Earlier lines of the claim count too; with none left the line is rejected; other items are free."""
    insured(clinic, "N7", items={"DRUG": {"max_provisions": 10}, "LAB": {}})
    first = clinic.submit("C1", ("DRUG", 7, "100"), ("DRUG", "2.5", "100"), number="N7")
    assert (rejections(first)[1], quantities(first)) == ([None, None], ["7", "2.5"])
    second = clinic.submit("C2", ("DRUG", 2, "100"), ("DRUG", 1, "100"), ("LAB", 20, "100"), number="N7")
    assert (rejections(second)[1], quantities(second)) == ([None, "max_provisions", None], ["0.5", "0", "20"])
    assert clinic.paid("C2") == ["50.00", "0.00", "2000.00"]


def test_provisions_are_by_the_age_on_the_day(clinic: Clinic) -> None:
    """A limit for children says nothing of adults; what was given before counts for either."""
    clinic.package("P", {"insurance_months": 24, "items": {"DRUG": {"max_provisions": {"child": 3}}}})
    clinic.person("N7", born="2003-03-01")
    clinic.insure("N7", "P")
    assert quantities(clinic.submit("C1", ("DRUG", 5, "1"), number="N7", **{"from": "2021-02-28"})) == ["3"]
    assert rejections(clinic.submit("C2", "DRUG", number="N7", **{"from": "2021-02-28"}))[1] == ["max_provisions"]
    assert quantities(clinic.submit("C3", ("DRUG", 5, "1"), number="N7", **{"from": "2021-03-01"})) == ["5"]


def test_the_waiting_period_ends_on_its_day(clinic: Clinic) -> None:
    """Effective date + months is allowed already; 31 January + 1 month is the month's last day."""
    insured(clinic, "N7", on="2021-01-31", items={"DRUG": {"waiting_months": 1}, "LAB": {"waiting_months": 0}})
    found = {
        day: rejections(clinic.submit(day, "DRUG", "LAB", number="N7", **{"from": day}))[1]
        for day in ("2021-01-31", "2021-02-27", "2021-02-28")
    }
    assert found == {
        "2021-01-31": ["waiting_period", None],
        "2021-02-27": ["waiting_period", None],
        "2021-02-28": [None, None],
    }


def test_a_renewal_waits_for_nothing(clinic: Clinic) -> None:
    """Waiting is for new policies."""
    insured(clinic, "N7", on="2020-02-01", items={"DRUG": {"waiting_months": 6}})
    (policy,) = clinic.app.do("coverage.list", {"number": "N7"})
    clinic.app.do("coverage.renew", {"coverage": policy["id"], "on": "2021-01-15"})
    assert rejections(clinic.submit("C1", "DRUG", number="N7", **{"from": "2021-02-01"}))[1] == [None]


def test_the_order_of_the_checks_that_look_back(clinic: Clinic) -> None:
    """17 before 16 before the category's count."""
    item = {"waiting_months": 1, "max_provisions": 0}
    insured(clinic, "N7", max_visits=0, items={"DRUG": item, "LAB": {"max_provisions": 0}, "WALKIN": {}})
    answer = clinic.submit("C1", "DRUG", "LAB", "WALKIN", number="N7", **{"from": "2021-01-10"})
    assert rejections(answer)[1] == ["waiting_period", "max_provisions", "max_visits"]


def test_of_several_packages_a_line_needs_one_that_lets_it_pass(clinic: Clinic) -> None:
    """Refused only if all refuse, for the reason of the first by effective date; who passes pays."""
    insured(clinic, "N7", items={"DRUG": {"max_provisions": 2}, "LAB": {"waiting_months": 12}})
    second = {"insurance_months": 12, "items": {"DRUG": {"percent": 50}, "LAB": {"max_provisions": 1}}}
    clinic.package("Q", second)
    clinic.insure("N7", "Q", "2021-01-05")
    first = clinic.submit("C1", ("DRUG", 5, "100"), "LAB", number="N7")
    # The approved quantity is that of the first that passes; the better share pays for it.
    assert (rejections(first)[1], quantities(first), clinic.paid("C1")) == (
        [None, None],
        ["2", "1"],
        ["200.00", "100.00"],
    )
    again = clinic.submit("C2", ("DRUG", 5, "100"), "LAB", number="N7")
    assert (rejections(again)[1], quantities(again)) == ([None, "waiting_period"], ["5", "0"])
    assert clinic.paid("C2") == ["250.00", "0.00"]


def test_claims_at_other_facilities_count(make_app: Any) -> None:
    """Whoever may see them: a facility's clerk is told what the person's other claims leave."""
    permissions = ["claims.*"]
    app = make_app(settings={"roles": {"desk": {"permissions": permissions, "scope": "provider"}}})
    clinic = Clinic(app)
    insured(clinic, "N7", max_visits=1)
    clinic.submit("C1", "LAB", number="N7", provider="OUT")
    clerk = app.as_user("anna", "desk", providers=["HC"])
    assert rejections(clinic.submit("C2", "LAB", number="N7", as_=clerk))[1] == ["max_visits"]


def test_two_claims_at_once_do_not_both_have_the_last_visit(clinic: Clinic) -> None:
    """The second waits for the first and sees it."""
    insured(clinic, "N7", max_visits=1)
    barrier = Barrier(2)

    def run(code: str) -> Any:
        barrier.wait()
        return clinic.submit(code, "LAB", number="N7")

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(run, ("C1", "C2")))
    assert sorted(a["status"] for a in answers) == ["checked", "rejected"]


def test_batches_make_no_difference(clinic: Clinic) -> None:
    """Forty claims of two persons in one submission, or one by one: the same verdicts."""
    for number in ("N7", "N8"):
        insured(clinic, number, max_visits=7, items={"DRUG": {"max_provisions": 5}, "LAB": {}})
    lines: list[tuple[str, ...]] = [("DRUG",), ("LAB",), ("DRUG", "LAB"), ("DRUG", "DRUG")]
    claims = [clinic.claim(f"C{n}", *lines[n % 4], number="N7") for n in range(20)]
    together = [rejections(a) for a in clinic.app.do_all("claims.submit", claims)]
    alone = [rejections(clinic.submit(f"D{n}", *lines[n % 4], number="N8")) for n in range(20)]
    assert together == alone
    assert {name for _, of_claim in alone for name in of_claim} == {None, "max_provisions", "max_visits"}


def test_claims_of_a_merged_person_count(clinic: Clinic) -> None:
    """What was claimed under the number that is no more is that person's."""
    app: TestApp = clinic.app
    insured(clinic, "N7", max_visits=1)
    clinic.submit("C1", "LAB", number="N7")
    clinic.person("N9")
    app.do("beneficiaries.merge", {"keep": "N9", "drop": "N7"})
    assert rejections(clinic.submit("C2", "LAB", number="N9"))[1] == ["max_visits"]


def test_an_item_is_not_given_again_too_soon(clinic: Clinic) -> None:
    """Fewer than `frequency_days` days before or after, across policy periods, never inside one claim."""
    item = {"code": "SCAN", "name": "SCAN", "kind": "service", "price": "10", "frequency_days": 30}
    clinic.app.do("catalogue.define_item", item)
    clinic.app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-02", "prices": {"SCAN": "10"}})
    insured(clinic, "N7", on="2020-02-01", items={"SCAN": {}})
    (policy,) = clinic.app.do("coverage.list", {"number": "N7"})
    clinic.app.do("coverage.renew", {"coverage": policy["id"], "on": "2021-01-15"})
    found = {
        day: rejections(clinic.submit(day, "SCAN", "SCAN", number="N7", **{"from": day}))[1]
        for day in ("2021-01-20", "2020-12-22", "2020-12-21", "2021-02-18", "2021-02-19")
    }
    assert found == {
        "2021-01-20": [None, None],
        "2020-12-22": ["frequency", "frequency"],
        "2020-12-21": [None, None],
        "2021-02-18": ["frequency", "frequency"],
        "2021-02-19": [None, None],
    }


def test_frequency_is_asked_last(clinic: Clinic) -> None:
    """A line that its package refuses is told so, not that it comes too soon."""
    item = {"code": "SCAN", "name": "SCAN", "kind": "service", "price": "10", "frequency_days": 30}
    clinic.app.do("catalogue.define_item", item)
    clinic.app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-02", "prices": {"SCAN": "10"}})
    insured(clinic, "N7", max_visits=2, items={"SCAN": {"max_provisions": 2}})
    found = [rejections(clinic.submit(f"C{n}", ("SCAN", n, "10"), number="N7"))[1] for n in (1, 2)]
    # The second one: a provision and a visit are left, the interval is not.
    assert found == [[None], ["frequency"]]
    late = {"from": "2021-04-01"}
    third = clinic.submit("C3", ("SCAN", 5, "10"), number="N7", **late)
    assert (rejections(third)[1], quantities(third)) == ([None], ["1"])
    assert rejections(clinic.submit("C4", "SCAN", number="N7", **late))[1] == ["max_provisions"]


def test_what_a_review_takes_away_is_free_again(clinic: Clinic) -> None:
    """Provisions are of the quantity that stands approved; a claim rejected or withdrawn since counts no more."""
    insured(clinic, "N7", max_visits=2, items={"DRUG": {"max_provisions": 10}})
    clinic.submit("C1", ("DRUG", 8, "10"), number="N7")
    line = {"line": 1, "quantity": 3, "justification": "three were given"}
    clinic.app.do("claims.review", {"claim": "C1", "lines": [line]})
    second = clinic.submit("C2", ("DRUG", 9, "10"), number="N7")
    assert quantities(second) == ["7"]
    assert rejections(clinic.submit("C3", ("DRUG", 1, "10"), number="N7"))[1] == ["max_provisions"]
    clinic.app.do("claims.withdraw", {"claim": "C2", "reason": "entered twice"})
    assert quantities(clinic.submit("C4", ("DRUG", 9, "10"), number="N7")) == ["7"]
    no = {"line": 1, "reject": True, "justification": "not indicated"}
    clinic.app.do("claims.review", {"claim": "C1", "lines": [no]})
    assert quantities(clinic.submit("C5", ("DRUG", 9, "10"), number="N7")) == ["3"]


def test_states_that_count_for_nothing_are_known_to_both_rooms() -> None:
    """Eligibility, a room below claims, names them by number."""
    assert UNCOUNTED == VOID_NUMBERS


def test_an_inactive_person_is_judged_at_the_target_date(clinic: Clinic) -> None:
    """Before the day from which the person is inactive claims are accepted, whenever they come in; from it on not."""
    clinic.app.do(
        "beneficiaries.set_status", {"number": "N1", "status": "inactive", "on": "2021-03-01", "reason": "left"}
    )
    assert rejections(clinic.submit("C1", "LAB", **{"from": "2021-02-28"}))[0] is None
    assert rejections(clinic.submit("C2", "LAB", **{"from": "2021-03-01"})) == ("person_invalid", ["person_invalid"])
    asked = {"number": "N1", "provider": "HC", "items": ["LAB"]}
    found = [clinic.app.do("eligibility.check", {**asked, "on": day}) for day in ("2021-02-28", "2021-03-01")]
    assert [(a["eligible"], a["reason"], a["items"][0]["reason"]) for a in found] == [
        (True, None, None), (False, "not_enrolled", "person_invalid"),
    ]  # fmt: skip
