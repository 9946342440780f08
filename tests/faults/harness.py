"""A deployment with processes that a test starts, kills and stops; a client that speaks to them; waiting in bounds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from attrs import field, frozen

from imis_core.clock import SetClock
from imis_core.commands import run_command
from imis_core.database.engine import driver_url
from imis_core.opening import open_application
from imis_core.security.login import caller_named

PATIENCE_SECONDS = 120.0  # on a machine that has a lot else to do
PASSWORD = "correct horse battery"
ROOT = Path(__file__).parent.parent.parent
DAY = date(2021, 6, 30)  # on which the world is made


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until the condition holds; what it answered."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


class Process:
    """One process of ours with everything that it prints in a file; it and its children die with the test."""

    def __init__(self, arguments: list[str], folder: Path, log: Path, faults: Mapping[str, Any], **more: Any) -> None:
        self.log = log
        environment = {**os.environ, "IMIS_FAULTS": json.dumps(faults), "PYTHONPATH": str(ROOT)}
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.launch", "-C", str(folder), *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment,
                start_new_session=True, **more,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._popen.pid

    def said(self, words: str) -> bool:
        assert self._popen.poll() is None, f"ended with {self._popen.returncode}: {self.log.read_text()}"
        return words in self.log.read_text()

    def kill(self) -> None:
        """As `kill -9` of it and of the processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(PATIENCE_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; its exit code."""
        return self._popen.wait(seconds)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@frozen
class Deployment:
    """A deployment's folder, its database's address with all rights, and the processes that a test has started."""

    folder: Path
    admin_url: str
    scratch: Path
    processes: list[Process] = field(factory=list)
    plugins: Mapping[str, str] = field(factory=dict)  # name to module, beside the installed ones

    @contextmanager
    def application(self, today: date = DAY) -> Iterator[Any]:
        """The application in this process, with short ways to act as the administrator."""
        extra = {name: import_module(module) for name, module in self.plugins.items()}
        with open_application(self.folder, clock=SetClock(today), extra=extra) as app:
            yield Hands(app)

    def start(self, *arguments: str, set_: Mapping[str, Any] | None = None, **faults: Any) -> Process:
        """`imis ARGUMENTS` on this deployment as a process of its own, with the faults that `launch` knows."""
        faults = {"set": dict(set_ or {}), "plugins": dict(self.plugins), **faults}
        log = self.scratch / f"{len(self.processes)}-{arguments[0]}.log"
        process = Process(list(arguments), self.folder, log, faults)
        self.processes.append(process)
        return process

    def worker(self, set_: Mapping[str, Any] | None = None, **faults: Any) -> Process:
        """A worker that is at work."""
        process = self.start("worker", set_={**QUICK, **(set_ or {})}, **faults)
        until(lambda: process.said("working"), "the worker")
        return process

    def web(self, set_: Mapping[str, Any] | None = None, *, port: int | None = None) -> tuple[Process, str]:
        """A web process that answers, without a worker inside; it and its address."""
        port = port or free_port()
        process = self.start("serve", "--no-worker", "--port", str(port), set_=set_)
        until(lambda: process.said("serving http"), "the web process")
        return process, f"http://127.0.0.1:{port}"

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """Rows of a SELECT, past all rights."""
        engine = sa.create_engine(driver_url(self.admin_url), poolclass=sa.NullPool)
        with engine.connect() as connection:
            return list(connection.execute(sa.text(sql), parameters).mappings())

    def execute(self, *statements: str) -> None:
        """Statements as the superuser, each on its own."""
        engine = sa.create_engine(driver_url(self.admin_url), poolclass=sa.NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def slow(self, table: str, seconds: float) -> None:
        """Let each statement that inserts into a table take so long, in the middle of its transaction."""
        self.execute(
            "CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(TG_ARGV[0]::float); RETURN NULL; END $$",
            f"CREATE TRIGGER slow BEFORE INSERT ON {table} EXECUTE FUNCTION public.slow('{seconds}')",
        )

    def quick(self, table: str) -> None:
        self.execute(f"DROP TRIGGER slow ON {table}")

    def close(self) -> None:
        for process in self.processes:
            process.kill()


# Workers that are missed within seconds.
QUICK = {
    "imis_core.jobs.STALLED_SECONDS": 3.0,
    "imis_core.jobs.HEARTBEAT_SECONDS": 0.5,
    "imis_core.jobs_worker.LOOK_SECONDS": 0.5,
    "imis_core.jobs.PAUSE_BASE": 1,
    "imis_core.jobs_worker.PAUSE_SECONDS": 0.5,
}


class Hands:
    """Short ways to act on an application as one user."""

    def __init__(self, app: Any, user: str = "administrator") -> None:
        self.app = app
        self.caller = caller_named(app, user)

    def do(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        return self.app.run(name, dict(data or {}), self.caller)

    def do_all(self, name: str, items: list[dict[str, Any]]) -> list[Any]:
        return list(run_command(self.app, name, items, self.caller).outcomes)


@contextmanager
def client(url: str, user: str = "administrator") -> Iterator[httpx.Client]:
    """A logged-in client."""
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as opened:
        answer = opened.post("/api/auth/token", json={"name": user, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        opened.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield opened
