"""Starts `imis` as a process of its own with the clock and the constants that a fault test asks for.

`IMIS_FAULTS` is JSON: `set`, constants by their paths; `clock`, a file that holds by how many hours the clock is off,
read each time somebody asks; `plugins`, names and modules beside the installed ones; `die_at`, the number of the
statement at which the process is killed; `hang`, a function that never returns. All else is the product as it is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any


def _patch(path: str, value: Any) -> None:
    module, _, name = path.rpartition(".")
    found = import_module(module)
    assert hasattr(found, name), path
    setattr(found, name, value)


def _shift(file: Path) -> None:
    from imis_core.clock import SystemClock

    now = SystemClock.now

    def shifted_now(clock: SystemClock) -> datetime:
        return now(clock) + timedelta(hours=float(file.read_text() or 0))

    def shifted_today(clock: SystemClock) -> date:
        return shifted_now(clock).astimezone(clock._zone).date()

    SystemClock.now = shifted_now  # type: ignore[method-assign]
    SystemClock.today = shifted_today  # type: ignore[method-assign]


def _die_at(statement: int) -> None:
    import sqlalchemy as sa

    left = [statement]

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.engine.Engine, "after_cursor_execute", count)


def _install(modules: dict[str, str]) -> None:
    from imis_core import plugins

    installed = plugins._installed
    extra = {name: import_module(module) for name, module in modules.items()}
    plugins._installed = lambda: {**installed(), **extra}


def main() -> int:
    asked = json.loads(os.environ.get("IMIS_FAULTS", "{}"))
    if "clock" in asked:
        _shift(Path(asked["clock"]))
    for path, value in asked.get("set", {}).items():
        _patch(path, value)
    if "hang" in asked:
        _patch(asked["hang"], lambda *_: time.sleep(3600))
    if "die_at" in asked:
        _die_at(asked["die_at"])
    if asked.get("plugins"):
        _install(asked["plugins"])
    from imis_core.cli import main as imis

    return imis(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
