"""Recipients are told that a payment is on its way, once somebody agreed to it; switched on by `tell_recipients`.

The event begins a run; its chunks queue the messages, each chunk once, so that nobody is told twice. Whose
payment was stopped meanwhile (held, cancelled) or did not arrive is not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_cash_transfer.settings import CashTransferSettings
from imis_core.api import Chunk, ChunkedJob, Context, Message, Money, PayrollApproved, message_text, notify

NAME: Final = "cash_transfer.tell_recipients"
MESSAGES: Final = 2_000  # of one chunk


@frozen(kw_only=True)
class Tell:
    """Of the payroll with this number, the orders of one audit entry."""

    payroll: int
    audit: int


@frozen(kw_only=True)
class Told:
    told: int


_ORDERED: Final = """
    FROM core.orders o WHERE o.source_kind = 'payroll' AND o.source = :payroll AND o.audit = :audit
      AND o.person IS NOT NULL AND o.amount_minor > 0
"""
_PARTS: Final = sa.text(
    f"""
    SELECT min(id) AS first, max(id) AS last, count(*) AS orders
    FROM (SELECT o.id, (row_number() OVER (ORDER BY o.id) - 1) / :most AS part {_ORDERED}) numbered
    GROUP BY part ORDER BY part
    """
)
_STANDING: Final = sa.text(
    f"""
    SELECT w.*, y.code AS cycle FROM (
        SELECT o.id, o.person, o.amount_minor, o.currency, o.entitlement {_ORDERED}
          AND o.id BETWEEN :first AND :last) w
    JOIN core.order_current t ON t."order" = w.id AND t.state IN ('approved', 'submitted', 'accepted', 'paid')
    JOIN core.entitlements e ON e.id = w.entitlement JOIN core.cycles y ON y.id = e.cycle ORDER BY w.id
    """
)


def begin(context: Context, event: PayrollApproved) -> None:
    """Have the recipients told in the background, if the deployment wants it."""
    settings: CashTransferSettings = context.app.plugin_settings["cash_transfer"]
    if settings.tell_recipients:
        context.defer(NAME, {"payroll": event.payroll, "audit": event.audit})


def cut(context: Context, asked: Tell) -> Sequence[Chunk]:
    """The orders that were placed together, in parts."""
    rows = context.execute(_PARTS, {"payroll": asked.payroll, "audit": asked.audit, "most": MESSAGES})
    return [Chunk(row.orders, [row.first, row.last]) for row in rows]


def work(context: Context, asked: Tell, data: Any) -> Told:
    """Queue the messages of one part."""
    chosen = {"payroll": asked.payroll, "audit": asked.audit, "first": data[0], "last": data[1]}
    messages = [_message(context, row) for row in context.execute(_STANDING, chosen)]
    notify(context, messages)
    return Told(told=len(messages))


def _message(context: Context, row: Any) -> Message:
    amount = Money(row.amount_minor, row.currency)
    fields = {"amount": str(amount), "currency": row.currency, "cycle": row.cycle}
    settings = context.app.settings
    return Message(
        subject=message_text(settings, "payment.subject", **fields),
        text=message_text(settings, "payment.text", **fields),
        person=row.person, about=("orders", row.id),
    )  # fmt: skip


JOB: Final = ChunkedJob(NAME, Tell, cut, work, "Tell recipients that a payment is on its way")
