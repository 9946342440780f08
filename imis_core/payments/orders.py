"""Orders: placed by a source, moved by a state table in bulk, with their reasons kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

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
    attempt: int = 1
    retries: int | None = None


def place_orders(context: Context, scheme: str, source_kind: str, source: int, new: Sequence[NewOrder]) -> list[int]:
    """Write approved orders; the caller's command is the approval. Unique by (source, entitlement, attempt)."""
    if not new:
        return []
    count = len(new)
    numbers = take_ids(context.connection, orders, count)
    insert_rows(
        context.connection,
        orders,
        {
            "id": numbers,
            "scheme": [scheme] * count,
            "source_kind": [source_kind] * count,
            "source": [source] * count,
            "entitlement": [o.entitlement for o in new],
            "attempt": [o.attempt for o in new],
            "retries": [o.retries for o in new],
            "person": [o.person for o in new],
            "provider": [o.provider for o in new],
            "amount_minor": [o.amount_minor for o in new],
            "currency": [context.settings.currency_of(scheme)] * count,
            "ordered_at": [context.now] * count,
            "approved_by": [context.caller.user] * count,
            "audit": [context.audit] * count,
        },
    )
    insert_rows(
        context.connection,
        order_states,
        {"order": numbers, "version": [1] * count, "state": ["approved"] * count, "audit": [context.audit] * count},
    )
    insert_rows(
        context.connection, order_current, {"order": numbers, "state": ["approved"] * count, "version": [1] * count}
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
                'UPDATE core.order_current t SET reason = n.reason FROM unnest(CAST(:orders AS bigint[]), '
                'CAST(:reasons AS text[])) AS n("order", reason) WHERE t."order" = n."order"'
            ),
            {"orders": list(reasons), "reasons": list(reasons.values())},
        )


def locked_orders(context: Context, numbers: Sequence[int]) -> dict[int, Any]:
    """Orders with their present state, locked in the order of their numbers."""
    rows = context.execute(
        sa.text(
            'SELECT o.id, o.scheme, o.source_kind, o.source, o.entitlement, o.amount_minor, o.currency, o.approved_by, '
            't.state, t.version, t.payment_provider FROM core.orders o JOIN core.order_current t ON t."order" = o.id '
            "WHERE o.id = ANY(:numbers) ORDER BY o.id FOR UPDATE OF t"
        ),
        {"numbers": sorted(set(numbers))},
    )
    return {row.id: row for row in rows}
