"""The states of a beneficiary and of an enrolment with their moves. Source: contract-cash-transfer.md, 'Selection'."""

from __future__ import annotations

from typing import Final, Literal

from imis_core.api import StateTable

State = Literal["potential", "waiting", "active", "suspended", "graduated", "exited"]
POTENTIAL: Final = "potential"  # registered, and nothing else: it needs no row
WAITING: Final = "waiting"
ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"
GRADUATED: Final = "graduated"
EXITED: Final = "exited"

BENEFICIARIES: Final = StateTable(
    "targeting",
    {
        POTENTIAL: (WAITING, ACTIVE, EXITED),
        WAITING: (ACTIVE, EXITED),
        ACTIVE: (SUSPENDED, GRADUATED, EXITED),
        SUSPENDED: (ACTIVE, GRADUATED, EXITED),
        GRADUATED: (),
        EXITED: (),
    },
)
OCCUPYING: Final = (ACTIVE, SUSPENDED)  # what takes one of the places of a package
CANDIDATES: Final = (POTENTIAL, WAITING)  # who may be selected, again or for the first time

AWAITING: Final = "awaiting_approval"
APPROVED: Final = "approved"
ENROLMENTS: Final = StateTable("targeting", {AWAITING: (APPROVED,), APPROVED: ()})
