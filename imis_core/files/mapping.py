"""Says which column of a file fills which field: by a mapping file or by the columns' own names; it renames and
translates cells and leaves their meaning to those who take them."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import Factory, frozen

from imis_core.files.rows import Chunk

ATTRIBUTES_PREFIX = "attributes."
IDENTIFIERS_PREFIX = "identifiers."
_TABLES = ("attributes", "columns", "constants", "path", "values")


@frozen
class MappingFault:
    """One thing that is wrong with a mapping; the message is one line with the way out."""

    code: str
    message: str


class MappingProblem(Exception):
    """A mapping that cannot be used; `faults` are all that is wrong with it, `code` is that of the first."""

    def __init__(self, faults: Sequence[MappingFault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)
        self.code = self.faults[0].code

    def __reduce__(self) -> tuple[type[MappingProblem], tuple[tuple[MappingFault, ...]]]:
        return type(self), (self.faults,)


@frozen
class MappedChunk:
    """Some rows by fields: `fields[name][i]` belongs to row `row_numbers[i]`, None where empty.

    `path[i]` are the names of places from the top level down, None if the mapping has no path. `attributes[i]` and
    `identifiers[i]` hold only what is not empty; the same empty dictionary may stand for many rows: do not change it.
    """

    row_numbers: Sequence[int]
    fields: dict[str, list[str | None]]
    path: list[tuple[str | None, ...]] | None
    attributes: list[dict[str, str]]
    identifiers: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.row_numbers)


@frozen
class ColumnMap:
    """Field -> column, and what else a mapping file says; without `columns` each column fills the field of its name.

    `name` is the mapping file's name for messages. Values that `values` does not list stay as they are; the key ""
    there stands for an empty cell.
    """

    name: str = "the columns' own names"
    columns: Mapping[str, str] | None = None
    constants: Mapping[str, str] = Factory(dict)
    values: Mapping[str, Mapping[str, str]] = Factory(dict)
    path: tuple[str, ...] = ()
    attributes: Mapping[str, str] = Factory(dict)

    def check(self, columns: Iterable[str], fields: Collection[str] | None = None) -> None:
        """Compares the mapping with the columns of a file and, if given, the fields that may be filled.

        Raises MappingProblem with all faults at once: `mapping.unknown_column`, `mapping.unknown_field`.
        """
        faults = self._column_faults(tuple(columns))
        taken = self._field_columns(tuple(columns))
        named = tuple(taken if self.columns is None else self.columns)
        known = None if fields is None else sorted(fields)
        for field in dict.fromkeys([*named, *self.constants, *self.values]):
            if known is not None and not _is_dotted(field) and field not in known:
                faults.append(
                    MappingFault(
                        "mapping.unknown_field", f"{self.name}: there is no field {field!r}{_suggestion(field, known)}"
                    )
                )
        for field in self.values:
            if field not in named and field not in self.constants and (known is None or field in known):
                faults.append(
                    MappingFault(
                        "mapping.unknown_field",
                        f"{self.name}: [values.{field}] has no column{_suggestion(field, named)}",
                    )
                )
        for field in self.constants:
            if field in named:
                faults.append(
                    MappingFault(
                        "mapping.unknown_field",
                        f"{self.name}: field {field!r} has both a column and a constant; delete one",
                    )
                )
        if faults:
            raise MappingProblem(faults)

    def apply(self, chunk: Chunk) -> MappedChunk:
        """Renames the columns of a chunk and translates values; works by whole columns.

        Raises MappingProblem `mapping.unknown_column` if the chunk lacks a column.
        """
        columns = tuple(chunk.columns)
        faults = self._column_faults(columns)
        if faults:
            raise MappingProblem(faults)
        count = len(chunk.row_numbers)
        filled: dict[str, list[str | None]] = {
            field: chunk.columns[column] for field, column in self._field_columns(columns).items()
        }
        for field, constant in self.constants.items():
            filled[field] = [constant] * count
        for field, translations in self.values.items():
            if field in filled:
                filled[field] = _translated(filled[field], translations)
        attributes = {
            **_with_prefix(filled, ATTRIBUTES_PREFIX),
            **{name: chunk.columns[_matched(column, columns)] for name, column in self.attributes.items()},
        }
        path = None
        if self.path:
            path = list(zip(*(chunk.columns[_matched(column, columns)] for column in self.path), strict=True))
        return MappedChunk(
            row_numbers=chunk.row_numbers,
            fields={field: cells for field, cells in filled.items() if not _is_dotted(field)},
            path=path,
            attributes=_without_empty(attributes, count),
            identifiers=_without_empty(_with_prefix(filled, IDENTIFIERS_PREFIX), count),
        )

    def _field_columns(self, columns: tuple[str, ...]) -> dict[str, str]:
        """Field -> column of the file, for the columns that the file has."""
        if self.columns is not None:
            return {
                field: _matched(column, columns)
                for field, column in self.columns.items()
                if _find(column, columns) is not None
            }
        elsewhere = {_find(column, columns) for column in (*self.path, *self.attributes.values())}
        return {own_name(column): column for column in columns if column not in elsewhere}

    def _column_faults(self, columns: tuple[str, ...]) -> list[MappingFault]:
        wanted = [(f"[columns] {field}", column) for field, column in (self.columns or {}).items()]
        wanted += [("path", column) for column in self.path]
        wanted += [(f"[attributes] {name}", column) for name, column in self.attributes.items()]
        return [
            MappingFault(
                "mapping.unknown_column",
                f"{self.name}: {place}: the file has no column {column!r}{_suggestion(column, columns)}",
            )
            for place, column in wanted
            if _find(column, columns) is None
        ]


def load_mapping(path: Path) -> ColumnMap:
    """Reads a mapping from a TOML file.

    `path = [columns from the top level down]`, `[columns] field = "column"`, `[constants] field = "value"`,
    `[values.field] "value in the file" = "value"`, `[attributes] name = "column"`.
    Raises MappingProblem with all faults at once: `mapping.not_found`, `mapping.format`, `mapping.unknown_table`.
    """
    path = Path(path)
    name = path.name
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except UnicodeDecodeError as problem:
        raise _refused("mapping.format", f"{name}: byte {problem.start} is not UTF-8; save as UTF-8") from None
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise _refused("mapping.not_found", f"{path}: cannot be read ({reason}); check name and rights") from None
    except tomllib.TOMLDecodeError as problem:
        raise _refused("mapping.format", f"{name}: is no TOML: {problem}; correct it there") from None
    faults = [
        MappingFault(
            "mapping.unknown_table",
            f"{name}: {key!r} is not known{_suggestion(key, _TABLES)}; known are {', '.join(_TABLES)}",
        )
        for key in document
        if key not in _TABLES
    ]
    columns = _texts(name, "columns", document.get("columns", {}), faults)
    constants = _texts(name, "constants", document.get("constants", {}), faults)
    attributes = _texts(name, "attributes", document.get("attributes", {}), faults)
    values = {}
    tables = document.get("values", {})
    if isinstance(tables, dict):
        values = {field: _texts(name, f"values.{field}", table, faults) for field, table in tables.items()}
    else:
        faults.append(MappingFault("mapping.format", f"{name}: values must be tables [values.FIELD]"))
    levels = document.get("path", [])
    if not isinstance(levels, list) or not all(isinstance(level, str) and level.strip() for level in levels):
        faults.append(MappingFault("mapping.format", f"{name}: path must be a list of column names"))
        levels = []
    if faults:
        raise MappingProblem(faults)
    return ColumnMap(
        name=name,
        columns=columns if "columns" in document else None,
        constants=constants,
        values=values,
        path=tuple(levels),
        attributes=attributes,
    )


def _refused(code: str, message: str) -> MappingProblem:
    return MappingProblem([MappingFault(code, message)])


def _texts(name: str, table_name: str, table: Any, faults: list[MappingFault]) -> dict[str, str]:
    """A table of texts; whatever is none is noted in `faults`."""
    if not isinstance(table, dict):
        faults.append(MappingFault("mapping.format", f"{name}: {table_name} must be a table [{table_name}]"))
        return {}
    for key, value in table.items():
        if not isinstance(value, str):
            hint = f'put the value in quotes: {key} = "..."'
            if isinstance(value, dict):
                hint = f'put the name in quotes: "{key}.{next(iter(value), "...")}" = "..."'
            faults.append(MappingFault("mapping.format", f"{name}: [{table_name}] {key} must be text; {hint}"))
    return {key: value for key, value in table.items() if isinstance(value, str)}


def _suggestion(name: str, known: Iterable[str]) -> str:
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), list(by_folded), n=1)
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


def _find(column: str, columns: tuple[str, ...]) -> str | None:
    """The file's column of that name, exactly or with other case and white space."""
    if column in columns:
        return column
    folded = column.strip().casefold()
    return next((name for name in columns if name.strip().casefold() == folded), None)


def _matched(column: str, columns: tuple[str, ...]) -> str:
    found = _find(column, columns)
    if found is None:
        raise KeyError(column)
    return found


def own_name(column: str) -> str:
    """The field that a column fills by its own name: lower case, but the names of attributes and systems as written."""
    folded = column.strip().casefold()
    for prefix in (ATTRIBUTES_PREFIX, IDENTIFIERS_PREFIX):
        if folded.startswith(prefix):
            return prefix + column.strip()[len(prefix) :]
    return folded


def _is_dotted(field: str) -> bool:
    return field.startswith((ATTRIBUTES_PREFIX, IDENTIFIERS_PREFIX))


def _with_prefix(filled: dict[str, list[str | None]], prefix: str) -> dict[str, list[str | None]]:
    return {field.removeprefix(prefix): cells for field, cells in filled.items() if field.startswith(prefix)}


def _translated(cells: list[str | None], translations: Mapping[str, str]) -> list[str | None]:
    table: dict[str | None, str | None] = {key or None: value or None for key, value in translations.items()}
    return [table.get(cell, cell) for cell in cells]


def _without_empty(columns: dict[str, list[str | None]], count: int) -> list[dict[str, str]]:
    """One dictionary per row of the cells that are not empty."""
    if not columns:
        return [{}] * count
    names = tuple(columns)
    return [
        {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        for cells in zip(*columns.values(), strict=True)
    ]
