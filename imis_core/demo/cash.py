"""A year of the cash-transfer scheme: scored and selected at the start, paid every two months.

Most are paid at the pay point, some by mobile money.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

from imis_core.demo.doors import PAY_POINT, PAYER, Doors
from imis_core.demo.files import Sources
from imis_core.demo.months import Month
from imis_core.demo.summary import SchemeSummary, money_of
from imis_core.demo.wallet import WALLET, compared, open_wallet, said, transmit
from imis_core.provider_simulator.process import Running

ABSENT_SHARE: Final = 0.04  # who does not come to the pay point, and is paid with the next round
EVERY_MONTHS: Final = 2
WALLET_EVERY: Final = 3  # one in so many recipients is paid by mobile money


class CashYear:
    """The poorest households by a score are selected and approved; each round is one payroll."""

    def __init__(self, doors: Doors, scheme: str, sources: Sources, wallet: Running) -> None:
        self._doors, self._scheme, self._sources, self._wallet = doors, scheme, sources, wallet
        self._package = ""
        self._chance = random.Random(sources.starts.year + 1)  # noqa: S311 - who stays away is no secret
        self._selection: dict[str, Any] = {}
        self._payrolls: list[str] = []
        self._failed: list[str] = []  # orders that failed in the last round

    def begin(self) -> None:
        """Score everybody, propose the selection, have it approved, and say where the recipients are paid."""
        doors = self._doors
        self._package = doors.one("benefit_packages.list", {"scheme": self._scheme})[0]["code"]
        named = {"scheme": self._scheme, "package": self._package}
        doors.one("targeting.score", named)
        self._selection = doors.one("targeting.enrol", named)
        doors.approve("targeting.approve", {"enrolment": self._selection["id"]})
        chosen = [row["beneficiary"] for row in doors.one("targeting.beneficiaries", {**named, "state": "active"})]
        recipients = doors.rows(_RECIPIENTS, groups=chosen)
        open_wallet(doors)
        doors.accepted(
            "payments.enrol_recipient",
            [
                {"number": row.number, "provider": WALLET, "account": f"+23566{place:06d}"}
                if place % WALLET_EVERY == 0
                else {"number": row.number, "provider": PAYER, "pay_point": PAY_POINT}
                for place, row in enumerate(recipients)
            ],
        )

    def month(self, month: Month) -> None:
        """Every second month: a cycle, its payroll, approval, mobile money, cash list, and the pay point's report."""
        if month.end.month % EVERY_MONTHS:
            return
        doors = self._doors
        code = f"{month.end.year}-{month.end.month:02d}"
        starts = month.end.replace(month=month.end.month - EVERY_MONTHS + 1, day=1)
        doors.one(
            "cycles.open",
            {"scheme": self._scheme, "code": code, "starts": starts.isoformat(), "ends": month.end.isoformat()},
        )
        payroll = doors.one("payroll.generate", {"scheme": self._scheme, "package": self._package, "cycle": code})["id"]
        doors.approve("payroll.approve", {"payroll": payroll})
        doors.accepted("payments.retry", [{"order": order, "reason": "once more"} for order in self._failed])
        for one in (*self._payrolls, payroll):
            doors.one("payments.submit", {"payroll": one})
        transmit(doors)
        doors.one("payments.cash_lists", {"payroll": payroll})
        self._report(payroll)
        self._payrolls.append(payroll)
        self._failed = [order for one in self._payrolls for order in self._to_retry(one)]

    def _report(self, payroll: str) -> None:
        """What the pay point reports of this round, and of those who come late for an earlier one."""
        doors = self._doors
        late = [o for p in self._payrolls for o in doors.one("payments.orders", {"payroll": p}) if _waits(o)]
        doors.reconcile(late, {})
        orders = [o for o in doors.one("payments.orders", {"payroll": payroll}) if _waits(o)]
        absent = {o["id"]: "did not come" for o in orders if self._chance.random() < ABSENT_SHARE}
        doors.reconcile(orders, absent)

    def _to_retry(self, payroll: str) -> list[str]:
        """Orders that failed and were not ordered again yet."""
        orders = self._doors.one("payments.orders", {"payroll": payroll})
        again = {order["retries"] for order in orders}
        return [order["id"] for order in orders if order["status"] == "failed" and order["id"] not in again]

    def summary(self) -> SchemeSummary:
        """Who was selected, the rounds, and what was paid."""
        doors = self._doors
        states: Counter[str] = Counter()
        for payroll in self._payrolls:
            states.update(doors.one("payroll.show", {"payroll": payroll})["by_state"])
        money = money_of(doors.app, self._scheme)
        chosen, shown = self._selection, ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        return SchemeSummary(
            self._scheme, "cash transfer", money, dict(states),
            (
                ("selection", f"{chosen['selected']:,} of {chosen['candidates']:,} households selected, "
                              f"{chosen['waiting']:,} waiting, {chosen['not_selected']:,} not selected"),
                ("payrolls", f"{len(self._payrolls)} rounds; entitlements: {shown or 'none'}"),
                ("paid", f"{money.paid:,} {money.currency} to households"),
                ("mobile money", said(compared(doors, self._wallet), money.currency)),
            ),
        )  # fmt: skip


def _waits(order: Any) -> bool:
    return bool(order["status"] == "submitted")


_RECIPIENTS: Final = """
    SELECT p.number FROM core.groups g
    JOIN core.memberships m ON m."group" = g.id AND m.left_on IS NULL AND m.recipient = 'primary'
    JOIN core.persons p ON p.id = m.person WHERE g.code = ANY(:groups) ORDER BY p.number
"""
