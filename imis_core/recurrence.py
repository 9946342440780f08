"""Recurrences: on which days periods begin, daily to yearly. Plain dates; knows no cycles and no payrolls."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import MAXYEAR, date, timedelta
from typing import Any, Final, Literal

import attrs
from attrs import frozen

from imis_core.errors import Problem
from imis_core.parsing import InvalidInput

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Every = Literal["day", "week", "month", "year"]
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WEEK_DAYS: Final = 7
YEAR_MONTHS: Final = 12
LAST: Final = -1  # of `nth`: the month's last such weekday
NTH: Final = (1, 2, 3, 4, LAST)
INTERVAL_MAX: Final = 36_600  # a hundred years of days


class BeyondCalendar(ValueError):
    """A period that would begin or end after the year 9999."""


@frozen(kw_only=True)
class Recurrence:
    """Every so many days, weeks, months or years (contract-kernel.md, `cycles.plan`).

    `day` (1 to 31, in a short month its last day) or `nth` (1 to 4, -1 is the last) with `weekday` belong to months,
    `weekday` alone to weeks; without any of them the first day is the one that is asked from.
    """

    every: Every
    interval: int = 1
    day: int | None = None
    weekday: Weekday | None = None
    nth: int | None = None

    @classmethod
    def __structure__(cls, kind: type[Any], value: object, read: Callable[[Any, Any], Any]) -> Recurrence:
        """A recurrence out of terms or settings; impossible combinations are problems with their paths."""
        fields_: _Fields = read(value, _Fields)
        recurrence = cls(**{a.name: getattr(fields_, a.name) for a in attrs.fields(_Fields)})
        problems = recurrence.problems()
        if problems:
            raise InvalidInput(tuple(problems))
        return recurrence

    def problems(self) -> list[Problem]:
        """What does not go together or lies out of range."""
        found = []
        if not 1 <= self.interval <= INTERVAL_MAX:
            found.append(Problem("interval", "range", f"expected 1 to {INTERVAL_MAX}, found {self.interval}"))
        if self.day is not None and self.every != "month":
            found.append(Problem("day", "combination", f"a day belongs to months, not to every {self.every}"))
        elif self.day is not None and not 1 <= self.day <= 31:
            found.append(Problem("day", "range", f"expected 1 to 31, found {self.day}"))
        if self.weekday is not None and self.every not in ("week", "month"):
            found.append(Problem("weekday", "combination", f"a weekday belongs to weeks or months, not {self.every}s"))
        if self.nth is not None and self.every != "month":
            found.append(Problem("nth", "combination", f"the nth weekday belongs to months, not to {self.every}s"))
        elif self.nth is not None and self.nth not in NTH:
            found.append(Problem("nth", "range", f"expected 1 to 4 or -1 (the last), found {self.nth}"))
        if self.every == "month":
            if self.day is not None and (self.nth is not None or self.weekday is not None):
                other = "nth" if self.nth is not None else "weekday"
                found.append(Problem(other, "combination", "give either a day or the nth weekday"))
            elif self.nth is not None and self.weekday is None:
                found.append(Problem("weekday", "required", "nth needs a weekday"))
            elif self.weekday is not None and self.nth is None:
                found.append(Problem("nth", "required", "a weekday of a month needs nth (1 to 4, or -1 for the last)"))
        return found

    def starts(self, earliest: date) -> Iterator[date]:
        """The first days of the periods, from the first that matches on or after `earliest`, without an end.

        Raises `BeyondCalendar` where a period would begin after the year 9999.
        """
        if self.every == "day":
            return _steps(earliest, timedelta(days=self.interval))
        if self.every == "week":
            return _steps(self._first_weekday(earliest), timedelta(days=WEEK_DAYS * self.interval))
        return self._months(earliest)

    def periods(self, earliest: date) -> Iterator[tuple[date, date]]:
        """First and last day of the periods, as `starts`; a period ends the day before the next begins."""
        starts = self.starts(earliest)
        first = next(starts)
        for following in starts:
            yield first, following - timedelta(days=1)
            first = following

    def _first_weekday(self, earliest: date) -> date:
        if self.weekday is None:
            return earliest
        return _later(earliest, timedelta(days=(WEEKDAYS.index(self.weekday) - earliest.weekday()) % WEEK_DAYS))

    def _months(self, earliest: date) -> Iterator[date]:
        step = self.interval * (YEAR_MONTHS if self.every == "year" else 1)
        # Months are counted from the year 0; a later start keeps the day of the first one, as far as the month has it.
        index = earliest.year * YEAR_MONTHS + earliest.month - 1
        if self._in_month(index, earliest.day) < earliest:
            index += 1
        while True:
            yield self._in_month(index, earliest.day)
            index += step

    def _in_month(self, index: int, own_day: int) -> date:
        """The matching day of a month; `own_day` where the recurrence names none."""
        year, month = divmod(index, YEAR_MONTHS)
        month += 1
        if year > MAXYEAR:
            raise BeyondCalendar
        length = monthrange(year, month)[1]
        if self.weekday is None or self.nth is None:
            return date(year, month, min(self.day or own_day, length))
        if self.nth == LAST:
            back = (date(year, month, length).weekday() - WEEKDAYS.index(self.weekday)) % WEEK_DAYS
            return date(year, month, length - back)
        ahead = (WEEKDAYS.index(self.weekday) - date(year, month, 1).weekday()) % WEEK_DAYS
        return date(year, month, 1 + ahead + WEEK_DAYS * (self.nth - 1))


@frozen(kw_only=True)
class _Fields:
    """The fields of a recurrence as they are read, before they are checked against each other."""

    every: Every
    interval: int = 1
    day: int | None = None
    weekday: Weekday | None = None
    nth: int | None = None


def _steps(first: date, step: timedelta) -> Iterator[date]:
    while True:
        yield first
        first = _later(first, step)


def _later(day: date, step: timedelta) -> date:
    try:
        return day + step
    except OverflowError:
        raise BeyondCalendar from None


__all__ = ["BeyondCalendar", "Every", "Recurrence", "Weekday"]
