"""Clocks that jump: a worker's schedules neither lose nor double a run."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.harness import Deployment, until

JOB = "core.forget"
LOOKS_SECONDS = 3.0  # several looks at the schedules, each 0.5 s


def test_a_workers_clock_jumps_26_hours(deployment: Deployment, tmp_path: Path) -> None:
    """Ahead, back, ahead again, and on: one run for each new day that the clock reaches."""
    clock = tmp_path / "hours"
    clock.write_text("0")
    deployment.worker(clock=str(clock))

    def runs() -> int:
        return int(
            deployment.rows(
                "SELECT count(*) AS n FROM jobs.procrastinate_jobs WHERE args->>'job' = :job AND status = 'succeeded'",
                job=JOB,
            )[0]["n"]
        )

    until(lambda: runs() == 1, "today's run")
    for hours, expected in ((26, 2), (0, 2), (26, 2), (52, 3), (26, 3)):
        clock.write_text(str(hours))
        until(lambda at_least=expected: runs() >= at_least, f"the run of hour {hours}")  # type: ignore[misc]
        time.sleep(LOOKS_SECONDS)
        assert runs() == expected, hours
