"""Debts that are paid through an operator's service, a clock that moves by seconds, and short ways through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from imis_core.testing.app import TestApp
from tests.payments.debts import Debts
from tests.payments.transmitting.operator import Operator, running_operator

SECRET = "s3cr3t-signing-key"


class Ticking:
    """A clock that stands still until it is moved, by seconds."""

    def __init__(self) -> None:
        self.instant = datetime(2021, 1, 1, 12, tzinfo=UTC)

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
        self.app.clock = self.clock  # type: ignore[assignment]
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
