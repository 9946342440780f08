"""What the formats of tabular files share: problems of files and rows, columns, rows in chunks; it opens no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy
import polars
from attrs import evolve, field, frozen

MAXIMUM_CELL_BYTES: Final = 1_048_576
MAXIMUM_COLUMNS: Final = 4096
MAXIMUM_ROW_PROBLEMS: Final = 100_000
MAXIMUM_PROBLEM_CHARACTERS: Final = 64 * 1024 * 1024

ROW_COLUMN = "#row"
"""Heading of the row numbers in a file of rows that were not loaded."""
ERRORS_COLUMN = "#errors"
"""Heading of the errors in a file of rows that were not loaded."""

_ESCAPED: Final = re.compile(r"'+[=+\-@\t\r]")


class FileProblem(Exception):
    """A file that cannot be read or written as a whole; `code` is stable, the message is one line with the way out."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[FileProblem], tuple[str, str]]:
        return type(self), (self.code, self.message)


@frozen
class RowProblem:
    """One data row (counted from 1 below the header) that cannot be taken; `cells` are its cells as they stand."""

    row: int
    field: str | None
    code: str
    message: str
    cells: tuple[str | None, ...] = ()


@frozen
class Chunk:
    """Some rows of a table, by columns: `columns[name][i]` is the cell of row `row_numbers[i]`, None where empty."""

    row_numbers: Sequence[int]
    columns: dict[str, list[str | None]]

    def __len__(self) -> int:
        return len(self.row_numbers)


@frozen
class Numbered:
    """A frame of text with the row number of each of its rows."""

    frame: polars.DataFrame
    row_numbers: Sequence[int]


@frozen
class TableFile:
    """A surveyed file: its columns, the rows that cannot be taken (`problems`), and the others in chunks.

    `row_count` is the number of the last row, empty and refused rows included. `is_error_file` says that the file was
    made by `ErrorFile`; its columns `#row` and `#errors` are left out. `other_sheets` are sheets of a workbook that
    were not read.
    """

    path: Path
    format: str
    columns: tuple[str, ...]
    problems: tuple[RowProblem, ...]
    row_count: int
    is_error_file: bool
    other_sheets: tuple[str, ...]
    _numbered: Callable[[], Iterator[Numbered]] = field(repr=False, eq=False)
    _unescape: bool = field(repr=False)

    def chunks(self, size: int = 5000) -> Iterator[Chunk]:
        """Yields the rows that can be taken, at most `size` at a time, in the file's order; may be called again.

        Cells are stripped of surrounding white space; empty ones are None; empty rows are left out but counted.
        Raises FileProblem `files.format` if the file changed since it was surveyed.
        """
        if size < 1:
            raise ValueError("a chunk holds at least one row")
        for numbered in self._numbered():
            tidy = _tidy(numbered, self.columns, self._unescape)
            for start in range(0, tidy.frame.height, size):
                part = tidy.frame.slice(start, size)
                yield Chunk(tidy.row_numbers[start : start + size], part.to_dict(as_series=False))


def checked_columns(path: Path, header: Sequence[str | None]) -> tuple[str, ...]:
    """The trimmed names of the header; unnamed columns at its end are left out, so that their cells are surplus."""
    names = [(name or "").strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise FileProblem("files.empty", f"{path}: has no column names; write them into the first line")
    if len(names) > MAXIMUM_COLUMNS:
        raise FileProblem("files.too_large", f"{path}: has {len(names)} columns, at most {MAXIMUM_COLUMNS} are read")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise FileProblem("files.format", f"{path}: column {number} has no name; name or delete it")
        if "\x00" in name:
            raise FileProblem("files.nul", f"{path}: the name of column {number} holds a NUL byte; save as UTF-8 text")
        if not name.isprintable() and any(ord(character) < 32 and character not in "\t\r\n" for character in name):
            raise FileProblem("files.format", f"{path}: the name of column {number} is no text; is this a CSV file?")
        if len(name.encode("utf-8", "replace")) > MAXIMUM_CELL_BYTES:
            raise FileProblem("files.too_large", f"{path}: the name of column {number} is above 1 MiB; shorten it")
        first = seen.setdefault(name.casefold(), number)
        if first != number:
            raise FileProblem(
                "files.duplicate_column",
                f"{path}: columns {first} and {number} are both named {name!r}; rename or delete one",
            )
    return tuple(names)


def unescaped(text: str) -> str:
    return text[1:] if _ESCAPED.match(text) else text


def is_error_file(columns: Iterable[str]) -> bool:
    return {ROW_COLUMN, ERRORS_COLUMN} <= set(columns)


def kept(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are given out: all, but not those that `ErrorFile` added."""
    if not is_error_file(columns):
        return columns
    return tuple(name for name in columns if name not in (ROW_COLUMN, ERRORS_COLUMN))


class Problems:
    """Collects the problems of rows, as many as are worth collecting."""

    def __init__(self, path: Path, columns: tuple[str, ...], unescape: bool) -> None:
        self._path = path
        self._unescape = unescape
        self._dropped = {columns.index(name) for name in columns if name not in kept(columns)}
        self._characters = 0
        self.found: list[RowProblem] = []

    def add(self, problem: RowProblem) -> None:
        """Takes up a problem; its cells become those of the original file, as `ErrorFile` wants them again."""
        cells = tuple(cell for position, cell in enumerate(problem.cells) if position not in self._dropped)
        if self._unescape:
            cells = tuple(cell and unescaped(cell) for cell in cells)
        self.found.append(evolve(problem, cells=cells))
        self._characters += sum(len(cell) for cell in problem.cells if cell)
        if len(self.found) > MAXIMUM_ROW_PROBLEMS or self._characters > MAXIMUM_PROBLEM_CHARACTERS:
            raise FileProblem(
                "files.format",
                f"{self._path}: {len(self.found)} rows up to row {problem.row} do not fit the header, "
                f"the first is row {self.found[0].row}: {self.found[0].message}",
            )


def row_problem(row: int, cells: Sequence[str | None], columns: tuple[str, ...]) -> RowProblem | None:
    """Why a row cannot be taken: it has more cells than there are columns, or a cell with a NUL byte."""
    width = len(columns)
    if len(cells) > width and any(cell and not cell.isspace() for cell in cells[width:]):
        return RowProblem(
            row,
            None,
            "files.ragged",
            f"row {row} has {len(cells)} cells for {width} columns; put cells that hold the separator in quotes",
            tuple(cells),
        )
    if "\x00" not in "".join(filter(None, cells)):
        return None
    for position, cell in enumerate(cells[:width]):
        if cell and "\x00" in cell:
            name = columns[position]
            return RowProblem(
                row, name, "files.nul", f"row {row}: column {name!r} holds a NUL byte; delete it", tuple(cells)
            )
    return None


def refuse_large_cell(path: Path, row: int, cells: Iterable[str | None]) -> None:
    for position, cell in enumerate(cells, start=1):
        if (
            cell
            and len(cell) * 4 > MAXIMUM_CELL_BYTES
            and len(cell.encode("utf-8", "surrogatepass")) > MAXIMUM_CELL_BYTES
        ):
            raise FileProblem(
                "files.too_large", f"{path}: row {row}, cell {position} is above 1 MiB; shorten it or check its quotes"
            )


def frame(columns: tuple[str, ...], rows: Sequence[Sequence[str | None]]) -> polars.DataFrame:
    """Rows of text as a frame; short rows are filled with None, surplus (empty) cells are cut."""
    width = len(columns)
    even = [row if len(row) == width else [*row[:width], *[None] * (width - len(row))] for row in rows]
    cells: Iterable[Sequence[str | None]] = zip(*even, strict=True) if even else [()] * width
    return polars.DataFrame(
        [polars.Series(name, list(column), dtype=polars.String) for name, column in zip(columns, cells, strict=True)]
    )


def _tidy(numbered: Numbered, columns: tuple[str, ...], unescape: bool) -> Numbered:
    """Strips cells, makes empty ones None, leaves out empty rows; the same for all formats."""
    text = polars.all()
    if unescape:
        text = text.str.replace(r"^'('*[=+\-@\t\r])", "${1}")
    tidied = numbered.frame.select(columns).with_columns(text.str.strip_chars().replace("", None))
    filled = tidied.select(polars.any_horizontal(polars.all().is_not_null())).to_series()
    if filled.all():
        return Numbered(tidied, numbered.row_numbers)
    positions = numpy.flatnonzero(filled.to_numpy()).tolist()
    return Numbered(tidied.filter(filled), [numbered.row_numbers[position] for position in positions])
