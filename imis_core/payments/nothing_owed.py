"""Orders of 0: all of a debt was taken back before (a recovery, a deduction). Nobody is told to pay them.

A provider refuses a whole batch for one amount of 0, so such an order never goes to one: it is paid when it would
have been sent, through no provider and also where the recipient is enrolled with none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.payments.orders import ORDER_STATES
from imis_core.payments.settling import settle
from imis_core.payments.sources import Settled
from imis_core.payments.tables import order_current, order_states, orders

NOTHING_TO_PAY: Final = "nothing_to_pay"  # why an order was paid through nobody
_STEPS: Final = ("submitted", "paid")  # the moves that it makes at once, both kept in its history


def pay_nothing(context: Context, source_kind: str, source: int) -> list[Settled]:
    """Move a batch's approved orders of 0, as far as the caller sees them, to paid; the moves, for `settle_nothing`.

    Raises ValueError if the state table does not list the moves.
    """
    for before, after in zip(("approved", *_STEPS), _STEPS, strict=False):
        if not ORDER_STATES.allows(before, after):
            raise ValueError(f"an order that is {before} cannot become {after}")
    chosen = (
        sa.select(orders.c.id, orders.c.scheme, orders.c.entitlement, order_current.c.version)
        .join(order_current, order_current.c.order == orders.c.id)
        .where(
            orders.c.source_kind == source_kind,
            orders.c.source == source,
            orders.c.amount_minor == 0,
            order_current.c.state == "approved",
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
        .values(state=_STEPS[-1], version=order_current.c.version + len(_STEPS), reason=NOTHING_TO_PAY)
        .returning(order_current.c.order)
        .cte("moved")
    )
    histories = [
        sa.insert(order_states)
        .from_select(
            ["order", "version", "state", "reason", "audit"],
            sa.select(
                chosen.c.id,
                chosen.c.version + step,
                sa.literal(state, sa.Text),
                sa.literal(NOTHING_TO_PAY, sa.Text),
                sa.cast(context.audit, sa.BigInteger),
            ),
        )
        .cte(f"kept_{state}")
        for step, state in enumerate(_STEPS, start=1)
    ]
    told = sa.select(chosen.c.id, chosen.c.scheme, chosen.c.entitlement).order_by(chosen.c.id)
    rows: Sequence[Any] = context.execute(told.add_cte(moved, *histories)).all()
    return [Settled(row.id, row.scheme, source, row.entitlement, _STEPS[-1], 0, _STEPS[0]) for row in rows]


def settle_nothing(context: Context, source_kind: str, moves: Sequence[Settled]) -> None:
    """Tell the source of what `pay_nothing` moved, once it knows that its batch was sent."""
    if moves:
        settle(context, [(source_kind, move) for move in moves], context.command)
