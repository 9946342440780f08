"""Retention: each day what is older than `[retention]` says is forgotten, in transactions of a few thousand rows.

Only traces of operation: answers to idempotency keys, logins, look-ups, delivered events, finished jobs, the texts of
messages and of what payment providers told. The audit, the ledger and the scheme's own records are never touched, nor
is what still waits or failed, or could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core import logs
from imis_core.audit_seals import LOGS
from imis_core.jobs_kinds import Job, NoInput

if TYPE_CHECKING:
    from imis_core.application import Application

CHUNK: Final = 5000  # rows of one transaction


@frozen
class _Kind:
    """What is forgotten: its setting (in days) and a statement over `:before` and `:most` that says how many went.

    `log`: the table's name, where it may be a sealed log, which nothing may be taken from.
    """

    name: str
    setting: str
    statement: str
    log: str | None = None


def _deleted(table: str, key: str, old: str) -> str:
    chosen = f"SELECT {key} FROM {table} WHERE {old} LIMIT :most"
    return f"WITH gone AS (DELETE FROM {table} WHERE ({key}) IN ({chosen}) RETURNING 1) SELECT count(*) FROM gone"


_RUN_ENDED: Final = (
    "run IN (SELECT r.id FROM core.job_runs r WHERE r.requested_at < :before AND NOT EXISTS (SELECT "
    "FROM core.job_chunks c WHERE c.run = r.id AND (c.done_at IS NULL OR c.done_at >= :before)))"
)
_RUN_EMPTY: Final = (
    "requested_at < :before AND item_count IS NOT NULL "
    "AND NOT EXISTS (SELECT FROM core.job_chunks c WHERE c.run = core.job_runs.id)"
)
_KINDS: Final = (
    _Kind("idempotency keys", "idempotency_days", _deleted("core.idempotency", "actor, key", "at < :before")),
    _Kind("logins", "token_days", _deleted("core.tokens", "digest", "coalesce(revoked_at, expires_at) < :before")),
    _Kind(
        "failed logins",
        "token_days",
        _deleted("core.login_failures", "subject", "greatest(failed_at, coalesce(locked_until, failed_at)) < :before"),
    ),
    _Kind("look-ups", "lookup_days", "SELECT core.forget_lookups(:before, :most)", log="core.lookups"),
    _Kind("events", "event_days", "SELECT core.forget_events(:before, :most)"),
    _Kind("messages", "notification_days", "SELECT core.forget_notification_texts(:before, :most)"),
    _Kind(
        "messages of payment providers",
        "provider_message_days",
        "SELECT core.forget_provider_messages(:before, :most)",
    ),
    # The queue's own times are the machine's; its `now()` and the application's differ in tests only.
    _Kind(
        "jobs",
        "job_days",
        _deleted(
            "jobs.procrastinate_jobs",
            "id",
            "status IN ('succeeded', 'cancelled', 'aborted') AND NOT EXISTS (SELECT FROM jobs.procrastinate_events e "
            "WHERE e.job_id = jobs.procrastinate_jobs.id AND e.at >= :before) "
            # A run is seen and retried by the job that cut it, whose own work ended long before that of a parked chunk.
            "AND NOT EXISTS (SELECT FROM core.job_chunks c "
            "WHERE c.run = jobs.procrastinate_jobs.id AND c.done_at IS NULL)",
        ),
    ),
    _Kind("errors of jobs", "job_days", _deleted("core.job_errors", "id", "at < :before")),
    _Kind("chunks of runs", "job_days", _deleted("core.job_chunks", "run, number", _RUN_ENDED)),
    _Kind("runs", "job_days", _deleted("core.job_runs", "id", _RUN_EMPTY)),
)


def forget(app: Application, _: NoInput) -> None:
    """Forget what is too old; what a killed run left, the next one takes."""
    now, sealed = app.clock.now(), {log.table.fullname for log in LOGS}
    for kind in _KINDS:
        if kind.log in sealed:
            continue
        before = now - timedelta(days=getattr(app.settings.retention, kind.setting))
        total = 0
        while True:
            with app.database.command(app.system) as (connection, _audit):
                gone = connection.execute(sa.text(kind.statement), {"before": before, "most": CHUNK}).scalar_one()
            total += gone
            if gone < CHUNK:
                break
        if total:
            logs.tell("forgotten", what=kind.name, rows=total, before=before.isoformat())


JOBS: Final[Iterable[Job]] = (
    Job("core.forget", NoInput, forget, "Forget what is older than [retention] says", daily=True),
)
