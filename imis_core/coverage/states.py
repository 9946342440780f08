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
# A refund of a credit. `failed`: its payment did not arrive, or came back; it may be tried again.
REFUNDS: Final = StateTable(
    "contributions",
    {
        "prepared": ("approved", "rejected"),
        "approved": ("paid", "failed", "cancelled"),
        "paid": ("failed", "reversed"),
        "failed": ("approved",),
        "rejected": (),
        "cancelled": (),
        "reversed": (),
    },
)
# In these a refund takes the credit of its policy; in the latter two it is in the ledger too.
OWED: Final = ("approved", "paid")
TAKES_CREDIT: Final = ("prepared", *OWED)
# A policy that was paid may be followed by another one, also after its end.
RENEWABLE: Final = (ACTIVE, EXPIRED)


def state_on(state: str, ends: date, day: date) -> str:
    """The state as of a day: what is not terminated is expired after its last day."""
    return EXPIRED if state != TERMINATED and day > ends else state
