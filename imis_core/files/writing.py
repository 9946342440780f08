"""Writes rows into CSV, XLSX, NDJSON and Parquet files, whole or not at all; it does not choose the rows.

Cells that a spreadsheet would compute (text beginning with = + - @, tab or carriage return that is no number) get an
apostrophe before them in CSV files for people (`safe=True`), as do cells that already begin with apostrophes before
such a sign; `read_table(..., unescape=True)` takes exactly one apostrophe away, so nothing is ambiguous. In XLSX files
such text is stored as text and needs no apostrophe. NDJSON and Parquet files are for programs and are never changed.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import polars
import xlsxwriter
from attrs import frozen

from imis_core.files.rows import ERRORS_COLUMN, ROW_COLUMN, FileProblem, RowProblem

XLSX_MAXIMUM_ROWS = 1_048_576
XLSX_MAXIMUM_COLUMNS = 16_384
XLSX_MAXIMUM_CELL_CHARACTERS = 32_767
XLSX_EXACT_DIGITS = 15
_XLSX_FIRST_DATE = datetime.date(1900, 3, 1)
"""Before that day spreadsheets disagree, because one of them holds 1900 for a leap year."""
_XLSX_WIDTH_CHARACTERS = 16

_COMPUTED = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)", re.ASCII)

Rows = Iterable[Sequence[Any]]


@frozen
class FileFormat:
    """A format that can be written: its name, media type and the usual ending of file names."""

    name: str
    media_type: str
    suffix: str


_FORMATS = (
    FileFormat("csv", "text/csv", ".csv"),
    FileFormat("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"),
    FileFormat("ndjson", "application/x-ndjson", ".ndjson"),
    FileFormat("parquet", "application/vnd.apache.parquet", ".parquet"),
)


def formats() -> tuple[FileFormat, ...]:
    """The formats that `write_table` knows."""
    return _FORMATS


def write_table(
    target: Path | IO[bytes], columns: Sequence[str], rows: Rows, file_format: str = "csv", *, safe: bool = True
) -> int:
    """Writes rows (each as long as `columns`) and returns how many.

    Cells are text, whole numbers, Decimal, float, bool, dates, datetimes, times or None; lists and objects become JSON.
    A path appears only when all is written; a failure leaves what was there. To a stream, CSV and NDJSON go as they
    come; XLSX and Parquet when they are complete. Parquet holds all rows in memory. `safe` concerns CSV only.
    Raises FileProblem `files.format` (unknown format, a row of another length), `files.too_large` (beyond XLSX).
    """
    writer = _WRITERS.get(file_format)
    if writer is None:
        known = ", ".join(known.name for known in _FORMATS)
        raise FileProblem("files.format", f"format {file_format!r} is not known; choose one of {known}")
    if not isinstance(target, Path):
        return writer(target, columns, rows, safe)
    with _whole_or_not_at_all(target) as stream:
        return writer(stream, columns, rows, safe)


class ErrorFile:
    """Writes rows that were not loaded to a CSV file, to be corrected there and imported again.

    It has the columns `#row` and `#errors` ("code field: message; ..."), which `read_table` leaves out, and then the
    columns of the original file; surplus cells of a row that has too many follow at its end. The file appears when
    the `with` block ends well and something was written; `count` says how many rows.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = Path(path)
        self.count = 0
        self._columns = tuple(columns)
        self._guard: contextlib.AbstractContextManager[IO[bytes]] | None = None
        self._text: io.TextIOWrapper | None = None
        self._writer: Any = None

    def __enter__(self) -> ErrorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._guard is None or self._text is None:
            return
        try:
            self._text.detach()
        except BaseException as problem:
            self._guard.__exit__(type(problem), problem, problem.__traceback__)
            raise
        self._guard.__exit__(kind, error, trace)

    def write(self, row: int, cells: Sequence[str | None], problems: Sequence[RowProblem]) -> None:
        """Adds one row as it stood in the original file, with its number there and all that is wrong with it."""
        if self._text is None:
            self._open()
        errors = "; ".join(
            f"{problem.code} {problem.field}: {problem.message}"
            if problem.field
            else f"{problem.code}: {problem.message}"
            for problem in problems
        )
        filled = [*cells, *[None] * (len(self._columns) - len(cells))]
        self._writer.writerow([str(row), _safe_text(_one_line(errors)), *(_safe_text(cell or "") for cell in filled)])
        self.count += 1

    def write_problem(self, problem: RowProblem) -> None:
        """Adds a row that `read_table` refused, with the cells it found."""
        self.write(problem.row, problem.cells, [problem])

    def _open(self) -> None:
        self._guard = _whole_or_not_at_all(self.path)
        # People open this file in a spreadsheet, which takes it for UTF-8 only with a byte order mark.
        self._text = io.TextIOWrapper(self._guard.__enter__(), encoding="utf-8-sig", newline="", write_through=True)
        self._writer = csv.writer(self._text)
        self._writer.writerow([ROW_COLUMN, ERRORS_COLUMN, *(_safe_text(name) for name in self._columns)])


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextlib.contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside `path` that takes its place when the block ends well and disappears when it does not."""
    sibling = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        stream = sibling.open("xb")
    except OSError as problem:
        raise FileProblem(
            "files.not_found", f"{path}: cannot be written ({problem.strerror}); check the folder and its rights"
        ) from None
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        sibling.replace(path)
    except BaseException:
        sibling.unlink(missing_ok=True)
        raise


def _checked_rows(columns: Sequence[str], rows: Rows) -> Iterator[Sequence[Any]]:
    width = len(columns)
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise FileProblem("files.format", f"row {number} to be written has {len(row)} cells for {width} columns")
        yield row


# ---- CSV -------------------------------------------------------------------------------------------------------------


def _safe_text(text: str) -> str:
    """Sets an apostrophe before text that a spreadsheet would compute, numbers excepted."""
    if text[:1] in "'=+-@\t\r" and _COMPUTED.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _plain_text(cell: Any) -> str:
    """A cell as text: dates as in ISO 8601, numbers without exponent, lists and objects as JSON."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, float):
        return format(Decimal(repr(cell)), "f")
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, list | tuple | dict):
        return _json_text(cell)
    return str(cell)


def _write_csv(stream: IO[bytes], columns: Sequence[str], rows: Rows, safe: bool) -> int:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    # The line end CR LF (RFC 4180) also makes the csv module quote cells that hold either of the two.
    writer = csv.writer(text)
    count = 0
    try:
        writer.writerow([_safe_text(name) if safe else name for name in columns])
        for row in _checked_rows(columns, rows):
            cells = map(_plain_text, row)
            if safe:
                cells = map(_safe_text, cells)
            writer.writerow(list(cells))
            count += 1
        text.flush()
    finally:
        text.detach()
    return count


# ---- NDJSON ----------------------------------------------------------------------------------------------------------


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal | datetime.date | datetime.time):
        return _plain_text(value)
    return str(value)


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_json_value, allow_nan=False)


def _write_ndjson(stream: IO[bytes], columns: Sequence[str], rows: Rows, safe: bool) -> int:
    count = 0
    for row in _checked_rows(columns, rows):
        stream.write(_json_text(dict(zip(columns, row, strict=True))).encode() + b"\n")
        count += 1
    return count


# ---- XLSX ------------------------------------------------------------------------------------------------------------


def _write_xlsx(stream: IO[bytes], columns: Sequence[str], rows: Rows, safe: bool) -> int:
    if len(columns) > XLSX_MAXIMUM_COLUMNS:
        raise FileProblem("files.too_large", f"{len(columns)} columns are more than XLSX holds; choose csv")
    with tempfile.TemporaryFile() as whole:
        workbook = xlsxwriter.Workbook(whole, {"constant_memory": True})
        try:
            count = _fill_workbook(workbook, columns, rows)
        finally:
            # Also after a failure: a workbook that is not closed leaves its temporary files behind.
            workbook.close()
        whole.seek(0)
        shutil.copyfileobj(whole, stream, 1024 * 1024)
    return count


def _fill_workbook(workbook: Any, columns: Sequence[str], rows: Rows) -> int:
    sheet = workbook.add_worksheet()
    sheet.set_column(0, max(len(columns) - 1, 0), _XLSX_WIDTH_CHARACTERS)
    sheet.freeze_panes(1, 0)
    bold = workbook.add_format({"bold": True})
    day = workbook.add_format({"num_format": "yyyy-mm-dd"})
    moment = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    for position, name in enumerate(columns):
        _write_xlsx_text(sheet, 0, position, name, bold)
    count = 0
    for row in _checked_rows(columns, rows):
        count += 1
        if count >= XLSX_MAXIMUM_ROWS:
            raise FileProblem("files.too_large", "more rows than an XLSX sheet holds (1048575); choose csv")
        for position, cell in enumerate(row):
            if cell is None or cell == "":
                continue
            if isinstance(cell, bool):
                sheet.write_boolean(count, position, cell)
            elif isinstance(cell, int | float | Decimal) and _is_exact(cell):
                sheet.write_number(count, position, cell)
            elif isinstance(cell, datetime.datetime) and cell.tzinfo is None and cell.date() >= _XLSX_FIRST_DATE:
                sheet.write_datetime(count, position, cell, moment)
            elif (
                isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime) and cell >= _XLSX_FIRST_DATE
            ):
                sheet.write_datetime(count, position, cell, day)
            else:
                _write_xlsx_text(sheet, count, position, _plain_text(cell), None)
    return count


def _is_exact(number: int | float | Decimal) -> bool:
    """Whether a spreadsheet keeps all digits of the number; else it is written as text."""
    if isinstance(number, int):
        return len(str(abs(number))) <= XLSX_EXACT_DIGITS
    if isinstance(number, Decimal):
        # Zeros after the decimal point are lost in a number, but not the amount.
        return number.is_finite() and len(number.as_tuple().digits) <= XLSX_EXACT_DIGITS
    return math.isfinite(number)


def _write_xlsx_text(sheet: Any, row: int, position: int, text: str, style: Any) -> None:
    if len(text) > XLSX_MAXIMUM_CELL_CHARACTERS:
        raise FileProblem(
            "files.too_large",
            f"row {row}, cell {position + 1} has more than {XLSX_MAXIMUM_CELL_CHARACTERS} characters, "
            "which XLSX cannot hold; choose csv",
        )
    sheet.write_string(row, position, text, style)


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def _write_parquet(stream: IO[bytes], columns: Sequence[str], rows: Rows, safe: bool) -> int:
    frame = polars.DataFrame(
        list(_checked_rows(columns, rows)), schema=list(columns), orient="row", infer_schema_length=None
    )
    whole = io.BytesIO()
    frame.write_parquet(whole)
    stream.write(whole.getbuffer())
    return frame.height


_WRITERS: dict[str, Callable[[IO[bytes], Sequence[str], Rows, bool], int]] = {
    "csv": _write_csv,
    "xlsx": _write_xlsx,
    "ndjson": _write_ndjson,
    "parquet": _write_parquet,
}
