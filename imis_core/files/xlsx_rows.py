"""Reads the first visible sheet of an XLSX workbook; formulas are not computed, their stored values are taken."""

from __future__ import annotations

import datetime
import html
import io
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

import python_calamine

from imis_core.files.ndjson_rows import plain_number
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
    row_problem,
)

MAXIMUM_XLSX_BYTES: Final = 256 * 1024 * 1024
MAXIMUM_XLSX_UNPACKED_BYTES: Final = 2 * 1024**3
MAXIMUM_XLSX_CELLS: Final = 50_000_000
XLSX_BATCH_ROWS: Final = 5000
_PIECE_BYTES: Final = 4 * 1024 * 1024  # read from the archive at a time

_XLSX_REFERENCE: Final = re.compile(rb"""\sr\s*=\s*["']\s*([A-Za-z]{0,8})(\d{0,20})""")
_XLSX_ERROR_CELL: Final = re.compile(rb"""<(?:\w+:)?c\s(?=[^>]*?\bt=["']e["'])[^>]*?\br=["']([A-Z]+)(\d+)["']""")
_CALAMINE_FAILURES: Final = (python_calamine.CalamineError, OSError, ValueError, KeyError, IndexError, OverflowError)


def read_xlsx(path: Path, data: bytes, unescape: bool) -> TableFile:
    """Reads the first visible sheet of a workbook; calamine holds a sheet in memory, hence the bounds checked first."""
    parts = _checked_archive(path, data)
    try:
        return _read_workbook(path, data, parts, unescape)
    except _CALAMINE_FAILURES as problem:
        raise FileProblem("files.format", f"{path}: the XLSX file is damaged ({problem}); save it again") from None
    except BaseException as problem:
        # A panic inside the reader's Rust code derives from BaseException and says no more than that the file is bad.
        if type(problem).__name__ != "PanicException":
            raise
        raise FileProblem("files.format", f"{path}: the XLSX file is damaged; save it again") from None


def _checked_archive(path: Path, data: bytes) -> dict[str, tuple[int, int, list[tuple[str, int]]]]:
    """Checks that the archive is whole, undamaged and within bounds before it is unpacked.

    Returns for each worksheet its size in columns and rows and its cells that hold an error of a formula.
    """
    sheets = {}
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        raise FileProblem("files.truncated", f"{path}: the XLSX file is cut off; transfer it again") from None
    except (ValueError, OSError, NotImplementedError, struct.error) as problem:
        raise FileProblem("files.format", f"{path}: the XLSX file is damaged ({problem}); save it again") from None
    try:
        if sum(part.file_size for part in archive.infolist()) > MAXIMUM_XLSX_UNPACKED_BYTES:
            raise FileProblem("files.too_large", f"{path}: the workbook is too large; split it or save it as CSV")
        if "xl/workbook.xml" not in archive.namelist():
            raise FileProblem("files.format", f"{path}: is a ZIP archive but no XLSX file; unpack it or save as XLSX")
        for part in archive.infolist():
            with archive.open(part) as stream:
                if part.filename.startswith("xl/worksheets/"):
                    sheets[part.filename] = _sheet_bounds(stream)
                else:
                    # Reading to the end checks the sum of the part.
                    while stream.read(_PIECE_BYTES):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, RuntimeError, struct.error) as problem:
        raise FileProblem("files.format", f"{path}: the XLSX file is damaged ({problem}); transfer it again") from None
    for columns, rows, _ in sheets.values():
        if columns * rows > MAXIMUM_XLSX_CELLS:
            raise FileProblem(
                "files.too_large",
                f"{path}: a sheet spans {columns} columns and {rows} rows; delete what is far off, or save as CSV",
            )
    return sheets


def _sheet_bounds(stream: IO[bytes]) -> tuple[int, int, list[tuple[str, int]]]:
    """Last column, last row, and the cells whose formula failed, which calamine would give out as empty."""
    letters: set[bytes] = set()
    last_row = 0
    failed: list[tuple[str, int]] = []
    carry = b""
    while data := stream.read(_PIECE_BYTES):
        data = carry + data
        cut = data.rfind(b"<")
        if cut > 0 and len(data) - cut < MAXIMUM_CELL_BYTES:
            data, carry = data[:cut], data[cut:]
        else:
            carry = b""
        last_row = max(last_row, _note_references(data, letters))
        if b't="e"' in data or b"t='e'" in data:
            failed += [(letter.decode(), int(row)) for letter, row in _XLSX_ERROR_CELL.findall(data)]
    last_row = max(last_row, _note_references(carry, letters))
    return max((_column_number(letter) for letter in letters), default=0), last_row, failed


def _note_references(data: bytes, letters: set[bytes]) -> int:
    found = _XLSX_REFERENCE.findall(data)
    letters.update(letter for letter, _ in found)
    return max((int(row) for _, row in found if row), default=0)


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _read_workbook(
    path: Path, data: bytes, parts: dict[str, tuple[int, int, list[tuple[str, int]]]], unescape: bool
) -> TableFile:
    workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    visible = [
        sheet.name
        for sheet in workbook.sheets_metadata
        if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
        and sheet.visible == python_calamine.SheetVisibleEnum.Visible
    ]
    if not visible:
        raise FileProblem("files.empty", f"{path}: the workbook has no visible sheet; show the sheet to be read")
    sheet = workbook.get_sheet_by_name(visible[0])
    rows = sheet.iter_rows()
    # calamine gives out the empty rows above the first cell, but not the empty columns before it.
    sheet_row = 0
    header: list[str | None] = []
    for cells in rows:
        sheet_row += 1
        header = [_cell_text(cell) for cell in cells]
        if any(header):
            break
    columns = checked_columns(path, header)
    unescape = unescape or is_error_file(columns)
    first_column = sheet.start[1] if sheet.start else 0
    failed = _failed_formulas(data, visible[0], parts, sheet_row, first_column, columns)
    problems = Problems(path, columns, unescape)
    batches: list[Numbered] = []
    texts: list[list[str | None]] = []
    numbers: list[int] = []
    row = 0
    for cells in rows:
        row += 1
        text = [_cell_text(cell) for cell in cells]
        refuse_large_cell(path, row, text)
        problem = row_problem(row, text, columns)
        if problem is None and row in failed:
            problem = RowProblem(
                row,
                failed[row],
                "files.formula_error",
                f"row {row}: the formula in column {failed[row]!r} gives an error; write the value instead",
                tuple(text),
            )
        if problem:
            problems.add(problem)
            continue
        texts.append(text)
        numbers.append(row)
        if len(texts) == XLSX_BATCH_ROWS:
            batches.append(Numbered(frame(columns, texts), numbers))
            texts, numbers = [], []
    if texts:
        batches.append(Numbered(frame(columns, texts), numbers))
    return TableFile(
        path=path,
        format="xlsx",
        columns=kept(columns),
        problems=tuple(problems.found),
        row_count=row,
        is_error_file=is_error_file(columns),
        other_sheets=tuple(visible[1:]),
        numbered=lambda: iter(batches),
        unescape=unescape,
    )


def _failed_formulas(
    data: bytes,
    sheet_name: str,
    parts: dict[str, tuple[int, int, list[tuple[str, int]]]],
    header_sheet_row: int,
    first_column: int,
    columns: tuple[str, ...],
) -> dict[int, str]:
    """Data row -> column of its first formula that failed, for the sheet that is read."""
    if not any(failed for _, _, failed in parts.values()):
        return {}
    part = _sheet_part(data, sheet_name)
    # If the workbook does not say plainly which part the sheet is, an only sheet is the one.
    bounds = parts.get(part) if part else (next(iter(parts.values())) if len(parts) == 1 else None)
    if bounds is None:
        raise ValueError(f"the part of sheet {sheet_name!r} is not found")
    found: dict[int, str] = {}
    for letters, sheet_row in bounds[2]:
        position = _column_number(letters.encode()) - 1 - first_column
        if sheet_row > header_sheet_row and 0 <= position < len(columns):
            found.setdefault(sheet_row - header_sheet_row, columns[position])
    return found


def _sheet_part(data: bytes, sheet_name: str) -> str | None:
    """The name inside the archive of a sheet's part, by the workbook's list of sheets and its relations."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        workbook = archive.read("xl/workbook.xml").decode("utf-8", "replace")
        relations = archive.read("xl/_rels/workbook.xml.rels").decode("utf-8", "replace")
    for tag in re.findall(r"<(?:\w+:)?sheet\s[^>]*>", workbook):
        attributes = _attributes(tag)
        if attributes.get("name") != sheet_name:
            continue
        for relation in re.findall(r"<(?:\w+:)?Relationship\s[^>]*>", relations):
            found = _attributes(relation)
            if found.get("Id") == attributes.get("r:id"):
                target = found.get("Target", "")
                return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    return None


def _attributes(tag: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, _, value in re.findall(r"""([\w:]+)\s*=\s*(["'])(.*?)\2""", tag)}


def _cell_text(cell: object) -> str | None:
    """A cell of a workbook as text: numbers in their shortest decimal form, dates and times as in ISO 8601."""
    if cell is None:
        return None
    if isinstance(cell, str):
        return cell or None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else plain_number(repr(cell))
    if isinstance(cell, datetime.timedelta):
        seconds, fraction = divmod(cell, datetime.timedelta(seconds=1))
        whole = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return whole if not fraction else f"{whole}.{fraction.microseconds:06d}"
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    raise ValueError(f"a cell of kind {type(cell).__name__}")
