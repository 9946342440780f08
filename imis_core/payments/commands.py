"""Commands on orders: submission, reconciliation of what payment providers report, and retries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_rows
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.ledger.book import CASH, PAYABLE, post
from imis_core.payments.orders import (
    ORDER_STATES,
    Move,
    locked_orders,
    move_orders,
    note_reasons,
    place_retries,
    retried,
)
from imis_core.payments.sources import Batch, Settled
from imis_core.payments.tables import payment_providers, reconciliation_rows
from imis_core.values import Amount, NotExact, to_minor


@frozen(kw_only=True)
class SubmitOrders:
    claims_batch: str | None = None
    payroll: str | None = None


@frozen(kw_only=True)
class OrdersSubmitted:
    submitted: int
    failed: int


RETRIABLE: Final = ("failed", "returned")
NO_ACCOUNT: Final = "no_account"
# The recipient's own enrolment for the scheme wins over the one for every scheme.
_TO_SUBMIT: Final = sa.text(
    """
    SELECT o.id, r.payment_provider FROM core.orders o JOIN core.order_current t ON t."order" = o.id
    LEFT JOIN LATERAL (
        SELECT payment_provider FROM core.recipients r
        WHERE r.active AND r.scheme IN (o.scheme, '')
          AND (r.person = o.person OR r.provider = o.provider)
        ORDER BY r.scheme DESC LIMIT 1) r ON true
    WHERE o.source_kind = :kind AND o.source = :source AND t.state = 'approved' ORDER BY o.id FOR UPDATE OF t
    """
)


@command("payments.submit", input=SubmitOrders, result=OrdersSubmitted)
def submit(context: Context, items: tuple[SubmitOrders, ...]) -> list[OrdersSubmitted | Refusal]:
    """Send a batch's approved orders to their payment providers; those without an account stay, with the reason."""
    return [_submit(context, item) for item in items]


def batch_of(context: Context, claims_batch: str | None, payroll: str | None) -> tuple[str, Batch] | Refusal:
    """The batch that a caller names, with the kind of its source."""
    if (claims_batch is None) == (payroll is None):
        return invalid(Problem("claims_batch", "required", "name one of claims_batch and payroll"))
    field_name, kind, name = (
        ("claims_batch", "claims", claims_batch) if claims_batch is not None else ("payroll", "payroll", payroll or "")
    )
    source = context.app.sources.get(kind)
    found = None if source is None else source.find(context, name)
    return not_found(field_name, "batch", name) if found is None else (kind, found)


def _submit(context: Context, item: SubmitOrders) -> OrdersSubmitted | Refusal:
    batch = batch_of(context, item.claims_batch, item.payroll)
    if isinstance(batch, Refusal):
        return batch
    kind, source = batch
    if not source.approved:
        return Refusal(f"{kind}.wrong_state", "the batch is not approved; ask somebody to approve it first")
    rows = context.execute(_TO_SUBMIT, {"kind": kind, "source": source.number}).all()
    sent = [row for row in rows if row.payment_provider is not None]
    move_orders(context, [Move(row.id, "submitted", payment_provider=row.payment_provider) for row in sent])
    note_reasons(context, {row.id: NO_ACCOUNT for row in rows if row.payment_provider is None})
    return OrdersSubmitted(submitted=len(sent), failed=len(rows) - len(sent))


@frozen(kw_only=True)
class ReportedPayment:
    order: str
    status: Literal["paid", "failed", "returned"]
    amount: Amount
    reference: str | None = None
    reason: str | None = None


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


@command("payments.reconcile", input=Reconcile, result=Reconciled)
def reconcile(context: Context, items: tuple[Reconcile, ...]) -> list[Reconciled | Refusal]:
    """Take what a payment provider reports, row by row in its order; what is paid settles its source and posts."""
    return [_reconcile(context, item) for item in items]


def _reconcile(context: Context, item: Reconcile) -> Reconciled | Refusal:
    provider = next((row for _, row in context.named(payment_providers, [item.provider])), None)
    if provider is None:
        return not_found("provider", "payment provider", item.provider)
    numbers = [context.ids.decode("orders", row.order) for row in item.rows]
    known = locked_orders(context, [n for n in numbers if n is not None])
    states = {number: row.state for number, row in known.items() if row.payment_provider == provider.id}
    outcomes: list[str] = []
    moved: list[tuple[Any, ReportedPayment]] = []
    for number, row in zip(numbers, item.rows, strict=True):
        outcome = _judge(row, known.get(number) if number in states else None, states)
        outcomes.append(outcome)
        if outcome == "matched" and number is not None:
            states[number] = row.status
            moved.append((known[number], row))
    _apply(context, moved)
    _keep(context, provider.id, item.rows, numbers, outcomes)
    counted = Counter(outcomes)
    return Reconciled(
        matched=counted["matched"], already_reconciled=counted["already_reconciled"],
        wrong_amount=counted["wrong_amount"], unknown=counted["unknown"], conflicts=counted["conflicts"],
    )  # fmt: skip


def _judge(row: ReportedPayment, order: Any, states: dict[int, str]) -> str:
    """What becomes of a reported row (contract-kernel.md, payments.reconcile)."""
    if order is None:
        return "unknown"
    try:
        amount = to_minor(Decimal(row.amount), order.currency)
    except NotExact:
        return "wrong_amount"
    if amount != order.amount_minor:
        return "wrong_amount"
    state = states[order.id]
    if state == row.status:
        return "already_reconciled"
    return "matched" if ORDER_STATES.allows(state, row.status) else "conflicts"


def _apply(context: Context, moved: Sequence[tuple[Any, ReportedPayment]]) -> None:
    """Move, post and settle in waves: an order that is paid and returned in one file goes through both in turn."""
    wave: list[tuple[Any, ReportedPayment]] = []
    for order, row in moved:
        if any(order.id == earlier.id for earlier, _ in wave if row.status == "returned"):
            _apply_wave(context, wave)
            wave = []
        wave.append((order, row))
    _apply_wave(context, wave)


def _apply_wave(context: Context, wave: Sequence[tuple[Any, ReportedPayment]]) -> None:
    if not wave:
        return
    move_orders(context, [Move(order.id, row.status, row.reason, row.reference) for order, row in wave])
    sums: Counter[tuple[str, str]] = Counter()
    for order, row in wave:
        sums[order.scheme, row.status] += order.amount_minor
    for (scheme, status), amount in sorted(sums.items()):
        if status == "paid":
            post(context, scheme, "payments.reconcile", {PAYABLE: amount, CASH: -amount})
        elif status == "returned":
            post(context, scheme, "payments.reconcile", {CASH: amount, PAYABLE: -amount})
    by_kind: dict[str, list[Settled]] = {}
    for order, row in wave:
        by_kind.setdefault(order.source_kind, []).append(
            Settled(order.id, order.scheme, order.source, order.entitlement, row.status, order.amount_minor)
        )
    for kind, settled in sorted(by_kind.items()):
        context.app.sources[kind].settle(context, settled)


def _keep(
    context: Context,
    provider: int,
    rows: Sequence[ReportedPayment],
    numbers: Sequence[int | None],
    outcomes: Sequence[str],
) -> None:
    if rows:
        insert_rows(
            context.connection,
            reconciliation_rows,
            {
                "payment_provider": [provider] * len(rows),
                "order_named": [row.order[:200] for row in rows],
                "order": list(numbers),
                "status": [row.status for row in rows],
                "amount": [format(row.amount, "f") for row in rows],
                "reference": [row.reference for row in rows],
                "reason": [row.reason for row in rows],
                "outcome": list(outcomes),
                "received_on": [context.today] * len(rows),
                "audit": [context.audit] * len(rows),
            },
        )


@frozen(kw_only=True)
class RetryOrder:
    order: str
    reason: str | None = None


@frozen(kw_only=True)
class OrderRetried:
    """`retries`: the order that failed or came back, of which this one is the next attempt."""

    id: str
    retries: str
    status: str


@command("payments.retry", input=RetryOrder, result=OrderRetried)
def retry(context: Context, items: tuple[RetryOrder, ...]) -> list[OrderRetried | Refusal]:
    """Order a failed or returned payment once more; each order is retried once."""
    numbers = [context.ids.decode("orders", item.order) for item in items]
    known = locked_orders(context, [n for n in numbers if n is not None])
    taken = retried(context, list(known))
    outcomes: list[Any] = [None] * len(items)
    chosen: list[tuple[int, Any, str | None]] = []
    for position, (item, number) in enumerate(zip(items, numbers, strict=True)):
        order = None if number is None else known.get(number)
        if order is None:
            outcomes[position] = not_found("order", "order", item.order)
        elif order.state not in RETRIABLE:
            message = f"the order is {order.state}; only a failed or returned one is paid once more"
            outcomes[position] = Refusal("payments.not_failed", message)
        elif order.id in taken:
            message = "the order was retried already; retry its latest attempt"
            outcomes[position] = Refusal("payments.already_retried", message)
        else:
            taken.add(order.id)
            chosen.append((position, order, item.reason))
    placed = place_retries(context, [order for _, order, _ in chosen], [reason for _, _, reason in chosen])
    for (position, _, _), identity, earlier in zip(
        chosen,
        context.ids.encode_all("orders", placed),
        context.ids.encode_all("orders", [order.id for _, order, _ in chosen]),
        strict=True,
    ):
        outcomes[position] = OrderRetried(id=identity, retries=earlier, status="approved")
    return outcomes


COMMANDS = (submit, reconcile, retry)
