"""Starts `imis` as a process of its own with the clock and the constants that a fault test asks for.

`IMIS_FAULTS` is JSON: `{"set": {"imis_core.jobs.STALLED_SECONDS": 2}, "clock": "FILE"}`; FILE holds by how many hours
the clock is off, and is read each time somebody asks what time it is. Everything else is the product as it is.
"""

from __future__ import annotations

import json
import os
import sys
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


def main() -> int:
    asked = json.loads(os.environ.get("IMIS_FAULTS", "{}"))
    if "clock" in asked:
        _shift(Path(asked["clock"]))
    for path, value in asked.get("set", {}).items():
        _patch(path, value)
    from imis_core.cli import main as imis

    return imis(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
