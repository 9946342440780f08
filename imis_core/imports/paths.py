"""Places without codes: a path of names (region, district, village) into locations with codes made from the names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from imis_core.application import Application
from imis_core.commands import run_command
from imis_core.errors import ImisError, Refusal

SEPARATOR: Final = "/"
_GAPS: Final = re.compile(r"[^\w]+")


def slug(name: str) -> str:
    """A name as part of a code: letters and digits of any script, lower case, joined by '-'."""
    return _GAPS.sub("-", unicodedata.normalize("NFKC", name).casefold()).strip("-") or "-"


class PlacePaths:
    """Finds or makes the location of each path; levels are the names of the path's columns."""

    def __init__(self, app: Application, levels: Sequence[str]) -> None:
        self._app = app
        self._levels = tuple(levels)
        self._known: set[str] | None = None

    def codes(self, paths: Sequence[tuple[str | None, ...]]) -> list[str | None]:
        """The code of each path, as deep as it is filled; missing locations are made, parents first."""
        wanted = [_prefix(path) for path in paths]
        for depth in range(1, len(self._levels) + 1):
            self._make({names[:depth] for names in wanted if len(names) >= depth})
        return [SEPARATOR.join(map(slug, names)) if names else None for names in wanted]

    def _make(self, names: set[tuple[str, ...]]) -> None:
        if self._known is None:
            with self._app.database.query(self._app.system) as connection:
                self._known = set(connection.execute(sa.text("SELECT code FROM core.locations")).scalars())
        by_code = {SEPARATOR.join(map(slug, path)): path for path in sorted(names)}
        missing = [code for code in by_code if code not in self._known]
        inputs = [
            {
                "code": code,
                "name": by_code[code][-1],
                "level": self._levels[len(by_code[code]) - 1],
                **({"parent": code.rpartition(SEPARATOR)[0]} if SEPARATOR in code else {}),
            }
            for code in missing
        ]
        if inputs:
            outcomes = run_command(self._app, "locations.add", inputs, self._app.system).outcomes
            wrong = next((o for o in outcomes if isinstance(o, Refusal)), None)
            if wrong is not None:
                raise ImisError(wrong)
            self._known.update(missing)


def _prefix(path: tuple[str | None, ...]) -> tuple[str, ...]:
    """The names of a path up to its first gap."""
    names: list[str] = []
    for name in path:
        if name is None:
            break
        names.append(name)
    return tuple(names)
