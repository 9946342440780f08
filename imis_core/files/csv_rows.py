"""Reads CSV files: pieces that are plainly built by polars, all others by the csv module, which finds the trouble.

The survey proves for each piece of some megabytes that it is plainly built: quotes balanced and only around cells, as
many separators in each record as in the header.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy
import numpy.typing
import polars
from attrs import frozen

from imis_core.files.rows import (
    MAXIMUM_CELL_BYTES,
    FileProblem,
    Numbered,
    Problems,
    TableFile,
    checked_columns,
    frame,
    is_error_file,
    kept,
    refuse_large_cell,
    row_problem,
    unescaped,
)
from imis_core.files.sources import MAXIMUM_RECORD_BYTES, Source, opened, refuse_encoding, reopened

PIECE_BYTES = 4 * 1024 * 1024
DELIMITERS: Final = (",", ";", "\t")

Array = numpy.typing.NDArray[Any]

# The csv module's own limit (128 KiB) is one setting of the whole process; it is only ever raised to ours.
csv.field_size_limit(max(csv.field_size_limit(), MAXIMUM_CELL_BYTES))


@frozen
class _Piece:
    """A run of whole records of a CSV file: plainly built, or to be read with care."""

    plain: bool
    byte_count: int
    record_count: int
    quoted: bool


@frozen
class _CsvPlan:
    """What the survey found: how to read the file a second time."""

    path: Path
    signature: tuple[int, int]
    delimiter: str
    columns: tuple[str, ...]
    start_byte: int
    pieces: tuple[_Piece, ...]


class _CsvRecords:
    """Reads records with the csv module, line by line, and names the row where it fails."""

    def __init__(self, source: Source, delimiter: str, row: int) -> None:
        self._source = source
        self._row = row
        self._reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)

    @property
    def _place(self) -> str:
        return f"row {self._row}" if self._row else "the header"

    def _lines(self) -> Iterator[str]:
        start = self._source.taken_bytes
        while line := self._source.line():
            if self._source.taken_bytes - start > MAXIMUM_RECORD_BYTES + PIECE_BYTES:
                raise FileProblem(
                    "files.too_large",
                    f"{self._source.path}: {self._place} is longer than {MAXIMUM_RECORD_BYTES // 1024**2} MiB; "
                    "look for a quote that is not closed",
                )
            try:
                yield line.decode()
            except UnicodeDecodeError as problem:
                refuse_encoding(self._source.path, problem, self._source.taken_bytes - len(line), self._place)

    def next(self) -> list[str] | None:
        """The next record (an empty list for an empty line), None at the end."""
        try:
            record = next(self._reader)
        except StopIteration:
            return None
        except csv.Error as problem:
            if "field larger" in str(problem):
                raise FileProblem(
                    "files.too_large",
                    f"{self._source.path}: {self._place} has a cell above 1 MiB; shorten it, or look for a quote that "
                    "is not closed",
                ) from None
            raise FileProblem(
                "files.format",
                f"{self._source.path}: {self._place} has a quote that is not closed or not doubled ({problem}); "
                "close it, or write it twice inside a cell",
            ) from None
        if sum(map(len, record)) * 4 > MAXIMUM_CELL_BYTES:
            refuse_large_cell(self._source.path, self._row, record)
        self._row += 1
        return record


def survey_csv(path: Path, source: Source, unescape: bool) -> TableFile:
    delimiter = _detect_delimiter(source.peek(MAXIMUM_CELL_BYTES))
    header: list[str] | None = []
    records = _CsvRecords(source, delimiter, 0)
    while header is not None and not any(cell.strip() for cell in header):
        records = _CsvRecords(source, delimiter, 0)
        header = records.next()
    if header is None:
        raise FileProblem("files.empty", f"{path}: has no column names; write them into the first line")
    columns = checked_columns(path, header)
    unescape = unescape or is_error_file(columns)
    if unescape:
        columns = checked_columns(path, [unescaped(name) for name in columns])
    start_byte = source.taken_bytes
    problems = Problems(path, columns, unescape)
    pieces: list[_Piece] = []
    row = 1
    while source.peek(1):
        data = source.peek(PIECE_BYTES)
        piece = _plain_piece(data, len(data) < PIECE_BYTES, delimiter, len(columns))
        if piece is None:
            piece = _survey_with_care(source, delimiter, columns, row, problems)
        else:
            source.take(piece.byte_count)
        row += piece.record_count
        pieces.append(piece)
    plan = _CsvPlan(path, source.signature, delimiter, columns, start_byte, tuple(pieces))
    return TableFile(
        path=path,
        format="csv",
        columns=kept(columns),
        problems=tuple(problems.found),
        row_count=row - 1,
        is_error_file=is_error_file(columns),
        other_sheets=(),
        numbered=lambda: _read_csv(plan),
        unescape=unescape,
    )


def _detect_delimiter(head: bytes) -> str:
    """The separator that cuts the first record that is not empty into the most cells; comma if none does."""
    text = head.decode("utf-8", "ignore")

    def cells(delimiter: str) -> int:
        try:
            for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
                if "".join(record).strip(" ,;\t\r\n"):
                    return len(record)
        except csv.Error:
            return 0
        return 0

    return max(DELIMITERS, key=cells)


def _plain_piece(data: bytes, ended: bool, delimiter: str, width: int) -> _Piece | None:
    """The longest run of whole records at the start of `data`, if all of it is plainly built, else None.

    Plainly built: UTF-8; no NUL; CR only before LF; a quote opens only at the start of a cell and closes only at its
    end; each record has `width` cells and is not empty; no cell above the bound.
    """
    array = numpy.frombuffer(data, dtype=numpy.uint8)
    quotes = numpy.flatnonzero(array == ord('"')) if b'"' in data else numpy.empty(0, dtype=numpy.int64)
    ends = _outside(numpy.flatnonzero(array == ord("\n")), quotes)
    unfinished = ended and not data.endswith(b"\n")
    if not ended and not ends.size:
        return None
    length = len(data) if ended else int(ends[-1]) + 1
    data = data[:length]
    if b"\x00" in data:
        return None
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    array, quotes = array[:length], quotes[quotes < length]
    if b"\r" in data:
        returns = numpy.flatnonzero(array == ord("\r"))
        if returns[-1] == length - 1 or not (array[returns + 1] == ord("\n")).all():
            return None
    if not _quotes_surround_cells(array, quotes, ord(delimiter)):
        return None
    if unfinished:
        ends = numpy.append(ends, length)
    separators = numpy.flatnonzero(array == ord(delimiter))
    separators = _outside(separators, quotes)
    starts = numpy.concatenate(([0], ends[:-1] + 1))
    if (ends - starts <= 1).any() and _has_empty_record(array, starts, ends):
        return None
    counts = numpy.diff(numpy.searchsorted(separators, ends), prepend=0)
    if not (counts == width - 1).all():
        return None
    borders = numpy.sort(numpy.concatenate((separators, ends, [-1])))
    if numpy.diff(borders).max() > MAXIMUM_CELL_BYTES:
        return None
    return _Piece(True, length, int(ends.size), bool(quotes.size))


def _outside(positions: Array, quotes: Array) -> Array:
    """Those positions that have an even number of quotes before them, that is: stand outside of quotes."""
    if not quotes.size:
        return positions
    outside: Array = positions[numpy.searchsorted(quotes, positions) % 2 == 0]
    return outside


def _quotes_surround_cells(array: Array, quotes: Array, delimiter: int) -> bool:
    """Whether every first quote of a pair starts a cell and every second ends one, doubled quotes aside."""
    if quotes.size % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    # Beyond the borders of the piece is the border of a record, for which a line end stands here.
    before = numpy.where(opening > 0, array[opening - 1], ord("\n")) if opening.size else opening
    last = closing == array.size - 1
    after = numpy.where(last, ord("\n"), array[numpy.where(last, 0, closing + 1)]) if closing.size else closing
    # A doubled quote closes and opens at once; both halves see a quote beside them.
    opens_well = numpy.isin(before, (delimiter, ord("\n"), ord('"')))
    closes_well = numpy.isin(after, (delimiter, ord("\n"), ord("\r"), ord('"')))
    return bool(opens_well.all() and closes_well.all())


def _has_empty_record(array: Array, starts: Array, ends: Array) -> bool:
    lengths = ends - starts
    if (lengths == 0).any():
        return True
    single = starts[lengths == 1]
    return bool((array[single] == ord("\r")).any())


def _survey_with_care(
    source: Source, delimiter: str, columns: tuple[str, ...], first_row: int, problems: Problems
) -> _Piece:
    """Reads records with the csv module until a piece is full, and notes what is wrong with them."""
    start = source.taken_bytes
    records = _CsvRecords(source, delimiter, first_row)
    count = 0
    while source.taken_bytes - start < PIECE_BYTES and (cells := records.next()) is not None:
        problem = row_problem(first_row + count, cells, columns)
        if problem:
            problems.add(problem)
        count += 1
    return _Piece(False, source.taken_bytes - start, count, True)


def _read_csv(plan: _CsvPlan) -> Iterator[Numbered]:
    """The second reading, by the plan of the survey."""
    with opened(plan.path) as stream:
        source = reopened(plan.path, stream, plan.signature)
        source.take(plan.start_byte)
        row = 1
        for piece in plan.pieces:
            data = source.take(piece.byte_count)
            if piece.plain:
                yield Numbered(_plain_frame(plan, piece, data), range(row, row + piece.record_count))
            else:
                yield _careful_frame(plan, data, row)
            row += piece.record_count


def _plain_frame(plan: _CsvPlan, piece: _Piece, data: bytes) -> polars.DataFrame:
    read = polars.read_csv(
        data,
        has_header=False,
        schema=dict.fromkeys(plan.columns, polars.String()),
        infer_schema=False,
        separator=plan.delimiter,
        quote_char='"' if piece.quoted else None,
    )
    if read.height == piece.record_count:
        return read
    raise AssertionError(f"{plan.path}: polars found {read.height} records, the survey {piece.record_count}")


def _careful_frame(plan: _CsvPlan, data: bytes, first_row: int) -> Numbered:
    rows: list[list[str]] = []
    numbers: list[int] = []
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=plan.delimiter, strict=True)
    for row, cells in enumerate(reader, start=first_row):
        if row_problem(row, cells, plan.columns) is None:
            rows.append(cells)
            numbers.append(row)
    return Numbered(frame(plan.columns, rows), numbers)
