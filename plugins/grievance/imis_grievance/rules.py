"""The rules of grievances as pure functions: the states, the due day and the clock. It knows no database.

Source: cash_transfer.md 5 and contract-grievance.md.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final, Literal

from imis_core.api import StateTable

Clock = Literal["on_time", "at_risk", "breached", "done"]
AT_RISK_PARTS: Final = 4  # less than a quarter of the time left
SETTLED: Final = ("resolved", "closed")  # states in which nobody waits
CANCELLING: Final = ("upheld", "partly")  # decisions with which a payment may be cancelled
# A grievance is received, then opened by whoever takes it up, then worked on. An appeal is a reopening with a note.
STATES: Final = StateTable(
    "grievances",
    {
        "received": ("open",),
        "open": ("in_progress", "resolved"),
        "in_progress": ("resolved",),
        "resolved": ("closed", "reopened"),
        "closed": ("reopened",),
        "reopened": ("in_progress",),
    },
)
BY_HAND: Final = ("open", "in_progress")  # states that `grievances.move` leads to; the others have their own commands


def due_day(opened: date, days: int) -> date:
    """The last day on which a grievance is in time: day opened + days of its category."""
    return opened + timedelta(days=days)


def clock(status: str, due: date, days: int, today: date) -> Clock:
    """How much time is left: breached behind the due day, at risk with less than a quarter of the days left."""
    if status in SETTLED:
        return "done"
    left = (due - today).days
    if left < 0:
        return "breached"
    return "at_risk" if AT_RISK_PARTS * left < days else "on_time"
