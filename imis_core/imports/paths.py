"""Places without codes: a path of names (region, district, village) into locations with codes made from the names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from imis_core.application import Application
from imis_core.commands import run_command
from imis_core.errors import Problem, Refusal
from imis_core.security.caller import Caller, denied

SEPARATOR: Final = "/"
_COMMAND: Final = "locations.add"
_TAKEN: Final = "locations.duplicate_code"
_GAPS: Final = re.compile(r"[^\w]+")


def slug(name: str) -> str:
    """A name as part of a code: letters and digits of any script, lower case, joined by '-'."""
    return _GAPS.sub("-", unicodedata.normalize("NFKC", name).casefold()).strip("-") or "-"


class PlacePaths:
    """Finds or makes the location of each path as `caller`; levels are the names of the path's columns."""

    def __init__(self, app: Application, levels: Sequence[str], caller: Caller) -> None:
        self._app, self._levels, self._caller = app, tuple(levels), caller
        self._known: set[str] | None = None
        self._failed: dict[str, Refusal] = {}

    def codes(self, paths: Sequence[tuple[str | None, ...]]) -> list[str | Refusal | None]:
        """The code of each path, as deep as it is filled; missing locations are made, parents first.

        A refusal stands for a path that cannot be: it has a gap, or a place of it cannot be made.
        """
        wanted = [self._names(path) for path in paths]
        for depth in range(1, len(self._levels) + 1):
            self._make({names[:depth] for names in wanted if not isinstance(names, Refusal) and len(names) >= depth})
        return [names if isinstance(names, Refusal) else self._code(names) for names in wanted]

    def _names(self, path: tuple[str | None, ...]) -> tuple[str, ...] | Refusal:
        """The names of a path; an empty cell above a name is a gap, below which no place can be told."""
        names = [name for name in path if name is not None]
        gap = next((level for level, name in zip(self._levels, path, strict=True) if name is None), None)
        if gap is not None and path[len(names) :] != (None,) * (len(path) - len(names)):
            message = f"column {gap!r} is empty, but a place below it is named; fill it in"
            return Refusal("import.path_gap", message, (Problem(gap, "path_gap", message),))
        return tuple(names)

    def _code(self, names: tuple[str, ...]) -> str | Refusal | None:
        for depth in range(1, len(names) + 1):
            refusal = self._failed.get(_code_of(names[:depth]))
            if refusal is not None:
                return refusal
        return _code_of(names) if names else None

    def _make(self, paths: set[tuple[str, ...]]) -> None:
        if self._known is None:
            with self._app.database.query(self._app.system) as connection:
                self._known = set(connection.execute(sa.text("SELECT code FROM core.locations")).scalars())
        by_code = {_code_of(path): path for path in sorted(paths)}
        missing = [
            code
            for code, path in by_code.items()
            if code not in self._known and code not in self._failed and _code_of(path[:-1]) not in self._failed
        ]
        if not missing:
            return
        if not self._caller.may(_COMMAND):
            self._failed.update(dict.fromkeys(missing, denied(_COMMAND)))
            return
        inputs = [
            {
                "code": code,
                "name": by_code[code][-1],
                "level": self._levels[len(by_code[code]) - 1],
                **({"parent": _code_of(by_code[code][:-1])} if len(by_code[code]) > 1 else {}),
            }
            for code in missing
        ]
        outcomes = run_command(self._app, _COMMAND, inputs, self._caller).outcomes
        for code, outcome in zip(missing, outcomes, strict=True):
            # Taken since the list was read: another import made it.
            if isinstance(outcome, Refusal) and outcome.code != _TAKEN:
                self._failed[code] = outcome
            else:
                self._known.add(code)


def _code_of(names: tuple[str, ...]) -> str:
    return SEPARATOR.join(map(slug, names))
