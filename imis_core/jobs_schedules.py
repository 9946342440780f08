"""When jobs come by themselves: slots of time by the application's clock, each enqueued once. Runs nothing.

A slot is the begin of the period that the clock stands in: the day, the month, the quarter of an hour. A job is
enqueued when the clock has reached a slot later than the last one that was. So a clock that jumps ahead, or a system
that was down, gives one run for the slot that is due now, not one for each that passed; a clock that goes back gives
none until it is past the last slot again. Scheduled work looks for everything that is due, so nothing is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine import Connection

from imis_core.recurrence import Recurrence

ANCHOR: Final = date(2000, 1, 1)  # from where periods of several weeks, months or years are counted
ANCHOR_YEARS: Final = 100  # an earlier anchor for clocks that stand before it
DAY_MINUTES: Final = 24 * 60
# A clock that lies further before the last slot was wrong when that one was taken: the schedule starts afresh.
FUTURE_MAX: Final = timedelta(hours=48)
_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Schedule:
    """Every so many `minutes` from midnight UTC, or on the first days of `days` in the deployment's time zone.

    Raises ValueError for minutes that do not divide a day, and for a recurrence that is none.
    """

    minutes: int | None = None
    days: Recurrence | None = None

    def __attrs_post_init__(self) -> None:
        if (self.minutes is None) == (self.days is None):
            raise ValueError("a schedule has either minutes or days")
        if self.minutes is not None and (not 1 <= self.minutes <= DAY_MINUTES or DAY_MINUTES % self.minutes):
            raise ValueError(f"{self.minutes} minutes do not divide a day; take 5, 15, 30, 60, 120, ... or days")
        problems = self.days.problems() if self.days is not None else []
        if problems:
            raise ValueError("; ".join(f"{p.path}: {p.message}" for p in problems))

    def slot(self, now: datetime, today: date) -> datetime:
        """The begin of the period that the clock stands in; of days: their midnight, written as if it were UTC's."""
        if self.minutes is not None:
            since = now - datetime.combine(now.astimezone(UTC).date(), time(), UTC)
            return now - since % timedelta(minutes=self.minutes)
        assert self.days is not None
        return datetime.combine(_latest(self.days, today), time(), UTC)


DAILY: Final = Schedule(days=Recurrence(every="day"))


def _latest(recurrence: Recurrence, today: date) -> date:
    """The last first day of the recurrence that is not after `today`."""
    if recurrence.every == "day" and recurrence.interval == 1:
        return today
    anchor = ANCHOR
    while anchor > today - timedelta(days=366 * recurrence.interval):
        anchor = anchor.replace(year=anchor.year - ANCHOR_YEARS)
    found = anchor
    for start in recurrence.starts(anchor):
        if start > today:
            return found
        found = start
    return found


_LAST: Final = sa.text(
    "SELECT job, coalesce(slot, enqueued_on::timestamp AT TIME ZONE 'UTC') AS slot "
    "FROM core.schedules WHERE job = ANY(:jobs)"
)
# Whoever takes the row first enqueues; the other one waits for its commit and then finds nothing to do.
_TAKE: Final = sa.text(
    """
    INSERT INTO core.schedules AS s (job, enqueued_on, slot)
    SELECT job, (slot AT TIME ZONE 'UTC')::date, slot
    FROM unnest(CAST(:jobs AS text[]), CAST(:slots AS timestamptz[])) AS n(job, slot) ORDER BY job
    ON CONFLICT (job) DO UPDATE SET enqueued_on = excluded.enqueued_on, slot = excluded.slot
    WHERE coalesce(s.slot, s.enqueued_on::timestamp AT TIME ZONE 'UTC') < excluded.slot
       OR coalesce(s.slot, s.enqueued_on::timestamp AT TIME ZONE 'UTC') > excluded.slot + CAST(:future AS interval)
    RETURNING job
    """
)


def take_due(connection: Connection, schedules: Mapping[str, Schedule], now: datetime, today: date) -> list[str]:
    """The jobs whose slot has come, taken for the caller, who enqueues them in the same transaction; two statements."""
    slots = {job: schedules[job].slot(now, today) for job in sorted(schedules)}
    last = {row.job: row.slot for row in connection.execute(_LAST, {"jobs": list(slots)})}
    due = {
        job: slot for job, slot in slots.items() if job not in last or last[job] < slot or last[job] > slot + FUTURE_MAX
    }
    for job, slot in due.items():
        if job in last and last[job] > slot:
            _log.warning("the schedule of %s stood at %s, ahead of the clock; it starts again", job, last[job])
    if not due:
        return []
    taken = connection.execute(_TAKE, {"jobs": list(due), "slots": list(due.values()), "future": FUTURE_MAX})
    return sorted(taken.scalars())
