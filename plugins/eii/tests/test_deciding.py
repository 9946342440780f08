"""Rules of reporting accidents and deciding on them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError


def test_who_reports_late_needs_a_reason_and_the_permission(world: Any) -> None:
    """The employer has days, the others months; an override is a permission of its own."""
    item = {"scheme": "wcf", "package": "BASIC", "number": "W1", "employer": "E1", "occurred_on": "2024-06-01"}
    assert world.refused("eii.report_accident", item) == "eii.report_late"
    reporter = world.as_user("rita", "reporter")
    late = {**item, "override_reason": "The mill was flooded"}
    assert world.refused("eii.report_accident", late, as_=reporter) == "permission.denied"
    assert world.do("eii.report_accident", late)["status"] == "reported"
    assert world.do("eii.report_accident", {**item, "reported_on": "2024-06-08"})["status"] == "reported"
    old = {**item, "occurred_on": "2023-06-29", "reported_by": "family"}
    assert world.refused("eii.report_accident", old) == "eii.report_late"
    assert world.do("eii.report_accident", {**old, "occurred_on": "2023-06-30"})["status"] == "reported"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scheme": "x"}, "input.invalid"),
        ({"package": "X"}, "not_found"),
        ({"number": "X"}, "not_found"),
        ({"employer": "X"}, "not_found"),
        ({"occurred_on": "2024-07-01"}, "input.invalid"),
        ({"occurred_on": "2019-12-31"}, "not_found"),
        ({"reported_on": "2024-05-31"}, "input.invalid"),
    ],
)
def test_a_report_names_what_there_is(world: Any, change: dict[str, str], code: str) -> None:
    """Scheme, package on that day, person, employer and dates are right, or nothing is written."""
    with pytest.raises(ImisError) as caught:
        world.report(**{**{"number": "W1"}, **change})
    assert caught.value.code == code
    assert world.rows("SELECT count(*) AS n FROM eii.accidents")[0]["n"] == 0


def test_a_disease_is_reported_with_its_exposure(world: Any) -> None:
    """An occupational disease goes the way of an accident."""
    item = {"scheme": "wcf", "package": "BASIC", "number": "W1", "employer": "E1", "occurred_on": "2024-06-25",
            "disease": "Silicosis", "exposure": "Quarry, 12 years"}  # fmt: skip
    one = world.do("eii.report_disease", item)
    assert world.do("eii.accept", {"accident": one["code"], "kind": "work"})["status"] == "accepted"
    assert world.refused("eii.report_disease", {**item, "disease": " "}) == "input.invalid"


def test_only_the_employed_have_accidents(world: Any) -> None:
    """First and last day of the spell included; the day after it is not."""
    world.do("employment.register_employer", {"scheme": "wcf", "code": "E2", "name": "Farm"})
    world.do(
        "employment.register",
        {"employer": "E2", "number": "W2", "from": "2024-02-01", "to": "2024-05-31", "wage": "1000"},
    )
    codes = []
    for day in ("2024-01-31", "2024-02-01", "2024-05-31", "2024-06-01"):
        one = world.report("W2", day, employer="E2")["id"]
        try:
            codes.append(world.do("eii.accept", {"accident": one, "kind": "work"})["monthly_wage"])
        except ImisError as error:
            codes.append(error.code)
    assert codes == ["eii.not_employed", "1000.00", "1000.00", "eii.not_employed"]


def test_without_any_wage_nothing_is_accepted(world: Any) -> None:
    """No declared month and no agreed wage: eii.no_wages, and the accident stays reported."""
    world.do("employment.register", {"employer": "E1", "number": "M1", "from": "2023-01-01"})
    one = world.report("M1")["id"]
    assert world.refused("eii.accept", {"accident": one, "kind": "work"}) == "eii.no_wages"
    assert world.do("eii.show", {"accident": one})["status"] == "reported"


def test_wages_of_all_employers_of_a_month_count_together(world: Any) -> None:
    """Two jobs make one wage; the months of the window that were declared count."""
    world.do("employment.register_employer", {"scheme": "wcf", "code": "E2", "name": "Farm"})
    world.do("employment.register", {"employer": "E2", "number": "W1", "from": "2024-01-01"})
    for employer, month, wage in (("E1", "2024-04", "1000"), ("E2", "2024-04", "500"), ("E1", "2024-05", "1200"),
                                  ("E1", "2024-06", "9999"), ("E1", "2023-05", "9999")):  # fmt: skip
        rows = [{"number": "W1", "wage": wage}]
        world.do("employment.declare_wages", {"employer": employer, "month": month, "rows": rows})
    one = world.report()["id"]
    shown = world.do("eii.accept", {"accident": one, "kind": "work"})
    assert (shown["monthly_wage"], shown["daily_wage"]) == ("1350.00", "45.00")
    steps = world.do("eii.show", {"accident": one})["steps"]
    assert [(s["name"], s["value"]) for s in steps[:3]] == [
        ("wage_origin", "declared"),
        ("wage 2024-04", "1500.00"),
        ("wage 2024-05", "1200.00"),
    ]


def test_a_declined_accident_comes_back_by_an_appeal(world: Any) -> None:
    """reported > declined > appealed > accepted; an accepted one is not decided again."""
    one = world.report()["id"]
    assert world.do("eii.decline", {"accident": one, "reason": "Football"}) == {"status": "declined"}
    assert world.refused("eii.accept", {"accident": one, "kind": "work"}) == "eii.wrong_state"
    assert world.refused("eii.certify", {"accident": one, "from": "2024-06-02", "to": "2024-06-03"}) == (
        "eii.wrong_state"
    )
    assert world.do("eii.appeal", {"accident": one, "reason": "It was in the yard"}) == {"status": "appealed"}
    assert world.do("eii.accept", {"accident": one, "kind": "work"})["status"] == "accepted"
    assert world.refused("eii.decline", {"accident": one, "reason": "No"}) == "eii.wrong_state"
    assert world.refused("eii.appeal", {"reason": "No"}) == "input.invalid"


def test_who_is_told_that_it_was_not_work_may_appeal(world: Any) -> None:
    """Accepted as not from work > appealed > accepted as work; accepted as work leaves nothing to appeal."""
    one = world.accepted(kind="non_work")
    assert world.do("eii.appeal", {"accident": one, "reason": "It was on shift"}) == {"status": "appealed"}
    assert world.refused("eii.pay_temporary", {"accident": one}) == "eii.not_accepted"
    assert world.do("eii.accept", {"accident": one, "kind": "work"})["kind"] == "work"
    assert world.refused("eii.appeal", {"accident": one, "reason": "More"}) == "eii.wrong_state"


def test_benefits_in_cash_are_for_accepted_accidents_from_work(world: Any) -> None:
    """Before acceptance eii.not_accepted, for another kind eii.not_work_related, whatever the benefit."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("eii.pay_temporary", {}),
        ("eii.extend_temporary", {"reason": "x"}),
        ("eii.assess", {"degree": 10}),
        ("eii.award_survivors", {"died_on": "2024-06-02", "survivors": []}),
        ("eii.award_funeral", {"payee": "S1"}),
    ]
    one = world.report()["id"]
    assert {world.refused(name, {"accident": one, **data}) for name, data in calls} == {"eii.not_accepted"}
    other = world.accepted(kind="non_work")
    assert {world.refused(name, {"accident": other, **data}) for name, data in calls} == {"eii.not_work_related"}


def test_the_terms_of_the_accidents_day_are_kept(world: Any, terms: dict[str, Any]) -> None:
    """A later version changes nothing for an earlier accident; a used version is not replaced."""
    world.define({**terms, "wage": {"divisor": 26}}, "2024-06-02")
    one = world.accepted()
    shown = world.do("eii.show", {"accident": one})
    assert (shown["package_version"], shown["daily_wage"]) == (1, "100.00")
    assert world.do("eii.show", {"accident": world.accepted("W2", "2024-06-03")})["package_version"] == 2
    with pytest.raises(ImisError) as caught:
        world.define({**terms, "wage": {"divisor": 25}})
    assert caught.value.code == "benefit_packages.in_use"


def test_an_officer_sees_accidents_of_persons_in_own_places(world: Any) -> None:
    """Who does not see the person does not see the accident, by code or by id."""
    north = world.as_user("nora", "officer", places=["N"])
    mine, other = world.accepted("W1"), world.accepted("W2")
    assert world.do("eii.show", {"accident": mine}, as_=north)["status"] == "accepted"
    assert world.refused("eii.show", {"accident": other}, as_=north) == "not_found"
    assert world.refused("eii.pay_temporary", {"accident": other}, as_=north) == "not_found"
    assert world.do("eii.certify", {"accident": mine, "from": "2024-06-02", "to": "2024-06-05"}, as_=north) == {
        "certified_days": 4
    }


def test_items_of_a_batch_follow_each_other(world: Any) -> None:
    """A batch does what its items would do one after the other, in a constant number of statements."""
    one = world.accepted()
    items = [
        {"accident": one, "from": "2024-06-02", "to": "2024-06-05"},
        {"accident": one, "from": "2024-06-05", "to": "2024-06-06"},
    ]
    assert [o["certified_days"] for o in world.do_all("eii.certify", items)] == [4, 5]
    paid = world.do_all("eii.pay_temporary", [{"accident": one, "until": "2024-06-05"}, {"accident": one}])
    assert [(p["days"], p["amount"], p["paid_days"]) for p in paid] == [(1, "90.00", 1), (1, "90.00", 2)]


def test_a_batch_takes_a_constant_number_of_statements(world: Any, count_statements: Any) -> None:
    """Six accidents are reported, accepted and certified in as many statements as two."""
    world.clock.set(date(2024, 6, 30))

    def run(days: list[str]) -> int:
        base = {"scheme": "wcf", "package": "BASIC", "employer": "E1", "number": "W1", "reported_by": "worker"}
        with count_statements() as seen:
            reported = world.do_all("eii.report_accident", [{**base, "occurred_on": day} for day in days])
            world.do_all("eii.accept", [{"accident": r["id"], "kind": "work"} for r in reported])
            world.do_all(
                "eii.certify", [{"accident": r["id"], "from": "2024-06-29", "to": "2024-06-30"} for r in reported]
            )
            world.do_all("eii.pay_temporary", [{"accident": r["id"]} for r in reported])
        return len(seen)

    run(["2024-05-01"])
    assert run(["2024-05-02", "2024-05-03"]) == run([f"2024-05-1{n}" for n in range(6)])
