"""The states of payrolls and of entitlements, and the moves that each allows."""

from __future__ import annotations

from typing import Final

from imis_core.states import StateTable

# Source: domain/cash_transfer.md 3 and contract-kernel.md, cycles and payroll. `failed` leaves nothing behind.
PAYROLL_STATES: Final = StateTable(
    "payroll",
    {
        "generating": ("awaiting_approval", "failed"),
        "failed": ("generating", "deleted"),
        "awaiting_approval": ("approved", "rejected", "deleted"),
        "approved": ("paying", "reconciled", "rejected"),
        "paying": ("reconciled", "rejected"),
        "reconciled": ("paying", "closed"),
        "closed": (),
        "rejected": ("deleted",),  # if it was never approved
        "deleted": (),
    },
)
# Payrolls to which somebody agreed, and which stand.
AGREED: Final = ("approved", "paying", "reconciled", "closed")
# A cancelled entitlement of a rejected or deleted payroll moves into the next one and is computed anew.
ENTITLEMENT_STATES: Final = StateTable(
    "payroll",
    {
        "generated": ("approved", "held", "cancelled"),
        "awaiting_approval": ("approved", "held", "cancelled"),
        "approved": ("held", "paid", "failed", "cancelled"),
        "held": ("generated", "awaiting_approval", "approved", "paid", "failed", "cancelled"),
        "paid": ("failed", "reversed"),
        "failed": ("approved",),
        "cancelled": ("generated", "awaiting_approval"),
        "reversed": (),
    },
)
# States of which something is still expected: it is paid, fails or is given up. An SQL list, because an index of these
# states answers only for states that the planner reads.
OPEN_SQL: Final = ", ".join(f"'{state}'" for state in ENTITLEMENT_STATES.before("cancelled"))
# An ended recovery is deducted no more. It may be ended once more: what a payroll gave back later is given up then.
# `returned`: its payment came back, so it ended as well, and what was taken for it is owed to the beneficiary.
RECOVERY_STATES: Final = StateTable(
    "payroll", {"open": ("ended", "returned"), "ended": ("ended", "returned"), "returned": ("returned",)}
)
# States of entitlements that do not count for a recovery: what is given up gives its instalment back.
GIVEN_UP: Final = ("cancelled", "reversed")
GIVEN_UP_SQL: Final = ", ".join(f"'{state}'" for state in GIVEN_UP)
