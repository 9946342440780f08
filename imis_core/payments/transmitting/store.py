"""How transmissions move: each move under the lock of its row, with a row of history and an audit entry.

Knows no provider and no wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from imis_core.audit import request_digest, write_entry
from imis_core.context import Context
from imis_core.events import write_events
from imis_core.payments.orders import AWAITED_SQL, ORDER_STATES, Move, locked_orders, move_orders
from imis_core.payments.settling import settle, settled_order
from imis_core.payments.transmitting.forgetting import forget_numbers
from imis_core.payments.transmitting.states import TRANSMISSION_STATES

if TYPE_CHECKING:
    from imis_core.application import Application

_HISTORY: Final = sa.text(
    "SELECT coalesce(bool_or(state = 'accepted'), false) AS accepted, coalesce(bool_or(state = 'unknown'), false) "
    "AS doubted FROM core.transmission_states WHERE transmission = :number"
)
HELD: Final = "held_before_sending"  # why an order failed that was held when its transmission went out
REASON_MAX: Final = 500
_ROW: Final = """
    SELECT t.id, t.payment_provider, t.scheme, t.currency, t.correlation, t.orders, c.state, c.version, c.attempts,
           c.tries, c.batch, c.reason, c.due_at, p.code, p.channel,
           greatest((SELECT s.at FROM core.transmission_states s WHERE s.transmission = t.id AND s.version = 1),
                    (SELECT max(x.asked_at) FROM core.voucher_cancellations x WHERE x.transmission = t.id)) AS since
    FROM core.transmissions t JOIN core.transmission_current c ON c.transmission = t.id
    JOIN core.payment_providers p ON p.id = t.payment_provider
    WHERE t.id = :number
"""
_READ: Final = sa.text(_ROW)
_LOCKED: Final = sa.text(f"{_ROW} FOR UPDATE OF c")
_MOVE: Final = sa.text(
    """
    WITH moved AS (
        UPDATE core.transmission_current SET state = :state, version = version + 1, attempts = :attempts,
               tries = :tries, batch = :batch, reason = :reason, due_at = :due_at
        WHERE transmission = :number RETURNING transmission, version)
    INSERT INTO core.transmission_states (transmission, version, state, reason, at, audit)
    SELECT transmission, version, :state, :reason, :now, :audit FROM moved
    """
)
_LOOK_LATER: Final = sa.text(
    "UPDATE core.transmission_current SET tries = :tries, reason = :reason, due_at = :due_at, batch = :batch "
    "WHERE transmission = :number"
)


_LOCK: Final = sa.text(
    "SELECT FROM core.transmission_current WHERE transmission = ANY(CAST(:numbers AS bigint[])) "
    "ORDER BY transmission FOR UPDATE"
)
# What waits and was sent before may have arrived after all, if somebody speaks of it. Of what is reported a payment may
# have come back. A list that is being read now (it was asked for since it was due) may be too old for what is told: it
# is read once more.
_WAKE: Final = sa.text(
    """
    WITH chosen AS (
        SELECT transmission, state, coalesce(:heard AND state = 'waiting' AND attempts > 0, false) OR state = 'parked'
               AS doubted,
               state = 'reported' AND EXISTS (SELECT FROM core.transmission_states s
                   WHERE s.transmission = t.transmission AND s.state = 'accepted') AS again,
               greatest(:now, asked_at + CAST(:quiet AS interval)) AS at
        FROM core.transmission_current t WHERE transmission = ANY(CAST(:numbers AS bigint[]))),
    woken AS (
        UPDATE core.transmission_current c SET due_at = n.at, tries = 0,
               version = c.version + CASE WHEN n.doubted OR n.again THEN 1 ELSE 0 END,
               state = CASE WHEN n.doubted THEN 'unknown' WHEN n.again THEN 'accepted' ELSE c.state END
        FROM chosen n WHERE n.transmission = c.transmission
          AND (n.doubted OR n.again OR n.state IN ('unknown', 'accepted', 'waiting')
               AND (c.due_at > n.at OR c.asked_at >= c.due_at OR NOT :heard))
        RETURNING c.transmission, c.version, c.state, n.doubted OR n.again AS moved, n.at),
    moved AS (
        INSERT INTO core.transmission_states (transmission, version, state, reason, at, audit)
        SELECT transmission, version, state, :reason, :now, :audit FROM woken WHERE moved)
    SELECT transmission FROM woken WHERE at <= :now ORDER BY transmission
    """
)


@contextmanager
def transaction(app: Application, name: str) -> Iterator[Context]:
    """A transaction of the system, as a handler has it; what is emitted in it is told after it."""
    with app.database.command(app.system) as (connection, audit):
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, name)
        yield context
        write_events(context)


def audited(context: Context, items: int, **shown: Any) -> None:
    """The audit entry of what the system did by itself."""
    write_entry(context, items, 0, request_digest(context.command, [shown]), shown)


def read_transmission(app: Application, number: int) -> Any:
    """A transmission as it stands, without a lock; None if there is none."""
    with app.database.query(app.system) as connection:
        return connection.execute(_READ, {"number": number}).one_or_none()


def locked_transmission(context: Context, number: int) -> Any:
    """A transmission as it stands, locked until the transaction ends."""
    return context.execute(_LOCKED, {"number": number}).one()


def history(context: Context, number: int) -> Any:
    """Whether a locked transmission was ever `accepted`, and whether it was ever `doubted`: it may have arrived.

    A statement of its own, so that it sees all that was committed before the lock was had.
    """
    return context.execute(_HISTORY, {"number": number}).one()


def move(
    context: Context, row: Any, state: str, *, due_at: datetime, reason: str | None = None, attempts: int | None = None,
    batch: str | None = None,
) -> None:  # fmt: skip
    """Move a locked transmission. Raises ValueError for a move that the state table does not list."""
    if not TRANSMISSION_STATES.allows(row.state, state):
        raise ValueError(f"a transmission that is {row.state} cannot become {state}")
    context.execute(
        _MOVE,
        {
            "number": row.id,
            "state": state,
            "attempts": row.attempts if attempts is None else attempts,
            "tries": row.tries if state == "parked" else 0,
            "batch": batch or row.batch,
            "reason": None if reason is None else reason[:REASON_MAX],
            "due_at": due_at,
            "now": context.now,
            "audit": context.audit,
        },
    )
    audited(context, 1, transmission=row.id, state=state)


def wake(
    context: Context, numbers: Sequence[int], reason: str, *, heard: bool, quiet: timedelta = timedelta(0)
) -> list[int]:
    """Have transmissions looked at now, parked ones and those that the provider once accepted and has reported of, too,
    but not so soon (`quiet`) after their provider was last asked. Nothing is sent by that.

    `heard`: the provider spoke of them by itself; a person asks otherwise. Those that are due now.
    """
    context.execute(_LOCK, {"numbers": list(numbers)})
    wanted = {"numbers": list(numbers), "now": context.now, "quiet": quiet, "heard": heard, "reason": reason}
    return list(context.execute(_WAKE, wanted | {"audit": context.audit}).scalars())


def look_later(
    context: Context, row: Any, due_at: datetime, reason: str | None, tries: int, batch: str | None = None
) -> None:
    """Leave a locked transmission in its state and look at it again later."""
    kept = None if reason is None else reason[:REASON_MAX]
    later = {"number": row.id, "tries": tries, "reason": kept, "due_at": due_at, "batch": batch or row.batch}
    context.execute(_LOOK_LATER, later)


_STANDING: Final = sa.text(
    """
    SELECT m."order", t.state FROM core.transmission_orders m JOIN core.order_current t ON t."order" = m."order"
    WHERE m.transmission = :number AND NOT m.left_out ORDER BY m."order" FOR UPDATE OF t
    """
)
_LEAVE_OUT: Final = sa.text(
    'UPDATE core.transmission_orders SET left_out = true WHERE "order" = ANY(CAST(:orders AS bigint[]))'
)
_INSTRUCTIONS: Final = sa.text(
    'SELECT m."order", m.account, o.amount_minor, o.currency, coalesce(p.number, f.code) AS payee '
    'FROM core.transmission_orders m JOIN core.orders o ON o.id = m."order" '
    'JOIN core.order_current t ON t."order" = o.id JOIN core.recipients r ON r.id = t.recipient '
    "LEFT JOIN core.persons p ON p.id = r.person LEFT JOIN core.providers f ON f.id = r.provider "
    'WHERE m.transmission = :number AND NOT m.left_out ORDER BY m."order"'
)


def orders_to_send(context: Context, number: int, *, doubted: bool) -> list[Any] | None:
    """The orders that go out, as they stand under their locks; what is not to be sent any more is left out for good.

    An order that was held before anybody had it fails: it was never sent, and can be retried. One that somebody else
    reported on in the meantime (a file of the provider) stays as it is. None: orders are held of which nobody knows
    whether they arrived with an attempt before (`doubted`); nothing is decided of any.
    """
    standing = context.execute(_STANDING, {"number": number}).all()
    if doubted and any(row.state == "held" for row in standing):
        return None
    out = [row.order for row in standing if row.state != "submitted"]
    if out:
        context.execute(_LEAVE_OUT, {"orders": out})
        fail_orders(context, [row.order for row in standing if row.state == "held"], HELD)
    return list(context.execute(_INSTRUCTIONS, {"number": number}))


def fail_orders(context: Context, numbers: list[int], reason: str) -> None:
    """Orders of which it is certain that nobody has them fail, and their sources are told."""
    known = [o for o in locked_orders(context, numbers).values() if ORDER_STATES.allows(o.state, "failed")]
    if known:
        move_orders(context, [Move(order.id, "failed", reason) for order in known])
        settle(context, [(order.source_kind, settled_order(order, "failed")) for order in known], context.command)
        forget_numbers(context, [order.id for order in known])


_ACCEPT: Final = sa.text(
    """
    WITH chosen AS MATERIALIZED (
        SELECT t."order" FROM core.order_current t JOIN core.transmission_orders m ON m."order" = t."order"
        WHERE m.transmission = :number AND NOT m.left_out AND t.state = 'submitted' ORDER BY t."order" FOR UPDATE OF t),
    moved AS (
        UPDATE core.order_current t SET state = 'accepted', version = t.version + 1, reason = NULL
        FROM chosen c WHERE t."order" = c."order" RETURNING t."order", t.version)
    INSERT INTO core.order_states ("order", version, state, audit)
    SELECT "order", version, 'accepted', :audit FROM moved
    """
)


def accept_orders(context: Context, number: int) -> None:
    """The orders that the provider has are accepted, but those of which it has reported already; one statement."""
    context.execute(_ACCEPT, {"number": number, "audit": context.audit})


_OPEN_ORDERS: Final = sa.text(
    f"""
    SELECT count(*) FILTER (WHERE t.state IN ({AWAITED_SQL})) AS open,
           count(*) FILTER (WHERE t.state IN ('paid', 'returned', 'reversed')) AS paid
    FROM core.transmission_orders m JOIN core.order_current t ON t."order" = m."order"
    WHERE m.transmission = :number AND NOT m.left_out
    """
)
_REFUSED: Final = sa.text(
    'SELECT m."order" FROM core.transmission_orders m WHERE m.transmission = :number AND NOT m.left_out ORDER BY 1'
)


def open_orders(context: Context, number: int) -> Any:
    """How many orders of a transmission wait for what came of them (`open`), and how many have been paid (`paid`)."""
    return context.execute(_OPEN_ORDERS, {"number": number}).one()


_OPEN_BY: Final = sa.text(
    f"""
    SELECT m.transmission, count(*) AS open
    FROM core.transmission_orders m JOIN core.order_current t ON t."order" = m."order"
    WHERE m.transmission = ANY(CAST(:numbers AS bigint[])) AND NOT m.left_out
      AND t.state IN ({AWAITED_SQL})
    GROUP BY m.transmission
    """
)


def open_by_transmission(context: Context, numbers: Sequence[int]) -> dict[int, int]:
    """How many orders of each of these transmissions wait for what came of them; those without any are left out."""
    return {row.transmission: row.open for row in context.execute(_OPEN_BY, {"numbers": list(numbers)})}


def refuse_orders(context: Context, number: int, reason: str) -> None:
    """All orders of a transmission fail: the provider took none of them."""
    fail_orders(context, list(context.execute(_REFUSED, {"number": number}).scalars()), reason)
