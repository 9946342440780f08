"""A proposed package beside the one in force: what changes, what stays as decided, and that nothing is written."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from tests.claims.conftest import Clinic

ITEMS: dict[str, Any] = {"LAB": {"percent": 50}, "DRUG": {}, "ADVICE": {}, "BED": {}}
TERMS: dict[str, Any] = {
    "insurance_months": 12,
    "lump_sum": "60",
    "deductible": {"level": "person", "general": "20"},
    "ceiling": {"level": "policy", "general": "400"},
    "max_consultations": 2,
    "items": ITEMS,
}


@pytest.fixture
def office(app: TestApp) -> Clinic:
    """Two families with the package PLAN, and a year of claims in order of their days."""
    clinic = Clinic(app)
    clinic.package("PLAN", TERMS)
    for number, sex, born in (("A1", "F", "1990-01-01"), ("A2", "M", "1950-01-01")):
        clinic.person(number, sex, born)
        clinic.insure(number, "PLAN")
    for code, number, day, lines in (
        ("C1", "A1", "2021-02-01", [("LAB", 2, "100"), ("DRUG", 1, "80")]),
        ("C2", "A1", "2021-02-03", ["ADVICE"]),
        ("C3", "A2", "2021-03-01", ["ADVICE", "EXTRA"]),
        ("C4", "A1", "2021-03-05", ["ADVICE", ("DRUG", 3, "100")]),
        ("C5", "A1", "2021-04-01", ["ADVICE"]),  # the third consultation
        ("C6", "A2", "2021-05-01", [("LAB", 4, "100"), "UNLISTED"]),
    ):
        clinic.submit(code, *lines, number=number, **{"from": day})
    clinic.process()
    return clinic


def simulate(clinic: Clinic, change: dict[str, Any] | None = None, as_: Any = "administrator", **more: Any) -> Any:
    """The package with some terms changed; None takes a term away."""
    terms = {key: value for key, value in {**TERMS, **(change or {})}.items() if value is not None}
    asked = {"scheme": "chf", "package": "PLAN", "terms": terms, "from": "2021-01-01", "to": "2021-12-31"}
    return clinic.app.do("claims.simulate", asked | more, as_=as_)


def table(answer: Any, group: str) -> dict[str, tuple[int, str, str]]:
    return {one["name"]: (one["claims"], one["before"], one["after"]) for one in answer[group]}


def test_the_package_in_force_gives_what_was_paid(office: Clinic) -> None:
    """Simulating the terms in force reproduces the actual amounts exactly; nobody is better or worse off."""
    answer = simulate(office)
    payable = [office.show(code)["payable"] for code in ("C1", "C2", "C3", "C4", "C5", "C6")]
    assert payable == ["160.00", "100.00", "80.00", "140.00", "0.00", "200.00"]
    for name in ("actual", "like_for_like", "before", "after"):
        assert answer[name] == "680.00", name
    assert (answer["claims"], answer["lines"], answer["difference"]) == (6, 10, "0.00")
    assert answer["families"] == {"better": 0, "worse": 0, "same": 2, "gain": "0.00", "loss": "0.00"}
    assert {one["reason"]: (one["before"], one["after"]) for one in answer["rejections"]} == {
        "not_in_price_list": (1, 1), "not_covered": (1, 1), "max_consultations": (1, 1),
    }  # fmt: skip


def test_cost_by_kinds_of_claims_and_patients(office: Clinic) -> None:
    """By category, level, month, age and sex: each adds up to the whole."""
    answer = simulate(office, {"items": {**ITEMS, "LAB": {}}})  # the laboratory in full
    assert (answer["before"], answer["after"], answer["difference"]) == ("680.00", "800.00", "120.00")
    assert table(answer, "by_category") == {
        "consultation": (4, "320.00", "220.00"), "visit": (2, "360.00", "580.00"),
    }  # fmt: skip
    assert table(answer, "by_level") == {"health_centre": (6, "680.00", "800.00")}
    assert table(answer, "by_month")["2021-05"] == (1, "200.00", "320.00")
    assert table(answer, "by_age") == {"18-39": (4, "400.00", "400.00"), "60+": (2, "280.00", "400.00")}
    assert table(answer, "by_sex") == {"F": (4, "400.00", "400.00"), "M": (2, "280.00", "400.00")}


def test_ceilings_and_families(office: Clinic) -> None:
    """Who reaches a ceiling, what lies above it, and which families gain or lose how much."""
    answer = simulate(office, {"ceiling": {"level": "policy", "general": "250"}})
    assert answer["ceilings"] == {
        "policies_before": 1, "policies_after": 2, "above_before": "260.00", "above_after": "440.00",
    }  # fmt: skip
    assert answer["families"] == {"better": 0, "worse": 2, "same": 0, "gain": "0.00", "loss": "180.00"}


def test_checks_are_made_under_the_proposed_terms(office: Clinic) -> None:
    """Counts, provisions and waiting periods are the proposal's; what was refused may pass, and the reverse."""
    free = {"deductible": None, "ceiling": None}
    more = simulate(office, {**free, "max_consultations": 3})
    assert {one["reason"]: one["after"] for one in more["rejections"]} == {
        "not_in_price_list": 1, "not_covered": 1, "max_consultations": 0,
    }  # fmt: skip
    fewer = simulate(office, {**free, "max_consultations": 1})
    counted = next(one for one in fewer["rejections"] if one["reason"] == "max_consultations")
    assert (counted["before"], counted["after"]) == (1, 3)  # C4 loses its drugs with the advice, C5 its advice
    provisions = simulate(office, {**free, "items": {**ITEMS, "DRUG": {"max_provisions": 3}}})
    # C1 80, then two of the three left of C4: 200 instead of 300.
    assert provisions["after"] == "880.00"
    waiting = simulate(office, {**free, "items": {**ITEMS, "LAB": {"percent": 50, "waiting_months": 2}}})
    refused = next(one for one in waiting["rejections"] if one["reason"] == "waiting_period")
    assert (refused["before"], refused["after"]) == (0, 1)


def test_an_item_that_was_not_covered_may_be(office: Clinic) -> None:
    """The proposal covers EXTRA; what the price list lacks stays refused."""
    answer = simulate(office, {"items": {**ITEMS, "EXTRA": {}, "UNLISTED": {}}})
    assert answer["difference"] == "100.00"
    assert {one["reason"]: one["after"] for one in answer["rejections"]} == {
        "not_in_price_list": 1, "not_covered": 0, "max_consultations": 1,
    }  # fmt: skip


def test_what_reviewers_decided_stays(office: Clinic) -> None:
    """A rejected line stays rejected, a quantity cut, a price set, whatever the package would pay."""
    office.submit("R1", ("DRUG", 5, "10"), "LAB", "BED", number="A2", **{"from": "2021-06-01", "to": "2021-06-02"})
    said = [
        {"line": 1, "quantity": 4, "price": "9", "justification": "enough"},
        {"line": 2, "reject": True, "justification": "not needed"},
    ]
    office.app.do("claims.review", {"claim": "R1", "lines": said})
    office.process()
    in_force, generous = simulate(office), simulate(office, {"ceiling": None, "items": {**ITEMS, "LAB": {}}})
    assert table(in_force, "by_month")["2021-06"] == (1, "120.00", "120.00")
    assert table(generous, "by_month")["2021-06"] == (1, "120.00", "136.00")  # 4 x 9 + 100


def test_what_was_used_before_the_period_counts(office: Clinic) -> None:
    """A period from March on begins with the deductibles, ceilings and counts that February left."""
    answer = simulate(office, **{"from": "2021-03-01"})
    assert (answer["claims"], answer["actual"], answer["before"], answer["after"]) == (4, "420.00", "420.00", "420.00")
    tight = simulate(office, {"ceiling": {"level": "policy", "general": "300"}}, **{"from": "2021-03-01"})
    # A1 had 260 in February: 40 are left. A2 has 80, then 200 of 220.
    assert tight["after"] == "320.00"


def test_contributions_and_what_would_break_even(office: Clinic) -> None:
    """Policies that began in the period are quoted again; the cost is set against them."""
    answer = simulate(office, {"lump_sum": "80", "ceiling": None}, contributions=True)
    assert answer["after"] == "940.00"
    assert answer["contributions"] == {
        "policies": 2, "persons": 2, "before": "120.00", "after": "160.00", "difference": "40.00",
        "break_even": "5.8750", "per_policy": "470.00", "per_person": "470.00",
    }  # fmt: skip
    # A1 gains 260 less 20 more to pay, A2 gains nothing and pays 20 more.
    assert answer["families"] == {"better": 1, "worse": 1, "same": 0, "gain": "240.00", "loss": "20.00"}
    nobody = simulate(office, contributions=True, **{"from": "2021-02-01"})
    assert nobody["contributions"]["break_even"] is None
    assert nobody["contributions"]["policies"] == 0


def test_other_packages_keep_their_terms(office: Clinic) -> None:
    """A line that another package pays better stays with it; claims of people without the package are left out."""
    office.package("OTHER", {"insurance_months": 12, "items": {"LAB": {"percent": 80}}})
    office.insure("A1", "OTHER")
    office.submit("C7", "LAB", number="A1", **{"from": "2021-06-01"})
    office.submit("C8", "LAB", number="N1", **{"from": "2021-06-01"})
    office.process()
    answer = simulate(office, {"items": {**ITEMS, "LAB": {"percent": 70}}})
    assert table(answer, "by_month")["2021-06"] == (1, "80.00", "80.00")
    better = simulate(office, {"items": {**ITEMS, "LAB": {"percent": 90}}, "ceiling": None, "deductible": None})
    assert table(better, "by_month")["2021-06"] == (1, "80.00", "90.00")


def test_withdrawn_claims_are_left_out_and_waiting_ones_valued(office: Clinic) -> None:
    """A claim that is not processed yet counts in before and after, and in neither actual nor like for like."""
    office.submit("C7", ("DRUG", 1, "50"), number="A2", **{"from": "2021-06-01"})
    office.submit("C8", "DRUG", number="A2", **{"from": "2021-06-02"})
    office.app.do("claims.withdraw", {"claim": "C8", "reason": "double"})
    answer = simulate(office)
    assert (answer["claims"], answer["actual"], answer["like_for_like"]) == (7, "680.00", "680.00")
    assert (answer["before"], answer["after"]) == ("730.00", "730.00")


def test_claims_that_came_in_another_order_are_told(office: Clinic) -> None:
    """Valued in order of their days they may come to something else than they did: both sums are shown."""
    office.submit("LATE", ("DRUG", 5, "100"), number="A1", **{"from": "2021-01-15"})
    office.process()
    answer = simulate(office)
    assert answer["actual"] == "680.00"
    assert answer["like_for_like"] == "680.00"  # the ceiling is used up either way
    assert table(answer, "by_month")["2021-01"] == (1, "400.00", "400.00")


def digest(app: TestApp) -> str:
    """Every row of every table and the state of every sequence."""
    whole = hashlib.sha256()
    tables = app.rows(
        "SELECT schemaname AS s, tablename AS t FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
    )
    with app.database.query(app.system, writes=False) as connection:
        connection.exec_driver_sql("RESET ROLE")
        for row in tables:
            name = f'"{row["s"]}"."{row["t"]}"'
            content = connection.exec_driver_sql(
                f"SELECT coalesce(string_agg(x::text, '|' ORDER BY x::text), '') FROM {name} x"
            )
            whole.update(f"{name}{content.scalar_one()}".encode())
        sequences = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
        whole.update(str(connection.exec_driver_sql(sequences).all()).encode())
    return whole.hexdigest()


def test_nothing_is_written(office: Clinic) -> None:
    """All tables and sequences are the same before and after, whatever is proposed."""
    who = office.app.as_user("administrator")
    before = digest(office.app)
    simulate(office, {"ceiling": None, "max_consultations": None}, as_=who, contributions=True)
    assert digest(office.app) == before


@pytest.mark.parametrize(
    ("asked", "code", "path"),
    [
        ({"scheme": "nil"}, "input.invalid", "scheme"),
        ({"package": "NIL"}, "not_found", "package"),
        ({"to": "2020-12-31"}, "input.invalid", "to"),
        (
            {"terms": {"insurance_months": 12, "items": {"NIL": {}}}},
            "benefit_packages.invalid_terms",
            "terms.items.NIL",
        ),
        ({"terms": {"insurance_months": 12, "deductibel": {}}}, "benefit_packages.invalid_terms", "terms.deductibel"),
    ],
)
def test_what_is_refused(office: Clinic, asked: dict[str, Any], code: str, path: str) -> None:
    """Mistakes are told with their places, as where the package is defined."""
    with pytest.raises(ImisError) as caught:
        simulate(office, **asked)
    assert (caught.value.code, [problem.path for problem in caught.value.refusal.problems]) == (code, [path])


def test_only_who_sees_everything_simulates(make_app: Any) -> None:
    """A sum over a part of the claims would be taken for the whole."""
    roles = {"clerk": {"permissions": ["claims.*"], "scope": "provider"}}
    clinic = Clinic(make_app(settings={"roles": roles}))
    clinic.package("PLAN", TERMS)
    clerk = clinic.app.as_user("anna", "clerk", providers=["HC"])
    with pytest.raises(ImisError) as caught:
        simulate(clinic, as_=clerk)
    assert caught.value.code == "permission.denied"


def test_a_period_without_claims_is_all_zeros(office: Clinic) -> None:
    """No claims: no groups, no cost, no error."""
    answer = simulate(office, **{"from": "2020-01-01", "to": "2020-12-31"}, contributions=True)
    assert (answer["claims"], answer["before"], answer["after"], answer["by_month"]) == (0, "0.00", "0.00", [])


def test_more_claims_take_as_many_statements(office: Clinic) -> None:
    """A year is read as sets."""
    counts = []
    for _ in range(2):
        before = office.app.database.statements
        simulate(office)
        counts.append(office.app.database.statements - before)
        office.app.do_all(
            "claims.submit",
            [
                office.claim(f"M{n}", "DRUG", number="A2", **{"from": date(2021, 6, 1 + n).isoformat()})
                for n in range(9)
            ],
        )
        office.process()
    assert counts[0] == counts[1]
