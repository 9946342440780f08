"""Rules of single entitlements: held, released, and without anybody to pay."""

from __future__ import annotations

import sqlalchemy as sa

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


def test_a_batch_moves_each_entitlement_once(office: Office) -> None:
    """Items of one batch follow each other: the second hold of one entitlement finds it held; unknown: not found."""
    payroll = office.approved()
    first = _first(office, payroll)
    answers = office.app.do_all("payroll.hold", [first, first, {"entitlement": "x", "reason": "y"}])
    assert answers[0] == {"state": "held"}
    assert [a.code for a in answers[1:]] == ["payroll.wrong_state", "not_found"]
