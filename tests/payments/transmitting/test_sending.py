"""Orders sent to a real service over a socket: paid once, whatever the service answers or does not answer."""

from __future__ import annotations

from typing import Any

from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.operator import Operator


def test_orders_are_sent_accepted_and_paid(agency: Agency) -> None:
    """Submitted, handed over in one batch with what the provider needs to know, accepted, and paid once it says so."""
    agency.operator.pending.add("+250788P2")
    assert agency.submit() == {"submitted": 3, "failed": 0}
    agency.work()
    assert agency.statuses() == {"accepted": 3}
    assert agency.states() == ["accepted"]
    headers = agency.operator.headers
    assert headers["Authorization"] == "Bearer t0ken-of-tests"
    assert (headers["Platform-TenantId"], headers["X-Program-Id"]) == ("agency", "chf")
    agency.work(minutes=2)
    assert agency.statuses() == {"paid": 2, "accepted": 1}
    assert agency.cash() == "-2400.00"
    agency.operator.settle()
    agency.work(minutes=5)
    assert agency.statuses() == {"paid": 3}
    assert agency.states() == ["reported"]
    assert agency.cash() == "-3600.00"
    assert [amount for _, amount in agency.operator.paid] == ["1200.00"] * 3
    assert agency.submit() == {"submitted": 0, "failed": 0}


def test_the_open_orders_of_transmissions_are_counted(make_app: Any, operator: Operator) -> None:
    """What waits for its outcome, of each transmission, in one statement for all; and where an order went."""
    agency = Agency(make_app, operator, count=5, orders_per_transmission=2)
    operator.pending.add("+250788P2")
    agency.submit()
    assert [(t["orders"], t["open"]) for t in agency.app.do("payments.transmissions")] == [(2, 2), (2, 2), (1, 1)]
    agency.work_out()
    listed = agency.app.do("payments.transmissions")
    assert [(t["state"], t["open"]) for t in listed] == [("accepted", 1), ("reported", 0), ("reported", 0)]
    order = agency.debts.orders()[2]["id"]
    assert [t["id"] for t in agency.app.do("payments.transmissions", {"order": order})] == [listed[1]["id"]]
    counted = []
    for state in ("accepted", "reported"):
        before = agency.app.database.statements
        agency.app.do("payments.transmissions", {"state": state})
        counted.append(agency.app.database.statements - before)
    assert counted[0] == counted[1]
