"""A payment that somebody complains about is kept back by the kernel's commands, and let go with the decision."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError


def _order(order: Any) -> dict[str, Any]:
    return {"subject": {"order": order["id"]}}


def test_a_category_that_holds_keeps_an_unsent_order_and_its_entitlement_back(desk: Any) -> None:
    """Order and entitlement are `held`, the other recipient's are not; the order is then not submitted."""
    payroll = desk.payroll()
    opened = desk.open("PAY", **_order(desk.orders(payroll)[0]))
    assert opened["held"] is True
    assert desk.states(payroll) == [("held", "held"), ("approved", "approved")]
    assert desk.show(opened)["held"] is True
    assert desk.app.do("payments.submit", {"payroll": payroll}) == {"submitted": 1, "failed": 0}
    assert desk.states(payroll)[0] == ("held", "held")


def test_another_category_holds_nothing(desk: Any) -> None:
    """Only `holds_payment` keeps an order back; the grievance carries the scheme of its order."""
    payroll = desk.payroll()
    opened = desk.open("OTHER", **_order(desk.orders(payroll)[0]))
    assert (opened["held"], desk.show(opened)["scheme"]) == (False, "aid")
    assert desk.states(payroll)[0] == ("approved", "approved")


@pytest.mark.parametrize("paid", [False, True])
def test_an_order_that_was_sent_or_paid_is_left_alone(desk: Any, paid: bool) -> None:
    """`held` is false, nothing moves, the grievance is open all the same and notes why."""
    payroll = desk.payroll()
    desk.app.do("payments.submit", {"payroll": payroll})
    order = desk.orders(payroll)[0]
    if paid:
        row = {"order": order["id"], "status": "paid", "amount": "10.00"}
        desk.app.do("payments.reconcile", {"provider": "POST", "rows": [row]})
    before = desk.states(payroll)
    opened = desk.open("PAY", **_order(order))
    assert opened["held"] is False
    assert desk.states(payroll) == before
    assert desk.show(opened)["comments"][0]["kind"] == "note"
    desk.resolve(opened, "upheld", cancel_payment=True)
    assert desk.states(payroll) == before


@pytest.mark.parametrize("decision", ["upheld", "partly", "rejected", "withdrawn", "referred"])
@pytest.mark.parametrize("cancel", [False, True])
def test_resolving_releases_or_cancels_what_the_grievance_held(desk: Any, decision: str, cancel: bool) -> None:
    """Released (`approved` again) unless upheld or partly with `cancel_payment`: then cancelled, debt taken back."""
    payroll = desk.payroll()
    opened = desk.open("PAY", **_order(desk.orders(payroll)[0]))
    desk.resolve(opened, decision, cancel_payment=cancel)
    cancelled = cancel and decision in ("upheld", "partly")
    state = "cancelled" if cancelled else "approved"
    assert desk.states(payroll)[0] == (state, state)
    assert desk.show(opened)["held"] is False
    owed = "10.00" if cancelled else "20.00"
    assert desk.ledger() == {"benefits_expense": owed, "benefits_payable": f"-{owed}"}


def test_an_order_is_let_go_with_the_last_grievance_about_it(desk: Any) -> None:
    """Two grievances hold one order; the first decision leaves it held with a note, the second releases it."""
    payroll = desk.payroll()
    about = _order(desk.orders(payroll)[0])
    first, second = desk.open("PAY", **about), desk.open("PAY", **about)
    assert (first["held"], second["held"]) == (True, True)
    desk.resolve(first)
    assert desk.states(payroll)[0] == ("held", "held")
    assert (desk.show(first)["held"], desk.show(first)["comments"][-1]["kind"]) == (False, "note")
    desk.resolve(second)
    assert desk.states(payroll)[0] == ("approved", "approved")


def test_a_batch_of_grievances_about_one_order_holds_it_once(desk: Any) -> None:
    """Items of one batch depend on each other as if they had come one after the other."""
    payroll = desk.payroll()
    given = {"category": "PAY", "description": "x", **_order(desk.orders(payroll)[0])}
    opened = desk.app.do_all("grievances.open", [given, given])
    assert [one["held"] for one in opened] == [True, True]
    desk.app.do_all("grievances.move", [{"grievance": one["code"], "status": "open"} for one in opened])
    decided = {"decision": "rejected", "comment": "x"}
    desk.app.do_all("grievances.resolve", [{"grievance": one["code"], **decided} for one in opened])
    assert desk.states(payroll)[0] == ("approved", "approved")


def test_what_others_held_is_not_released_by_a_grievance(desk: Any) -> None:
    """An order that somebody held before is left alone: `held` is false, and the decision does not release it."""
    payroll = desk.payroll()
    order = desk.orders(payroll)[0]
    desk.app.do("payments.hold", {"order": order["id"], "reason": "stop"})
    opened = desk.open("PAY", **_order(order))
    assert opened["held"] is False
    desk.resolve(opened)
    assert desk.states(payroll)[0] == ("held", "held")


def test_an_order_that_others_released_and_held_again_is_theirs(desk: Any) -> None:
    """A grievance lets go only what stands as it left it; the note says that somebody else has moved it."""
    payroll = desk.payroll()
    order = desk.orders(payroll)[0]
    opened = desk.open("PAY", **_order(order))
    desk.app.do("payments.release", {"order": order["id"], "reason": "found"})
    assert desk.show(opened)["held"] is False
    entitlement = desk.app.do("payroll.entitlements", {"payroll": payroll})[0]
    desk.app.do("payroll.hold", {"entitlement": entitlement["id"], "reason": "the police asks"})
    late = desk.open("PAY", **_order(order))
    assert (late["held"], desk.show(opened)["held"]) == (False, False)
    desk.resolve(opened, "upheld", cancel_payment=True)
    desk.resolve(late)
    assert desk.states(payroll)[0] == ("held", "held")
    assert "somebody else" in desk.show(opened)["comments"][-1]["text"]


def test_a_grievance_holds_again_what_others_released(desk: Any) -> None:
    """The newer grievance is the one that keeps the order back: the older decision leaves it, the newer lets it go."""
    payroll = desk.payroll()
    order = desk.orders(payroll)[0]
    older = desk.open("PAY", **_order(order))
    desk.app.do("payments.release", {"order": order["id"], "reason": "found"})
    newer = desk.open("PAY", **_order(order))
    assert (desk.show(older)["held"], newer["held"]) == (False, True)
    desk.resolve(older)
    assert desk.states(payroll)[0] == ("held", "held")
    desk.resolve(newer)
    assert desk.states(payroll)[0] == ("approved", "approved")


def test_a_hold_needs_no_permission_but_has_an_audit_entry_of_its_own(desk: Any) -> None:
    """A clerk who may open grievances holds through the plugin; payments' own command writes what was done."""
    payroll = desk.payroll()
    clerk = desk.app.as_user("carl", "clerk", ["P1"])
    assert desk.open("PAY", as_=clerk, **_order(desk.orders(payroll)[0]))["held"] is True
    with pytest.raises(ImisError) as error:
        desk.app.do("payments.hold", {"order": desk.orders(payroll)[1]["id"], "reason": "x"}, as_=clerk)
    assert error.value.code == "permission.denied"
    entries = desk.app.rows("SELECT command, actor FROM core.audit_entries ORDER BY id DESC LIMIT 2")
    assert sorted(entry["command"] for entry in entries) == ["grievances.open", "payments.hold"]
    assert {entry["actor"] for entry in entries} == {clerk.user}


def test_an_order_of_another_place_is_not_found(desk: Any) -> None:
    """A clerk holds nothing that the clerk does not see."""
    payroll = desk.payroll()
    clerk = desk.app.as_user("carl", "clerk", ["P1"])
    with pytest.raises(ImisError) as error:
        desk.open("PAY", as_=clerk, **_order(desk.orders(payroll)[1]))
    assert (error.value.code, error.value.refusal.problems[0].path) == ("not_found", "subject.order")
    assert desk.states(payroll)[1] == ("approved", "approved")


def test_many_grievances_take_as_many_statements_as_few(desk: Any) -> None:
    """Opening and resolving a batch take a constant number of statements."""
    payroll = desk.payroll()
    orders = desk.orders(payroll)
    counts = []
    for count in (2, 40):
        given = [{"category": "PAY", "description": "x", **_order(orders[n % 2])} for n in range(count)]
        before = desk.app.database.statements
        opened = desk.app.do_all("grievances.open", given)
        desk.app.do_all("grievances.move", [{"grievance": one["code"], "status": "open"} for one in opened])
        decided = [{"grievance": one["code"], "decision": "rejected", "comment": "x"} for one in opened]
        desk.app.do_all("grievances.resolve", decided)
        counts.append(desk.app.database.statements - before)
    assert counts[0] == counts[1]
    assert desk.states(payroll) == [("approved", "approved")] * 2
