"""The wire to a provider: lists in pages of any size, and exchanges that end in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve

from imis_core.operations.doctor_payments import look_at_payments
from imis_core.payments.transmitting import placing
from imis_core.payments.transmitting.http import NoAnswer, client_of, exchange
from imis_core.payments.transmitting.running import transmit
from imis_core.payments.transmitting.service import Gateway
from imis_core.payments.transmitting.states import MARGIN, longest
from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.operator import Operator
from tests.payments.transmitting.test_dying import Died, dying, the


@pytest.mark.parametrize("largest", [1, 2, 3, 5, 7])
def test_a_provider_may_give_smaller_pages(make_app: Any, operator: Operator, largest: int) -> None:
    """All rows of the list are read, whatever the size of its pages."""
    agency = Agency(make_app, operator, count=7)
    operator.page_max = largest
    agency.submit()
    agency.work()
    agency.work(minutes=2)
    assert (agency.statuses(), agency.states()) == ({"paid": 7}, ["reported"])


def test_a_provider_that_turns_no_pages_gives_all_of_it(make_app: Any, operator: Operator) -> None:
    """The same page again is the end of the list."""
    agency = Agency(make_app, operator, count=7)
    operator.turns_pages = False
    agency.submit()
    agency.work()
    agency.work(minutes=2)
    assert (agency.statuses(), agency.states()) == ({"paid": 7}, ["reported"])


def test_lists_that_lag_leave_the_line_well(make_app: Any, operator: Operator) -> None:
    """Batches that are not listed yet are looked at later; the breaker stays closed, and what waits is sent."""
    agency = Agency(make_app, operator, count=6, orders_per_transmission=1, failures_max=2)
    agency.submit()
    agency.work()
    operator.asks = ["empty"] * 6
    agency.work(minutes=2)
    assert agency.states() == ["accepted"] * 6
    (line,) = agency.app.do("payments.providers")
    assert (line["line"], line["reason"]) == ("closed", None)
    agency.work_out()
    assert (agency.statuses(), agency.states()) == ({"paid": 6}, ["reported"] * 6)


@contextmanager
def slow_reader() -> Iterator[int]:
    """A server that reads a little five times a second, and never answers; its port."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def read() -> None:
            peer, _ = server.accept()
            with peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                while not done.wait(0.2):
                    peer.recv(100_000)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


def test_a_provider_that_reads_slowly_does_not_hold_its_sender(agency: Agency) -> None:
    """Each write succeeds in time, and there are many: the exchange ends within three times the time-out all the same,
    which is how long a sender is not taken for dead."""
    settings = agency.app.settings.payment_gateways["MM"]
    with slow_reader() as port:
        gateway = Gateway("MM", evolve(settings, url=f"http://127.0.0.1:{port}", timeout_seconds=1))
        begun = time.monotonic()
        with client_of(gateway) as client, pytest.raises(NoAnswer):
            exchange(client, gateway, "POST", "/batchtransactions", parameters={}, body=b" " * 20_000_000)
        assert time.monotonic() - begun < 3 < (longest(1) - MARGIN).total_seconds() + 1


def test_a_sender_whose_gateway_is_gone_is_given_up(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    """imis.toml has lost the provider while a worker that was sending died: it may have arrived, and is said to."""
    agency.submit()
    dying(monkeypatch, "_finish", before=True)
    with pytest.raises(Died):
        transmit(agency.app, the(agency))
    table = agency.app.settings.payment_gateways.pop("MM")
    agency.work(minutes=5)
    (left,) = agency.app.do("payments.transmissions")
    assert (left["state"], left["attempts"]) == ("unknown", 1)
    assert "payment_gateways.MM" in left["reason"]
    agency.app.settings.payment_gateways["MM"] = table
    agency.work_out()
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])


def test_orders_that_are_in_no_transmission_are_not_submitted(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that loses a row loses the submission: an order that nobody sends would wait for ever."""
    fewer = str(placing._PLACE.text).replace("t.state = 'submitted'", "t.state = 'submitted' AND o.id % 2 = 0")
    monkeypatch.setattr(placing, "_PLACE", sa.text(fewer))
    with pytest.raises(AssertionError):
        agency.submit()
    monkeypatch.undo()
    assert (agency.statuses(), agency.states()) == ({"approved": 3}, [])


def test_what_is_not_as_ours_is_said_of_what_is_reported(agency: Agency) -> None:
    """All orders are decided, and the list has others: the transmission says so, and where to look."""
    agency.submit()
    agency.work()
    (batch,) = agency.operator.batches.values()
    batch["rows"].append({**batch["rows"][0], "requestId": "999999"})
    agency.work_out()
    (sent,) = agency.app.do("payments.transmissions")
    assert sent["state"] == "reported"
    assert "1 rows" in sent["reason"]
    assert "payments.reconciliation" in sent["reason"]


def test_open_orders_that_nobody_asks_about_are_a_finding(agency: Agency) -> None:
    """Whatever went wrong before: doctor counts them."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    assert "payments.left_open" not in doctor(agency)
    with agency.app.database.command(agency.app.system) as (connection, _):
        connection.execute(sa.text("UPDATE core.transmission_current SET state = 'reported'"))
    assert "3 orders through MM" in doctor(agency)["payments.left_open"]


def doctor(agency: Agency) -> dict[str, str]:
    with agency.app.database.query(agency.app.system) as connection:
        return {found.code: found.message for found in look_at_payments(connection, agency.app.settings)}
