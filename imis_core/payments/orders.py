"""Orders: placed by a source, moved by a state table in bulk, with their reasons kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.context import Context
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.payments.tables import order_current, order_states, orders
from imis_core.states import StateTable

ORDER_STATES: Final = StateTable(
    "payments",
    {
        "approved": ("submitted", "held", "cancelled"),
        "submitted": ("accepted", "paid", "failed", "held"),
        "accepted": ("paid", "failed", "held"),
        "held": ("approved", "paid", "cancelled"),
        "paid": ("returned", "reversed"),
        "failed": (),
        "returned": (),
        "cancelled": (),
        "reversed": (),
    },
)


@frozen
class NewOrder:
    """What is owed: `entitlement` in the source's numbering, to a person or a provider, in minor units."""

    entitlement: int
    person: int | None
    provider: int | None
    amount_minor: int


@frozen
class _Placed:
    """An order as it is written."""

    scheme: str
    currency: str
    source_kind: str
    source: int
    new: NewOrder
    attempt: int = 1
    retries: int | None = None
    reason: str | None = None


def place_orders(context: Context, scheme: str, source_kind: str, source: int, new: Sequence[NewOrder]) -> list[int]:
    """Write approved orders; the caller's command is the approval. Unique by (source, entitlement, attempt)."""
    currency = context.settings.currency_of(scheme)
    return _write(context, [_Placed(scheme, currency, source_kind, source, one) for one in new])


def place_retries(context: Context, failed: Sequence[Any], reasons: Sequence[str | None]) -> list[int]:
    """Write a new approved order for each failed or returned one (rows of `locked_orders`): the same debt again."""
    return _write(
        context,
        [
            _Placed(
                row.scheme, row.currency, row.source_kind, row.source,
                NewOrder(row.entitlement, row.person, row.provider, row.amount_minor),
                row.attempt + 1, row.id, reason,
            )
            for row, reason in zip(failed, reasons, strict=True)
        ],
    )  # fmt: skip


def _write(context: Context, placed: Sequence[_Placed]) -> list[int]:
    if not placed:
        return []
    count = len(placed)
    numbers = take_ids(context.connection, orders, count)
    insert_rows(
        context.connection,
        orders,
        {
            "id": numbers,
            "scheme": [o.scheme for o in placed],
            "source_kind": [o.source_kind for o in placed],
            "source": [o.source for o in placed],
            "entitlement": [o.new.entitlement for o in placed],
            "attempt": [o.attempt for o in placed],
            "retries": [o.retries for o in placed],
            "person": [o.new.person for o in placed],
            "provider": [o.new.provider for o in placed],
            "amount_minor": [o.new.amount_minor for o in placed],
            "currency": [o.currency for o in placed],
            "ordered_at": [context.now] * count,
            "approved_by": [context.caller.user] * count,
            "audit": [context.audit] * count,
        },
    )
    states, versions, reasons = ["approved"] * count, [1] * count, [o.reason for o in placed]
    insert_rows(
        context.connection,
        order_states,
        {"order": numbers, "version": versions, "state": states, "reason": reasons, "audit": [context.audit] * count},
    )
    insert_rows(
        context.connection, order_current, {"order": numbers, "state": states, "version": versions, "reason": reasons}
    )
    return numbers


_MOVE: Final = sa.text(
    """
    WITH moved AS (
        UPDATE core.order_current t SET state = n.state, version = t.version + 1, reason = n.reason,
               payment_provider = coalesce(n.payment_provider, t.payment_provider)
        FROM unnest(CAST(:orders AS bigint[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:refs AS text[]),
                    CAST(:providers AS bigint[])) AS n("order", state, reason, reference, payment_provider)
        WHERE t."order" = n."order" RETURNING t."order", t.version, n.state, n.reason, n.reference)
    INSERT INTO core.order_states ("order", version, state, reason, reference, audit)
    SELECT "order", version, state, reason, reference, :audit FROM moved
    """
)


@frozen
class Move:
    """An order's next state, already judged against the state table under its lock."""

    order: int
    state: str
    reason: str | None = None
    reference: str | None = None
    payment_provider: int | None = None


def move_orders(context: Context, moves: Sequence[Move]) -> None:
    """Apply moves of distinct orders in one statement: the present state, and a row of the history."""
    if moves:
        context.execute(
            _MOVE,
            {
                "orders": [m.order for m in moves],
                "states": [m.state for m in moves],
                "reasons": [m.reason for m in moves],
                "refs": [m.reference for m in moves],
                "providers": [m.payment_provider for m in moves],
                "audit": context.audit,
            },
        )


def note_reasons(context: Context, reasons: Mapping[int, str]) -> None:
    """Say why orders stay as they are (no account), without a move."""
    if reasons:
        context.execute(
            sa.text(
                "UPDATE core.order_current t SET reason = n.reason FROM unnest(CAST(:orders AS bigint[]), "
                'CAST(:reasons AS text[])) AS n("order", reason) WHERE t."order" = n."order"'
            ),
            {"orders": list(reasons), "reasons": list(reasons.values())},
        )


def locked_orders(context: Context, numbers: Sequence[int]) -> dict[int, Any]:
    """Orders with their present state, locked in the order of their numbers."""
    rows = context.execute(
        sa.text(
            "SELECT o.id, o.scheme, o.source_kind, o.source, o.entitlement, o.attempt, o.person, o.provider, "
            "o.amount_minor, o.currency, o.approved_by, "
            't.state, t.version, t.payment_provider FROM core.orders o JOIN core.order_current t ON t."order" = o.id '
            "WHERE o.id = ANY(:numbers) ORDER BY o.id FOR UPDATE OF t"
        ),
        {"numbers": sorted(set(numbers))},
    )
    return {row.id: row for row in rows}


def retried(context: Context, numbers: Sequence[int]) -> set[int]:
    """Which of these orders have been tried again; the caller holds their locks."""
    rows = context.execute(
        sa.select(orders.c.retries).where(orders.c.retries == sa.any_(sa.literal(list(numbers), ARRAY(sa.BigInteger))))
    )
    return set(rows.scalars())
