"""Debts that are paid through an operator's service, a clock that moves by seconds, and short ways through it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from attrs import evolve
from litestar.testing import TestClient

from imis_core.clock import SetClock
from imis_core.payments.transmitting.webhook import signature
from imis_core.testing.app import TestApp
from imis_core.web.server import make_asgi
from tests.payments.debts import Debts
from tests.payments.transmitting.operator import Operator, running_operator

SECRET = "s3cr3t-signing-key"
NONCES = (f"nonce-{number:012d}" for number in itertools.count())


class Ticking(SetClock):
    """A clock that stands still until it is moved, by seconds."""

    def __init__(self) -> None:
        self.instant = datetime(2021, 1, 1, 12, tzinfo=UTC)

    def set(self, today: date) -> None:
        self.instant = datetime.combine(today, time(12), UTC)

    def now(self) -> datetime:
        return self.instant

    def today(self) -> date:
        return self.instant.date()

    def move(self, **by: float) -> None:
        self.instant += timedelta(**by)


class Agency:
    """An application whose provider MM has a service; `count` persons are owed 1200.00 each."""

    def __init__(self, make_app: Any, operator: Operator, count: int = 3, **settings: Any) -> None:
        self.operator = operator
        self.app: TestApp = make_app(settings={"payment_gateways": {"MM": operator.settings(**settings)}})
        self.clock = Ticking()
        self.app.clock = self.clock
        numbers = [f"P{i}" for i in range(1, count + 1)]
        self.debts = Debts(self.app, numbers)
        self.app.do("payments.register_provider", {"code": "MM", "name": "Mobile", "channel": "mobile_money"})
        enrolled = [{"number": n, "provider": "MM", "account": f"+250788{n}"} for n in numbers]
        self.app.do_all("payments.enrol_recipient", enrolled)
        self.debts.order()

    def submit(self) -> Any:
        return self.app.do("payments.submit", {"payroll": "B7"})

    def work(self, **by: float) -> None:
        """Move the clock, and let everything that is due then be done."""
        self.clock.move(**by)
        self.app.queue.enqueue_due()
        self.app.queue.run_due()

    def work_out(self, steps: int = 12) -> None:
        """Work until nothing moves any more: up to some hours."""
        for _ in range(steps):
            self.work(minutes=5)

    def statuses(self) -> Counter[str]:
        return Counter(order["status"] for order in self.debts.orders())

    def states(self) -> list[str]:
        return [row["state"] for row in self.app.rows("SELECT state FROM core.transmission_current ORDER BY 1")]

    @contextmanager
    def line(self) -> Iterator[Line]:
        """The provider's way to this agency, as long as the context lasts."""
        with TestClient(make_asgi(self.app)) as client:
            yield Line(self, client)

    def cash(self) -> str:
        return str(self.app.do("ledger.balances", {"scheme": "chf"})["accounts"].get("cash", "0.00"))


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    monkeypatch.setenv("TEST_MM_TOKEN", "t0ken-of-tests")
    monkeypatch.setenv("TEST_MM_SECRET", SECRET)
    with running_operator() as operator:
        yield operator


@pytest.fixture
def agency(make_app: Any, operator: Operator) -> Agency:
    return Agency(make_app, operator)


class Line:
    """The provider's way to us."""

    def __init__(self, agency: Agency, client: Any) -> None:
        self.agency, self.client = agency, client

    def post(self, body: Any, *, nonce: str | None = None, late: int = 0, secret: str = SECRET, **headers: str) -> int:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        at = str(int(self.agency.clock.now().timestamp()) + late)
        nonce = nonce or next(NONCES)
        signed = {
            "X-Signature-Time": at, "X-Signature-Nonce": nonce, "X-Signature": signature(secret, at, nonce, raw),
            "Content-Type": "application/json", **headers,
        }  # fmt: skip
        return int(self.client.post("/payments/callbacks/MM", content=raw, headers=signed).status_code)

    def tell(self, order: str, status: str = "completed", amount: str = "1200.00", **more: Any) -> int:
        return self.post(self.told(order, status, amount), **more)

    @staticmethod
    def told(order: str, status: str = "completed", amount: str = "1200.00") -> bytes:
        counted = {"completed": 0, "failed": 0, "ongoing": 0} | {status: 1}
        amounts = {f"{name}_amount": amount if name == status else "0" for name in counted}
        parts = [f'"{name}": {value}' for name, value in {**counted, **amounts, "totalAmount": amount}.items()]
        fixed = f'"requestId": "{order}", "batchId": "B-1", "TotalTransactions": 1, "note": "no wallet"'
        return ("{" + ", ".join([fixed, *parts]) + "}").encode()

    def read(self) -> None:
        self.agency.app.queue.run_due()

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.agency.app.do("payments.messages", {"provider": "MM"})]


@pytest.fixture
def line(agency: Agency) -> Iterator[Line]:
    with agency.line() as line:
        yield line


def numbers(agency: Agency) -> list[str]:
    return [str(row["id"]) for row in agency.app.rows("SELECT id FROM core.orders ORDER BY id")]


def without_list(agency: Agency) -> None:
    """From now on the provider has no list that could be asked."""
    channel = agency.app.channels["mobile_money"]
    assert channel.transmits is not None
    agency.app.channels["mobile_money"] = evolve(channel, transmits=evolve(channel.transmits, ask=None))
