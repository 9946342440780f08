"""Reconciliation: what payment providers report, row by row, against the orders that were sent through them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import islice
from typing import Final, Literal

import sqlalchemy as sa
from attrs import define, field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_rows
from imis_core.errors import Refusal, not_found
from imis_core.payments.order_names import order_numbers
from imis_core.payments.orders import ORDER_STATES, LockedOrder, Move, locked_orders, move_orders
from imis_core.payments.settling import settle, settled_order
from imis_core.payments.tables import payment_providers, reconciliation_rows
from imis_core.payments.transmitting.forgetting import forget_numbers
from imis_core.values import Amount, NotExact, to_minor

PART: Final = 50_000  # rows of a report that are taken at once: each part looks once through what is still open
Outcome = Literal["matched", "already_reconciled", "wrong_amount", "conflicts", "unknown"]


@frozen(kw_only=True)
class ReportedPayment:
    """`order`: its id, or its number in decimal if that was sent to the provider (mobile money's `requestId`).

    `currency`, where a provider tells it, is that of the order; another one is a wrong amount.
    """

    order: str
    status: Literal["paid", "failed", "returned"]
    amount: Amount
    reference: str | None = None
    reason: str | None = None
    currency: str | None = None


@frozen(kw_only=True)
class Reconcile:
    provider: str
    rows: tuple[ReportedPayment, ...]


@frozen(kw_only=True)
class Reconciled:
    matched: int
    already_reconciled: int
    wrong_amount: int
    unknown: int
    conflicts: int


Placed = tuple[int, ReportedPayment]  # a row with its place in the file or in what was sent, from 1


@frozen
class Report:
    """What was taken in: the rows, read as they are needed, and the file's name if there is one."""

    rows: Iterable[Placed]
    file: str | None = None


@frozen(kw_only=True)
class UnreadableRow:
    """`row` counts from 1 below the names of the columns; `field` is None where the row as a whole is wrong."""

    row: int
    field: str | None
    code: str


@define
class Reading:
    """A file as it is read: what cannot be used, and how many are no result yet, are known once the rows were taken."""

    name: str
    unreadable: list[UnreadableRow] = field(factory=list)
    pending: int = 0
    rows: Iterable[Placed] = ()


@command("payments.reconcile", input=Reconcile, result=Reconciled)
def reconcile(context: Context, items: tuple[Reconcile, ...]) -> list[Reconciled | Refusal]:
    """Take what a payment provider reports, row by row in its order; what is paid settles its source and posts."""
    return [_reconcile(context, item) for item in items]


COMMANDS = (reconcile,)


def _reconcile(context: Context, item: Reconcile) -> Reconciled | Refusal:
    counted = take_report(context, item.provider, Report(enumerate(item.rows, start=1)))
    if isinstance(counted, Refusal):
        return counted
    return Reconciled(
        matched=counted["matched"], already_reconciled=counted["already_reconciled"],
        wrong_amount=counted["wrong_amount"], unknown=counted["unknown"], conflicts=counted["conflicts"],
    )  # fmt: skip


def take_report(context: Context, provider_name: str, report: Report) -> Counter[str] | Refusal:
    """Judge the rows in order, move and settle the matched ones, and keep all with their outcomes; how many of each.

    A long report is taken part by part, each on what the ones before it did, all in this transaction.
    Source: contract-kernel.md, 'payments.reconcile'.
    """
    provider = next((row for _, row in context.named(payment_providers, [provider_name])), None)
    if provider is None:
        return not_found("provider", "payment provider", provider_name)
    counted: Counter[str] = Counter()
    rows = iter(report.rows)
    part = list(islice(rows, PART))
    if len(part) == PART:
        # Two long reports of a provider follow each other: they would lock orders in turns.
        context.execute(_ONE_AFTER_ANOTHER, {"provider": provider.id})
    while part:
        counted += _take(context, provider.id, report.file, part)
        part = list(islice(rows, PART))
    return counted


_ONE_AFTER_ANOTHER: Final = sa.text("SELECT FROM core.payment_providers WHERE id = :provider FOR NO KEY UPDATE")


def _take(context: Context, provider: int, file: str | None, part: Sequence[Placed]) -> Counter[str]:
    numbers = order_numbers(context, [row.order for _, row in part])
    known = locked_orders(context, [n for n in numbers if n is not None])
    states = {number: order.state for number, order in known.items() if order.payment_provider in (provider, None)}
    outcomes: list[Outcome] = []
    moved: list[tuple[LockedOrder, ReportedPayment]] = []
    for number, (_, row) in zip(numbers, part, strict=True):
        order = known[number] if number is not None and number in states else None
        outcome: Outcome = "unknown" if order is None else _judge(row, order, states[order.id])
        outcomes.append(outcome)
        if outcome == "matched" and order is not None:
            states[order.id] = row.status
            moved.append((order, row))
    _apply(context, moved)
    _keep(context, provider, file, part, numbers, outcomes)
    return Counter(outcomes)


def _judge(row: ReportedPayment, order: LockedOrder, state: str) -> Outcome:
    """What becomes of a row about an order that stands in `state`.

    An order without a final status takes any of the three; of final ones only paid > returned is a real move.
    """
    if row.currency is not None and row.currency != order.currency:
        return "wrong_amount"
    try:
        amount = to_minor(Decimal(row.amount), order.currency)
    except NotExact:
        return "wrong_amount"
    if amount != order.amount_minor:
        return "wrong_amount"
    if state == row.status:
        return "already_reconciled"
    # What was never sent cannot have been paid: somebody has to look at it. What was held after it had been sent can.
    sent = order.payment_provider is not None
    return "matched" if sent and ORDER_STATES.allows(state, row.status) else "conflicts"


def _apply(context: Context, moved: Sequence[tuple[LockedOrder, ReportedPayment]]) -> None:
    """Move, post and settle in waves: an order that is paid and returned in one file goes through both in turn.

    There are two waves at most: only a paid order moves again, and what came back or failed is at its end.
    """
    wave: dict[int, tuple[LockedOrder, ReportedPayment]] = {}
    before: dict[int, str] = {}
    later: list[tuple[LockedOrder, ReportedPayment]] = []
    for order, row in moved:
        if order.id in wave:
            later.append((order, row))
            before[order.id] = wave[order.id][1].status
        else:
            wave[order.id] = (order, row)
    _apply_wave(context, list(wave.values()), {})
    _apply_wave(context, later, before)


def _apply_wave(context: Context, wave: Sequence[tuple[LockedOrder, ReportedPayment]], before: dict[int, str]) -> None:
    """`before`: the states of orders that moved in an earlier wave."""
    if not wave:
        return
    move_orders(context, [Move(order.id, row.status, row.reason, row.reference) for order, row in wave])
    moves = []
    for order, row in wave:
        was = before.get(order.id, order.state)
        moves.append((order.source_kind, settled_order(order, _settled_as(row.status, was), was=was)))
    settle(context, moves, context.command)
    forget_numbers(context, [order.id for order, _ in wave])


def _settled_as(status: str, was: str) -> str:
    """What a report means for the debt: what comes back without having been paid has failed; no cash ever moved."""
    return "failed" if status == "returned" and was != "paid" else status


def _keep(
    context: Context, provider: int, file: str | None, part: Sequence[Placed], numbers: Sequence[int | None],
    outcomes: Sequence[str],
) -> None:  # fmt: skip
    count = len(part)
    insert_rows(
        context.connection,
        reconciliation_rows,
        {
            "payment_provider": [provider] * count,
            "file": [file] * count,
            "row": [place for place, _ in part],
            "order_named": [row.order[:200] for _, row in part],
            "order": list(numbers),
            "status": [row.status for _, row in part],
            "amount": [format(row.amount, "f") for _, row in part],
            "reference": [row.reference for _, row in part],
            "reason": [row.reason for _, row in part],
            "outcome": list(outcomes),
            "received_on": [context.today] * count,
            "audit": [context.audit] * count,
        },
    )
