"""Background work: enqueued with the transaction, retried, scheduled by the application's clock, drained at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import date
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError
from imis_core.jobs import RETRIES, Job, NoInput, Queue
from imis_core.jobs_worker import Worker
from imis_core.testing.app import TestApp


@frozen(kw_only=True)
class Ask:
    name: str
    day: date | None = None


RUNS: list[str] = []
FAILING: set[str] = set()
HELD = threading.Event()


def work(app: Any, asked: Ask) -> None:
    RUNS.append(asked.name)
    if asked.name in FAILING:
        raise RuntimeError("the work is too hard")
    if asked.name == "slow":
        HELD.set()
        time.sleep(0.7)
        RUNS.append("slow is done")


def daily(app: Any, _: NoInput) -> None:
    RUNS.append("daily")


@command("probe.ask", input=Ask, result=Ask)
def ask(context: Context, items: tuple[Ask, ...]) -> list[Ask]:
    """Enqueue a job for each item."""
    for item in items:
        context.defer("probe.work", item)
    if any(item.name == "raise" for item in items):
        raise RuntimeError("after the job")
    return list(items)


@pytest.fixture
def site(make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]) -> TestApp:
    RUNS.clear()
    FAILING.clear()
    HELD.clear()
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    jobs = (Job("probe.work", Ask, work, "Work"), Job("probe.daily", NoInput, daily, "Each day", daily=True))
    plugin = make_plugin("probe", nouns={"probe": 1001}, commands=(ask,), jobs=jobs)
    return make_app(extra={"probe": plugin}, plugins=["probe"])


def listed(app: TestApp, **filters: Any) -> list[tuple[str, str]]:
    return [(j["job"], j["status"]) for j in app.do("jobs.list", filters)]


def test_a_job_exists_exactly_if_its_command_commits(site: TestApp) -> None:
    """Rolled back: no job; committed: one, with its input."""
    with pytest.raises(RuntimeError):
        site.do("probe.ask", {"name": "raise"})
    assert listed(site) == []
    site.do("probe.ask", {"name": "a", "day": "2021-01-31"})
    assert listed(site) == [("probe.work", "todo")]
    site.queue.run_due()
    assert listed(site) == [("probe.work", "succeeded")]
    assert RUNS == ["a"]
    site.queue.run_due()
    assert RUNS == ["a"]


def test_an_unknown_job_is_a_defect(site: TestApp) -> None:
    """Only what a plugin registered can be enqueued."""
    with site.database.command(site.system) as (connection, audit):
        context = Context(site, connection, site.system, site.clock.now(), site.clock.today(), audit, "x")
        with pytest.raises(AssertionError, match=r"no plugin registers the job 'probe\.wrk'"):
            context.defer("probe.wrk", {})


def hurry(app: TestApp) -> None:
    """Let the pause before the next attempt be over."""
    with app.database.command(app.system) as (connection, _):
        connection.execute(sa.text("UPDATE jobs.procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'"))


def test_a_failing_job_is_retried_fails_and_can_be_retried_by_hand(site: TestApp) -> None:
    """After its attempts a job stays failed and is shown; `jobs.retry` runs it again."""
    FAILING.add("a")
    site.do("probe.ask", {"name": "a"})
    for _ in range(RETRIES + 1):
        assert listed(site) == [("probe.work", "todo")]
        site.queue.run_due()
        hurry(site)
    assert listed(site, status="failed") == [("probe.work", "failed")]
    assert len(RUNS) == RETRIES + 1
    (job,) = site.do("jobs.list")
    FAILING.clear()
    site.clock.set(date(2031, 1, 1))  # the queue's pauses are real ones, whatever day it is here
    assert site.do("jobs.retry", {"job": job["id"]}) == {"id": job["id"], "status": "todo"}
    site.queue.run_due()
    assert listed(site) == [("probe.work", "succeeded")]


def test_only_a_failed_job_is_retried(site: TestApp) -> None:
    """Others are `jobs.wrong_state`, unknown ones `not_found`."""
    site.do("probe.ask", {"name": "a"})
    (job,) = site.do("jobs.list")
    for name, code in ((job["id"], "jobs.wrong_state"), ("nonsense", "not_found")):
        with pytest.raises(ImisError) as caught:
            site.do("jobs.retry", {"job": name})
        assert caught.value.code == code


def test_a_pause_before_a_retry_is_not_skipped(site: TestApp) -> None:
    """`run_due` runs what is due, not what waits for its next attempt."""
    FAILING.add("a")
    site.do("probe.ask", {"name": "a"})
    site.queue.run_due()
    site.queue.run_due()
    assert RUNS == ["a"]


def test_daily_jobs_run_once_a_day_by_the_clock(site: TestApp) -> None:
    """Two processes that ask at once enqueue a daily job once; the next day it comes again; no day comes twice."""
    queues = [site.queue, Queue(site)]
    counts: list[int] = []
    threads = [threading.Thread(target=lambda q=q: counts.append(q.enqueue_due())) for q in queues]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    daily_jobs = sum(isinstance(job, Job) and job.daily and job.wanted(site) for job in site.jobs.values())
    assert sorted(counts) == [0, daily_jobs]
    site.queue.run_due()
    assert RUNS == ["daily"]
    site.clock.set(date(2021, 1, 2))
    assert queues[1].enqueue_due() == daily_jobs
    site.clock.set(date(2021, 1, 1))
    assert site.queue.enqueue_due() == 0
    site.queue.run_due()
    assert RUNS == ["daily", "daily"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_runs_jobs_and_finishes_what_it_has_begun(site: TestApp) -> None:
    """A worker takes jobs that come while it runs; told to stop it ends the one at hand and takes no other."""
    worker = Worker(site)
    worker.start()
    try:
        site.do("probe.ask", {"name": "quick"})
        wait_for(lambda: "quick" in RUNS)
        wait_for(lambda: "daily" in RUNS)
        site.do("probe.ask", {"name": "slow"})
        assert HELD.wait(10)
        site.do("probe.ask", {"name": "later"})
    finally:
        worker.stop()
    assert not any(t.is_alive() for t in worker._threads)
    assert RUNS[-1] == "slow is done"
    assert ("probe.work", "todo") in listed(site)


def test_keys_are_forgotten_after_thirty_days(site: TestApp) -> None:
    """The answers under idempotency keys are kept for 30 days by the application's clock."""
    from imis_core.commands import run_command

    administrator = site.as_user("administrator")
    run_command(site, "probe.ask", [{"name": "a"}], administrator, key="k")
    for day, kept in ((date(2021, 1, 31), 1), (date(2021, 2, 1), 0)):
        site.clock.set(day)
        site.queue.enqueue_due()
        site.queue.run_due()
        assert len(site.rows("SELECT * FROM core.idempotency")) == kept
