"""A complaint about a beneficiary keeps the next payments back, and the decision lets them go on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

pytestmark = pytest.mark.audited
ABOUT: Any = {"subject": {"beneficiary": "1"}}


@pytest.fixture
def office(desk: Any) -> Any:
    """The desk with a category that holds next payments and the cycle C2; `anna` made it, `ben` approves."""
    desk.payroll()
    do = desk.app.do
    do("grievances.define_category", {"code": "WHO", "name": "Wrong payee", "days": 20, "holds_next_payments": True})
    do("cycles.open", {"scheme": "aid", "code": "C2", "starts": "2021-01-01", "ends": "2021-01-31"})
    return desk


def _generated(office: Any) -> str:
    made = office.app.do("payroll.generate", {"scheme": "aid", "package": "S", "cycle": "C2"}, as_="anna")
    return str(made["id"])


def _approve(office: Any, payroll: str) -> Any:
    return office.app.do("payroll.approve", {"payroll": payroll}, as_="ben")["by_state"]


def _states(office: Any, payroll: str) -> list[str]:
    return [e["state"] for e in office.app.do("payroll.entitlements", {"payroll": payroll})]


def test_an_open_grievance_holds_what_its_beneficiary_is_owed_next(office: Any) -> None:
    """Approval orders the others; the one complained about is held, without an order, budget or debt, until decided."""
    opened = office.open("WHO", **ABOUT)
    assert opened["held"] is False  # nothing that is ordered already moves
    payroll = _generated(office)
    before = office.ledger()
    assert _approve(office, payroll) == {"approved": 1, "held": 1}
    assert _states(office, payroll) == ["held", "approved"]
    assert [o["recipient"] for o in office.orders(payroll)] == ["2"]
    assert Decimal(office.ledger()["benefits_expense"]) == Decimal(before["benefits_expense"]) + 10
    office.resolve(opened)
    assert _states(office, payroll) == ["approved", "approved"]
    assert [o["recipient"] for o in office.orders(payroll)] == ["1", "2"]


def test_a_decision_may_cancel_what_was_held(office: Any) -> None:
    """Upheld with `cancel_payment`: the entitlement is cancelled and never ordered."""
    opened = office.open("WHO", **ABOUT)
    payroll = _generated(office)
    _approve(office, payroll)
    office.resolve(opened, "upheld", cancel_payment=True)
    assert _states(office, payroll) == ["cancelled", "approved"]
    assert [c["text"] for c in office.show(opened)["comments"] if c["kind"] == "note"] == []


def test_the_last_of_several_lets_it_go_on(office: Any) -> None:
    """Held by two grievances, it is released with the second decision; the first one notes that."""
    first, second = office.open("WHO", **ABOUT), office.open("WHO", **ABOUT)
    payroll = _generated(office)
    _approve(office, payroll)
    office.resolve(first)
    assert _states(office, payroll)[0] == "held"
    notes = [c["text"] for c in office.show(first)["comments"] if c["kind"] == "note"]
    assert notes == ["the payment stays held: another grievance is about it"]
    office.resolve(second)
    assert _states(office, payroll)[0] == "approved"


def test_what_somebody_released_or_held_otherwise_is_theirs(office: Any) -> None:
    """A release by hand goes against the complaint and is not asked about again; another hold stays a hold."""
    opened = office.open("WHO", **ABOUT)
    payroll = _generated(office)
    _approve(office, payroll)
    held = office.app.do("payroll.entitlements", {"payroll": payroll})[0]
    office.app.do("payroll.release", {"entitlement": held["id"], "reason": "seen"}, as_="ben")
    assert _states(office, payroll)[0] == "approved"
    office.app.do("payroll.hold", {"entitlement": held["id"], "reason": "away"}, as_="ben")
    office.resolve(opened)
    assert _states(office, payroll)[0] == "held"


def test_who_made_the_payroll_does_not_release_by_deciding(office: Any) -> None:
    """A release without an order is an approval: the payroll's maker is refused it; the grievance notes why."""
    opened = office.open("WHO", **ABOUT)
    payroll = _generated(office)
    _approve(office, payroll)
    office.step("move", opened, status="open")
    office.step("resolve", opened, as_="anna", decision="rejected", comment="x")
    assert _states(office, payroll)[0] == "held"
    (note,) = [c["text"] for c in office.show(opened)["comments"] if c["kind"] == "note"]
    assert note.startswith("the payment is not released: whoever generated the payroll")


def test_other_categories_schemes_and_decided_grievances_hold_nothing(office: Any) -> None:
    """Only open grievances of a category that holds next payments, of this scheme or of none."""
    office.open("PAY", **ABOUT)
    office.resolve(office.open("WHO", **ABOUT))
    office.open("WHO", subject={"beneficiary": "2"}, scheme="aid")
    assert _approve(office, _generated(office)) == {"approved": 1, "held": 1}
