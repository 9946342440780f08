"""What happens when a worker takes a job: a single one is handed over; a run is cut into chunks; a chunk is worked on.

A chunk's work and the mark that it is done commit together, under the lock of the chunk's row: a chunk that is begun
twice (its worker was taken for dead) waits for the first one and then finds it done. Knows no queue library.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa
from attrs import frozen

from imis_core.audit import request_digest, write_entry
from imis_core.context import Context
from imis_core.database.bulk import Columns, insert_rows
from imis_core.database.engine import retried, set_scope
from imis_core.errors import refused
from imis_core.events import write_events
from imis_core.jobs_kinds import CHUNK_MAX, ChunkedJob, Job
from imis_core.jobs_tables import job_chunks, job_errors, job_runs
from imis_core.parsing import parse, plain
from imis_core.redaction import redact
from imis_core.security.caller import SYSTEM
from imis_core.security.login import caller_of

if TYPE_CHECKING:
    from imis_core.application import Application

ERROR_MAX: Final = 2000  # characters of an error that are kept
_log = logging.getLogger(__name__)


@frozen
class Taken:
    """A job as a worker takes it: its number in the queue, the tries before this one, its kind, and which chunk."""

    number: int
    attempts: int
    job: str
    data: Any
    run: int | None
    chunk: int | None


def perform_job(app: Application, taken: Taken) -> None:
    """Do what a job asks for."""
    kind = app.jobs.get(taken.job)
    if kind is None:
        raise refused("jobs.unknown", f"no enabled plugin knows the job {taken.job!r}; enable the one that does")
    if isinstance(kind, Job):
        kind.handler(app, parse(taken.data, kind.input))
    elif taken.chunk is None:
        retried(lambda: _cut(app, kind, taken.number))
    else:
        retried(lambda: _work(app, kind, taken))


def begin_run(context: Context, number: int, kind: ChunkedJob, data: Any) -> None:
    """Keep what is known of a run when it is enqueued, in the caller's transaction."""
    context.execute(
        sa.insert(job_runs).values(
            id=number, job=kind.name, input=data, maker=context.caller.user, business_date=context.today,
            requested_at=context.now,
        )
    )  # fmt: skip


def _cut(app: Application, kind: ChunkedJob, number: int) -> None:
    """Cut a run into chunks and enqueue them, once, in a constant number of statements."""
    with app.database.command(app.system) as (connection, audit):
        run = connection.execute(sa.select(job_runs).where(job_runs.c.id == number).with_for_update()).one()
        if run.item_count is not None:
            return
        context = _as_maker(app, connection, audit, run)
        chunks = kind.cut(context, parse(run.input, kind.input))
        too_large = next((c.items for c in chunks if c.items > CHUNK_MAX), None)
        if too_large is not None:
            raise AssertionError(f"{kind.name} cuts a chunk of {too_large} items; at most {CHUNK_MAX}")
        queued = app.queue.defer_chunks(context, kind, number, chunks)
        columns: Columns = {
            "run": [number] * len(chunks),
            "number": list(range(1, len(chunks) + 1)),
            "queued": queued,
            "item_count": [c.items for c in chunks],
            "data": [msgspec.json.encode(plain(c.data)).decode() for c in chunks],
        }
        insert_rows(connection, job_chunks, columns)
        connection.execute(
            sa.update(job_runs).where(job_runs.c.id == number).values(item_count=sum(c.items for c in chunks))
        )


_TAKE: Final = sa.text(
    """
    SELECT r.id, r.job, r.input, r.maker, r.business_date, c.item_count, c.data, c.done_at
    FROM core.job_chunks c JOIN core.job_runs r ON r.id = c.run
    WHERE c.run = :run AND c.number = :chunk FOR UPDATE OF c
    """
)


def _work(app: Application, kind: ChunkedJob, taken: Taken) -> None:
    """Work on one chunk, unless that is done already."""
    with app.database.command(app.system) as (connection, audit):
        row = connection.execute(_TAKE, {"run": taken.run, "chunk": taken.chunk}).one()
        if row.done_at is not None:
            return
        context = _as_maker(app, connection, audit, row)
        result = plain(kind.work(context, parse(row.input, kind.input), row.data))
        digest = request_digest(kind.name, [row.input, taken.chunk])
        write_entry(context, row.item_count, 0, digest, {**row.input, "chunk": taken.chunk})
        write_events(context)
        set_scope(connection, app.system)
        connection.execute(
            sa.update(job_chunks)
            .where(job_chunks.c.run == taken.run, job_chunks.c.number == taken.chunk)
            .values(done_at=context.now, result=result)
        )


def _as_maker(app: Application, connection: sa.Connection, audit: int, run: Any) -> Context:
    """The rest of the transaction as whoever began the run, on the business date of that day."""
    context = Context(app, connection, app.system, app.clock.now(), run.business_date, audit, run.job)
    if run.maker != SYSTEM:
        maker = caller_of(context, run.maker)
        if maker is None:
            raise refused("jobs.maker_gone", "the user who began this run is disabled; begin it again as another user")
        context.caller = maker
        set_scope(connection, maker)
    return context


def note_error(app: Application, number: int, attempt: int, error: Exception) -> None:
    """Keep why an attempt failed; where even that fails the log has it, and the queue goes on with the error itself."""
    text = f"{type(error).__name__}: {error}".replace("\x00", "")
    try:
        with app.database.command(app.system) as (connection, _):
            note_errors(connection, app, [(number, attempt, text)])
        tell_failed(app, [number], str(error))
    except Exception:
        _log.exception("the error of job %d cannot be kept: %s", number, text)


def tell_failed(app: Application, numbers: Sequence[int], error: str) -> None:
    """Tell the kinds of runs that ask for it why an attempt of theirs failed: of these jobs in the queue."""
    with app.database.command(app.system) as (connection, audit):
        for run in connection.execute(_RUNS_OF, {"numbers": list(numbers)}).all():
            kind = app.jobs.get(run.job)
            if not isinstance(kind, ChunkedJob) or kind.failed is None:
                continue
            context = Context(app, connection, app.system, app.clock.now(), run.business_date, audit, run.job)
            if kind.failed(context, parse(run.input, kind.input), redact(error)[:ERROR_MAX]):
                digest = request_digest(kind.name, [run.input, "failed"])
                write_entry(context, 0, 1, digest, {**run.input, "failed": redact(error)[:ERROR_MAX]})


_RUNS_OF: Final = sa.text(
    """
    SELECT DISTINCT r.id, r.job, r.input, r.business_date FROM core.job_runs r
    LEFT JOIN core.job_chunks c ON c.run = r.id
    WHERE r.id = ANY(CAST(:numbers AS bigint[])) OR c.queued = ANY(CAST(:numbers AS bigint[])) ORDER BY r.id
    """
)


def note_errors(connection: sa.Connection, app: Application, errors: list[tuple[int, int, str]]) -> None:
    """Keep errors of jobs, without secrets: number in the queue, attempt, text."""
    columns: Columns = {
        "job": [e[0] for e in errors],
        "attempt": [e[1] for e in errors],
        "at": [app.clock.now()] * len(errors),
        "error": [redact(e[2])[:ERROR_MAX] for e in errors],
    }
    insert_rows(connection, job_errors, columns)
