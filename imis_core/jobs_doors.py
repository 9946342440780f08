"""Background work as operators and users see it: what waits, runs, failed and why; and trying again by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError, Refusal, not_found
from imis_core.jobs_tables import job_chunks, job_errors, job_runs
from imis_core.queries import Listing, query

SHOWN_MAX: Final = 1000  # chunks and errors of one run that are shown
Status = Literal["todo", "doing", "succeeded", "failed", "cancelled", "aborted"]


@frozen(kw_only=True)
class ListJobs:
    """`status`: only those; `job`: only jobs of that name."""

    status: Status | None = None
    job: str | None = None


@frozen(kw_only=True)
class JobInfo:
    """A job, or a whole run. Of a run: how many items and chunks it has (null until it is cut), and how many are done.

    A run is `failed` when chunks are parked and nothing of it runs any more, `doing` while chunks wait or run.
    """

    id: str
    job: str
    status: str
    attempts: int
    items: int | None = None
    items_done: int | None = None
    chunks: int | None = None
    chunks_done: int | None = None
    chunks_failed: int | None = None


@frozen(kw_only=True)
class JobError:
    """Why an attempt failed; `chunk` is its number in the run."""

    chunk: int | None
    attempt: int
    at: datetime
    error: str


@frozen(kw_only=True)
class ChunkResult:
    chunk: int
    result: object


@frozen(kw_only=True)
class ShownJob(JobInfo):
    """`result`: whole numbers of the chunks' results added up; `results`: those of each chunk that is done, in order.

    `errors`: the latest first, also those of attempts that were followed by a success.
    """

    requested_at: datetime | None = None
    result: Mapping[str, int] = field(factory=dict)
    results: tuple[ChunkResult, ...] = ()
    errors: tuple[JobError, ...] = ()


@frozen(kw_only=True)
class ShowJob:
    job: str


_JOBS: Final = sa.table(
    "procrastinate_jobs", sa.column("id", sa.BigInteger), sa.column("args", sa.dialects.postgresql.JSONB),
    sa.column("status", sa.Text), sa.column("attempts", sa.Integer), schema="jobs",
)  # fmt: skip


def _jobs(context: Context) -> sa.Subquery:
    """Every job and run that the caller may see, with the state of the run's chunks; chunks are no rows of their own.

    Who does not see everything sees the runs that he or she began.
    """
    queued = _JOBS.alias("queued")
    state = sa.cast(queued.c.status, sa.Text)
    done = job_chunks.c.done_at.is_not(None)
    progress = (
        sa.select(
            sa.func.count().label("chunks"),
            sa.func.count().filter(done).label("chunks_done"),
            sa.func.count().filter(state == "failed", sa.not_(done)).label("chunks_failed"),
            sa.func.coalesce(sa.func.sum(job_chunks.c.item_count).filter(done), 0).label("items_done"),
        )
        .select_from(job_chunks.outerjoin(queued, queued.c.id == job_chunks.c.queued))
        .where(job_chunks.c.run == job_runs.c.id)
        .lateral("progress")
    )
    own = sa.cast(_JOBS.c.status, sa.Text)
    is_cut = job_runs.c.item_count.is_not(None)
    status = sa.case(
        (sa.not_(sa.func.coalesce(is_cut, sa.false())), own),
        (progress.c.chunks_done == progress.c.chunks, "succeeded"),
        (progress.c.chunks_done + progress.c.chunks_failed == progress.c.chunks, "failed"),
        else_="doing",
    )
    names = ("chunks", "chunks_done", "chunks_failed", "items_done")
    counts: list[Any] = [sa.case((is_cut, progress.c[name])).label(name) for name in names]
    shown: sa.Select[Any] = (
        sa.select(
            _JOBS.c.id,
            _JOBS.c.args["job"].astext.label("job"),
            status.label("status"),
            _JOBS.c.attempts,
            job_runs.c.item_count.label("items"),
            job_runs.c.requested_at,
            *counts,
        )
        .select_from(_JOBS.outerjoin(job_runs, job_runs.c.id == _JOBS.c.id).outerjoin(progress, sa.true()))
        .where(_JOBS.c.args["chunk"].astext.is_(None))
    )
    if not context.caller.everywhere:
        shown = shown.where(job_runs.c.maker == context.caller.user)
    jobs: sa.Subquery = shown.subquery("shown")
    return jobs


def _info(row: Any) -> dict[str, Any]:
    names = ("status", "attempts", "items", "items_done", "chunks", "chunks_done", "chunks_failed")
    return {"job": row.job or "", **{name: getattr(row, name) for name in names}}


@query("jobs.list", input=ListJobs, result=JobInfo, listing=True)
def list_jobs(context: Context, asked: ListJobs) -> Listing:
    """Background jobs and runs with their state (todo, doing, succeeded, failed) and how far a run has come."""
    shown = _jobs(context)
    select = sa.select(shown)
    if asked.status is not None:
        select = select.where(shown.c.status == asked.status)
    if asked.job is not None:
        select = select.where(shown.c.job == asked.job)

    def build(rows: Sequence[Any]) -> list[JobInfo]:
        ids = context.ids.encode_all("jobs", [row.id for row in rows])
        return [JobInfo(id=identity, **_info(row)) for identity, row in zip(ids, rows, strict=True)]

    return Listing(select, (shown.c.id,), build)


@query("jobs.show", input=ShowJob, result=ShownJob)
def show(context: Context, asked: ShowJob) -> ShownJob:
    """A background job or run: how far it has come, what it answered, and what went wrong."""
    number = context.ids.decode("jobs", asked.job)
    shown = _jobs(context)
    row = None if number is None else context.execute(sa.select(shown).where(shown.c.id == number)).first()
    if row is None:
        raise ImisError(not_found("job", "job", asked.job))
    chunks = context.execute(
        sa.select(job_chunks.c.number, job_chunks.c.result)
        .where(job_chunks.c.run == number, job_chunks.c.done_at.is_not(None))
        .order_by(job_chunks.c.number)
    ).all()
    errors = context.execute(
        sa.select(job_errors, job_chunks.c.number)
        .select_from(job_errors.outerjoin(job_chunks, job_chunks.c.queued == job_errors.c.job))
        .where(sa.or_(job_errors.c.job == number, job_chunks.c.run == number))
        .order_by(job_errors.c.id.desc())
        .limit(SHOWN_MAX)
    )
    return ShownJob(
        id=asked.job,
        requested_at=row.requested_at,
        result=_totals([chunk.result for chunk in chunks]),
        results=tuple(ChunkResult(chunk=c.number, result=c.result) for c in chunks[:SHOWN_MAX]),
        errors=tuple(JobError(chunk=e.number, attempt=e.attempt, at=e.at, error=e.error) for e in errors),
        **_info(row),
    )


def _totals(results: Sequence[Any]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for result in results:
        for name, value in result.items() if isinstance(result, dict) else ():
            if isinstance(value, int) and not isinstance(value, bool):
                totals[name] = totals.get(name, 0) + value
    return totals


@frozen(kw_only=True)
class RetryJob:
    job: str


@frozen(kw_only=True)
class JobRetried:
    id: str
    status: str


_LOCKED: Final = sa.text(
    """
    SELECT j.id, j.status::text AS status, coalesce(c.run, j.id) AS named, r.maker, c.run IS NOT NULL AS chunk
    FROM jobs.procrastinate_jobs j LEFT JOIN core.job_chunks c ON c.queued = j.id
    LEFT JOIN core.job_runs r ON r.id = coalesce(c.run, j.id)
    WHERE j.id = ANY(:ids) OR c.run = ANY(:ids) ORDER BY j.id FOR UPDATE OF j
    """
)
# By hand it gets all its attempts again.
_RETRY: Final = sa.text(
    "UPDATE jobs.procrastinate_jobs SET status = 'todo', attempts = 0, scheduled_at = NULL, worker_id = NULL "
    "WHERE id = ANY(:ids) AND status = 'failed'"
)


@command("jobs.retry", input=RetryJob, result=JobRetried)
def retry(context: Context, items: tuple[RetryJob, ...]) -> list[JobRetried | Refusal]:
    """Run a failed job again, or the parked chunks of a run."""
    numbers = [context.ids.decode("jobs", item.job) for item in items]
    states: dict[int, list[tuple[int, str]]] = {}
    for row in context.execute(_LOCKED, {"ids": [n for n in numbers if n is not None]}):
        if context.caller.everywhere or row.maker == context.caller.user:
            states.setdefault(row.named, []).append((row.id, row.status))
    outcomes: list[JobRetried | Refusal] = []
    chosen: set[int] = set()
    for item, number in zip(items, numbers, strict=True):
        parts = states.get(number, []) if number is not None else []
        failed = [part for part, state in parts if state == "failed" and part not in chosen]
        if not parts:
            outcomes.append(not_found("job", "job", item.job))
        elif not failed:
            state = "todo" if any(part in chosen for part, _ in parts) else parts[0][1]
            outcomes.append(Refusal("jobs.wrong_state", f"the job is {state}; only a failed one is retried"))
        else:
            chosen.update(failed)
            outcomes.append(JobRetried(id=item.job, status="todo"))
    if chosen:
        context.execute(_RETRY, {"ids": sorted(chosen)})
    return outcomes


@frozen(kw_only=True)
class BegunJob:
    """`job`: to be asked for with `jobs.show`."""

    job: str


def begin(context: Context, job: str, data: Any, command: str) -> BegunJob | Refusal:
    """Begin a run that does what `command` does at once; refused where that command waits for a second person."""
    if command in context.settings.approvals:
        message = (
            f"{command} waits for a second person in this deployment, so nothing of it runs by itself; send {command}"
        )
        return Refusal("jobs.needs_approval", message)
    return BegunJob(job=context.ids.encode("jobs", context.defer(job, data)))


COMMANDS = (retry,)
QUERIES = (list_jobs, show)
