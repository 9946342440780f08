"""The doors as the demo's people use them: one who prepares, another who approves; long lists go in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.application import Application
from imis_core.commands import run_command
from imis_core.errors import ImisError, Refusal
from imis_core.security.caller import Caller

BATCH: Final = 1000
PAYER: Final = "TREASURY"  # the demo's payment provider
PAY_POINT: Final = "MAIN"


@frozen
class Doors:
    """An application as seen by the clerk who prepares and the approver who decides."""

    app: Application
    clerk: Caller
    approver: Caller

    def one(self, name: str, data: Mapping[str, Any]) -> Any:
        """One command or query by the clerk."""
        return self.app.run(name, dict(data), self.clerk)

    def approve(self, name: str, data: Mapping[str, Any]) -> Any:
        """One command by the approver."""
        return self.app.run(name, dict(data), self.approver)

    def batch(self, name: str, items: Sequence[dict[str, Any]]) -> list[Any]:
        """The clerk's command on a long list: its outcomes, refusals among them."""
        outcomes: list[Any] = []
        for start in range(0, len(items), BATCH):
            outcomes += run_command(self.app, name, items[start : start + BATCH], self.clerk).outcomes
        return outcomes

    def accepted(self, name: str, items: Sequence[dict[str, Any]]) -> list[Any]:
        """The same where nothing may be refused."""
        outcomes = self.batch(name, items)
        wrong = next((o for o in outcomes if isinstance(o, Refusal)), None)
        if wrong is not None:
            raise ImisError(wrong)
        return outcomes

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """What a reader of the database sees: the demo looks for people to act on."""
        with self.app.database.query(self.app.system) as connection:
            return list(connection.execute(sa.text(sql), parameters))

    def open_payments(self) -> None:
        """The one payment provider of the demo, with its pay point."""
        self.one(
            "payments.register_provider",
            {"code": PAYER, "name": "The treasurer", "channel": "cash_list",
             "pay_points": [{"code": PAY_POINT, "name": "Main office"}]},
        )  # fmt: skip

    def reconcile(self, orders: Sequence[Mapping[str, Any]], failed: Mapping[str, str]) -> None:
        """The provider's report: every order was paid, but those that `failed` names with a reason."""
        rows = [
            {"order": o["id"], "amount": o["amount"], "status": "failed", "reason": failed[o["id"]]}
            if o["id"] in failed
            else {"order": o["id"], "amount": o["amount"], "status": "paid"}
            for o in orders
        ]
        self.one("payments.reconcile", {"provider": PAYER, "rows": rows})
