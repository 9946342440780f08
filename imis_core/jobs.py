"""Background work: the kernel's port to the queue library, whose tables live in the schema `jobs`.

A job is enqueued in the caller's transaction (it exists exactly if the command commits), is run at least once and must
be idempotent. Schedules follow the application's clock. Nothing outside this module imports the queue library.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import procrastinate
import sqlalchemy as sa
from attrs import frozen
from procrastinate import tasks as queue_tasks
from procrastinate.manager import JobManager

from imis_core import logs
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.parsing import parse, plain
from imis_core.queries import Listing, query

if TYPE_CHECKING:
    from imis_core.application import Application

TASK: Final = "imis.run"
SCHEMA: Final = "jobs"
RETRIES: Final = 5
POLL_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 5.0  # before the work is taken up again after the database went away
STALLED_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


@frozen
class Job:
    """A kind of background work. `handler(app, input)` opens its own transactions; `daily` puts it on the schedule."""

    name: str
    input: type
    handler: Callable[[Application, Any], object]
    summary: str
    daily: bool = False


_DUE: Final = sa.text(
    "INSERT INTO core.schedules (job, enqueued_on) SELECT name, :today FROM unnest(CAST(:names AS text[])) name "
    "ON CONFLICT (job) DO UPDATE SET enqueued_on = excluded.enqueued_on "
    "WHERE core.schedules.enqueued_on < excluded.enqueued_on RETURNING job"
)
# The queue lives by the machine's clock: its pauses are real ones.
_WAITING: Final = sa.text(
    "SELECT EXISTS (SELECT FROM jobs.procrastinate_jobs "
    "WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now()))"
)


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

        retry = procrastinate.RetryStrategy(max_attempts=RETRIES, exponential_wait=3)

        @self._queue.task(name=TASK, retry=retry, pass_context=True)
        def run(taken: procrastinate.JobContext, job: str, data: Mapping[str, Any]) -> None:
            definition = app.jobs[job]
            with logs.work(job=job, job_id=taken.job.id, attempt=taken.job.attempts + 1), logs.timed("job"):
                definition.handler(app, parse(data, definition.input))

    def defer(
        self, context: Context, job: str, data: Any, *, lock: str | None = None, pause: timedelta | None = None
    ) -> int:
        """Enqueue a job in the caller's transaction; returns its number. Jobs with one `lock` run one after another.

        With `pause` it is due only after that while by the machine's clock.
        """
        if job not in self._app.jobs:
            raise AssertionError(f"no plugin registers the job {job!r}")
        connection = context.connection.connection.driver_connection
        deferrer = queue_tasks.configure_task(
            name=TASK,
            job_manager=self._deferring,
            connection=connection,
            lock=lock,
            schedule_in=None if pause is None else {"seconds": int(pause.total_seconds())},
            task_kwargs={"job": job, "data": plain(data)},
        )
        return int(deferrer.defer())

    def enqueue_due(self) -> int:
        """Enqueue each daily job that has not been enqueued on the clock's day; safe in many processes at once."""
        app, count = self._app, 0
        daily = [job for job in app.jobs.values() if job.daily]
        if not daily:
            return 0
        with app.database.command(app.system) as (connection, audit):
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "jobs.schedule")
            taken = connection.execute(
                _DUE,
                {"names": sorted(j.name for j in daily), "today": context.today},
            ).scalars()
            for name in taken.all():
                self.defer(context, name, {}, lock=name)
                count += 1
        return count

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
                fetch_job_polling_interval=POLL_SECONDS if wait else 0.05,
            )  # fmt: skip

    async def retry_stalled(self) -> int:
        """Take again the jobs of workers that stopped giving signs of life (killed by -9)."""
        count = 0
        for job in await self._queue.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
            await self._queue.job_manager.retry_job(job)
            count += 1
        return count


class Worker:
    """Runs jobs, schedules, event deliveries and sealing until told to stop; finishes what it has begun."""

    def __init__(self, app: Application, *, concurrency: int = 1) -> None:
        self._app = app
        self._queue = app.queue
        self._concurrency = concurrency
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin in threads of this process."""
        self._threads = [
            threading.Thread(target=self._run_jobs, name="imis-jobs", daemon=True),
            threading.Thread(target=self._run_deliveries, name="imis-events", daemon=True),
            threading.Thread(target=self._run_sealing, name="imis-seals", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float = 30.0) -> None:
        """Ask the threads to finish what they do, and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _run_jobs(self) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(self._jobs())
            except Exception:
                # The queue keeps the jobs; only the loop must not die with the database.
                _log.exception("the work on jobs is interrupted; it goes on")
                self._stop.wait(PAUSE_SECONDS)

    async def _jobs(self) -> None:
        work = asyncio.create_task(self._queue.work(wait=True, concurrency=self._concurrency))
        beats = 0
        while not self._stop.is_set() and not work.done():
            await asyncio.sleep(POLL_SECONDS)
            beats += 1
            if beats % 60 == 1:
                try:
                    await asyncio.to_thread(self._queue.enqueue_due)
                    await self._queue.retry_stalled()
                except Exception:
                    _log.warning("schedules cannot be looked after; they are tried again", exc_info=True)
        work.cancel()  # the queue library then finishes the jobs that it has begun
        with suppress(asyncio.CancelledError):
            await work

    def _run_deliveries(self) -> None:
        from imis_core.events import deliver_due

        while not self._stop.is_set():
            try:
                tried = deliver_due(self._app)
            except Exception:
                # The outbox keeps the event; only the loop must not die with the database.
                _log.exception("event delivery is interrupted; it goes on")
                tried = 0
            if not tried:
                self._stop.wait(POLL_SECONDS)

    def _run_sealing(self) -> None:
        from imis_core.audit_seals import PAUSE_SECONDS as SEALING_PAUSE_SECONDS
        from imis_core.audit_seals import seal_due

        while not self._stop.wait(SEALING_PAUSE_SECONDS):
            try:
                seal_due(self._app)
            except Exception:
                # What is not sealed stays to be sealed; only the loop must not die with the database.
                _log.exception("sealing of the audit log is interrupted; it goes on")


@frozen(kw_only=True)
class NoInput:
    pass


@frozen(kw_only=True)
class ListJobs:
    status: str | None = None


@frozen(kw_only=True)
class JobInfo:
    id: str
    job: str
    status: str
    attempts: int


_JOBS: Final = sa.table(
    "procrastinate_jobs", sa.column("id", sa.BigInteger), sa.column("task_name", sa.Text),
    sa.column("args", sa.JSON), sa.column("status", sa.Text), sa.column("attempts", sa.Integer), schema=SCHEMA,
)  # fmt: skip


@query("jobs.list", input=ListJobs, result=JobInfo, listing=True)
def list_jobs(context: Context, asked: ListJobs) -> Listing:
    """Background jobs with their state: todo, doing, succeeded, failed."""
    status = sa.cast(_JOBS.c.status, sa.Text)
    select = sa.select(_JOBS.c.id, _JOBS.c.args, status.label("status"), _JOBS.c.attempts)
    if asked.status is not None:
        select = select.where(status == asked.status)

    def build(rows: Sequence[Any]) -> list[JobInfo]:
        ids = context.ids.encode_all("jobs", [row.id for row in rows])
        return [
            JobInfo(id=identity, job=row.args.get("job", ""), status=row.status, attempts=row.attempts)
            for identity, row in zip(ids, rows, strict=True)
        ]

    return Listing(select, (_JOBS.c.id,), build)


@frozen(kw_only=True)
class RetryJob:
    job: str


@frozen(kw_only=True)
class JobRetried:
    id: str
    status: str


_LOCKED: Final = sa.text(
    "SELECT id, status::text AS status FROM jobs.procrastinate_jobs WHERE id = ANY(:ids) ORDER BY id FOR UPDATE"
)
_RETRY: Final = sa.text(
    "SELECT jobs.procrastinate_retry_job_v2(id, NULL, NULL, NULL, NULL) FROM unnest(CAST(:ids AS bigint[])) AS id"
)


@command("jobs.retry", input=RetryJob, result=JobRetried)
def retry(context: Context, items: tuple[RetryJob, ...]) -> list[JobRetried | Refusal]:
    """Run a failed job again."""
    numbers = [context.ids.decode("jobs", item.job) for item in items]
    found = context.execute(_LOCKED, {"ids": [n for n in numbers if n is not None]})
    states: dict[int | None, str] = {row.id: row.status for row in found}
    outcomes: list[JobRetried | Refusal] = []
    chosen: list[int] = []
    for item, number in zip(items, numbers, strict=True):
        state = states.get(number)
        if number is None or state is None:
            outcomes.append(not_found("job", "job", item.job))
        elif state != "failed":
            outcomes.append(Refusal("jobs.wrong_state", f"the job is {state}; only a failed one is retried"))
        else:
            states[number] = "todo"
            chosen.append(number)
            outcomes.append(JobRetried(id=item.job, status="todo"))
    if chosen:
        context.execute(_RETRY, {"ids": chosen})
    return outcomes


COMMANDS = (retry,)
QUERIES = (list_jobs,)
