"""Background work: the kernel's port to the queue library, whose tables live in the schema `jobs`.

A job is enqueued in the caller's transaction (it exists exactly if the command commits), is run at least once and must
be idempotent; a run (`ChunkedJob`) is a job that is cut into chunks, each done once. Nothing outside this module and
`jobs_tables` imports the queue library; what a job does when it is taken stands in `jobs_runs`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import procrastinate
import sqlalchemy as sa
from procrastinate import tasks as queue_tasks
from procrastinate.jobs import Job as QueueJob
from procrastinate.manager import JobManager
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from procrastinate.utils import utcnow

from imis_core import logs
from imis_core.context import Context
from imis_core.errors import ImisError, Unavailable
from imis_core.jobs_kinds import Chunk, ChunkedJob, Job, NoInput
from imis_core.jobs_runs import Taken, begin_run, note_error, note_errors, perform_job, tell_failed
from imis_core.jobs_schedules import take_due
from imis_core.parsing import plain

if TYPE_CHECKING:
    from imis_core.application import Application

TASK: Final = "imis.run"
RETRIES: Final = 5
PAUSE_BASE: Final = 3  # seconds before the next try: 3, 9, 27, 81, 243
POLL_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 10.0
STALLED_SECONDS: Final = 60.0  # without a heartbeat, and a worker is taken for dead

# The queue lives by the machine's clock: its pauses are real ones.
_WAITING: Final = sa.text(
    "SELECT EXISTS (SELECT FROM jobs.procrastinate_jobs "
    "WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now()))"
)
# In one statement, so that of several who look after dead workers one takes each job, and none takes a living one's.
_REAP: Final = sa.text(
    """
    UPDATE jobs.procrastinate_jobs j
    SET status = CASE WHEN attempts >= :retries THEN 'failed' ELSE 'todo' END::jobs.procrastinate_job_status,
        attempts = attempts + 1, scheduled_at = NULL, worker_id = NULL
    WHERE status = 'doing' AND NOT EXISTS (
        SELECT FROM jobs.procrastinate_workers w
        WHERE w.id = j.worker_id AND w.last_heartbeat >= now() - make_interval(secs => :stalled))
    RETURNING id, attempts
    """
)
_RELEASE: Final = sa.text(
    "UPDATE jobs.procrastinate_jobs SET status = 'todo', scheduled_at = NULL, worker_id = NULL "
    "WHERE id = ANY(:jobs) AND status = 'doing'"
)


class _Retries(BaseRetryStrategy):
    """Bounded tries with growing pauses. What was refused (and not just away) is parked at once: it would be again."""

    def get_retry_decision(self, *, exception: BaseException, job: QueueJob) -> RetryDecision | None:
        if job.attempts >= RETRIES or (isinstance(exception, ImisError) and not isinstance(exception, Unavailable)):
            return None
        return RetryDecision(retry_at=utcnow() + timedelta(seconds=PAUSE_BASE ** (job.attempts + 1)))


class _Manager(JobManager):
    """Leaves jobs alone that were given back: they may be another worker's by now."""

    def __init__(self, connector: Any, released: set[int]) -> None:
        super().__init__(connector)
        self._released = released

    async def finish_job(self, job: QueueJob, *args: Any, **kwargs: Any) -> None:
        if job.id not in self._released:
            await super().finish_job(job, *args, **kwargs)

    async def retry_job(self, job: QueueJob, *args: Any, **kwargs: Any) -> None:
        if job.id not in self._released:
            await super().retry_job(job, *args, **kwargs)


class Queue:
    """The queue of one application: deferring in a caller's transaction, and running what is due."""

    def __init__(self, app: Application) -> None:
        self._app = app
        url = app.database.url
        conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        role = app.database.roles.app
        options = {"options": f"-c search_path=jobs,pg_catalog -c role={role}"}
        connector = procrastinate.PsycopgConnector(conninfo=conninfo, min_size=1, max_size=3, kwargs=options)
        # Deferring borrows the caller's connection, so this one is never opened.
        self._deferring = JobManager(procrastinate.SyncPsycopgConnector(conninfo=conninfo))
        # Tasks are defined on the asynchronous connector's app: a task of the synchronous one never finds its worker.
        self._queue = procrastinate.App(connector=connector)
        self._running: set[int] = set()
        self._released: set[int] = set()
        self._queue.job_manager = _Manager(connector, self._released)
        self._changing = threading.Lock()

        @self._queue.task(name=TASK, retry=_Retries(), pass_context=True)
        def run(
            context: procrastinate.JobContext, job: str, data: Any = None, run: int | None = None,
            chunk: int | None = None,
        ) -> None:  # fmt: skip
            number = context.job.id
            assert number is not None
            with self._changing:
                self._running.add(number)
                self._released.discard(number)  # taken again, perhaps by this very process
            named = {"job": job, "job_id": number, "attempt": context.job.attempts + 1}
            if run is not None:
                named |= {"run": run, "chunk": chunk}
            try:
                with logs.work(**named), logs.timed("job"):
                    perform_job(app, Taken(number, context.job.attempts, job, data, run, chunk))
            except Exception as error:
                if number not in self._released:
                    note_error(app, number, context.job.attempts + 1, error)
                raise
            finally:
                with self._changing:
                    self._running.discard(number)

    def defer(
        self, context: Context, job: str, data: Any, *, lock: str | None = None, pause: timedelta | None = None
    ) -> int:
        """Enqueue a job, or begin a run, in the caller's transaction; returns its number.

        Jobs with one `lock` run one after another. With `pause` it is due only after that while by the machine's clock.
        """
        kind = self._app.jobs.get(job)
        if kind is None:
            raise AssertionError(f"no plugin registers the job {job!r}")
        content = plain(data)
        deferrer = queue_tasks.configure_task(
            name=TASK,
            job_manager=self._deferring,
            connection=_driver(context),
            lock=lock,
            priority=kind.priority,
            schedule_in=None if pause is None else {"seconds": int(pause.total_seconds())},
            task_kwargs={"job": job, "data": content},
        )
        number = int(deferrer.defer())
        if isinstance(kind, ChunkedJob):
            begin_run(context, number, kind, content)
        return number

    def defer_chunks(self, context: Context, kind: ChunkedJob, run: int, chunks: Sequence[Chunk]) -> list[int]:
        """Enqueue a run's chunks, numbered from 1, in the caller's transaction, in one statement; their numbers."""
        if not chunks:
            return []
        common = queue_tasks.configure_task(name=TASK, job_manager=self._deferring, priority=kind.priority)
        wanted = [
            common.make_new_job(job=kind.name, run=run, chunk=number).evolve(
                lock=None if chunk.lock is None else f"run {run} {chunk.lock}"
            )
            for number, chunk in enumerate(chunks, start=1)
        ]
        queued = self._deferring.batch_defer_jobs(wanted, connection=_driver(context))
        return [cast(int, job.id) for job in queued]

    def enqueue_due(self) -> int:
        """Enqueue the jobs whose scheduled time has come by the clock; safe in many processes at once."""
        app = self._app
        jobs = {name: kind for name, kind in app.jobs.items() if isinstance(kind, Job) and kind.wanted(app)}
        schedules = {name: kind.when for name, kind in jobs.items() if kind.when}
        if not schedules:
            return 0
        with app.database.command(app.system) as (connection, audit):
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "jobs.schedule")
            taken = take_due(connection, schedules, context.now, context.today)
            for name in taken:
                self.defer(context, name, {}, lock=name)
        return len(taken)

    def run_due(self) -> None:
        """Run everything that is waiting, then return: scenarios and demos, where no worker runs beside."""
        with self._app.database.query(self._app.system) as connection:
            waiting = connection.execute(_WAITING).scalar_one()
        if waiting:
            asyncio.run(self.work(wait=False))

    async def work(self, *, wait: bool, concurrency: int = 1) -> None:
        """Run jobs: those that are due, or with `wait` whatever comes until the task is cancelled."""
        async with self._queue.open_async():
            await self._queue.run_worker_async(
                wait=wait, concurrency=concurrency, install_signal_handlers=False, listen_notify=wait,
                fetch_job_polling_interval=POLL_SECONDS if wait else 0.05, update_heartbeat_interval=HEARTBEAT_SECONDS,
                stalled_worker_timeout=STALLED_SECONDS,
            )  # fmt: skip

    def retry_stalled(self) -> int:
        """Take again the jobs of workers that stopped giving signs of life; what killed its worker too often is parked.

        Safe in many processes at once.
        """
        app = self._app
        with app.database.command(app.system) as (connection, _):
            rows = connection.execute(_REAP, {"retries": RETRIES, "stalled": STALLED_SECONDS}).all()
            if rows:
                told = f"the worker gave no sign of life for {STALLED_SECONDS:.0f} s"
                note_errors(connection, app, [(row.id, row.attempts, told) for row in rows])
        if rows:
            tell_failed(app, [row.id for row in rows], told)
        return len(rows)

    def release(self) -> int:
        """Give back the jobs that this process has begun and cannot finish; another worker takes them at once."""
        with self._changing:
            running = sorted(self._running)
            self._released.update(running)
        if running:
            with self._app.database.command(self._app.system) as (connection, _):
                connection.execute(_RELEASE, {"jobs": running})
        return len(running)


def _driver(context: Context) -> Any:
    return context.connection.connection.driver_connection


__all__ = ["RETRIES", "Chunk", "ChunkedJob", "Job", "NoInput", "Queue"]
