"""The outbox: events written with the command that caused them, delivered after commit, one delivery per subscriber.

At least once, each plugin in a transaction of its own; what a plugin writes and the mark that it is done commit
together. A failing delivery is retried with growing pauses, then parked and shown; it stops nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from imis_core import hookspecs, logs
from imis_core.audit import request_digest, write_entry
from imis_core.context import Context
from imis_core.database.bulk import insert_returning
from imis_core.parsing import parse, plain
from imis_core.redaction import redact
from imis_core.runtime_tables import deliveries, events
from imis_core.security.caller import system_caller

if TYPE_CHECKING:
    from imis_core.application import Application

ATTEMPTS: Final = 8
FIRST_PAUSE: Final = timedelta(seconds=2)  # doubled with each attempt: parked after about four minutes
CHUNK: Final = 100
ERROR_MAX: Final = 2000  # characters of an error that a delivery keeps
_log = logging.getLogger(__name__)


def hook_of(event: str) -> Any:
    """The hook that an event is delivered through: `claims_valuated` -> `imis_on_claims_valuated`."""
    return getattr(hookspecs, f"imis_on_{event}")


def write_events(context: Context) -> None:
    """Write the context's events and a pending delivery for each subscriber; nothing if nobody listens."""
    heard = [(e, context.app.listeners(e.name, e.scheme)) for e in context.events]
    heard = [(event, names) for event, names in heard if names]
    context.events.clear()
    if not heard:
        return
    rows = insert_returning(
        context.connection,
        events,
        {
            "name": [e.name for e, _ in heard],
            "key": [e.key for e, _ in heard],
            "payload": [_json(e.payload) for e, _ in heard],
            "at": [context.now] * len(heard),
            "audit": [context.audit] * len(heard),
        },
        returning="id",
    )
    pairs = [(row.id, name) for row, (_, names) in zip(rows, heard, strict=True) for name in names]
    insert_returning(
        context.connection,
        deliveries,
        {
            "event": [p[0] for p in pairs],
            "subscriber": [p[1] for p in pairs],
            "state": ["pending"] * len(pairs),
            "next_at": [context.now] * len(pairs),
        },
    )


def _json(payload: Any) -> str:
    return msgspec.json.encode(plain(payload)).decode()


def deliver_due(app: Application, limit: int = CHUNK) -> int:
    """Deliver what is due now; returns how many deliveries were tried. Safe to run in many processes at once.

    Deliveries of one kind to one plugin are made together, in one transaction; if one of them fails they are made
    again one by one, so that it alone has failed.
    """
    tried = alone = 0
    while tried < limit:
        count, failed = _deliver(app, 1 if alone else limit - tried)
        if failed and count > 1:
            alone = count
            continue
        alone = max(0, alone - 1)
        tried += count
        if not count:
            break
    return tried


# Deliveries to a plugin that is switched off for now wait until it is back. The order of a key is kept: an older one
# that waits for its retry holds the later ones.
_DUE: Final = sa.text(
    """
    SELECT d.event, d.subscriber, d.attempts, e.name, e.key, e.payload
    FROM core.deliveries d JOIN core.events e ON e.id = d.event
    WHERE d.state = 'pending' AND d.next_at <= :now
      AND (e.name, d.subscriber) IN (SELECT * FROM unnest(CAST(:names AS text[]), CAST(:subscribers AS text[])))
      AND NOT EXISTS (
        SELECT FROM core.deliveries o JOIN core.events oe ON oe.id = o.event
        WHERE o.state = 'pending' AND o.next_at > :now
          AND o.subscriber = d.subscriber AND oe.key = e.key AND o.event < d.event)
    ORDER BY d.event, d.subscriber LIMIT :limit FOR UPDATE OF d SKIP LOCKED
    """
)
# The oldest delivery of each key that is not done, whoever is at it.
_OLDEST: Final = sa.text(
    """
    SELECT e.key, min(d.event) AS event FROM core.deliveries d JOIN core.events e ON e.id = d.event
    WHERE d.state = 'pending' AND d.subscriber = :subscriber AND e.key = ANY(CAST(:keys AS text[])) GROUP BY e.key
    """
)
_DONE: Final = sa.text(
    """
    UPDATE core.deliveries d SET state = 'done', attempts = d.attempts + 1, error = NULL
    FROM unnest(CAST(:events AS bigint[]), CAST(:attempts AS int[])) AS w(event, attempts)
    WHERE d.event = w.event AND d.subscriber = :subscriber AND d.state = 'pending' AND d.attempts = w.attempts
    """
)


def _deliver(app: Application, limit: int) -> tuple[int, bool]:
    """Deliver the next ones, at most `limit`; how many, and whether they failed. What failed alone is noted so.

    Whatever fails in their transaction is a failed attempt: no event stops those behind it.
    """
    caller = system_caller()
    pairs = [(name, subscriber) for name in app.event_types for subscriber in app.subscribers(name)]
    rows: list[Any] = []
    try:
        with app.database.command(caller) as (connection, audit):
            parameters = {"now": app.clock.now(), "names": [p[0] for p in pairs], "subscribers": [p[1] for p in pairs]}
            rows = _together(connection, connection.execute(_DUE, {**parameters, "limit": limit}).all())
            if not rows:
                return 0, False
            first = rows[0]
            command = f"events.{first.name}"
            context = Context(app, connection, caller, app.clock.now(), app.clock.today(), audit, command)
            for row in rows:
                event: Any = parse(row.payload, app.event_types[row.name])
                with logs.work(event_id=row.event, event_name=row.name, subscriber=row.subscriber, audit=audit):
                    app.plugins.call_plugin(row.subscriber, hook_of(row.name), context=context, event=event)
            write_entry(context, len(rows), 0, request_digest(command, [row.payload for row in rows]), None)
            write_events(context)
            connection.execute(
                _DONE,
                {
                    "events": [row.event for row in rows],
                    "attempts": [row.attempts for row in rows],
                    "subscriber": first.subscriber,
                },
            )
        logs.tell("delivery", event_name=first.name, subscriber=first.subscriber, audit=audit, deliveries=len(rows))
    except Exception as error:
        if not rows:
            raise
        if len(rows) == 1:
            _failed(app, rows[0], error)
        return len(rows), True
    return len(rows), False


def _together(connection: sa.Connection, due: Sequence[Any]) -> list[Any]:
    """Those of the first one's event and subscriber, without keys of which another process is at an older one."""
    first = due[0] if due else None
    rows = [row for row in due if (row.name, row.subscriber) == (first.name, first.subscriber)] if first else []
    if not rows:
        return []
    oldest = connection.execute(_OLDEST, {"subscriber": rows[0].subscriber, "keys": sorted({r.key for r in rows})})
    taken = {row.event for row in rows}
    held = {row.key for row in oldest if row.event not in taken}
    return [row for row in rows if row.key not in held]


def _failed(app: Application, row: Any, error: Exception) -> None:
    attempts = row.attempts + 1
    parked = attempts >= ATTEMPTS
    told = "; parked" if parked else ""
    _log.warning("delivery of event %s to %s failed: %s%s", row.event, row.subscriber, error, told)
    with app.database.command(system_caller()) as (connection, _):
        connection.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.event == row.event,
                deliveries.c.subscriber == row.subscriber,
                deliveries.c.state == "pending",
                deliveries.c.attempts == row.attempts,  # unless another process has attempted it in between
            )
            .values(
                state="parked" if parked else "pending",
                attempts=attempts,
                error=redact(str(error)).replace("\x00", "")[:ERROR_MAX],
                next_at=app.clock.now() + FIRST_PAUSE * 2 ** (attempts - 1),
            )
        )
