"""Orders that a person moves: held, released, cancelled, reversed; what was sent may have been paid."""

from __future__ import annotations

import pytest

from tests.payments.conftest import Office

OWED = {"benefits_expense": "100.00", "benefits_payable": "-100.00"}
PAID = {"benefits_expense": "100.00", "cash": "-100.00"}


def ordered(office: Office) -> tuple[str, str]:
    """An approved order for HC1, which has an account: its batch and its id."""
    office.claim()
    office.account("HC1")
    batch = office.approved()
    return batch, office.orders(batch)[0]["id"]


def move(office: Office, verb: str, order: str, as_: str = "administrator") -> str:
    moved = office.app.do(f"payments.{verb}", {"order": order, "reason": "a complaint"}, as_=as_)
    assert moved["id"] == order
    return str(moved["status"])


def refusal(office: Office, verb: str, order: str, as_: str = "administrator") -> str:
    return office.refusal(f"payments.{verb}", {"order": order, "reason": "a complaint"}, as_)


def test_a_held_order_is_not_sent_until_it_is_released(office: Office) -> None:
    """Hold keeps an approved order from submission, with the reason; release lets it go."""
    batch, order = ordered(office)
    assert move(office, "hold", order) == "held"
    assert [(o["status"], o["reason"]) for o in office.orders(batch)] == [("held", "a complaint")]
    assert office.submit(batch) == {"submitted": 0, "failed": 0}
    assert refusal(office, "hold", order) == "payments.wrong_state"
    assert move(office, "release", order) == "approved"
    assert refusal(office, "release", order) == "payments.wrong_state"
    assert office.submit(batch) == {"submitted": 1, "failed": 0}


@pytest.mark.parametrize("verb", ["hold", "release", "cancel"])
def test_what_was_sent_or_paid_is_neither_held_nor_cancelled(office: Office, verb: str) -> None:
    """A submitted and a paid order refuse to be held, released or cancelled; nothing changes."""
    batch, order = ordered(office)
    office.submit(batch)
    assert refusal(office, verb, order) == "payments.wrong_state"
    office.report((order, "paid", "100.00"))
    assert refusal(office, verb, order) == "payments.wrong_state"
    assert office.orders(batch)[0]["status"] == "paid"
    assert refusal(office, verb, "nothing") == "not_found"


@pytest.mark.parametrize("held", [False, True])
def test_a_cancelled_order_takes_its_debt_back(office: Office, held: bool) -> None:
    """Cancelled after approval, held before or not: expense -, payable +; it is neither sent nor released again."""
    batch, order = ordered(office)
    if held:
        move(office, "hold", order)
    assert move(office, "cancel", order) == "cancelled"
    assert office.ledger() == {}
    assert office.submit(batch) == {"submitted": 0, "failed": 0}
    assert refusal(office, "release", order) == "payments.wrong_state"
    assert office.report((order, "paid", "100.00")) == {"conflicts": 1}
    assert office.request()["claims"] == 0


def test_a_paid_order_is_reversed_by_somebody_else(office: Office) -> None:
    """Only a paid one, not by who approved it; the expense is taken back, the cash stays with the recipient's debt."""
    batch, order = ordered(office)
    assert refusal(office, "reverse", order) == "payments.wrong_state"
    office.submit(batch)
    office.report((order, "paid", "100.00"))
    assert refusal(office, "reverse", order, as_="ben") == "payments.same_person"
    assert office.ledger() == PAID
    assert move(office, "reverse", order, as_="anna") == "reversed"
    assert office.ledger() == {"benefits_payable": "100.00", "cash": "-100.00"}
    assert refusal(office, "reverse", order, as_="anna") == "payments.wrong_state"
    assert office.report((order, "paid", "100.00"), (order, "returned", "100.00")) == {"conflicts": 2}


def test_of_two_moves_of_one_order_in_a_batch_the_second_is_refused(office: Office) -> None:
    """Items of a batch are judged one after the other: an order that is held already is not held again."""
    batch, order = ordered(office)
    item = {"order": order, "reason": "twice"}
    first, second = office.app.do_all("payments.hold", [item, item])
    assert (first["status"], second.code) == ("held", "payments.wrong_state")
    assert [o["status"] for o in office.orders(batch)] == ["held"]


def held_after_sending(office: Office, batch: str) -> None:
    """Hold what was sent, as a rejected payroll does."""
    with office.app.database.command(office.app.system) as (connection, _):
        connection.exec_driver_sql("UPDATE core.order_current SET state = 'held', version = version + 1")


@pytest.mark.parametrize(("end", "status"), [("paid", "paid"), ("failed", "failed")])
def test_what_was_held_after_it_had_been_sent_takes_the_report(office: Office, end: str, status: str) -> None:
    """Such an order is neither released nor cancelled before its provider has said what became of it."""
    batch, order = ordered(office)
    office.submit(batch)
    held_after_sending(office, batch)
    assert refusal(office, "release", order) == "payments.wrong_state"
    assert refusal(office, "cancel", order) == "payments.wrong_state"
    assert office.report((order, end, "100.00")) == {"matched": 1}
    assert office.orders(batch)[0]["status"] == status


def test_an_order_that_was_never_sent_cannot_have_been_paid(office: Office) -> None:
    """A report about an approved or a held order that no provider was given conflicts, and nothing changes."""
    batch, order = ordered(office)
    assert office.report((order, "paid", "100.00")) == {"conflicts": 1}
    move(office, "hold", order)
    assert office.report((order, "paid", "100.00"), (order, "failed", "100.00")) == {"conflicts": 2}
    assert office.orders(batch)[0]["status"] == "held"
    assert office.ledger() == OWED


def test_moves_are_in_the_trail(office: Office) -> None:
    """Every state of an order is a row of its own, with its reason and the entry of who did it."""
    _, order = ordered(office)
    move(office, "hold", order)
    move(office, "release", order)
    rows = office.app.rows("SELECT version, state, reason FROM core.order_states ORDER BY version")
    assert [(row["version"], row["state"], row["reason"]) for row in rows] == [
        (1, "approved", None),
        (2, "held", "a complaint"),
        (3, "approved", "a complaint"),
    ]
