"""Orders: placed by a source, moved by a state table in bulk, with their reasons kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import REGCLASS

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.notifications.outbox import forget_secrets
from imis_core.payments.tables import order_current, order_states, orders
from imis_core.states import StateTable

ORDER_STATES: Final = StateTable(
    "payments",
    {
        "approved": ("submitted", "held", "cancelled"),
        # Returned before it was paid: the provider could not deliver it (cash_transfer.md 4).
        "submitted": ("accepted", "paid", "failed", "returned", "held"),
        "accepted": ("paid", "failed", "returned", "held"),
        # Paid, failed, returned: it had been sent; else only the other two.
        "held": ("approved", "paid", "failed", "returned", "cancelled"),
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


def place_retries(context: Context, failed: Sequence[LockedOrder], reasons: Sequence[str | None]) -> list[int]:
    """Write a new approved order for each failed or returned one (rows of `locked_orders`): the same debt again.

    It goes to whom the source names now: a household's recipient may be another one by then.
    """
    persons = _recipients_now(context, failed)
    return _write(
        context,
        [
            _Placed(
                row.scheme, row.currency, row.source_kind, row.source,
                NewOrder(row.entitlement, persons.get(row.id, row.person), row.provider, row.amount_minor),
                row.attempt + 1, row.id, reason,
            )
            for row, reason in zip(failed, reasons, strict=True)
        ],
    )  # fmt: skip


def _recipients_now(context: Context, failed: Sequence[LockedOrder]) -> dict[int, int]:
    """The persons whom the sources name for orders, by order; a source is asked once."""
    found: dict[int, int] = {}
    for kind in sorted({row.source_kind for row in failed}):
        name = context.app.sources[kind].recipients
        if name is not None:
            own = [row for row in failed if row.source_kind == kind and row.person is not None]
            named = name(context, [row.entitlement for row in own])
            found.update({row.id: named[row.entitlement] for row in own if row.entitlement in named})
    return found


def place_orders_from(
    context: Context, scheme: str, source_kind: str, source: int, select: sa.Select[Any]
) -> tuple[int, int]:
    """Write an approved order for each row of `select`, all in one statement; (how many, their sum in minor units).

    `select` has the columns `entitlement`, `person`, `provider` (exactly one of the two) and `amount_minor`; it may
    stand on CTEs of its own that change data. Orders are numbered by entitlement. Orders that are there already
    (the source, the entitlement, attempt 1) are an error of the database: the select leaves them out.
    """
    asked = select.subquery("asked")
    sorted_rows = sa.select(asked).order_by(asked.c.entitlement).subquery("sorted_rows")
    chosen = sa.select(
        sa.func.nextval(sa.cast("core.orders_id_seq", REGCLASS)).label("id"),
        sorted_rows.c.entitlement, sorted_rows.c.person, sorted_rows.c.provider, sorted_rows.c.amount_minor,
    ).cte("chosen").prefix_with("MATERIALIZED")  # fmt: skip
    written: dict[str, Any] = {
        "id": chosen.c.id,
        "scheme": _text(scheme),
        "source_kind": _text(source_kind),
        "source": sa.cast(source, sa.BigInteger),
        "entitlement": chosen.c.entitlement,
        "attempt": sa.literal_column("1"),
        "person": chosen.c.person,
        "provider": chosen.c.provider,
        "amount_minor": chosen.c.amount_minor,
        "currency": _text(context.settings.currency_of(scheme)),
        "ordered_at": sa.literal(context.now, sa.DateTime(timezone=True)),
        "approved_by": sa.cast(context.caller.user, sa.BigInteger),
        "audit": sa.cast(context.audit, sa.BigInteger),
    }
    state: dict[str, Any] = {
        "order": chosen.c.id,
        "version": sa.literal_column("1"),
        "state": sa.literal_column("'approved'", sa.Text),
    }
    history = {**state, "audit": written["audit"]}
    parts = [
        sa.insert(table).from_select(list(values), sa.select(*values.values()).select_from(chosen)).cte(name)
        for name, table, values in (
            ("placed", orders, written),
            ("stated", order_states, history),
            ("standing", order_current, state),
        )
    ]
    told: sa.Select[Any, Any] = (
        sa.select(sa.func.count(), sa.cast(sa.func.coalesce(sa.func.sum(chosen.c.amount_minor), 0), sa.BigInteger))
        .select_from(chosen)
        .add_cte(*parts)
    )
    counted: Any = context.execute(told).one()
    return counted[0], counted[1]


def _text(value: str) -> sa.ColumnElement[str]:
    return sa.cast(value, sa.Text)


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


# An order that was sent and of which nobody has said yet what came of it; as a list of SQL, too.
AWAITED: Final = ("submitted", "accepted", "held")
AWAITED_SQL: Final = ", ".join(f"'{state}'" for state in AWAITED)
NEVER_SENT: Final = ("approved", "cancelled")  # an order that was sent may be paid: it goes to neither of these
_MOVE_OF: Final = """
    WITH chosen AS MATERIALIZED (
        SELECT o.id, o.scheme, o.source, o.entitlement, o.amount_minor, t.state
        FROM core.orders o JOIN core.order_current t ON t."order" = o.id
        WHERE o.source_kind = :kind AND o.source = ANY(CAST(:sources AS bigint[]))
          AND t.state = ANY(CAST(:from_states AS text[])) {more}
        ORDER BY o.id FOR UPDATE OF t),
    moved AS (
        UPDATE core.order_current t SET state = :to_state, version = t.version + 1, reason = :reason
        FROM chosen c WHERE t."order" = c.id RETURNING t."order", t.version),
    kept AS (
        INSERT INTO core.order_states ("order", version, state, reason, audit)
        SELECT "order", version, :to_state, :reason, :audit FROM moved)
    SELECT id AS "order", scheme, source, entitlement, amount_minor, state AS was FROM chosen ORDER BY id
"""


def move_orders_of(
    context: Context,
    source_kind: str,
    source: int | Sequence[int],
    from_states: Sequence[str],
    to_state: str,
    reason: str | None,
    *,
    entitlements: Sequence[int] | None = None,
) -> list[Any]:
    """Move the orders of a source's batch (or of several), or those of some of its entitlements, in one statement.

    Only orders in one of `from_states` move; those that had been sent never become approved or cancelled, whatever
    state they are in. Gives the moved ones: rows of order, scheme, source, entitlement, amount_minor, was (the state
    before). The source settles them itself. Raises ValueError for a move that the state table does not list.
    """
    wrong = [state for state in from_states if not ORDER_STATES.allows(state, to_state)]
    if wrong:
        raise ValueError(f"an order that is {wrong[0]} cannot become {to_state}")
    more = "AND o.entitlement = ANY(CAST(:entitlements AS bigint[]))" if entitlements is not None else ""
    if to_state in NEVER_SENT:
        more += " AND t.payment_provider IS NULL"
    parameters: dict[str, Any] = {
        "kind": source_kind,
        "sources": [source] if isinstance(source, int) else list(source),
        "from_states": list(from_states),
        "to_state": to_state,
        "reason": reason,
        "audit": context.audit,
    }
    if entitlements is not None:
        parameters["entitlements"] = list(entitlements)
    moved = list(context.execute(sa.text(_MOVE_OF.format(more=more)), parameters))
    if to_state == "held" and context.settings.payment_gateways:
        # What was sent stays held until it is over: no message tells its payee a secret (a voucher's number) any more.
        forget_secrets(context, "orders", [row.order for row in moved if row.was not in NEVER_SENT])
    return moved


class LockedOrder(NamedTuple):
    """An order with its present state, locked. `payment_provider`: through which it was sent, None if it never was."""

    id: int
    scheme: str
    source_kind: str
    source: int
    entitlement: int
    attempt: int
    person: int | None
    provider: int | None
    amount_minor: int
    currency: str
    approved_by: int
    state: str
    version: int
    payment_provider: int | None


def locked_orders(context: Context, numbers: Sequence[int]) -> dict[int, LockedOrder]:
    """Orders that the caller may see, by their numbers and locked in that order."""
    rows = context.execute(
        sa.select(
            orders.c.id, orders.c.scheme, orders.c.source_kind, orders.c.source, orders.c.entitlement,
            orders.c.attempt, orders.c.person, orders.c.provider, orders.c.amount_minor, orders.c.currency,
            orders.c.approved_by, order_current.c.state, order_current.c.version, order_current.c.payment_provider,
        )
        .join(order_current, order_current.c.order == orders.c.id)
        .where(
            orders.c.id == any_of(numbers),
            context.scoped(orders),
        )
        .order_by(orders.c.id)
        .with_for_update(of=order_current)
    )  # fmt: skip
    return {row[0]: LockedOrder._make(row) for row in rows}


def retried(context: Context, numbers: Sequence[int]) -> set[int]:
    """Which of these orders have been tried again; the caller holds their locks."""
    rows = context.execute(sa.select(orders.c.retries).where(orders.c.retries == any_of(numbers)))
    return set(rows.scalars())
