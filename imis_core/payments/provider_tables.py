"""Tables (CSV, XLSX, NDJSON) that payment providers send as files: opened, and the columns of a class found in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imis_core.errors import ImisError, Problem, Refusal, invalid

if TYPE_CHECKING:
    from imis_core.files import TableFile


@contextmanager
def opened_table(name: str, content: bytes) -> Iterator[tuple[str, TableFile]]:
    """A file as a table, with its name without folders, as long as the context lasts.

    Raises `ImisError`: `input.invalid` at `name` for what is no name of a file, `files.*` for what cannot be read.
    """
    # Imported here: a web process that reads no files does without their libraries.
    from imis_core.files import FileProblem, read_table

    short = Path(name).name or "file"
    with tempfile.TemporaryDirectory(prefix="imis-") as folder:
        path = Path(folder) / short
        try:
            path.write_bytes(content)
        except (OSError, ValueError):
            raise ImisError(invalid(Problem("name", "format", f"{short[:60]!r} is no name of a file"))) from None
        try:
            yield short, read_table(path)
        except FileProblem as problem:
            raise ImisError(Refusal(problem.code, problem.message.replace(str(path), short))) from None


def columns_of(name: str, table: TableFile, needed: Sequence[str]) -> dict[str, str]:
    """The table's own names of its columns, by their names in small letters; `input.invalid` for missing ones."""
    named = {column.casefold(): column for column in table.columns}
    missing = [
        Problem("content", "required", f"{name} has no column {column!r}") for column in needed if column not in named
    ]
    if missing:
        raise ImisError(invalid(*missing))
    return named


def rows_of(table: TableFile, named: dict[str, str], wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row's number with the wanted cells that are filled, by column in small letters."""
    for chunk in table.chunks():
        cells = [chunk.columns[named[column]] if column in named else [None] * len(chunk) for column in wanted]
        for place, row in zip(chunk.row_numbers, zip(*cells, strict=True), strict=True):
            yield place, {column: cell for column, cell in zip(wanted, row, strict=True) if cell is not None}
