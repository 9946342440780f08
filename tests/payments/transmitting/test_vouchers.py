"""Vouchers through the same machine: made once, activated, paid when they are redeemed; with the simulated provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from litestar.testing import TestClient

from imis_core.payments.transmitting.webhook import signature, without_secrets
from imis_core.provider_simulator.process import Running, simulator
from imis_core.web.server import make_asgi
from tests.payments.transmitting.office import Office

SECRET = "between-the-two-of-us"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Running]:
    with simulator(tmp_path / "books", environment={"IMIS_SIMULATOR_SECRET": "s"}) as running:
        yield running


def test_vouchers_are_made_activated_and_paid_when_redeemed(make_app: Any, provider: Running) -> None:
    """One batch of vouchers, activated when it is asked about; what holders redeem is paid."""
    office = Office(make_app, provider, rows_per_page=2)
    office.app.queue.run_due()
    assert office.statuses() == ["accepted"] * 5
    office.until(["paid"] * 5)
    books = provider.books()
    assert [(p["kind"], p["status"], p["payments"], p["amount"]) for p in books["payments"]] == [
        ("voucher", "paid", 5, "6000.00")
    ]
    (sent,) = office.app.do("payments.transmissions")
    assert sent["state"] == "reported"
    assert sent["batch"]


def test_vouchers_that_nobody_redeems_stay_accepted(make_app: Any, provider: Running) -> None:
    """They were made and activated; they are not paid, and asked about again."""
    provider.behave(unredeemed=1.0)
    office = Office(make_app, provider)
    for _ in range(3):
        office.work()
    assert office.statuses() == ["accepted"] * 5


@pytest.mark.parametrize("trouble", ["timeouts", "cuts", "errors_after"])
def test_vouchers_that_were_made_without_an_answer_are_not_made_again(
    make_app: Any, provider: Running, trouble: str
) -> None:
    """The provider is asked by our name; what it has made is found, activated and paid once."""
    provider.behave(**{trouble: 1.0})
    office = Office(make_app, provider)
    office.app.queue.run_due()
    assert office.app.do("payments.transmissions")[0]["state"] == "unknown"
    office.until(["paid"] * 5)
    assert provider.books()["batches"] == 1
    assert provider.books()["paid_twice"] == []


def test_a_line_that_was_down_opens_again_by_asking_alone(make_app: Any, provider: Running) -> None:
    """Nothing is left to send: the first request that is answered lets the next ones of the same look go."""
    office = Office(make_app, provider, 3, rows_per_page=3, failures_max=2)
    office.app.queue.run_due()
    table = office.app.settings.payment_gateways["VE"]
    office.app.settings.payment_gateways["VE"] = evolve(table, url="http://127.0.0.1:1")
    for _ in range(4):
        office.work()
    assert office.app.do("payments.providers")[0]["line"] != "closed"
    office.app.settings.payment_gateways["VE"] = table
    office.until(["paid"] * 3)
    assert office.app.do("payments.providers")[0]["line"] == "closed"


def test_a_refusal_fails_the_orders(make_app: Any, provider: Running) -> None:
    """Nothing was made: the orders fail, and say so."""
    provider.behave(refusals=1.0)
    office = Office(make_app, provider)
    office.app.queue.run_due()
    assert office.statuses() == ["failed"] * 5
    assert provider.books()["batches"] == 0


def test_what_redeems_a_voucher_is_not_kept(make_app: Any, provider: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider tells the numbers that redeem: they are taken out before the message is kept, whatever form it has;
    the rest of it is kept and read."""
    monkeypatch.setenv("TEST_VE_SECRET", SECRET)
    office = Office(make_app, provider, secret_variable="TEST_VE_SECRET")
    office.app.queue.run_due()
    (sent,) = office.app.do("payments.transmissions")
    made = {"instructionID": "1", "serialNumber": "S-1", "voucherNumber": "7734-1928", "amount": 1200.00}
    told = {"requestID": sent["correlation"], "voucherInstructions": [made], "VoucherSecretNumber": "7734-1928"}
    bodies = [json.dumps(told).encode(), json.dumps(told).encode()[:-5]]
    with TestClient(make_asgi(office.app)) as client:
        for place, body in enumerate(bodies):
            at, nonce = str(int(office.clock.now().timestamp())), f"nonce-of-vouchers-{place}"
            signed = {
                "X-Signature-Time": at,
                "X-Signature-Nonce": nonce,
                "X-Signature": signature(SECRET, at, nonce, body),
            }
            assert client.post("/payments/callbacks/VE", content=body, headers=signed).status_code == 202
    office.app.queue.run_due()
    kept = office.app.do("payments.messages", {"provider": "VE"})
    assert [message["outcome"] for message in kept] == ["asked", "unreadable"]
    assert '"serialNumber":"S-1"' in kept[0]["body"]
    assert not office.app.rows("SELECT 1 FROM core.provider_messages WHERE position('7734'::bytea in body) > 0")
    assert without_secrets(b"{}", frozenset()) == b"{}"
