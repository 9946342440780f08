"""Rules of single entitlements: held, released, and without anybody to pay."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from imis_core.context import Context
from imis_core.payroll.owing import move_entitlements, order
from tests.payroll.conftest import Office


def _first(office: Office, payroll: object) -> dict[str, str]:
    return {"entitlement": office.entitlements(payroll)[0]["id"], "reason": "complaint"}


def test_held_it_is_not_submitted(office: Office) -> None:
    """Held with its unsent order, which is not submitted; released, both are approved again and go out."""
    payroll = office.approved()
    first = _first(office, payroll)
    assert office.app.do("payroll.hold", first) == {"state": "held"}
    held = office.orders(payroll)[0]
    assert (held["status"], held["reason"]) == ("held", "complaint")
    assert office.code("payroll.hold", first) == "payroll.wrong_state"
    assert office.app.do("payments.submit", {"payroll": payroll["id"]}) == {"submitted": 2, "failed": 0}
    assert office.app.do("payroll.release", first) == {"state": "approved"}
    assert office.code("payroll.release", first) == "payroll.wrong_state"
    assert office.app.do("payments.submit", {"payroll": payroll["id"]}) == {"submitted": 1, "failed": 0}


def test_what_was_sent_or_paid_is_not_held(office: Office) -> None:
    """A submitted and a paid entitlement: wrong state."""
    payroll = office.submitted()
    first = _first(office, payroll)
    assert office.code("payroll.hold", first) == "payroll.wrong_state"
    office.report("paid", office.orders(payroll)[0])
    assert office.code("payroll.hold", first) == "payroll.wrong_state"
    assert office.code("payroll.release", first) == "payroll.wrong_state"


def test_a_held_order_holds_its_entitlement(office: Office) -> None:
    """`payments.hold`, `release` and `cancel` on the order do the same to its entitlement, budget and ledger."""
    payroll = office.approved()
    order = {"order": office.orders(payroll)[0]["id"], "reason": "complaint"}
    office.app.do("payments.hold", order)
    assert office.states(payroll)[0] == ("H1", "held")
    office.app.do("payments.release", order)
    assert office.states(payroll)[0] == ("H1", "approved")
    office.app.do("payments.cancel", order)
    assert office.states(payroll)[0] == ("H1", "cancelled")
    assert office.balances() == {"benefits_expense": "20.00", "benefits_payable": "-20.00"}
    assert office.budget()["reserved"] == "20.00"


def test_held_before_the_approval_it_waits(office: Office) -> None:
    """Held before its payroll is approved it gets no order; released before, it goes back; after, not by the maker."""
    payroll = office.generate()
    first = _first(office, payroll)
    office.app.do("payroll.hold", first)
    assert office.app.do("payroll.release", first) == {"state": "generated"}
    office.app.do("payroll.hold", first)
    assert office.approve(payroll)["by_state"] == {"approved": 2, "held": 1}
    assert office.budget()["reserved"] == "20.00"
    assert office.code("payroll.release", first, as_="anna") == "payroll.same_person"
    assert office.app.do("payroll.release", first, as_="ben") == {"state": "approved"}
    assert (office.budget()["reserved"], len(office.orders(payroll))) == ("30.00", 3)
    assert office.balances() == {"benefits_expense": "30.00", "benefits_payable": "-30.00"}


def test_held_above_the_limit_it_waits_for_its_own_approval(bare: Office) -> None:
    """One that awaits its own approval goes back to that when it is released."""
    bare.package(approval_limit="5")
    bare.cycle(6)
    bare.household("H1")
    payroll = bare.generate("C6")
    first = _first(bare, payroll)
    bare.app.do("payroll.hold", first)
    bare.approve(payroll)
    assert bare.app.do("payroll.release", first) == {"state": "awaiting_approval"}


def test_without_a_recipient_it_is_held(office: Office) -> None:
    """A household that nobody is paid for: held at the approval; released once it has a recipient again."""
    _primary(office, None)
    payroll = office.approved()
    assert (payroll["by_state"], office.budget()["reserved"]) == ({"approved": 2, "held": 1}, "20.00")
    first = _first(office, payroll)
    assert office.code("payroll.release", first, as_="ben") == "payroll.no_recipient"
    _primary(office, "primary")
    assert office.app.do("payroll.release", first, as_="ben") == {"state": "approved"}
    assert [o["recipient"] for o in office.orders(payroll)] == ["NH1", "NH2", "NH3"]
    assert office.balances() == {"benefits_expense": "30.00", "benefits_payable": "-30.00"}


def _primary(office: Office, recipient: str | None) -> None:
    """H1's recipient, behind the back of the rules of households, which always find one."""
    with office.app.database.command(office.app.system) as (connection, _):
        connection.execute(
            sa.text(
                "UPDATE core.memberships SET recipient = :recipient "
                "WHERE \"group\" = (SELECT id FROM core.groups WHERE code = 'H1')"
            ),
            {"recipient": recipient},
        )


def test_cancelled_it_is_owed_no_more(office: Office) -> None:
    """Before and after the approval: its order, reservation and expense are taken back; paid or sent: wrong state."""
    payroll = office.generate()
    first, second, third = ({"entitlement": e["id"], "reason": "moved away"} for e in office.entitlements(payroll))
    assert office.app.do("payroll.cancel", first) == {"state": "cancelled"}
    assert office.approve(payroll)["by_state"] == {"approved": 2, "cancelled": 1}
    assert office.app.do_all("payroll.cancel", [second, second])[1].code == "payroll.wrong_state"
    assert [(o["status"], o["reason"]) for o in office.orders(payroll)] == [
        ("cancelled", "moved away"),
        ("approved", None),
    ]
    assert office.balances() == {"benefits_expense": "10.00", "benefits_payable": "-10.00"}
    assert office.budget()["reserved"] == "10.00"
    office.app.do("payments.submit", {"payroll": payroll["id"]})
    assert office.code("payroll.cancel", third) == "payroll.wrong_state"
    office.report("paid", office.orders(payroll)[1])
    assert office.code("payroll.cancel", third) == "payroll.wrong_state"
    assert office.status(payroll) == "reconciled"
    assert office.generate()["beneficiaries"] == 0


def test_a_payroll_waits_for_nothing_else(office: Office) -> None:
    """The last open entitlement, held because nobody can be paid for it, is cancelled: the payroll is reconciled."""
    _primary(office, None)
    payroll = office.submitted()
    office.report("paid", *office.orders(payroll))
    assert office.status(payroll) == "paying"
    assert office.app.do("payroll.cancel", _first(office, payroll)) == {"state": "cancelled"}
    assert (office.status(payroll), office.budget()["reserved"]) == ("reconciled", "0.00")
    assert office.balances() == {"benefits_expense": "20.00", "cash": "-20.00"}


def test_each_of_a_batch_keeps_its_own_reason(office: Office) -> None:
    """Released together, without orders of their own yet: the reason of each stands in its own history."""
    payroll = office.generate()
    named = [{"entitlement": e["id"], "reason": "held"} for e in office.entitlements(payroll)[:2]]
    office.app.do_all("payroll.hold", named)
    office.approve(payroll)
    reasons = ("seen at home", "letter answered")
    office.app.do_all("payroll.release", [n | {"reason": r} for n, r in zip(named, reasons, strict=True)], as_="ben")
    kept = office.app.rows(
        "SELECT reason FROM core.entitlement_states "
        "WHERE state = 'approved' AND reason IS NOT NULL ORDER BY entitlement"
    )
    assert tuple(row["reason"] for row in kept) == reasons


def test_a_move_that_no_table_lists_is_an_error(office: Office) -> None:
    """Whatever asks for it, an entitlement moves only as its table of states says."""
    payroll = office.submitted()
    office.report("failed", office.orders(payroll)[0])
    numbers = [
        row["entitlement"] for row in office.app.rows("SELECT entitlement FROM core.entitlement_current ORDER BY 1")
    ]
    with office.app.database.command(office.app.system) as (connection, audit):
        app = office.app
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit=audit)
        with pytest.raises(ValueError, match="1 of 2 entitlements cannot become held"):
            move_entitlements(context, [(number, "held", None) for number in numbers[:2]])
        with pytest.raises(ValueError, match="paid cannot become approved"):
            order(context, "g", 1, ("paid",))


def test_a_batch_moves_each_entitlement_once(office: Office) -> None:
    """Items of one batch follow each other: the second hold of one entitlement finds it held; unknown: not found."""
    payroll = office.approved()
    first = _first(office, payroll)
    answers = office.app.do_all("payroll.hold", [first, first, {"entitlement": "x", "reason": "y"}])
    assert answers[0] == {"state": "held"}
    assert [a.code for a in answers[1:]] == ["payroll.wrong_state", "not_found"]
