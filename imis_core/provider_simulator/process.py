"""Starting the simulator as a process of its own, and asking it: for demos and tests."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from attrs import frozen

from imis_core.errors import Refusal, Unavailable

PATIENCE_SECONDS: Final = 60.0
_COMMAND: Final = (sys.executable, "-c", "import sys; from imis_core.cli import main; sys.exit(main())")


@frozen
class Running:
    """A simulator that answers at `url`."""

    url: str
    _process: subprocess.Popen[str]

    def behave(self, **changed: object) -> dict[str, Any]:
        """Change fields of its behaviour (`Behaviour`); all of them as they are now."""
        return self._json(httpx.post(f"{self.url}/behaviour", json=changed, timeout=PATIENCE_SECONDS))

    def books(self) -> dict[str, Any]:
        """The totals of its books."""
        return self._json(httpx.get(f"{self.url}/books", timeout=PATIENCE_SECONDS))

    def statement(self) -> bytes:
        """Every payment of its books, as CSV."""
        answer = httpx.get(f"{self.url}/books/statement", timeout=PATIENCE_SECONDS)
        answer.raise_for_status()
        return answer.content

    def kill(self) -> None:
        """As `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Tell it to stop and wait; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        code = self._process.wait(PATIENCE_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code == 400:  # the behaviour that was asked for cannot be
            raise ValueError(answer.json()["errorDescription"])
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def start(
    folder: Path, *, port: int = 0, watch: Path | None = None, environment: Mapping[str, str] | None = None
) -> Running:
    """Start a simulator with its books in a folder and wait until it answers.

    `environment` is added to this process's own: the secret and the token (`imis provider-simulator --help`). Raises
    `Unavailable` (`simulator.not_started`) if it ends before it is ready.
    """
    more = [] if watch is None else ["--watch", str(watch)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*_COMMAND, "provider-simulator", "--folder", str(folder), "--port", str(port), *more],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: said.put(_first_line(process)), daemon=True).start()
    try:
        line = said.get(timeout=PATIENCE_SECONDS)
        return Running(json.loads(line)["url"], process)
    except (queue.Empty, ValueError):
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        message = f"the provider simulator with its books in {folder} did not start; its error stands above"
        raise Unavailable(Refusal("simulator.not_started", message)) from None


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def simulator(folder: Path, **more: Any) -> Iterator[Running]:
    """A simulator for as long as the block lasts (arguments as of `start`)."""
    running = start(folder, **more)
    try:
        yield running
    finally:
        if running._process.poll() is None:
            running.stop()
