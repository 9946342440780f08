"""The application's clock: the only source of 'now' for rules, so that scenarios can move it; never SQL's."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    """Tells the instant (aware, UTC) and the business day in the deployment's time zone."""

    def now(self) -> datetime: ...

    def today(self) -> date: ...


class SystemClock:
    """The machine's clock, read in the deployment's time zone."""

    def __init__(self, timezone: str = "UTC") -> None:
        self._zone = ZoneInfo(timezone)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def today(self) -> date:
        return datetime.now(self._zone).date()


class SetClock:
    """A clock that stands still until it is set: noon UTC of its day. For scenarios, demos and tests."""

    def __init__(self, today: date) -> None:
        self._today = today

    def set(self, today: date) -> None:
        """Move the clock to another day."""
        self._today = today

    def now(self) -> datetime:
        return datetime.combine(self._today, time(12), UTC)

    def today(self) -> date:
        return self._today
