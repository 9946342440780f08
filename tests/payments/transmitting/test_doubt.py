"""Once a transmission may have arrived, nothing of it is failed by us, and once it was accepted, nothing is sent."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.operator import Operator


def posts(operator: Operator) -> int:
    return sum(1 for method, _ in operator.requests if method == "POST")


def forgotten(agency: Agency) -> dict[str, Any]:
    """A transmission that the provider accepted and forgot, as it was parked for that."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    agency.operator.batches.clear()
    for _ in range(70):
        agency.work(hours=1, seconds=1)
    (parked,) = agency.app.do("payments.transmissions", {"state": "parked"})
    return dict(parked)


def test_what_was_accepted_and_forgotten_is_parked_however_often_it_is_asked_about(agency: Agency) -> None:
    """Asked for by hand, it is parked again with its reason; no order is left out, failed or sent."""
    parked = forgotten(agency)
    (first,) = agency.app.rows("SELECT min(entitlement) AS e FROM core.orders")
    agency.debts.move(("accepted",), "held", [first["e"]])
    for _ in range(2):
        assert agency.app.do("payments.ask", {"transmission": parked["id"]})["state"] == "unknown"
        agency.work_out()
        (again,) = agency.app.do("payments.transmissions")
        assert (again["state"], again["reason"]) == ("parked", parked["reason"])
        assert again["reason"] == "the provider does not know any more what it accepted"
    assert posts(agency.operator) == 1
    assert agency.statuses() == {"held": 1, "accepted": 2}
    assert agency.app.rows("SELECT 1 FROM core.transmission_orders WHERE left_out") == []


@pytest.mark.parametrize("what", ["cut", 500, 408])
def test_a_refusal_after_a_request_that_may_have_arrived_fails_nothing(agency: Agency, what: Any) -> None:
    """The second request is refused, and the list knows nothing yet: the first one may lie in a queue. It is asked and
    sent under the same name for more than an hour, then parked; when the first one is taken, each is paid once."""
    agency.operator.plan = [what] + [400] * 50
    agency.submit()
    begun = agency.clock.now()
    while agency.states() != ["parked"]:
        agency.work(minutes=5)
        assert agency.statuses() == {"submitted": 3}
    assert 1 <= (agency.clock.now() - begun).total_seconds() / 3600 <= 4
    assert posts(agency.operator) == 10
    agency.operator.plan = []
    (parked,) = agency.app.do("payments.transmissions")
    assert "may have arrived" in parked["reason"]
    agency.app.do("payments.ask", {"transmission": parked["id"]})
    agency.work_out()
    assert (agency.statuses(), agency.states(), agency.cash()) == ({"paid": 3}, ["reported"], "-3600.00")
    assert set(Counter(instruction for instruction, _ in agency.operator.paid).values()) == {1}


def test_a_refusal_after_requests_that_never_arrived_fails_the_orders(agency: Agency) -> None:
    """401 and 429 leave nothing with the provider: what it refuses then has failed, and may be ordered again."""
    agency.operator.plan = [401, 429, 400]
    agency.submit()
    for _ in range(3):
        agency.work(minutes=2)
    assert (agency.statuses(), agency.states()) == ({"failed": 3}, ["refused"])


def test_an_order_held_after_it_may_have_arrived_does_not_fail(agency: Agency) -> None:
    """It is not sent again, and nobody says that it was never sent: somebody asks the provider, and reports it."""
    agency.operator.plan = ["cut"]
    agency.submit()
    agency.work()
    assert agency.states() == ["unknown"]
    (first,) = agency.app.rows("SELECT min(entitlement) AS e FROM core.orders")
    agency.debts.move(("submitted",), "held", [first["e"]])
    agency.work_out()
    assert (agency.statuses(), agency.states(), posts(agency.operator)) == ({"held": 1, "submitted": 2}, ["parked"], 1)
    (parked,) = agency.app.do("payments.transmissions")
    assert "held" in parked["reason"]
    (held,) = [order for order in agency.debts.orders() if order["status"] == "held"]
    row = {"order": held["id"], "status": "failed", "amount": "1200.00"}
    assert agency.app.do("payments.reconcile", {"provider": "MM", "rows": [row]})["matched"] == 1
    agency.app.do("payments.ask", {"transmission": parked["id"]})
    agency.work_out()
    assert (agency.statuses(), agency.states(), agency.cash()) == ({"failed": 1, "paid": 2}, ["reported"], "-2400.00")


def test_an_order_held_after_it_arrived_late_is_paid_as_the_provider_says(agency: Agency) -> None:
    """The first request is taken after all, with the order that is held by then: it is paid, and nothing is twice."""
    agency.operator.plan = ["take and say nothing"]
    agency.operator.asks = [404]
    agency.submit()
    agency.work()
    agency.debts.move(("submitted",), "held")
    agency.work_out()
    assert agency.states() == ["parked"]
    (parked,) = agency.app.do("payments.transmissions")
    agency.app.do("payments.ask", {"transmission": parked["id"]})
    agency.work_out()
    assert (agency.statuses(), agency.states(), agency.cash()) == ({"paid": 3}, ["reported"], "-3600.00")
    assert posts(agency.operator) == 1


@pytest.mark.parametrize("what", [500, 401])
def test_what_cannot_be_sent_is_sent_ever_more_seldom_and_parked(agency: Agency, what: int) -> None:
    """Where sending fails and asking works: pauses grow with the attempts, and after about two days it is listed."""
    agency.operator.plan = [what] * 200
    agency.submit()
    agency.work_out()
    assert posts(agency.operator) <= 9
    for _ in range(80):
        agency.work(hours=1, seconds=1)
    (parked,) = agency.app.do("payments.transmissions")
    assert (parked["state"], posts(agency.operator)) == ("parked", 60)
    assert "payments.ask" in parked["remedy"]
    agency.operator.plan = []
    agency.app.do("payments.ask", {"transmission": parked["id"]})
    agency.work_out()
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])
