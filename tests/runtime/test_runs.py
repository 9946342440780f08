"""Runs: cut into chunks, each done once, several at a time, with progress, results, errors and a retry by hand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import date
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError, refused
from imis_core.jobs import RETRIES, Chunk, ChunkedJob, Queue
from imis_core.jobs_doors import BegunJob, begin
from imis_core.testing.app import TestApp


@frozen(kw_only=True)
class Ask:
    chunks: int
    items: int = 500


@frozen(kw_only=True)
class Sum:
    items: int
    numbers: int


POISONED: dict[int, Exception] = {}
DONE: list[tuple[int, str, date]] = []
GATE = threading.Semaphore(0)
GATED = threading.Event()


def cut(context: Context, asked: Ask) -> Sequence[Chunk]:
    return [Chunk(asked.items, {"number": n}) for n in range(1, asked.chunks + 1)]


def work(context: Context, asked: Ask, data: Any) -> Sum:
    """Writes a place for each chunk, so that what is done twice or half shows."""
    number = data["number"]
    if GATED.is_set():
        assert GATE.acquire(timeout=20)
    context.execute(
        sa.text("INSERT INTO core.locations (code, name, level) VALUES (:code, :code, 'village')"),
        {"code": f"P{number}"},
    )
    if number in POISONED:
        raise POISONED[number]
    DONE.append((number, context.caller.name, context.today))
    return Sum(items=asked.items, numbers=number)


@command("probe.ask", input=Ask, result=BegunJob)
def ask(context: Context, items: tuple[Ask, ...]) -> list[Any]:
    """Begin a run."""
    return [begin(context, "probe.run", item, "probe.ask_at_once") for item in items]


@command("probe.ask_at_once", input=Ask, result=BegunJob)
def ask_at_once(context: Context, items: tuple[Ask, ...]) -> list[Any]:
    """The same at once."""
    raise NotImplementedError


@pytest.fixture
def maker(make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]) -> Callable[..., TestApp]:
    POISONED.clear()
    DONE.clear()
    GATED.clear()
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    jobs = (ChunkedJob("probe.run", Ask, cut, work, "A run"),)
    plugin = make_plugin("probe", nouns={"probe": 1001}, commands=(ask, ask_at_once), jobs=jobs)
    return lambda settings=None: make_app(extra={"probe": plugin}, plugins=["probe"], settings=settings)


@pytest.fixture
def site(maker: Callable[..., TestApp]) -> TestApp:
    return maker({"roles": {"clerk": {"permissions": ["probe.*", "jobs.*"]}}})


def hurry(app: TestApp) -> None:
    """Let the pauses before the next attempts be over."""
    with app.database.command(app.system) as (connection, _):
        connection.execute(sa.text("UPDATE jobs.procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'"))


def places(app: TestApp) -> list[str]:
    return [row["code"] for row in app.rows("SELECT code FROM core.locations ORDER BY id")]


def test_a_run_shows_how_far_it_has_come_and_what_it_answered(site: TestApp) -> None:
    """Begun, cut, done: items and chunks are counted, whole numbers of the results are added up."""
    job = site.do("probe.ask", {"chunks": 3})["job"]
    shown = site.do("jobs.show", {"job": job})
    assert (shown["status"], shown["items"], shown["chunks"]) == ("todo", None, None)
    site.queue.run_due()
    shown = site.do("jobs.show", {"job": job})
    assert (shown["status"], shown["items"], shown["items_done"]) == ("succeeded", 1500, 1500)
    assert (shown["chunks"], shown["chunks_done"], shown["chunks_failed"]) == (3, 3, 0)
    assert shown["result"] == {"items": 1500, "numbers": 6}
    assert [r["chunk"] for r in shown["results"]] == [1, 2, 3]
    assert shown["errors"] == []
    (listed,) = site.do("jobs.list", {"job": "probe.run"})
    assert (listed["id"], listed["status"], listed["items_done"]) == (job, "succeeded", 1500)


def test_a_run_without_anything_to_do_is_done(site: TestApp) -> None:
    """No chunk: succeeded, with 0 items."""
    job = site.do("probe.ask", {"chunks": 0})["job"]
    site.queue.run_due()
    shown = site.do("jobs.show", {"job": job})
    assert (shown["status"], shown["items"], shown["chunks"]) == ("succeeded", 0, 0)


def test_chunks_work_as_whoever_began_the_run_on_its_business_date(site: TestApp) -> None:
    """The clock may have gone on; the audit names the user for each chunk."""
    anna = site.as_user("anna", "clerk")
    site.do("probe.ask", {"chunks": 2}, as_=anna)
    site.clock.set(date(2021, 1, 3))
    site.queue.run_due()
    assert [(1, "anna", date(2021, 1, 1)), (2, "anna", date(2021, 1, 1))] == DONE
    entries = site.rows("SELECT actor, accepted, input FROM core.audit_entries WHERE command = 'probe.run' ORDER BY id")
    assert [(e["actor"], e["accepted"], e["input"]["chunk"]) for e in entries] == [
        (anna.user, 500, 1),
        (anna.user, 500, 2),
    ]


def test_a_poisoned_chunk_is_parked_with_its_error_and_retried_by_hand(site: TestApp) -> None:
    """The other chunks are done; nothing of the poisoned one stays; mended and retried, the run succeeds."""
    POISONED[2] = RuntimeError("a claim of the devil")
    job = site.do("probe.ask", {"chunks": 3})["job"]
    for _ in range(RETRIES + 1):
        site.queue.run_due()
        hurry(site)
    assert places(site) == ["P1", "P3"]
    shown = site.do("jobs.show", {"job": job})
    assert (shown["status"], shown["chunks_done"], shown["chunks_failed"]) == ("failed", 2, 1)
    assert {(e["chunk"], e["error"]) for e in shown["errors"]} == {(2, "RuntimeError: a claim of the devil")}
    assert [e["attempt"] for e in shown["errors"]] == list(range(RETRIES + 1, 0, -1))
    assert [j["id"] for j in site.do("jobs.list", {"status": "failed"})] == [job]
    POISONED.clear()
    assert site.do("jobs.retry", {"job": job}) == {"id": job, "status": "todo"}
    assert site.do("jobs.show", {"job": job})["status"] == "doing"
    site.queue.run_due()
    assert site.do("jobs.show", {"job": job})["result"] == {"items": 1500, "numbers": 6}
    assert sorted(places(site)) == ["P1", "P2", "P3"]
    with pytest.raises(ImisError) as caught:
        site.do("jobs.retry", {"job": job})
    assert caught.value.code == "jobs.wrong_state"


def test_what_is_refused_is_parked_at_once(site: TestApp) -> None:
    """A refusal would be the same again; it waits for somebody to look, not for its sixth attempt."""
    POISONED[1] = refused("probe.closed", "the shop is closed")
    job = site.do("probe.ask", {"chunks": 1})["job"]
    site.queue.run_due()
    shown = site.do("jobs.show", {"job": job})
    assert (shown["status"], len(shown["errors"])) == ("failed", 1)
    assert "probe.closed: the shop is closed" in shown["errors"][0]["error"]


def test_errors_that_are_kept_hold_no_secret(site: TestApp) -> None:
    """What a library says with its password in it is shown by `jobs.show` without it."""
    POISONED[1] = RuntimeError("no answer from https://sms:very-secret@gateway.example/send")
    job = site.do("probe.ask", {"chunks": 1})["job"]
    site.queue.run_due()
    (error,) = site.do("jobs.show", {"job": job})["errors"]
    assert error["error"] == "RuntimeError: no answer from https://sms:[hidden]@gateway.example/send"


def test_a_chunk_that_is_begun_twice_is_done_once(site: TestApp) -> None:
    """Two workers at once have the same chunk: the second waits for the first and finds it done."""
    job = site.do("probe.ask", {"chunks": 1})["job"]
    GATED.set()
    first = threading.Thread(target=site.queue.run_due)
    first.start()
    number = wait_for_doing(site)
    with site.database.command(site.system) as (connection, _):  # as if its worker had been taken for dead
        connection.execute(
            sa.text("UPDATE jobs.procrastinate_jobs SET status = 'todo', worker_id = NULL WHERE id = :id"),
            {"id": number},
        )
    second = threading.Thread(target=Queue(site).run_due)
    second.start()
    GATE.release(2)
    first.join(20)
    second.join(20)
    assert places(site) == ["P1"]
    assert site.do("jobs.show", {"job": job})["chunks_done"] == 1
    while GATE.acquire(blocking=False):
        pass


def wait_for_doing(app: TestApp) -> int:
    for _ in range(1000):
        rows = app.rows("SELECT id FROM jobs.procrastinate_jobs WHERE status = 'doing' AND args ? 'chunk'")
        if rows:
            return int(rows[0]["id"])
        threading.Event().wait(0.01)
    raise AssertionError("no chunk is begun")


def test_a_user_of_some_places_sees_only_runs_of_his_own(maker: Callable[..., TestApp]) -> None:
    """Results and errors may speak of anybody: who does not see everything sees what he began."""
    site = maker({"roles": {"clerk": {"permissions": ["probe.*", "jobs.*"], "scope": "place"}}})
    anna, ben = site.as_user("anna", "clerk"), site.as_user("ben", "clerk")
    job = site.do("probe.ask", {"chunks": 1}, as_=anna)["job"]
    assert [j["id"] for j in site.do("jobs.list", as_=anna)] == [job]
    assert site.do("jobs.list", as_=ben) == []
    for what in ("jobs.show", "jobs.retry"):
        with pytest.raises(ImisError) as caught:
            site.do(what, {"job": job}, as_=ben)
        assert caught.value.code == "not_found"
    assert site.do("jobs.show", {"job": job})["id"] == job


def test_a_run_of_a_disabled_user_is_parked(site: TestApp) -> None:
    """`jobs.maker_gone`, and nothing is done."""
    site.do("probe.ask", {"chunks": 1}, as_=site.as_user("anna", "clerk"))
    site.do("users.disable", {"user": "anna"})
    site.queue.run_due()
    (job,) = site.do("jobs.list", {"job": "probe.run"})
    assert job["status"] == "failed"
    assert "jobs.maker_gone" in site.do("jobs.show", {"job": job["id"]})["errors"][0]["error"]


def test_what_needs_a_second_person_does_not_run_by_itself(maker: Callable[..., TestApp]) -> None:
    """A run is no way around [approvals] of the command that it stands for."""
    site = maker({"approvals": {"probe.ask_at_once": {"roles": ["administrator"], "approvers": 1}}})
    with pytest.raises(ImisError) as caught:
        site.do("probe.ask", {"chunks": 1})
    assert caught.value.code == "jobs.needs_approval"
    assert site.do("jobs.list") == []


def test_a_chunk_beyond_the_limit_is_a_defect(site: TestApp) -> None:
    """5,000 items at most; the run fails and says so."""
    job = site.do("probe.ask", {"chunks": 1, "items": 5001})["job"]
    site.queue.run_due()
    assert "cuts a chunk of 5001 items" in site.do("jobs.show", {"job": job})["errors"][0]["error"]
    assert places(site) == []


def test_dead_workers_jobs_are_taken_again_and_parked_when_they_kill_too_often(site: TestApp) -> None:
    """What is `doing` with a worker that gives no sign is put back, RETRIES times, then parked with the reason."""
    job = site.do("probe.ask", {"chunks": 1})["job"]
    dead = sa.text(
        "WITH w AS (INSERT INTO jobs.procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour') "
        "RETURNING id) UPDATE jobs.procrastinate_jobs SET status = 'doing', worker_id = (SELECT id FROM w)"
    )
    for attempt in range(RETRIES + 1):
        with site.database.command(site.system) as (connection, _):
            connection.execute(dead)
        assert site.queue.retry_stalled() == 1
        assert site.queue.retry_stalled() == 0
        shown = site.do("jobs.show", {"job": job})
        assert shown["status"] == ("todo" if attempt < RETRIES else "failed")
        assert "no sign of life" in shown["errors"][0]["error"]
    site.do("jobs.retry", {"job": job})
    site.queue.run_due()
    assert site.do("jobs.show", {"job": job})["status"] == "succeeded"


def test_a_living_workers_job_is_left_alone(site: TestApp) -> None:
    """A fresh heartbeat is a sign of life."""
    site.do("probe.ask", {"chunks": 1})
    with site.database.command(site.system) as (connection, _):
        connection.execute(
            sa.text(
                "WITH w AS (INSERT INTO jobs.procrastinate_workers DEFAULT VALUES RETURNING id) "
                "UPDATE jobs.procrastinate_jobs SET status = 'doing', worker_id = (SELECT id FROM w)"
            )
        )
    assert site.queue.retry_stalled() == 0
