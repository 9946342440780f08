"""What failures of the database become: a stable code; connections that died unused are not used."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from attrs import frozen
from psycopg import errors as pg

from imis_core.database import engine
from imis_core.database.faults import fault_of
from imis_core.jobs import Chunk, ChunkedJob
from imis_core.jobs_worker import Worker
from imis_core.plugins import HookFailed
from imis_core.testing.app import TestApp


def wrapped(error: Exception, *, gone: bool = False) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("SELECT", None, error, connection_invalidated=gone)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (wrapped(pg.DiskFull("no space left")), "database.disk_full"),
        (wrapped(pg.DeadlockDetected("deadlock")), "database.busy"),
        (wrapped(pg.SerializationFailure("lost")), "database.busy"),
        (wrapped(pg.TooManyConnections("too many")), "database.busy"),
        (wrapped(pg.LockNotAvailable("lock")), "database.busy"),
        (sa.exc.TimeoutError("the pool is empty"), "database.busy"),
        (wrapped(pg.QueryCanceled("statement timeout")), "database.timeout"),
        (wrapped(pg.IdleInTransactionSessionTimeout("idle")), "database.timeout"),
        (wrapped(pg.ReadOnlySqlTransaction("a replica")), "database.read_only"),
        (wrapped(pg.AdminShutdown("stopped")), "database.unreachable"),
        (wrapped(pg.CannotConnectNow("starting up")), "database.unreachable"),
        (wrapped(psycopg.OperationalError("server closed the connection"), gone=True), "database.unreachable"),
        (pg.DiskFull("from the driver itself"), "database.disk_full"),
    ],
)
def test_a_failure_of_the_database_has_its_code(error: Exception, code: str) -> None:
    """By PostgreSQL's own code, never by its words."""
    found = fault_of(error)
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize(
    "error",
    [
        sa.exc.IntegrityError("INSERT", None, pg.UniqueViolation("twice")),
        sa.exc.ProgrammingError("SELEC", None, pg.SyntaxError("SELEC")),
        sa.exc.DataError("SELECT", None, pg.NumericValueOutOfRange("too large")),
        ValueError("nothing of the database"),
    ],
)
def test_a_defect_is_no_fault(error: Exception) -> None:
    """A statement that is wrong would be wrong again; nobody is told to send it later."""
    assert fault_of(error) is None


def test_connections_that_died_unused_are_not_used(app: TestApp) -> None:
    """All sessions are ended while nobody uses them: the next query does not notice."""
    app.rows("SELECT 1")
    admin = app.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
        )
    assert app.rows("SELECT 1 AS one")[0]["one"] == 1
    app.do("locations.add", {"code": "X", "name": "X", "level": "region"})


def test_a_statement_is_broken_off_after_its_time(app: TestApp) -> None:
    """The bounds of a request hold for each of its statements; work without bounds has none."""
    with engine.bounded(statement_seconds=1, lock_seconds=1, request_seconds=60):
        with pytest.raises(sa.exc.OperationalError) as caught:
            app.rows("SELECT pg_sleep(30)")
        assert getattr(fault_of(caught.value), "code", None) == "database.timeout"
    app.rows("SELECT pg_sleep(1.1)")


def test_a_dead_server_of_ones_own_is_started_again(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no connection is to be had, `revive` is asked once in a while, and then it is tried again."""
    monkeypatch.setattr(engine, "REVIVE_SECONDS", 3600.0)
    asked: list[int] = []
    nowhere = app.database.url.set(port=1).render_as_string(hide_password=False)
    database = engine.Database(nowhere, revive=lambda: asked.append(1))
    for _ in range(2):
        with pytest.raises(sa.exc.OperationalError):
            database.engine.connect()
    assert asked == [1]
    database.dispose()


@frozen(kw_only=True)
class Nothing:
    pass


def cut(_context: Any, _input: Nothing) -> Sequence[Chunk]:
    return [Chunk(1, None)]


def hang(context: Any, _input: Nothing, _data: Any) -> dict[str, int]:
    BEGUN.set()
    context.execute(sa.text("SELECT pg_sleep(:seconds)"), {"seconds": SECONDS[0]})
    return {"done": 1}


SECONDS = [600.0]
BEGUN = threading.Event()


def test_a_worker_gives_back_what_does_not_end(
    make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]
) -> None:
    """Told to stop, it breaks the statement off: nothing is written, no error noted; another worker may begin."""
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
    SECONDS[0] = 600.0
    BEGUN.clear()
    plugin = make_plugin("probe", nouns={"probe": 1001}, jobs=(ChunkedJob("probe.hang", Nothing, cut, hang, "Hangs"),))
    app = make_app(extra={"probe": plugin}, plugins=["probe"])
    with app.database.command(app.system) as (connection, audit):
        from imis_core.context import Context

        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "probe")
        job = context.ids.encode("jobs", context.defer("probe.hang", Nothing()))
    worker = Worker(app)
    worker.start()
    assert BEGUN.wait(30)
    assert worker.stop(drain_seconds=1.0)
    shown = app.do("jobs.show", {"job": job})
    assert (shown["status"], shown["chunks_done"], shown["errors"]) == ("doing", 0, [])
    SECONDS[0] = 0.0
    app.queue.run_due()
    assert app.do("jobs.show", {"job": job})["result"] == {"done": 1}
    assert {row["status"] for row in app.rows("SELECT status FROM jobs.procrastinate_jobs")} == {"succeeded"}


def test_garbage_of_a_plugin_is_told_with_its_name(make_app: Callable[..., TestApp], make_plugin: Any) -> None:
    """An answer that is none, or holds what it may not, names the plugin and the hook."""
    from imis_core import hookspecs

    for answer, told in ((7, "not iterable"), (["garbage"], "answered with 'garbage', which is no Select")):
        plugin = make_plugin("probe", hooks={"imis_payroll_lines_sql": _answering(answer)})
        app = make_app(extra={"probe": plugin}, plugins=["probe"])
        run: Any = None
        with pytest.raises(HookFailed, match=f"plugin 'probe' failed in imis_payroll_lines_sql: TypeError: .*{told}"):
            app.plugins.call_for("probe", sa.Select, hookspecs.imis_payroll_lines_sql, run)


def _answering(answer: Any) -> Callable[[Any], Any]:
    def imis_payroll_lines_sql(run: Any) -> Any:
        return answer

    return imis_payroll_lines_sql
