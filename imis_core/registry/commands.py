"""Commands of the room registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from imis_core.commands import Command

COMMANDS: Final[tuple[Command, ...]] = ()
