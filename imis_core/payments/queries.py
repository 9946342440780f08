"""What can be asked of payments: the orders of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.payments.sources import batch_of
from imis_core.payments.tables import order_current, orders
from imis_core.places.tables import providers
from imis_core.queries import Listing, query
from imis_core.values import Money


@frozen(kw_only=True)
class ListOrders:
    claims_batch: str | None = None
    payroll: str | None = None


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
    if asked.claims_batch is not None or asked.payroll is not None:
        batch = batch_of(context, asked.claims_batch, asked.payroll)
        if isinstance(batch, Refusal):
            return batch
        chosen = sa.and_(chosen, orders.c.source_kind == batch[0], orders.c.source == batch[1].number)
    recipient = sa.func.coalesce(persons.c.number, providers.c.code)
    select = (
        sa.select(
            orders.c.id, recipient.label("recipient"), orders.c.amount_minor, orders.c.currency, orders.c.retries,
            order_current.c.state, order_current.c.reason,
        )
        .join(order_current, order_current.c.order == orders.c.id)
        .outerjoin(persons, persons.c.id == orders.c.person)
        .outerjoin(providers, providers.c.id == orders.c.provider)
        .where(chosen)
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[Order]:
        ids = context.ids.encode_all("orders", [row.id for row in rows])
        earlier = context.ids.encode_all("orders", [row.retries or 0 for row in rows])
        return [
            Order(
                id=identity, recipient=row.recipient, beneficiary=None, amount=Money(row.amount_minor, row.currency),
                status=row.state, entitlement=None, retries=None if row.retries is None else before, reason=row.reason,
            )
            for identity, before, row in zip(ids, earlier, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (recipient, orders.c.id), build)


QUERIES = (list_orders,)
