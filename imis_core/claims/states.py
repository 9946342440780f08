"""The states of a claim, their numbers in the tables, and the moves between them (health_insurance.md 4)."""

from __future__ import annotations

from typing import Final

from imis_core.states import StateTable

ENTERED: Final = "entered"
CHECKED: Final = "checked"
REJECTED: Final = "rejected"
PROCESSED: Final = "processed"
VALUATED: Final = "valuated"
PAID: Final = "paid"
WITHDRAWN: Final = "withdrawn"

CLAIM_STATES: Final = StateTable(
    "claims",
    {
        ENTERED: (CHECKED, REJECTED),
        # Without relative prices processing valuates at once; a review leaves a claim checked or rejects its last line.
        CHECKED: (CHECKED, PROCESSED, VALUATED, REJECTED, WITHDRAWN),
        REJECTED: (),
        PROCESSED: (VALUATED,),
        # Computed again while unpaid, with the same result; taken back while no payment was asked for.
        VALUATED: (VALUATED, PAID, WITHDRAWN),
        PAID: (VALUATED,),  # a payment that came back: the debt stands again
        WITHDRAWN: (),
    },
)
# In the narrow tables a state is a number; openIMIS's order. The partial index of open claims names 1 and 4.
NUMBERS: Final = {ENTERED: 0, CHECKED: 1, REJECTED: 2, PROCESSED: 3, VALUATED: 4, PAID: 5, WITHDRAWN: 6}
NAMES: Final = {number: name for name, number in NUMBERS.items()}
# Claims in these states use up nothing: no count, no provision, no frequency (health_insurance.md 4).
VOID_NUMBERS: Final = (NUMBERS[REJECTED], NUMBERS[WITHDRAWN])
