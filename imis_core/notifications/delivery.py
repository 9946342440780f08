"""Delivery of queued messages by a job: chunks through notifiers, each outcome kept, failures tried again and bounded.

A message is tried five times with growing pauses and then `failed`, which is listed with its reason and may be retried
by hand. If a worker dies between sending and committing, its chunk is sent again with the same ids.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.audit import request_digest, write_entry
from imis_core.context import Context
from imis_core.jobs_kinds import Job
from imis_core.notifications.notifiers import Notifier, Outcome, Outgoing
from imis_core.notifications.outbox import DELIVER, STATES
from imis_core.redaction import redact

if TYPE_CHECKING:
    from imis_core.application import Application

ATTEMPTS: Final = 5
FIRST_PAUSE: Final = timedelta(seconds=10)  # times three with each attempt: given up after about seven minutes
CHUNK: Final = 500
REASON_MAX: Final = 500  # characters of a reason that are kept
_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Deliver:
    """`attempts`: only messages that were tried so often; absent: whatever is queued, however it came to lie there."""

    attempts: int | None = None


_QUEUED: Final = sa.text(
    """
    SELECT n.id, n.subject, n.text, n.about_noun, n.about, t.attempts, p.number AS person,
           coalesce(n."to", u.name, p.attributes->>'telephone', p.attributes->>'phone', p.number) AS "to",
           p.attributes->>'email' AS email
    FROM core.notification_current t
    JOIN core.notifications n ON n.id = t.notification
    LEFT JOIN core.persons p ON p.id = n.person
    LEFT JOIN core.users u ON u.id = n."user"
    WHERE t.state = 'queued' AND n.id > :after AND (CAST(:attempts AS integer) IS NULL OR t.attempts = :attempts)
    ORDER BY n.id LIMIT :chunk FOR UPDATE OF t SKIP LOCKED
    """
)
_KEEP: Final = sa.text(
    """
    WITH done AS (
        UPDATE core.notification_current t SET state = n.state, attempts = t.attempts + 1, reason = n.reason,
               version = t.version + CASE WHEN n.state = 'queued' THEN 0 ELSE 1 END
        FROM unnest(CAST(:numbers AS bigint[]), CAST(:states AS text[]), CAST(:reasons AS text[]),
                    CAST(:notifiers AS text[])) AS n(notification, state, reason, notifier)
        WHERE t.notification = n.notification RETURNING t.notification, t.version, n.state, n.reason, n.notifier)
    INSERT INTO core.notification_states (notification, version, state, reason, notifier, audit)
    SELECT notification, version, state, reason, notifier, :audit FROM done WHERE state <> 'queued'
    """
)


def deliver(app: Application, asked: Deliver) -> None:
    """Send what is queued, in chunks of one transaction each."""
    after: int | None = 0
    while after is not None:
        after = _deliver_chunk(app, asked.attempts, after)


def _deliver_chunk(app: Application, attempts: int | None, after: int) -> int | None:
    """Send the messages behind a number; the last of them, or None if there was none."""
    with app.database.command(app.system) as (connection, audit):
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, DELIVER)
        rows = context.execute(_QUEUED, {"attempts": attempts, "after": after, "chunk": CHUNK}).all()
        if not rows:
            return None
        messages = _outgoing(context, rows)
        chosen = [_notifier(app, message) for message in messages]
        outcomes: list[Any] = [None] * len(rows)
        for notifier in dict.fromkeys(chosen):
            positions = [i for i, one in enumerate(chosen) if one is notifier]
            sent = _send(app, notifier, [messages[i] for i in positions])
            for position, outcome in zip(positions, sent, strict=True):
                outcomes[position] = outcome
        states = [_state(row.attempts + 1, outcome) for row, outcome in zip(rows, outcomes, strict=True)]
        context.execute(
            _KEEP,
            {
                "numbers": [row.id for row in rows],
                "states": states,
                "reasons": [_reason(outcome) for outcome in outcomes],
                "notifiers": [notifier.name for notifier in chosen],
                "audit": audit,
            },
        )
        digest = request_digest(DELIVER, [[row.id, state] for row, state in zip(rows, states, strict=True)])
        write_entry(context, len(rows), 0, digest, None)
        waiting = {row.attempts + 1 for row, state in zip(rows, states, strict=True) if state == "queued"}
        for tried in sorted(waiting):
            pause = FIRST_PAUSE * 3 ** (tried - 1)
            app.queue.defer(context, DELIVER, Deliver(attempts=tried), lock=DELIVER, pause=pause)
        return int(rows[-1].id)


def _outgoing(context: Context, rows: Sequence[Any]) -> list[Outgoing]:
    ids = context.ids.encode_all("notifications", [row.id for row in rows])
    return [
        Outgoing(
            identity, row.to, row.person, row.subject, row.text,
            None if row.about is None else context.ids.encode(row.about_noun, row.about), row.email,
        )
        for identity, row in zip(ids, rows, strict=True)
    ]  # fmt: skip


def _notifier(app: Application, message: Outgoing) -> Notifier:
    return next(notifier for notifier in app.notifiers.values() if notifier.ready(app) and notifier.takes(message))


def _send(app: Application, notifier: Notifier, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
    """The notifier's outcomes. One that raises has failed with all of them; it stops neither the job nor the others."""
    try:
        outcomes = tuple(notifier.send(app, messages))
        if len(outcomes) != len(messages):
            raise AssertionError(f"{len(outcomes)} outcomes for {len(messages)} messages")
    except Exception as error:
        _log.warning("the notifier %s failed with %d messages: %s", notifier.name, len(messages), error)
        return [Outcome(False, redact(f"{type(error).__name__}: {error}"))] * len(messages)
    return outcomes


def _state(attempts: int, outcome: Outcome) -> str:
    wanted = "sent" if outcome.delivered else "failed"
    assert STATES.allows("queued", wanted)
    return "queued" if wanted == "failed" and not outcome.final and attempts < ATTEMPTS else wanted


def _reason(outcome: Outcome) -> str | None:
    if outcome.delivered:
        return None
    return (outcome.reason or "the notifier gave no reason").replace("\x00", "")[:REASON_MAX]


# Daily too: what a queue lost (a restore of the database without its jobs) is not forgotten.
JOBS: Final = (Job(DELIVER, Deliver, deliver, "Deliver queued messages through the notifiers", daily=True),)
