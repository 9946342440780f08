"""The second file of claims: their lines, held by claim and compactly, and which of them belong to no claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from attrs import define, field

from imis_core.errors import Refusal, refused
from imis_core.files import ColumnMap, RowProblem, TableFile
from imis_core.imports.columns import CHUNK, mapped_columns
from imis_core.imports.kinds import LINE_ALIASES, LINE_FIELDS, Row

_FIELDS: Final = tuple(name for name in LINE_FIELDS if name != "claim")
Line = tuple[str | None, ...]  # cells of _FIELDS


@define
class Lines:
    """The lines by claim with the rows they stand in; `unreadable` are rows that cannot be read, by their claim."""

    table: TableFile
    by_claim: dict[str, list[tuple[int, Line]]]
    unreadable: dict[str, int]
    unnamed: list[int]  # rows that name no claim
    _used: set[str] = field(factory=set)

    def of(self, claim: str | None) -> tuple[list[Row], tuple[int, ...], Refusal | None]:
        """The lines of a claim and their rows, or why they cannot stand for it."""
        if claim is None:
            return [], (), None
        self._used.add(claim)
        lines = self.by_claim.get(claim, [])
        rows = tuple(row for row, _ in lines)
        if claim in self.unreadable:
            message = f"row {self.unreadable[claim]} of the file of lines cannot be read; correct it there"
            return [], rows, Refusal("import.unreadable_line", message)
        seen: dict[str, int] = {}
        for row, cells in lines:
            number = cells[_FIELDS.index("line")]
            if number is not None and (first := seen.setdefault(number, row)) != row:
                message = f"rows {first} and {row} of the file of lines are both line {number} of claim {claim!r}"
                return [], rows, Refusal("import.named_twice", f"{message}; keep one of them")
        # A line's number tells doubles; the claim's lines are numbered as they stand.
        named = [dict(zip(_FIELDS, cells, strict=True)) for _, cells in lines]
        return [{n: c for n, c in line.items() if c is not None and n != "line"} for line in named], rows, None

    def orphans(self, connection: sa.Connection) -> dict[int, RowProblem]:
        """Lines of claims that are neither in the file of claims nor stored; `connection` sees every claim."""
        unused = [claim for claim in self.by_claim if claim not in self._used]
        stored: set[str] = set()
        if unused:
            codes = sa.text("SELECT code FROM core.claims WHERE code = ANY(:codes)")
            stored = set(connection.execute(codes, {"codes": unused}).scalars())
        found = {row: _no_claim(row, "the line names no claim") for row in self.unnamed}
        for claim in unused:
            if claim not in stored:
                message = f"there is no claim {claim!r} in the file of claims"
                found |= {row: _no_claim(row, message) for row, _ in self.by_claim[claim]}
        return found


def _no_claim(row: int, message: str) -> RowProblem:
    return RowProblem(row, "claim", "import.no_claim", message)


def read_lines(path: Path, mapping: Path | None) -> Lines:
    """Read a file of lines. Raises FileProblem and MappingProblem, and `import.unreadable_line` for a row that cannot
    be read and does not tell its claim: whichever it belongs to would be loaded without it."""
    table, columns = mapped_columns(path, mapping, LINE_FIELDS, LINE_ALIASES)
    claims = claims_of_unreadable(table, columns)
    unreadable = {claim: problem.row for claim, problem in zip(claims, table.problems, strict=True)}
    lines = Lines(table, {}, unreadable, [])
    known: dict[str | None, str | None] = {}  # items, quantities and prices repeat: each text is kept once
    for chunk in table.chunks(CHUNK):
        mapped = columns.apply(chunk)
        empty: Sequence[str | None] = [None] * len(mapped)
        cells = [[known.setdefault(c, c) for c in mapped.fields.get(name, empty)] for name in _FIELDS]
        for row, claim, line in zip(mapped.row_numbers, mapped.fields.get("claim", empty), _rows(cells), strict=True):
            if claim is None:
                lines.unnamed.append(row)
            else:
                lines.by_claim.setdefault(claim, []).append((row, line))
    return lines


def _rows(cells: Sequence[Sequence[str | None]]) -> Iterator[Line]:
    return zip(*cells, strict=True)


def claims_of_unreadable(table: TableFile, columns: ColumnMap) -> list[str]:
    """The claim of each row that cannot be read. Raises `import.unreadable_line` where a row does not tell it."""
    name = (columns.columns or {}).get("claim", "claim").strip().casefold()
    position = next((i for i, c in enumerate(table.columns) if c.strip().casefold() == name), None)
    found = []
    for problem in table.problems:
        claim = problem.cells[position] if position is not None and position < len(problem.cells) else None
        if claim is None or not claim.strip() or "\x00" in claim:
            raise refused(
                "import.unreadable_line",
                f"{table.path}: {problem.message} (which claim the row belongs to cannot be told)",
            )
        found.append(claim.strip())
    return found
