"""Orders of 0: all of a debt was taken back before (a recovery, a deduction). Nobody is told to pay them.

A service and a bank refuse a whole batch for one amount of 0, so such an order never goes to one: it is paid when the
others are handed over. Whoever is told by hand (a cash list) finds it listed and reports it like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.payments.orders import ORDER_STATES
from imis_core.payments.settling import settle
from imis_core.payments.sources import Settled
from imis_core.payments.tables import order_current, order_states, orders

NOTHING_TO_PAY: Final = "nothing_to_pay"  # why an order was paid through nobody


def pay_nothing(context: Context, source_kind: str, source: int, providers: Sequence[int]) -> list[Settled]:
    """Move a batch's orders of 0 that were sent through these payment providers to paid; the moves, to be settled.

    Raises ValueError if the state table does not list the move.
    """
    if not ORDER_STATES.allows("submitted", "paid"):
        raise ValueError("an order that is submitted cannot become paid")
    if not providers:
        return []
    chosen = (
        sa.select(orders.c.id, orders.c.scheme, orders.c.entitlement)
        .join(order_current, order_current.c.order == orders.c.id)
        .where(
            orders.c.source_kind == source_kind,
            orders.c.source == source,
            orders.c.amount_minor == 0,
            order_current.c.state == "submitted",
            order_current.c.payment_provider == any_of(providers),
            context.scoped(orders),
        )
        .order_by(orders.c.id)
        .with_for_update(of=order_current)
        .cte("chosen")
        .prefix_with("MATERIALIZED")
    )
    moved = (
        sa.update(order_current)
        .where(order_current.c.order == chosen.c.id)
        .values(state="paid", version=order_current.c.version + 1, reason=NOTHING_TO_PAY)
        .returning(order_current.c.order, order_current.c.version)
        .cte("moved")
    )
    history: tuple[sa.ColumnElement[Any], ...] = (
        moved.c.order,
        moved.c.version,
        sa.literal("paid", sa.Text),
        sa.literal(NOTHING_TO_PAY, sa.Text),
        sa.cast(context.audit, sa.BigInteger),
    )
    columns = ["order", "version", "state", "reason", "audit"]
    kept = sa.insert(order_states).from_select(columns, sa.select(*history)).cte("kept")
    told = sa.select(chosen.c.id, chosen.c.scheme, chosen.c.entitlement).order_by(chosen.c.id)
    rows: Sequence[Any] = context.execute(told.add_cte(moved, kept)).all()
    return [Settled(row.id, row.scheme, source, row.entitlement, "paid", 0, "submitted") for row in rows]


def settle_nothing(context: Context, source_kind: str, moves: Sequence[Settled]) -> None:
    """Tell the source of what `pay_nothing` moved, once it knows that its batch was sent."""
    if moves:
        settle(context, [(source_kind, move) for move in moves], context.command)
