"""Orders sent to a real service over a socket: paid once, whatever the service answers or does not answer."""

from __future__ import annotations

from tests.payments.transmitting.conftest import Agency


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
