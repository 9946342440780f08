"""Cycles: the dated periods that payrolls are made for, and their recurrence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from imis_core.commands import Command
    from imis_core.queries import Query

COMMANDS: Final[tuple[Command, ...]] = ()
QUERIES: Final[tuple[Query, ...]] = ()
