"""Outcomes that are not known are asked for, never guessed: each way in which a request can break off."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from attrs import evolve

from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.operator import Operator


def sent(operator: Operator) -> int:
    return sum(1 for method, _ in operator.requests if method == "POST")


def names(operator: Operator) -> set[str]:
    return {name for _, name in operator.requests}


def paid_once(agency: Agency) -> None:
    """Every debt is paid, at the operator once, and the ledger says the same."""
    assert agency.statuses() == {"paid": 3}
    counted = Counter(instruction for instruction, _ in agency.operator.paid)
    assert sorted(counted.values()) == [1, 1, 1]
    assert agency.cash() == "-3600.00"
    assert agency.states() == ["reported"]
    assert len(names(agency.operator)) == 1


@pytest.mark.parametrize(
    "what", ["take and say nothing", (500, "taken"), (503, "taken"), (409, "taken"), (201, "taken")]
)
def test_what_was_taken_without_an_answer_is_not_sent_again(agency: Agency, what: Any) -> None:
    """The batch is there and nobody was told: it is asked for, found, and never sent a second time."""
    agency.operator.plan = [what]
    agency.submit()
    agency.work()
    assert agency.states() == ["unknown"]
    assert agency.statuses() == {"submitted": 3}
    agency.work_out()
    assert sent(agency.operator) == 1
    paid_once(agency)


@pytest.mark.parametrize("what", ["cut", 500, 502, 408])
def test_what_never_arrived_is_sent_again_once_the_provider_has_said_so(agency: Agency, what: Any) -> None:
    """It is asked first; 404 is the answer that lets it be sent again, under the same name."""
    agency.operator.plan = [what]
    agency.submit()
    agency.work()
    assert agency.states() == ["unknown"]
    agency.work_out()
    assert [method for method, _ in agency.operator.requests][:3] == ["POST", "GET", "POST"]
    paid_once(agency)


@pytest.mark.parametrize("silence", ["cut", 500, 429, 401])
def test_without_an_answer_nothing_is_sent_again(agency: Agency, silence: Any) -> None:
    """As long as the provider does not say whether it has the batch, it is asked and not sent."""
    agency.operator.plan = ["take and say nothing"]
    agency.operator.asks = [silence] * 3
    agency.submit()
    agency.work()
    for _ in range(3):
        agency.work(minutes=2)
        assert agency.states() == ["unknown"]
    agency.work_out()
    assert sent(agency.operator) == 1
    paid_once(agency)


@pytest.mark.parametrize("what", [401, 403, 404, 429])
def test_a_provider_that_did_not_read_it_gets_it_later(agency: Agency, what: int) -> None:
    """Nobody has it: it waits, and is sent again without asking."""
    agency.operator.plan = [what]
    agency.submit()
    agency.work()
    assert agency.states() == ["waiting"]
    agency.work_out()
    paid_once(agency)


def test_a_provider_that_is_not_there_gets_it_later(agency: Agency) -> None:
    """No connection: nothing left, it waits."""
    gateways = agency.app.settings.payment_gateways
    url = gateways["MM"].url
    gateways["MM"] = evolve(gateways["MM"], url="http://127.0.0.1:1")
    agency.submit()
    agency.work()
    assert agency.states() == ["waiting"]
    assert agency.operator.requests == []
    gateways["MM"] = evolve(gateways["MM"], url=url)
    agency.work_out()
    paid_once(agency)


def test_a_refusal_fails_the_orders_once_it_is_certain(agency: Agency) -> None:
    """400 and, asked by name, nothing there: the orders fail with the reason, and may be ordered again."""
    agency.operator.plan = [400]
    agency.submit()
    agency.work()
    assert agency.states() == ["refused"]
    assert [(o["status"], o["reason"]) for o in agency.debts.orders()] == [("failed", "the provider answered 400")] * 3
    assert {move.state for move in agency.debts.settled} == {"failed"}
    for order in agency.debts.orders():
        agency.app.do("payments.retry", {"order": order["id"]})
    assert agency.submit() == {"submitted": 3, "failed": 0}
    agency.work_out()
    assert agency.statuses() == {"failed": 3, "paid": 3}
    assert len(agency.operator.paid) == 3


def test_a_refusal_of_what_was_taken_fails_nothing(agency: Agency) -> None:
    """A provider that answers 400 and has the batch all the same: it is asked, and what it has counts."""
    agency.operator.plan = [(400, "taken")]
    agency.submit()
    agency.work()
    assert agency.states() == ["accepted"]
    agency.work_out()
    paid_once(agency)


def test_a_refusal_that_cannot_be_asked_about_is_not_known(agency: Agency) -> None:
    """400 and then silence: unknown, not failed."""
    agency.operator.plan, agency.operator.asks = [(422, "taken")], [500]
    agency.submit()
    agency.work()
    assert agency.states() == ["unknown"]
    assert agency.statuses() == {"submitted": 3}
    agency.work_out()
    paid_once(agency)


def test_what_a_provider_accepted_is_never_sent_again(agency: Agency) -> None:
    """A provider that forgets what it took is asked, and in the end somebody looks at it."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    agency.operator.batches.clear()
    for _ in range(70):
        agency.work(hours=1, seconds=1)
    assert agency.states() == ["parked"]
    assert sent(agency.operator) == 1
    assert agency.statuses() == {"accepted": 3}


def test_a_held_order_is_not_sent(agency: Agency) -> None:
    """What was held before its transmission went out is left out, fails with the reason, and can be ordered again."""
    agency.submit()
    (first,) = agency.app.rows("SELECT min(entitlement) AS e FROM core.orders")
    agency.debts.move(("submitted",), "held", [first["e"]])
    agency.work_out()
    assert agency.statuses() == {"failed": 1, "paid": 2}
    assert [o["reason"] for o in agency.debts.orders() if o["status"] == "failed"] == ["held_before_sending"]
    assert len(agency.operator.paid) == 2
    assert agency.cash() == "-2400.00"


def test_orders_held_under_way_are_paid_if_the_provider_pays_them(agency: Agency) -> None:
    """What is held after it was sent may be paid: it is taken as the provider reports it."""
    agency.submit()
    agency.work()
    agency.debts.move(("accepted",), "held")
    assert agency.statuses() == {"held": 3}
    agency.work_out()
    paid_once(agency)


def test_single_failures_are_kept_with_their_reasons(agency: Agency) -> None:
    """What the provider cannot pay fails with what it says; the others are paid."""
    agency.operator.failing.add("+250788P2")
    agency.submit()
    agency.work_out()
    assert agency.statuses() == {"failed": 1, "paid": 2}
    assert [o["reason"] for o in agency.debts.orders() if o["status"] == "failed"] == ["no such wallet"]
    assert agency.cash() == "-2400.00"


def test_another_amount_is_listed_once_and_changes_nothing(agency: Agency) -> None:
    """The provider paid another amount: a row of the reconciliation, however often it is asked; the order stays."""
    agency.operator.amounts["+250788P2"] = "1100.00"
    agency.submit()
    agency.work_out()
    assert agency.statuses() == {"accepted": 1, "paid": 2}
    wrong = agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "wrong_amount"})
    assert [row["amount"] for row in wrong] == ["1100.00"]
    assert agency.states() == ["accepted"]
