"""The rules of members who join after the enrolment: what is due more, and from when they are covered."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.testing.app import TestApp
from tests.coverage.test_coverage import books, covered, enrol, family, package, pay, person, refused


def join(app: TestApp, group: str, number: str, on: date, **more: Any) -> Any:
    member = {**person(number, "child"), **more}
    return app.do("beneficiaries.add_member", {"group": group, **member}, on=on)


def show(app: TestApp, policy: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = app.do("coverage.show", {"coverage": policy["id"]})
    return shown


@pytest.fixture
def policy(app: TestApp) -> dict[str, Any]:
    """The policy of two adults who have paid 980 on 2021-01-12."""
    package(app)
    family(app, "F", "N1", "N2")
    found = enrol(app, "F")
    pay(app, found, "980", "R1", date(2021, 1, 12))
    return found


def test_who_joins_is_covered_from_the_day_it_is_paid(app: TestApp, policy: dict[str, Any]) -> None:
    """The contribution is computed anew, payable until joining + payment grace; the others stay covered meanwhile."""
    join(app, "F", "N3", date(2021, 5, 10))
    shown = show(app, policy)
    assert (shown["due"], shown["balance"], shown["status"]) == ("1280.00", "300.00", "active")
    assert (shown["last_payment"], shown["effective_from"]) == ("2021-06-10", "2021-01-12")
    assert [m["effective_from"] for m in shown["members"]] == ["2021-01-12", "2021-01-12", None]
    assert books(app) == {"cash": 98000, "contributions_receivable": 30000, "contributions_income": -128000}
    assert covered(app, "N1", "2021-05-10")
    assert not covered(app, "N3", "2021-05-10")
    assert pay(app, policy, "100", "R2", date(2021, 5, 20))["balance"] == "200.00"
    assert not covered(app, "N3", "2021-05-20")
    assert pay(app, policy, "200", "R3", date(2021, 6, 10))["status"] == "active"
    days = {"2021-06-09": False, "2021-06-10": True, "2021-12-31": True, "2022-01-01": False}
    assert {day: covered(app, "N3", day) for day in days} == days
    assert covered(app, "N1", "2021-01-12")


def test_what_a_late_joiner_owes_is_refused_after_its_last_day(app: TestApp, policy: dict[str, Any]) -> None:
    """Joining + payment grace is the last day; later it takes an override, and covers from then."""
    join(app, "F", "N3", date(2021, 5, 10))
    app.clock.set(date(2021, 6, 11))
    data = {"coverage": policy["id"], "amount": "300", "receipt": "R2"}
    assert refused(app, "contributions.record", data).code == "contributions.overdue"
    app.do("contributions.record", {**data, "override_reason": "flood"})
    assert [m["effective_from"] for m in show(app, policy)["members"]][2] == "2021-06-11"


def test_who_joins_for_nothing_more_is_covered_at_once(app: TestApp) -> None:
    """Where the lump sum covers one more member, he or she is covered from the day of joining."""
    package(app, lump_sum="500", threshold_members=3)
    family(app, "F", "N1")
    first = enrol(app, "F")
    pay(app, first, first["due"], "R1", date(2021, 1, 5))
    join(app, "F", "N2", date(2021, 3, 1))
    shown = show(app, first)
    assert (shown["balance"], [m["effective_from"] for m in shown["members"]]) == ("0.00", ["2021-01-05", "2021-03-01"])
    assert covered(app, "N2", "2021-03-01")
    assert not covered(app, "N2", "2021-02-28")


def test_who_joins_an_unpaid_policy_is_paid_for_with_it(app: TestApp) -> None:
    """An idle policy becomes due for everybody, and everybody is covered from the payment of the whole."""
    package(app)
    family(app, "F", "N1")
    first = enrol(app, "F")
    join(app, "F", "N2", date(2021, 1, 20))
    assert show(app, first)["last_payment"] == "2021-02-20"
    assert pay(app, first, "680", "R1", date(2021, 1, 21))["status"] == "idle"
    assert pay(app, first, "300", "R2", date(2021, 2, 20))["effective_from"] == "2021-02-20"
    assert {m["effective_from"] for m in show(app, first)["members"]} == {"2021-02-20"}


def test_beyond_the_counted_members_nobody_joins(app: TestApp) -> None:
    """Who comes after `max_members` is neither charged nor covered."""
    package(app, max_members=2)
    family(app, "F", "N1", "N2")
    first = enrol(app, "F")
    pay(app, first, "980", "R1")
    join(app, "F", "N3", date(2021, 2, 1))
    shown = show(app, first)
    assert (shown["due"], [m["number"] for m in shown["members"]]) == ("980.00", ["N1", "N2"])


def test_who_left_may_join_another_household_and_come_back(app: TestApp, policy: dict[str, Any]) -> None:
    """Cover ends with the last day in a household; another policy of the package takes over, and back again."""
    family(app, "G", "N9")
    other = enrol(app, "G")
    pay(app, other, "680", "R2", date(2021, 1, 12))
    app.do("beneficiaries.remove_member", {"group": "F", "number": "N2"}, on=date(2021, 3, 1))
    app.do("beneficiaries.add_member", {"group": "G", "number": "N2", "relationship": "spouse"}, on=date(2021, 3, 2))
    assert show(app, other)["balance"] == "300.00"
    pay(app, other, "300", "R3", date(2021, 3, 5))
    assert [covered(app, "N2", day) for day in ("2021-03-01", "2021-03-04", "2021-03-05")] == [True, False, True]
    app.do("beneficiaries.remove_member", {"group": "G", "number": "N2"}, on=date(2021, 4, 1))
    app.do("beneficiaries.add_member", {"group": "F", "number": "N2", "relationship": "spouse"}, on=date(2021, 4, 10))
    assert show(app, policy)["balance"] == "0.00"  # charged once
    days = {"2021-04-01": True, "2021-04-02": False, "2021-04-09": False, "2021-04-10": True}
    assert {day: covered(app, "N2", day) for day in days} == days


def test_ended_lapsed_and_terminated_policies_take_nobody(app: TestApp) -> None:
    """Only policies that stand on the day of joining are recomputed."""
    package(app)
    family(app, "F", "N1")
    lapsed = enrol(app, "F")
    join(app, "F", "N2", date(2021, 2, 1))
    assert show(app, lapsed)["due"] == "680.00"
    ended = enrol(app, "F")
    app.do("coverage.terminate", {"coverage": ended["id"]})
    join(app, "F", "N3", date(2021, 2, 2))
    assert show(app, ended)["due"] == "980.00"


def test_joining_takes_the_same_number_of_statements_whatever_the_batch(app: TestApp) -> None:
    """Set-based: 20 or 40 households that somebody joins cost the same number of statements."""
    package(app)
    counts = []
    for size in (20, 40):
        codes = [f"B{size}-{i}" for i in range(size)]
        app.do_all("beneficiaries.register_group", [{"code": c, "members": [person(f"{c}-1")]} for c in codes])
        app.do_all("coverage.enrol", [{"scheme": "chf", "package": "BASIC", "group": c} for c in codes])
        before = app.database.statements
        app.do_all("beneficiaries.add_member", [{"group": c, **person(f"{c}-2", "child")} for c in codes])
        counts.append(app.database.statements - before)
    assert counts[0] == counts[1]
    assert books(app) == {"contributions_receivable": 60 * 98000, "contributions_income": -60 * 98000}
