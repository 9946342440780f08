"""A worker: threads that run jobs, look after schedules and dead workers, deliver events and seal the audit log."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from imis_core.jobs import POLL_SECONDS

if TYPE_CHECKING:
    from imis_core.application import Application

DRAIN_SECONDS: Final = 30.0  # what begun jobs get to end after the worker is told to stop
GIVE_UP_SECONDS: Final = 5.0  # what they get to notice that they were broken off
PAUSE_SECONDS: Final = 5.0  # before the work is taken up again after the database went away
LOOK_SECONDS: Final = 30.0  # between looks at schedules and dead workers
_log = logging.getLogger(__name__)


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

    def stop(self, drain_seconds: float = DRAIN_SECONDS) -> bool:
        """Take nothing new, let what is begun end, and break off what does not end in time; whether all has ended.

        A job that is broken off is released: its transaction is rolled back and another worker takes it at once. Code
        that waits for something else than the database cannot be broken off: then False, and the process should end.
        """
        self._stop.set()
        if self._join(drain_seconds):
            return True
        try:
            released = self._queue.release()
            _log.warning("%d jobs did not end in %.0f s; another worker takes them", released, drain_seconds)
        except Exception:
            _log.exception("jobs cannot be given back; they are taken again when this worker is missed")
        self._app.database.interrupt()
        return self._join(GIVE_UP_SECONDS)

    def _join(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

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
        looked = -LOOK_SECONDS
        while not self._stop.is_set() and not work.done():
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                await asyncio.to_thread(self._look_after)
        work.cancel()  # the queue library then finishes the jobs that it has begun
        with suppress(asyncio.CancelledError):
            await work

    def _look_after(self) -> None:
        try:
            self._queue.enqueue_due()
            self._queue.retry_stalled()
        except Exception:
            _log.warning("schedules cannot be looked after; they are tried again", exc_info=True)

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


def leave_at_once() -> None:
    """End the process without waiting for threads that do not end; what they have begun the server rolls back."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)
