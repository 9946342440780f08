"""Cuts files of claims and of their lines into the months of one year, so that the demo walks through it.

Rows are passed on as they stand, also those that cannot be read: the import of a month lists them with their reasons.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from imis_core.files import ColumnMap, MappedChunk, TableFile
from imis_core.imports.columns import CHUNK, mapped_columns, told_as_refusals
from imis_core.imports.kinds import KINDS, LINE_ALIASES, LINE_FIELDS
from imis_core.imports.lines import claims_of_unreadable

MONTHS: Final = 12
_ENOUGH: Final = 10  # a year with a tenth of the fullest year's claims is no slip of the pen


@frozen
class Month:
    """A month's last day, and the claims and lines that come in it."""

    end: date
    claims: Path
    lines: Path


def cut(
    target: Path, claims: Path, lines: Path, claims_mapping: Path | None, lines_mapping: Path | None, default_year: int
) -> tuple[Month, ...]:
    """Cut both files by the day on which a claim ends; earlier claims come in the first month, later ones in the last.

    The year is the last one with a good part of the claims. Raises ImisError for files that cannot be read.
    """
    kind = KINDS["claims"]
    with told_as_refusals():
        table, columns = mapped_columns(claims, claims_mapping, kind.fields, kind.aliases)
        year = _year(table, columns, default_year)
        month_of: dict[str | None, int] = {}
        with _MonthFiles(target, "claims", table.columns) as files:
            for chunk in table.chunks(CHUNK):
                mapped = columns.apply(chunk)
                months = [_month(day, year) for day in _ends(mapped)]
                month_of.update(zip(_cells(mapped, "code"), months, strict=True))
                files.write(months, chunk.columns.values())
            files.write_unreadable([1] * len(table.problems), table)
        table, columns = mapped_columns(lines, lines_mapping, LINE_FIELDS, LINE_ALIASES)
        with _MonthFiles(target, "claim_lines", table.columns) as files:
            for chunk in table.chunks(CHUNK):
                months = [month_of.get(claim, 1) for claim in _cells(columns.apply(chunk), "claim")]
                files.write(months, chunk.columns.values())
            files.write_unreadable([month_of.get(claim, 1) for claim in claims_of_unreadable(table, columns)], table)
    return tuple(
        Month(_month_end(year, month), _path(target, "claims", month), _path(target, "claim_lines", month))
        for month in range(1, MONTHS + 1)
    )


class _MonthFiles:
    """One CSV file for each month, all with the same columns."""

    def __init__(self, target: Path, stem: str, columns: Sequence[str]) -> None:
        self._target, self._stem, self._columns = target, stem, columns
        self._writers: dict[int, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _MonthFiles:
        for month in range(1, MONTHS + 1):
            path = _path(self._target, self._stem, month)
            writer = csv.writer(self._stack.enter_context(path.open("w", encoding="utf-8", newline="")))
            writer.writerow(self._columns)
            self._writers[month] = writer
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, months: Sequence[int], columns: Any) -> None:
        for month, row in zip(months, zip(*columns, strict=True), strict=True):
            self._writers[month].writerow(row)

    def write_unreadable(self, months: Sequence[int], table: TableFile) -> None:
        """Rows that cannot be read, as they stand, so that they are found and listed again."""
        for month, problem in zip(months, table.problems, strict=True):
            self._writers[month].writerow(problem.cells)


def _path(target: Path, stem: str, month: int) -> Path:
    return target / f"{stem}-{month:02d}.csv"


def _cells(mapped: MappedChunk, name: str) -> Sequence[str | None]:
    return mapped.fields.get(name, [None] * len(mapped))


def _ends(mapped: MappedChunk) -> Iterator[str]:
    for start, end in zip(_cells(mapped, "from"), _cells(mapped, "to"), strict=True):
        yield end or start or ""


def _year(table: TableFile, columns: ColumnMap, default: int) -> int:
    counts = Counter(day[:4] for chunk in table.chunks(CHUNK) for day in _ends(columns.apply(chunk)))
    years = {int(year): count for year, count in counts.items() if len(year) == 4 and year.isascii() and year.isdigit()}
    most = max(years.values(), default=0)
    return max((year for year, count in years.items() if 0 < year < 9999 and count * _ENOUGH >= most), default=default)


def _month(day: str, year: int) -> int:
    if day[:4].isdigit() and day[:4] > str(year):
        return MONTHS
    month = int(day[5:7]) if day[:4] == str(year) and day[5:7].isascii() and day[5:7].isdigit() else 1
    return month if 1 <= month <= MONTHS else 1


def _month_end(year: int, month: int) -> date:
    return date(year + month // MONTHS, month % MONTHS + 1, 1) - timedelta(days=1)
