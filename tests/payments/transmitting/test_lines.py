"""The line to a provider: the circuit breaker, the limits, what is parked and what somebody sees of it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.operator import Operator


def posts(operator: Operator) -> int:
    return sum(1 for method, _ in operator.requests if method == "POST")


def line(agency: Agency) -> tuple[str, str | None]:
    (row,) = agency.app.do("payments.providers")
    return row["line"], row["reason"]


def test_the_breaker_opens_tries_and_closes(make_app: Any, operator: Operator) -> None:
    """Two failures open it; nothing goes out for the pause; one request tries, fails, and the next pause is longer; one
    that succeeds closes it."""
    agency = Agency(make_app, operator, failures_max=2, pause_seconds=600)
    operator.plan = [401] * 3
    agency.submit()
    agency.work()
    assert line(agency) == ("closed", "the provider answered 401")
    agency.work(minutes=1)
    assert line(agency) == ("open", "the provider answered 401")
    agency.work(minutes=5)
    assert posts(operator) == 2
    agency.work(minutes=6)
    assert (posts(operator), line(agency)[0]) == (3, "open")
    agency.work(minutes=15)
    assert posts(operator) == 3
    agency.work(minutes=6)
    assert (posts(operator), line(agency)) == (4, ("closed", None))
    agency.work_out()
    assert agency.statuses() == {"paid": 3}


def test_asking_that_works_does_not_hide_that_sending_fails(make_app: Any, operator: Operator) -> None:
    """Each 404 is an answer, and each batch is refused with 500: the breaker opens, and each pause is longer."""
    agency = Agency(make_app, operator, count=4, orders_per_transmission=1, failures_max=3, pause_seconds=60)
    operator.plan = [500] * 300
    agency.submit()
    for _ in range(40):
        agency.work(seconds=60)
    (openings,) = agency.app.rows("SELECT openings FROM core.payment_lines")
    assert openings["openings"] >= 4
    assert posts(operator) <= 15
    operator.plan = []
    agency.work(hours=2)
    agency.work_out()
    assert (agency.statuses(), line(agency)) == ({"paid": 4}, ("closed", None))


def test_a_provider_that_asks_for_a_pause_gets_it(make_app: Any, operator: Operator) -> None:
    """429 leaves the batch waiting, and the breaker closed until so many came one after the other."""
    agency = Agency(make_app, operator, count=2, orders_per_transmission=1, failures_max=2)
    operator.plan = [429, 429]
    agency.submit()
    agency.work()
    assert (agency.states(), line(agency)[0]) == (["waiting", "waiting"], "open")
    agency.work_out()
    assert agency.statuses() == {"paid": 2}


def test_transmissions_hold_so_many_orders_and_so_many_go_at_once(make_app: Any, operator: Operator) -> None:
    """Seven orders in threes: three transmissions; one that ends lets the next one begin."""
    agency = Agency(make_app, operator, count=7, orders_per_transmission=3, transmissions_at_once=1)
    agency.submit()
    sent = agency.app.do("payments.transmissions", {"payroll": "B7"})
    assert [(one["orders"], one["amount"]) for one in sent] == [(3, "3600.00"), (3, "3600.00"), (1, "1200.00")]
    assert len({one["correlation"] for one in sent}) == 3
    assert {len(one["correlation"]) for one in sent} == {12}
    agency.work()
    assert agency.statuses() == {"accepted": 7}
    agency.work_out()
    assert (agency.statuses(), agency.cash()) == ({"paid": 7}, "-8400.00")
    assert sorted(batch["batchId"] for batch in operator.batches.values()) == ["B-1", "B-2", "B-3"]


def test_requests_of_a_minute_are_counted(make_app: Any, operator: Operator) -> None:
    """What is too much for this minute goes out in the next one."""
    few = {"orders_per_transmission": 1, "requests_per_minute": 2, "ask_after_seconds": 3600}
    agency = Agency(make_app, operator, count=4, **few)
    agency.submit()
    agency.work()
    assert posts(operator) == 2
    agency.work(minutes=1)
    assert posts(operator) == 4
    agency.work_out(20)
    assert agency.statuses() == {"paid": 4}


def test_large_orders_and_what_is_too_much_for_a_day_stay(make_app: Any, operator: Operator) -> None:
    """Beyond a limit orders stay approved with the reason, count as failed, and go another day."""
    agency = Agency(make_app, operator, count=5, day_amount_max="2500")
    assert agency.submit() == {"submitted": 2, "failed": 3}
    assert {o["reason"] for o in agency.debts.orders() if o["status"] == "approved"} == {"above_day_limit"}
    assert agency.submit() == {"submitted": 0, "failed": 3}
    agency.clock.move(days=1)
    assert agency.submit() == {"submitted": 2, "failed": 1}
    agency.clock.move(days=1)
    assert agency.submit() == {"submitted": 1, "failed": 0}
    agency.work_out()
    assert (agency.statuses(), len(operator.paid)) == ({"paid": 5}, 5)
    small = Agency(make_app, operator, order_amount_max="1199.99")
    assert small.submit() == {"submitted": 0, "failed": 3}
    assert {o["reason"] for o in small.debts.orders()} == {"above_limit"}
    assert small.app.do("payments.transmissions") == []


def test_a_provider_without_a_service_is_told_outside(make_app: Any, operator: Operator) -> None:
    """Its orders are only marked, as before; nothing is transmitted later, when it has a service by then."""
    agency = Agency(make_app, operator)
    table = agency.app.settings.payment_gateways.pop("MM")
    assert agency.submit() == {"submitted": 3, "failed": 0}
    agency.app.settings.payment_gateways["MM"] = table
    assert agency.submit() == {"submitted": 0, "failed": 0}
    agency.work_out()
    assert (agency.statuses(), operator.requests) == ({"submitted": 3}, [])


def test_a_parked_transmission_is_asked_about_by_hand(agency: Agency) -> None:
    """It says what to do; asked for by hand it goes on, and what the provider never had is sent then."""
    agency.operator.plan = ["cut"]
    agency.operator.asks = [500] * 61
    agency.submit()
    for _ in range(75):
        agency.work(hours=2)
    (parked,) = agency.app.do("payments.transmissions", {"state": "parked"})
    assert "payments.ask" in parked["remedy"]
    assert parked["reason"] == "the provider answered 500"
    agency.operator.asks.clear()
    assert agency.app.do("payments.ask", {"transmission": parked["id"]}) == {"id": parked["id"], "state": "unknown"}
    agency.app.queue.run_due()
    agency.work_out()
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])
    posted = [method for method, _ in agency.operator.requests].count("POST")
    assert agency.app.do("payments.ask", {"transmission": parked["id"]}) == {"id": parked["id"], "state": "accepted"}
    agency.work()
    assert agency.states() == ["reported"]  # its list was read once more
    assert [method for method, _ in agency.operator.requests].count("POST") == posted


def test_what_is_pending_is_looked_at_ever_more_seldom_and_never_parked(agency: Agency) -> None:
    """Vouchers are redeemed over weeks: a list that says so is an answer; in the end it is asked for once a day."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    for _ in range(30 * 4):
        agency.work(hours=6)
    assert (agency.states(), agency.statuses()) == (["accepted"], {"accepted": 3})
    assert 2 * 26 <= len(agency.operator.requests) <= 2 * 60  # a page, and one behind it
    agency.operator.settle()
    for _ in range(9):
        agency.work(hours=3)
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])


def test_a_contradiction_is_parked(agency: Agency) -> None:
    """The provider reported a payment by file and says that it never had the batch: nothing is sent."""
    agency.operator.plan = ["take and say nothing"]
    agency.submit()
    agency.work()
    order = agency.debts.orders()[0]
    row = {"order": order["id"], "status": "paid", "amount": "1200.00"}
    assert agency.app.do("payments.reconcile", {"provider": "MM", "rows": [row]})["matched"] == 1
    agency.operator.batches.clear()
    agency.work_out()
    assert agency.states() == ["parked"]
    assert posts(agency.operator) == 1


def test_secrets_stay_out_of_reasons(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is not there is named by its variable, and nothing leaves."""
    monkeypatch.delenv("TEST_MM_TOKEN")
    agency.submit()
    agency.work()
    (sent,) = agency.app.do("payments.transmissions")
    assert (sent["state"], sent["reason"]) == ("waiting", "the environment variable TEST_MM_TOKEN is not set")
    assert agency.operator.requests == []


def test_a_service_that_breaks_leaves_the_outcome_open(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's service that raises may have sent: the provider is asked."""
    channel = agency.app.channels["mobile_money"]
    assert channel.transmits is not None

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a plugin's mistake")

    agency.app.channels["mobile_money"] = evolve(channel, transmits=evolve(channel.transmits, send=broken))
    agency.submit()
    agency.work()
    assert agency.states() == ["unknown"]
    agency.app.channels["mobile_money"] = channel
    agency.work_out()
    assert agency.statuses() == {"paid": 3}


def test_a_hundred_times_the_orders_are_no_more_statements(make_app: Any, operator: Operator) -> None:
    """Submitting, sending, accepting and reconciling take statements by chunks, never by orders."""
    counted = []
    for count in (10, 1000):
        agency = Agency(make_app, operator, count=count)
        before = agency.app.database.statements
        agency.submit()
        agency.work()
        agency.work(minutes=2)
        counted.append(agency.app.database.statements - before)
        assert (agency.statuses(), agency.states()) == ({"paid": count}, ["reported"])
    assert counted[1] <= counted[0] + 5
