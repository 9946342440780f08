"""The states of a policy and its moves. `expired` is never stored: it follows from the dates and is told on reading."""

from __future__ import annotations

from datetime import date
from typing import Final

from imis_core.states import StateTable

IDLE: Final = "idle"
ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"
EXPIRED: Final = "expired"
TERMINATED: Final = "terminated"

COVERAGES: Final = StateTable(
    "coverage",
    {
        IDLE: (ACTIVE, SUSPENDED, TERMINATED),  # suspended: paid in part, where the terms say so
        ACTIVE: (SUSPENDED, IDLE, TERMINATED),  # idle: a contribution was taken back
        SUSPENDED: (ACTIVE, IDLE, TERMINATED),
        EXPIRED: (),
        TERMINATED: (),
    },
)
# A policy that was paid may be followed by another one, also after its end.
RENEWABLE: Final = (ACTIVE, EXPIRED)


def state_on(state: str, ends: date, day: date) -> str:
    """The state as of a day: what is not terminated is expired after its last day."""
    return EXPIRED if state != TERMINATED and day > ends else state
