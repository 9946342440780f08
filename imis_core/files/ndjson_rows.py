"""Reads NDJSON files: one object in each line, objects inside as dotted names, lists as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn

from attrs import evolve

from imis_core.files.rows import (
    MAXIMUM_CELL_BYTES,
    FileProblem,
    Numbered,
    Problems,
    RowProblem,
    TableFile,
    checked_columns,
    frame,
    is_error_file,
    kept,
    refuse_large_cell,
)
from imis_core.files.sources import Source, opened, refuse_encoding, reopened

NDJSON_BATCH_LINES: Final = 5000
MAXIMUM_NUMBER_EXPONENT: Final = 400


class _BadObject(Exception):
    """A line of an NDJSON file that is no flat enough object; carries the code of the row's problem."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def survey_ndjson(path: Path, source: Source, unescape: bool) -> TableFile:
    start_byte = source.taken_bytes
    names: dict[str, None] = {}
    folded: dict[str, str] = {}
    problems = Problems(path, (), False)
    row = 0
    while line := source.line():
        row += 1
        try:
            cells = _ndjson_cells(line)
        except UnicodeDecodeError as problem:
            refuse_encoding(path, problem, source.taken_bytes - len(line), f"row {row}")
        except _BadObject as problem:
            if not names:
                raise FileProblem(
                    "files.format",
                    f"{path}: row {row} is no JSON object ({problem}); write one object in each line",
                ) from None
            problems.add(_ndjson_problem(row, problem, line))
            continue
        if cells is None:
            continue
        refuse_large_cell(path, row, cells.values())
        if cells.keys() <= names.keys():
            continue
        for name in cells:
            other = folded.setdefault(name.casefold(), name)
            if other != name:
                raise FileProblem(
                    "files.duplicate_column",
                    f"{path}: row {row} names {name!r} what others name {other!r}; use one of them",
                )
            names[name] = None
        checked_columns(path, tuple(names))
    if not names:
        raise FileProblem("files.empty", f"{path}: holds no object; write one JSON object in each line")
    columns = tuple(names)
    signature = source.signature
    return TableFile(
        path=path,
        format="ndjson",
        columns=kept(columns),
        # The line as it stands follows where the cells would be, so that an error file shows it.
        problems=tuple(evolve(each, cells=(*[None] * len(kept(columns)), *each.cells)) for each in problems.found),
        row_count=row,
        is_error_file=is_error_file(columns),
        other_sheets=(),
        numbered=lambda: _read_ndjson(path, signature, start_byte, columns),
        unescape=unescape,
    )


def _ndjson_problem(row: int, problem: _BadObject, line: bytes) -> RowProblem:
    text = line.decode().strip()
    return RowProblem(row, None, problem.code, f"row {row}: {problem}", (text[:MAXIMUM_CELL_BYTES],))


def _read_ndjson(
    path: Path, signature: tuple[int, int], start_byte: int, columns: tuple[str, ...]
) -> Iterator[Numbered]:
    """The second reading of a surveyed file; lines that the survey found bad are left out."""
    with opened(path) as stream:
        source = reopened(path, stream, signature)
        source.take(start_byte)
        row = 0
        rows: list[list[str | None]] = []
        numbers: list[int] = []
        while line := source.line():
            row += 1
            try:
                cells = _ndjson_cells(line)
            except _BadObject:
                continue  # reported by the survey
            if cells is None:
                continue
            rows.append([cells.get(name) for name in columns])
            numbers.append(row)
            if len(rows) == NDJSON_BATCH_LINES:
                yield Numbered(frame(columns, rows), numbers)
                rows, numbers = [], []
        if rows:
            yield Numbered(frame(columns, rows), numbers)


def _ndjson_cells(line: bytes) -> dict[str, str | None] | None:
    """One line as cells; None for an empty line. Objects inside become dotted names, lists stay JSON text."""
    text = line.decode().strip()
    if not text:
        return None
    try:
        value = _JSON.decode(text)
    except json.JSONDecodeError as problem:
        raise _BadObject("files.format", f"no valid JSON ({problem.msg} at character {problem.pos + 1})") from None
    except RecursionError:
        raise _BadObject("files.format", "objects or lists are nested too deeply") from None
    if not isinstance(value, dict):
        raise _BadObject("files.format", "no JSON object; write {...}")
    cells: dict[str, str | None] = {}
    _flatten(value, "", cells)
    return cells


def _flatten(value: dict[str, Any], prefix: str, cells: dict[str, str | None]) -> None:
    for key, item in value.items():
        name = f"{prefix}{key.strip()}"
        if isinstance(item, dict):
            _flatten(item, f"{name}.", cells)
            continue
        text: str | None
        if item is None or isinstance(item, str):
            text = item
        elif isinstance(item, bool):
            text = "true" if item else "false"
        else:
            text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
        if name in cells:
            raise _BadObject("files.duplicate_column", f"names {name!r} twice")
        if text is not None and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise _BadObject("files.encoding", f"{name!r} holds half a character (\\ud800-\\udfff)") from None
        if not name or not name.isprintable():
            raise _BadObject("files.format", f"the name {name!r} is empty or no text")
        if text and "\x00" in text:
            raise _BadObject("files.nul", f"{name!r} holds a NUL character; delete it")
        cells[name] = text


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _BadObject("files.duplicate_column", "an object names a key twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise _BadObject("files.format", f"{name} is no JSON number")


def plain_number(text: str) -> str:
    """A JSON or Python number without exponent, with the digits as they stand; absurd exponents stay as text."""
    if "e" not in text and "E" not in text:
        return text
    mantissa, _, exponent = text.lower().partition("e")
    if len(exponent) > 5 or abs(int(exponent)) > MAXIMUM_NUMBER_EXPONENT or len(mantissa) > MAXIMUM_NUMBER_EXPONENT:
        return text
    plain = format(Decimal(text), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


_JSON = json.JSONDecoder(
    object_pairs_hook=_unique_object, parse_int=str, parse_float=plain_number, parse_constant=_no_constant
)
