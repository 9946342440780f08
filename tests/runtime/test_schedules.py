"""Scheduled jobs: each slot of the application's clock is enqueued once, whatever the clock does in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from imis_core.jobs import Job, NoInput
from imis_core.jobs_schedules import Schedule
from imis_core.recurrence import Recurrence
from imis_core.testing.app import TestApp

START = datetime(2021, 1, 1, 10, 7, tzinfo=UTC)
RUNS: list[str] = []


class MovedClock:
    """A clock at any instant; its business day is that of UTC."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def today(self) -> date:
        return self.at.date()


def counting(name: str) -> Callable[[Any, NoInput], None]:
    return lambda _app, _input: RUNS.append(name)


SCHEDULES = {
    "probe.quarters": Schedule(minutes=15),
    "probe.daily": None,
    "probe.weekly": Schedule(days=Recurrence(every="week", weekday="monday")),
    "probe.monthly": Schedule(days=Recurrence(every="month", day=1)),
}


@pytest.fixture
def site(make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]) -> TestApp:
    RUNS.clear()
    jobs = [
        Job(name, NoInput, counting(name), "Counts", daily=schedule is None, schedule=schedule)
        for name, schedule in SCHEDULES.items()
    ]
    app = make_app(extra={"probe": make_plugin("probe", nouns={"probe": 1001}, jobs=jobs)}, plugins=["probe"])
    app.clock = MovedClock()  # type: ignore[assignment]
    assert came(app) == sorted(SCHEDULES)
    return app


def came(app: TestApp) -> list[str]:
    """What is enqueued now, and runs."""
    RUNS.clear()
    app.queue.enqueue_due()
    app.queue.run_due()
    return sorted(RUNS)


def test_each_job_comes_when_its_period_begins(site: TestApp) -> None:
    """Every quarter of an hour, day, Monday and first of a month: once each, and nothing in between."""
    expected = {
        START + timedelta(minutes=7): [],
        datetime(2021, 1, 1, 10, 15, tzinfo=UTC): ["probe.quarters"],
        datetime(2021, 1, 1, 10, 29, tzinfo=UTC): [],
        datetime(2021, 1, 2, 0, 0, tzinfo=UTC): ["probe.daily", "probe.quarters"],
        datetime(2021, 1, 4, 0, 1, tzinfo=UTC): ["probe.daily", "probe.quarters", "probe.weekly"],
        datetime(2021, 1, 31, 0, 1, tzinfo=UTC): ["probe.daily", "probe.quarters", "probe.weekly"],
        datetime(2021, 2, 1, 0, 1, tzinfo=UTC): sorted(SCHEDULES),
        datetime(2021, 2, 1, 0, 2, tzinfo=UTC): [],
    }
    for at, jobs in expected.items():
        site.clock.at = at  # type: ignore[attr-defined]
        assert came(site) == jobs, at


def test_a_clock_that_jumps_26_hours_neither_loses_nor_doubles_a_run(site: TestApp) -> None:
    """Ahead: one run for the new day. Back: none. On to the day again: none. The day after: one."""
    for hours, jobs in (
        (26, ["probe.daily", "probe.quarters"]),
        (0, []),  # back by 26
        (26, []),
        (26.25, ["probe.quarters"]),
        (38, ["probe.daily", "probe.quarters"]),
        (50, ["probe.quarters"]),
    ):
        site.clock.at = START + timedelta(hours=hours)  # type: ignore[attr-defined]
        assert came(site) == jobs, hours


def test_a_clock_that_was_years_ahead_does_not_stop_the_schedules(site: TestApp) -> None:
    """A slot more than 48 hours ahead of the clock was taken by a wrong clock: the schedule starts again."""
    site.clock.at = START + timedelta(days=3650)  # type: ignore[attr-defined]
    assert came(site) == sorted(SCHEDULES)
    site.clock.at = START + timedelta(minutes=30)  # type: ignore[attr-defined]
    assert came(site) == sorted(SCHEDULES)
    assert came(site) == []
    site.clock.at = START + timedelta(days=1)  # type: ignore[attr-defined]
    assert came(site) == ["probe.daily", "probe.quarters"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "either minutes or days"),
        ({"minutes": 7}, "do not divide a day"),
        ({"minutes": 0}, "do not divide a day"),
        ({"minutes": 15, "days": Recurrence(every="day")}, "either minutes or days"),
        ({"days": Recurrence(every="week", day=3)}, "day: a day belongs to months"),
    ],
)
def test_a_schedule_that_is_none_is_told_at_once(fields: dict[str, Any], told: str) -> None:
    """Whoever writes a job learns it when the module is imported."""
    with pytest.raises(ValueError, match=told):
        Schedule(**fields)
