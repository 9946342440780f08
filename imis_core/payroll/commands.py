"""Commands of the room payroll, from the modules that hold its subjects."""

from __future__ import annotations

from imis_core.payroll import approving, budgets, ending, generating, holding, recoveries

COMMANDS = (
    *generating.COMMANDS, *approving.COMMANDS, *holding.COMMANDS, *budgets.COMMANDS, *recoveries.COMMANDS,
    *ending.COMMANDS,
)  # fmt: skip
