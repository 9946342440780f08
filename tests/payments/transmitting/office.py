"""Persons who get vouchers of the simulated provider, and short ways through it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from imis_core.provider_simulator.process import Running
from imis_core.testing.app import TestApp
from tests.payments.debts import Debts
from tests.payments.transmitting.conftest import Ticking

PATIENCE_SECONDS = 30.0


class Office:
    """Persons who get vouchers of 1200.00 from the provider VE."""

    def __init__(
        self, make_app: Any, provider: Running, count: int = 5, *, tables: Mapping[str, Any] | None = None,
        now: datetime | None = None, **more: Any,
    ) -> None:  # fmt: skip
        table = {
            "url": provider.url, "tenant": "agency", "debit_account": "1", "callback_url": "http://127.0.0.1:1",
            "timeout_seconds": 2, **more,
        }  # fmt: skip
        self.app: TestApp = make_app(settings={"payment_gateways": {"VE": table}, **(tables or {})})
        self.clock = Ticking()
        self.clock.instant = now or self.clock.instant
        self.app.clock = self.clock
        numbers = [f"P{i}" for i in range(1, count + 1)]
        self.debts = Debts(self.app, numbers)
        self.app.do("payments.register_provider", {"code": "VE", "name": "Vouchers", "channel": "voucher"})
        self.app.do_all("payments.enrol_recipient", [{"number": n, "provider": "VE"} for n in numbers])
        self.debts.order()
        self.app.do("payments.submit", {"payroll": "B7"})

    def work(self, **by: float) -> None:
        """Move the clock, by ten minutes if nothing else is said, and let everything that is due then be done."""
        self.clock.move(**(by or {"minutes": 10}))
        self.app.queue.enqueue_due()
        self.app.queue.run_due()

    def statuses(self) -> list[str]:
        return sorted(order["status"] for order in self.debts.orders())

    def until(self, wanted: list[str]) -> None:
        """Work until the orders stand so; the provider is a process of its own, and takes its time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.statuses() != wanted:
            assert time.monotonic() < deadline, (self.statuses(), self.app.do("payments.transmissions"))
            time.sleep(0.1)
            self.work()
