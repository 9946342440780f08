"""Commands of the room registry, collected from its subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imis_core.registry import changes, duplicates, exclusion, finding, imports, periods

if TYPE_CHECKING:
    from imis_core.commands import Command

COMMANDS: Final[tuple[Command, ...]] = (
    *imports.COMMANDS,
    *finding.COMMANDS,
    *duplicates.COMMANDS,
    *periods.COMMANDS,
    *changes.COMMANDS,
    *exclusion.COMMANDS,
)
