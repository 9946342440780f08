"""Which columns of a file fill which fields of a kind: by a mapping file, or by the columns' own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from attrs import evolve

from imis_core.errors import refused
from imis_core.files import (
    ColumnMap,
    FileProblem,
    MappedChunk,
    MappingFault,
    MappingProblem,
    TableFile,
    load_mapping,
    read_table,
)
from imis_core.files.mapping import own_name
from imis_core.imports.kinds import Row

CHUNK: Final = 5_000  # rows that are read at a time, and entities in one transaction
_NEAR: Final = 0.8  # how alike a column and a field must be to be taken for a slip of the pen


@contextmanager
def told_as_refusals() -> Iterator[None]:
    """Problems of files and mappings as refusals, which every door can show."""
    try:
        yield
    except (FileProblem, MappingProblem) as problem:
        raise refused(problem.code, str(problem)) from None


def mapped_columns(
    path: Path, mapping: Path | None, fields: Sequence[str], aliases: Mapping[str, str]
) -> tuple[TableFile, ColumnMap]:
    """The surveyed file and its columns by field. Raises FileProblem and MappingProblem.

    A file in its own words may carry columns that are nobody's field, but none whose name nearly is one; a mapping must
    name fields that exist.
    """
    given = ColumnMap() if mapping is None else load_mapping(mapping)
    table = read_table(path)
    columns = _with_aliases(given, table.columns, aliases)
    columns.check(table.columns, None if mapping is None else fields)
    if given.columns is None:
        _refuse_near_misses(path, columns, fields)
    return table, columns


def _with_aliases(columns: ColumnMap, names: Sequence[str], aliases: Mapping[str, str]) -> ColumnMap:
    """Without a table of columns, the other names that a field goes by are columns of it."""
    if columns.columns is not None:
        return columns
    elsewhere = {name.strip().casefold() for name in (*columns.path, *columns.attributes.values())}
    own = {own_name(name): name for name in names if name.strip().casefold() not in elsewhere}
    filled = dict(own)
    for alias, name in aliases.items():
        if alias in own and name not in filled:
            filled[name] = filled.pop(alias)
    return evolve(columns, columns={k: v for k, v in filled.items() if k not in columns.constants})


def _refuse_near_misses(path: Path, columns: ColumnMap, fields: Sequence[str]) -> None:
    """A column `birthdate` beside an empty field `birth_date` would be left out without a word."""
    named = columns.columns or {}
    unfilled = [name for name in fields if name not in named and name not in columns.constants]
    faults = []
    for name, column in named.items():
        near = get_close_matches(name, unfilled, n=1, cutoff=_NEAR) if name not in fields else []
        if near:
            message = (
                f"{path.name}: there is no field {column!r}; did you mean {near[0]!r}? Rename the column or map it"
            )
            faults.append(MappingFault("mapping.unknown_column", message))
    if faults:
        raise MappingProblem(faults)


def rows_of(chunk: MappedChunk, fields: Sequence[str]) -> Iterator[Row]:
    """The rows of a chunk by field, without empty cells."""
    names = [name for name in fields if name in chunk.fields]
    columns = [chunk.fields[name] for name in names]
    for cells in zip(*columns, strict=True) if columns else ((),) * len(chunk):
        yield {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
