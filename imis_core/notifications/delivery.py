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
from imis_core.notifications.outbox import DELIVER, HOLE, STATES
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
           s.notification IS NOT NULL AS secret, s.content,
           coalesce(n."to", u.name, p.attributes->>'telephone', p.attributes->>'phone', p.number) AS "to",
           p.attributes->>'email' AS email
    FROM core.notification_current t
    JOIN core.notifications n ON n.id = t.notification
    LEFT JOIN core.persons p ON p.id = n.person
    LEFT JOIN core.users u ON u.id = n."user"
    LEFT JOIN core.notification_secrets s ON s.notification = n.id
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


_TOLD: Final = sa.text(
    "UPDATE core.notification_secrets SET content = NULL WHERE notification = ANY(CAST(:numbers AS bigint[]))"
)
GONE: Final = Outcome(False, "what it was to tell is over, or not to be told any more", final=True)
NO_WAY_OUT: Final = Outcome(
    False, "it tells a secret: that goes by SMS or e-mail alone, and nothing that is set up takes it", final=True
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
        chosen = [None if message is None else _notifier(app, message) for message in messages]
        outcomes: list[Any] = [GONE if message is None else NO_WAY_OUT for message in messages]
        for notifier in dict.fromkeys(one for one in chosen if one is not None):
            positions = [i for i, one in enumerate(chosen) if one is notifier]
            sent = _send(app, notifier, [message for i in positions if (message := messages[i]) is not None])
            for position, outcome in zip(positions, sent, strict=True):
                outcomes[position] = outcome
        states = [_state(row.attempts + 1, outcome) for row, outcome in zip(rows, outcomes, strict=True)]
        context.execute(
            _KEEP,
            {
                "numbers": [row.id for row in rows],
                "states": states,
                "reasons": [_reason(outcome) for outcome in outcomes],
                "notifiers": [None if notifier is None else notifier.name for notifier in chosen],
                "audit": audit,
            },
        )
        told = [row.id for row, state in zip(rows, states, strict=True) if row.secret and state == "sent"]
        if told:
            context.execute(_TOLD, {"numbers": told})
        digest = request_digest(DELIVER, [[row.id, state] for row, state in zip(rows, states, strict=True)])
        write_entry(context, len(rows), 0, digest, None)
        waiting = {row.attempts + 1 for row, state in zip(rows, states, strict=True) if state == "queued"}
        for tried in sorted(waiting):
            pause = FIRST_PAUSE * 3 ** (tried - 1)
            app.queue.defer(context, DELIVER, Deliver(attempts=tried), lock=DELIVER, pause=pause)
        return int(rows[-1].id)


def _outgoing(context: Context, rows: Sequence[Any]) -> list[Outgoing | None]:
    """The messages as they go out; None for one whose secret is gone."""
    ids = context.ids.encode_all("notifications", [row.id for row in rows])
    return [
        None
        if (text := _text(context, row)) is None
        else Outgoing(
            identity, row.to, row.person, row.subject, text,
            None if row.about is None else context.ids.encode(row.about_noun, row.about), row.email, row.secret,
        )
        for identity, row in zip(ids, rows, strict=True)
    ]  # fmt: skip


def _text(context: Context, row: Any) -> str | None:
    """The text of a message with its secret; None if that is gone, or not its own."""
    if not row.secret:
        return str(row.text)
    content = None if row.content is None else context.ids.unwrap(bytes(row.content))
    number, _, secret = (content or b"").decode().partition(" ")
    return str(row.text).replace(HOLE, secret) if number == str(row.id) else None


def _notifier(app: Application, message: Outgoing) -> Notifier | None:
    """The first that takes it; None: it is secret, and would not leave."""
    ready = (n for n in app.notifiers.values() if n.ready(app) and n.takes(message))
    return next((notifier for notifier in ready if notifier.leaves or not message.secret), None)


def _send(app: Application, notifier: Notifier, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
    """The notifier's outcomes. One that raises has failed with all of them; it stops neither the job nor the others."""
    try:
        outcomes = tuple(notifier.send(app, messages))
        if len(outcomes) != len(messages):
            raise AssertionError(f"{len(outcomes)} outcomes for {len(messages)} messages")
    except Exception as error:
        # What it raises may repeat a message.
        said = "" if any(message.secret for message in messages) else f": {error}"
        _log.warning("the notifier %s failed with %d messages%s", notifier.name, len(messages), said)
        return [Outcome(False, redact(f"{type(error).__name__}{said}"))] * len(messages)
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
