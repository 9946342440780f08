"""Progress of long work on standard error: a bar on a terminal, plain lines otherwise. Knows nothing of the work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

LINE_SECONDS: Final = 5.0  # between two plain lines, so that a log stays readable


class Progress(Protocol):
    """Told of the work as it goes on."""

    def advance(self, count: int = 1) -> None:
        """`count` more units are done."""

    def reach(self, done: int, total: int) -> None:
        """`done` units of `total` are done by now."""


class _Lines:
    """Plain lines: now and then how far the work is, and at its end how much was done and how long it took."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = 0
        self._began = self._told = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._tell()

    def reach(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            self._print("")

    def finish(self) -> None:
        self._print(f" in {time.monotonic() - self._began:.1f} s")

    def _print(self, ending: str) -> None:
        of = f" of {self._total:,}" if self._total is not None and self._total != self._done else ""
        print(f"{self._title}: {self._done:,}{of} {self._unit}{ending}", file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: int | None = None, unit: str = "rows") -> Iterator[Progress]:
    """Show work of `total` units (None: not known) while the `with` block runs."""
    if not sys.stderr.isatty():
        lines = _Lines(title, total, unit)
        yield lines
        lines.finish()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    class _Bar:
        def advance(self, count: int = 1) -> None:
            bars.advance(task, count)

        def reach(self, done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total)
        yield _Bar()
