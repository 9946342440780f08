"""What can be asked of payments: orders, who is paid through whom, and what became of each row that was reported."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.payments.entitlements import entitlement_ids, with_beneficiaries
from imis_core.payments.reconciling import Outcome
from imis_core.payments.sources import batch_name, batch_of
from imis_core.payments.tables import (
    order_current,
    orders,
    pay_points,
    payment_providers,
    recipients,
    reconciliation_rows,
)
from imis_core.places.tables import providers
from imis_core.queries import Listing, query
from imis_core.values import Money


@frozen(kw_only=True)
class ListOrders:
    claims_batch: str | None = None
    payroll: str | None = None
    refunds: str | None = None


@frozen(kw_only=True)
class Order:
    """`recipient`: a person's number or a facility's code; `entitlement` and `beneficiary` are of payrolls."""

    id: str
    recipient: str
    beneficiary: str | None
    amount: Money
    status: str
    entitlement: str | None
    retries: str | None
    reason: str | None


@query("payments.orders", input=ListOrders, result=Order, listing=True)
def list_orders(context: Context, asked: ListOrders) -> Listing | Refusal:
    """The orders of a batch of claims or of a payroll, else all that the caller may see; by recipient."""
    chosen = context.scoped(orders)
    kinds = tuple(context.app.sources)
    if batch_name(asked) is not None:
        batch = batch_of(context, asked)
        if isinstance(batch, Refusal):
            return batch
        kinds = (batch[0],)
        chosen = sa.and_(chosen, orders.c.source_kind == batch[0], orders.c.source == batch[1].number)
    clause, beneficiary = with_beneficiaries(
        context,
        orders.join(order_current, order_current.c.order == orders.c.id)
        .outerjoin(persons, persons.c.id == orders.c.person)
        .outerjoin(providers, providers.c.id == orders.c.provider),
        kinds,
    )
    recipient = sa.func.coalesce(persons.c.number, providers.c.code)
    select = (
        sa.select(
            orders.c.id, recipient.label("recipient"), orders.c.amount_minor, orders.c.currency, orders.c.retries,
            orders.c.source_kind, orders.c.entitlement, order_current.c.state, order_current.c.reason,
            beneficiary.label("beneficiary"),
        )
        .select_from(clause)
        .where(chosen)
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[Order]:
        ids = context.ids.encode_all("orders", [row.id for row in rows])
        earlier = context.ids.encode_all("orders", [row.retries or 0 for row in rows])
        entitled = entitlement_ids(context, rows)
        return [
            Order(
                id=identity, recipient=row.recipient, beneficiary=row.beneficiary,
                amount=Money(row.amount_minor, row.currency), status=row.state, entitlement=entitlement,
                retries=None if row.retries is None else before, reason=row.reason,
            )
            for identity, before, entitlement, row in zip(ids, earlier, entitled, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (recipient, orders.c.id), build)


@frozen(kw_only=True)
class ListRecipients:
    provider: str | None = None
    scheme: str | None = None


@frozen(kw_only=True)
class Recipient:
    """An enrolment that holds now: of a person (`number`) or a facility; no `scheme`: every one without its own."""

    id: str
    number: str | None
    facility: str | None
    provider: str
    account: str | None
    pay_point: str | None
    scheme: str | None


@query("payments.recipients", input=ListRecipients, result=Recipient, listing=True)
def list_recipients(context: Context, asked: ListRecipients) -> Listing | Refusal:
    """Who is paid through whom: the active enrolments, of one payment provider or one scheme if asked; by creation."""
    chosen = sa.and_(context.scoped(recipients), recipients.c.active)
    if asked.provider is not None:
        provider = _provider(context, asked.provider)
        if isinstance(provider, Refusal):
            return provider
        chosen = sa.and_(chosen, recipients.c.payment_provider == provider)
    if asked.scheme is not None:
        schemes = context.settings.schemes
        if asked.scheme not in schemes:
            message = f"there is no scheme {asked.scheme!r}{suggestion(asked.scheme, schemes)}"
            return invalid(Problem("scheme", "unknown", message))
        chosen = sa.and_(chosen, recipients.c.scheme == asked.scheme)
    select = (
        sa.select(
            recipients.c.id, recipients.c.account, recipients.c.scheme, persons.c.number,
            providers.c.code.label("facility"), payment_providers.c.code.label("provider"),
            pay_points.c.code.label("pay_point"),
        )
        .join(payment_providers, payment_providers.c.id == recipients.c.payment_provider)
        .outerjoin(pay_points, pay_points.c.id == recipients.c.pay_point)
        .outerjoin(persons, persons.c.id == recipients.c.person)
        .outerjoin(providers, providers.c.id == recipients.c.provider)
        .where(chosen)
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[Recipient]:
        return [
            Recipient(
                id=identity, number=row.number, facility=row.facility, provider=row.provider, account=row.account,
                pay_point=row.pay_point, scheme=row.scheme or None,
            )
            for identity, row in zip(
                context.ids.encode_all("recipients", [row.id for row in rows]), rows, strict=True
            )
        ]  # fmt: skip

    return Listing(select, (recipients.c.id,), build)


@frozen(kw_only=True)
class ListReconciliation:
    provider: str
    outcome: Outcome | None = None


@frozen(kw_only=True)
class ReconciledRow:
    """A row as the provider reported it, with what became of it; `row` is its place in `file`, or in what was sent."""

    file: str | None
    row: int
    order: str
    status: str
    amount: str
    reference: str | None
    reason: str | None
    outcome: str
    on: date


@query("payments.reconciliation", input=ListReconciliation, result=ReconciledRow, listing=True)
def list_reconciliation(context: Context, asked: ListReconciliation) -> Listing | Refusal:
    """Every row that a payment provider ever reported, with its outcome, as they came."""
    provider = _provider(context, asked.provider)
    if isinstance(provider, Refusal):
        return provider
    table = reconciliation_rows
    chosen: sa.ColumnElement[bool] = table.c.payment_provider == provider
    if not context.caller.everywhere:
        # A row about no order that the caller sees is not his business, whatever it named.
        chosen = sa.and_(chosen, sa.exists().where(orders.c.id == table.c.order, context.scoped(orders)))
    if asked.outcome is not None:
        chosen = sa.and_(chosen, table.c.outcome == asked.outcome)

    def build(rows: Sequence[Any]) -> list[ReconciledRow]:
        return [
            ReconciledRow(
                file=row.file, row=row.row, order=row.order_named, status=row.status, amount=row.amount,
                reference=row.reference, reason=row.reason, outcome=row.outcome, on=row.received_on,
            )
            for row in rows
        ]  # fmt: skip

    return Listing(sa.select(table).where(chosen), (table.c.id,), build)


def _provider(context: Context, name: str) -> int | Refusal:
    found = context.named(payment_providers, [name])
    return int(found[0][1].id) if found else not_found("provider", "payment provider", name)


QUERIES = (list_orders, list_recipients, list_reconciliation)
