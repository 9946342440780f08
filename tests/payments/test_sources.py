"""Orders of a source: placed and moved in bulk, told to it as they move, and shown with what it says of them."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from tests.payments.debts import BATCH, Debts


@pytest.fixture
def debts(app: TestApp) -> Debts:
    """Three persons who are owed 1200.00 each; P1 and P2 are paid by the post office, P3 by nobody."""
    debts = Debts(app, ("P1", "P2", "P3"))
    app.do("payments.register_provider", {"code": "POST", "name": "Post office", "channel": "cash_list"})
    for number in ("P1", "P2"):
        app.do("payments.enrol_recipient", {"number": number, "provider": "POST"})
    return debts


def report(debts: Debts, *rows: tuple[str, str]) -> Any:
    written = [{"order": order, "status": status, "amount": "1200.00"} for order, status in rows]
    return debts.app.do("payments.reconcile", {"provider": "POST", "rows": written})


def test_orders_are_placed_from_a_select_and_listed_by_recipient(debts: Debts) -> None:
    """One statement places them all; `payments.orders` shows beneficiary and entitlement as the source tells them."""
    assert debts.order() == (3, 360000)
    assert debts.statements == 1
    listed = debts.orders()
    assert [(o["recipient"], o["beneficiary"], o["amount"], o["status"]) for o in listed] == [
        (number, f"H-{number}", "1200.00", "approved") for number in ("P1", "P2", "P3")
    ]
    numbers = [row["id"] for row in debts.app.rows("SELECT id FROM core.persons ORDER BY number")]
    assert [o["entitlement"] for o in listed] == debts.app.ids.encode_all("persons", numbers)
    assert debts.app.do("payments.orders") == listed
    states = debts.app.rows("SELECT state, version FROM core.order_states")
    assert [tuple(row.values()) for row in states] == [("approved", 1)] * 3


def test_a_source_is_told_when_its_orders_are_sent(debts: Debts) -> None:
    """`submitted` is called for orders of a batch that go out, the first ones and those that follow, not for none."""
    debts.order()
    assert debts.app.do("payments.submit", {"payroll": "B7"}) == {"submitted": 2, "failed": 1}
    assert debts.submitted == [BATCH]
    assert debts.app.do("payments.submit", {"payroll": "B7"}) == {"submitted": 0, "failed": 1}
    assert debts.submitted == [BATCH]
    debts.app.do("payments.enrol_recipient", {"number": "P3", "provider": "POST"})
    assert debts.app.do("payments.submit", {"payroll": "B7"}) == {"submitted": 1, "failed": 0}
    assert debts.submitted == [BATCH, BATCH]


def test_the_enrolment_of_the_scheme_wins(debts: Debts) -> None:
    """An order goes through its recipient's enrolment for the scheme, else through the one for every scheme."""
    debts.app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "bank_file"})
    own = {"number": "P1", "provider": "BANK", "account": "1", "scheme": "chf"}
    debts.app.do("payments.enrol_recipient", own)
    debts.order()
    debts.app.do("payments.submit", {"payroll": "B7"})
    sent = debts.app.rows(
        "SELECT p.number, w.code FROM core.orders o JOIN core.persons p ON p.id = o.person "
        'JOIN core.order_current t ON t."order" = o.id JOIN core.payment_providers w ON w.id = t.payment_provider '
        "ORDER BY p.number"
    )
    assert [tuple(row.values()) for row in sent] == [("P1", "BANK"), ("P2", "POST")]


def test_every_move_reaches_the_source(debts: Debts) -> None:
    """Hold, release, paid, returned, retry and reversal are settled by the source, with the state before."""
    debts.order()
    first, second, _ = (order["id"] for order in debts.orders())
    for verb in ("hold", "release"):
        debts.app.do(f"payments.{verb}", {"order": first, "reason": "asked"})
    debts.app.do("payments.submit", {"payroll": "B7"})
    report(debts, (first, "paid"), (second, "paid"), (second, "returned"))
    debts.app.do("payments.retry", {"order": second})
    debts.app.do("payments.reverse", {"order": first, "reason": "dead"}, as_="ben")
    one, two = (row["id"] for row in debts.app.rows("SELECT id FROM core.persons ORDER BY number LIMIT 2"))
    assert [(s.entitlement, s.was, s.state) for s in debts.settled] == [
        (one, "approved", "held"),
        (one, "held", "approved"),
        (one, "submitted", "paid"),
        (two, "submitted", "paid"),
        (two, "paid", "returned"),
        (two, "returned", "approved"),
        (one, "paid", "reversed"),
    ]
    assert {(s.scheme, s.source, s.amount_minor) for s in debts.settled} == {("chf", BATCH, 120000)}


def test_a_closed_source_refuses_what_users_ask_for(debts: Debts) -> None:
    """Hold, retry and reversal of a closed batch are refused with the source's error, and nothing is settled."""
    debts.order()
    first, second, third = (order["id"] for order in debts.orders())
    debts.app.do("payments.submit", {"payroll": "B7"})
    report(debts, (first, "failed"), (second, "paid"))
    debts.settled.clear()
    debts.closed = True
    asked = (("retry", first), ("reverse", second), ("hold", third), ("cancel", third))
    for verb, order in asked:
        with pytest.raises(ImisError) as caught:
            debts.app.do(f"payments.{verb}", {"order": order, "reason": "late"}, as_="ben")
        assert caught.value.code == "payroll.wrong_state", verb
    with pytest.raises(ImisError) as caught:
        debts.app.do("payments.submit", {"payroll": "B7"})
    assert caught.value.code == "payroll.wrong_state"
    assert debts.settled == []


def test_a_source_moves_its_orders_in_one_statement(debts: Debts) -> None:
    """What was sent is held and never cancelled; what was not is cancelled; the source is given the moved ones."""
    debts.order()
    debts.app.do("payments.submit", {"payroll": "B7"})
    assert [row.was for row in debts.move(("submitted", "accepted"), "held")] == ["submitted"] * 2
    (cancelled,) = debts.move(("approved", "held"), "cancelled")
    assert debts.statements == 1
    assert (cancelled.was, cancelled.amount_minor, cancelled.scheme) == ("approved", 120000, "chf")
    assert debts.move(("held",), "approved") == []
    assert [(o["status"], o["reason"]) for o in debts.orders()] == [
        ("held", "rejected"),
        ("held", "rejected"),
        ("cancelled", "rejected"),
    ]
    assert debts.settled == []


def test_a_source_moves_the_orders_of_some_entitlements(debts: Debts) -> None:
    """Only the named entitlements move; a move that no state allows is a mistake of the source."""
    debts.order()
    two = debts.app.rows("SELECT id FROM core.persons WHERE number = 'P2'")[0]["id"]
    assert [row.entitlement for row in debts.move(("approved",), "held", [two])] == [two]
    assert [o["status"] for o in debts.orders()] == ["approved", "held", "approved"]
    with pytest.raises(ValueError, match="paid cannot become cancelled"):
        debts.move(("paid",), "cancelled")


def test_submission_and_reconciliation_take_few_statements_for_many_orders(app: TestApp) -> None:
    """A batch is submitted and reconciled set-based: 60 orders take far fewer statements than there are orders."""
    debts = Debts(app, [f"N{i:03d}" for i in range(60)])
    app.do("payments.register_provider", {"code": "POST", "name": "Post office", "channel": "voucher"})
    app.do_all("payments.enrol_recipient", [{"number": f"N{i:03d}", "provider": "POST"} for i in range(60)])
    debts.order()
    before = app.database.statements
    assert app.do("payments.submit", {"payroll": "B7"})["submitted"] == 60
    submitted = app.database.statements
    rows = [(order["id"], "paid") for order in debts.orders()]
    asked = app.database.statements
    assert report(debts, *rows)["matched"] == 60
    # The caller, the idempotency key and the audit entry are among them.
    assert submitted - before <= 12
    assert app.database.statements - asked <= 15
