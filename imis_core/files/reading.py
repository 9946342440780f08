"""Reads CSV, XLSX and NDJSON files into rows of text with their row numbers and problems; it does not interpret a cell:
what is a date, a code or an amount is for those to say who take the rows.

A file is surveyed from end to end before the first row is given out, so that a file that cannot be read as a whole
(wrong encoding, cut off, unclosed quote) is refused before anything is done with it. The survey of a CSV file proves
for each piece of some megabytes that it is plainly built (quotes balanced and only around cells, as many separators in
each record as in the header); such pieces are read by polars, all others by the csv module, which finds the trouble.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import html
import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy
import numpy.typing
import polars
import python_calamine
from attrs import evolve, field, frozen

PIECE_BYTES = 4 * 1024 * 1024
MAXIMUM_CELL_BYTES = 1_048_576
MAXIMUM_RECORD_BYTES = 64 * 1024 * 1024
MAXIMUM_FILE_BYTES = 16 * 1024**3
MAXIMUM_XLSX_BYTES = 256 * 1024 * 1024
MAXIMUM_XLSX_UNPACKED_BYTES = 2 * 1024**3
MAXIMUM_XLSX_CELLS = 50_000_000
MAXIMUM_COLUMNS = 4096
MAXIMUM_ROW_PROBLEMS = 100_000
MAXIMUM_PROBLEM_CHARACTERS = 64 * 1024 * 1024
MAXIMUM_NUMBER_EXPONENT = 400
DELIMITERS = (",", ";", "\t")

ROW_COLUMN = "#row"
"""Heading of the row numbers in a file of rows that were not loaded."""
ERRORS_COLUMN = "#errors"
"""Heading of the errors in a file of rows that were not loaded."""

Array = numpy.typing.NDArray[Any]

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0"
_UTF8_BOM = b"\xef\xbb\xbf"
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
_LINE_END = re.compile(rb"\r\n?|\n")
_XLSX_REFERENCE = re.compile(rb"""\sr\s*=\s*["']\s*([A-Za-z]{0,8})(\d{0,20})""")
_XLSX_ERROR_CELL = re.compile(rb"""<(?:\w+:)?c\s(?=[^>]*?\bt=["']e["'])[^>]*?\br=["']([A-Z]+)(\d+)["']""")

# The csv module's own limit (128 KiB) is one setting of the whole process; it is only ever raised to ours.
csv.field_size_limit(max(csv.field_size_limit(), MAXIMUM_CELL_BYTES))


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
class _Numbered:
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
    _numbered: Callable[[], Iterator[_Numbered]] = field(repr=False, eq=False)
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


def read_table(path: Path, *, unescape: bool = False) -> TableFile:
    """Surveys a CSV, XLSX or NDJSON file, gzipped or not, and returns it ready to give out its rows.

    `unescape` takes away the apostrophe that `write_table(safe=True)` sets before cells that a spreadsheet would
    compute; for a file made by `ErrorFile` this happens by itself.
    Raises FileProblem: `files.not_found`, `files.empty`, `files.encoding`, `files.truncated`, `files.format`,
    `files.duplicate_column`, `files.too_large`, `files.nul`.
    """
    path = Path(path)
    with _opened(path) as stream:
        source = _Source(path, stream)
        head = source.peek(4096)
        file_format = _detect_format(path, head, source.compressed)
        if file_format == "xlsx":
            return _read_xlsx(path, source.rest(MAXIMUM_XLSX_BYTES), unescape)
        _refuse_other_encodings(path, head)
        source.skip_bom()
        if file_format == "ndjson":
            return _survey_ndjson(path, source, unescape)
        return _survey_csv(path, source, unescape)


# ---- Bytes ---------------------------------------------------------------------------------------------------------


def _opened(path: Path) -> IO[bytes]:
    """Opens a file for reading; every reason why that fails is `files.not_found`."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise FileProblem("files.not_found", f"{path}: there is no such file; check the name and the folder") from None
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise FileProblem("files.not_found", f"{path}: cannot be opened ({reason}); check name and rights") from None


class _Source:
    """The bytes of a file, unpacked if they are gzipped, given out by pieces and by lines from one bounded buffer."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self._signature = _signature(stream)
        magic = stream.read(2)
        stream.seek(0)
        self.compressed = magic == _GZIP_MAGIC
        if not self.compressed and magic == _GZIP_MAGIC[:1] and path.suffix.lower() == ".gz":
            raise FileProblem("files.truncated", f"{path}: the file is cut off; transfer it again")
        self._stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=stream) if self.compressed else stream
        self._buffer = b""
        self._position = 0
        self._read_bytes = 0
        self.ended = False

    @property
    def signature(self) -> tuple[int, int]:
        """Size and time of change of the file, by which a change between survey and reading is noticed."""
        return self._signature

    @property
    def taken_bytes(self) -> int:
        """How many bytes were given out so far."""
        return self._read_bytes - len(self._buffer) + self._position

    def _read(self, count: int) -> bytes:
        try:
            data = self._stream.read(count)
        except EOFError:
            raise FileProblem(
                "files.truncated", f"{self.path}: the gzip file is cut off; transfer or pack it again"
            ) from None
        except (zlib.error, gzip.BadGzipFile) as problem:
            raise FileProblem(
                "files.format", f"{self.path}: the gzip file is damaged ({problem}); transfer or pack it again"
            ) from None
        except OSError as problem:
            raise FileProblem("files.not_found", f"{self.path}: cannot be read ({problem.strerror})") from None
        self._read_bytes += len(data)
        if self._read_bytes > MAXIMUM_FILE_BYTES:
            raise FileProblem(
                "files.too_large",
                f"{self.path}: the file is larger than {MAXIMUM_FILE_BYTES // 1024**3} GiB; split it",
            )
        return data

    def fill(self, count: int) -> None:
        """Reads on until the buffer holds `count` bytes or the file ends."""
        missing = count - (len(self._buffer) - self._position)
        if missing <= 0 or self.ended:
            return
        pieces = [self._buffer[self._position :]]
        while missing > 0:
            data = self._read(max(missing, 65536))
            if not data:
                self.ended = True
                break
            pieces.append(data)
            missing -= len(data)
        self._buffer, self._position = b"".join(pieces), 0

    def peek(self, count: int) -> bytes:
        """The next bytes, at most `count`, without taking them."""
        self.fill(count)
        return self._buffer[self._position : self._position + count]

    def take(self, count: int) -> bytes:
        """The next bytes, at most `count`."""
        data = self.peek(count)
        self._position += len(data)
        return data

    def rest(self, maximum: int) -> bytes:
        """All bytes that are left; `files.too_large` above `maximum`."""
        data = self.peek(maximum + 1)
        if len(data) > maximum:
            raise FileProblem(
                "files.too_large",
                f"{self.path}: an XLSX file may have {maximum // 1024**2} MiB; split it or save it as CSV",
            )
        return data

    def skip_bom(self) -> None:
        """Leaves out the byte order mark of UTF-8."""
        if self.peek(3) == _UTF8_BOM:
            self._position += 3

    def line(self) -> bytes:
        """The next line with its end, which is LF, CR LF or CR; nothing at the end of the file."""
        searched = 0
        while True:
            found = _LINE_END.search(self._buffer, self._position + searched)
            # A CR as the last byte may be the first half of CR LF.
            if found and (found.end() < len(self._buffer) or found.group() != b"\r" or self.ended):
                data = self._buffer[self._position : found.end()]
                break
            if self.ended:
                data = self._buffer[self._position :]
                break
            held = len(self._buffer) - self._position
            if held > MAXIMUM_RECORD_BYTES:
                raise FileProblem(
                    "files.too_large",
                    f"{self.path}: a line is longer than {MAXIMUM_RECORD_BYTES // 1024**2} MiB; check its line ends",
                )
            searched = max(held - 1, 0)
            self.fill(max(2 * held, 65536))
        self._position += len(data)
        return data


def _signature(stream: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns


def _reopened(path: Path, stream: IO[bytes], signature: tuple[int, int]) -> _Source:
    """The file again for its second reading; `files.format` if it is not the one that was surveyed."""
    source = _Source(path, stream)
    if source.signature != signature:
        raise FileProblem("files.format", f"{path}: the file was changed while it was read; start again")
    return source


def _detect_format(path: Path, head: bytes, compressed: bool) -> str:
    """Tells csv, xlsx or ndjson by content first and by name second."""
    if not head.removeprefix(_UTF8_BOM):
        raise FileProblem("files.empty", f"{path}: the file is empty; it needs a line with the column names")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        if not compressed:
            raise FileProblem("files.format", f"{path}: is named .gz but is not gzipped; correct the name or pack it")
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if head.startswith(_ZIP_MAGIC):
        return "xlsx"
    if suffix == ".xlsx" and _ZIP_MAGIC.startswith(head):
        raise FileProblem("files.truncated", f"{path}: the XLSX file is cut off; transfer it again")
    if head.startswith(_OLE_MAGIC):
        raise FileProblem(
            "files.format",
            f"{path}: is an old Excel file or one with a password; save it as XLSX without a password",
        )
    for magic, name in ((b"%PDF", "a PDF file"), (b"PAR1", "a Parquet file"), (_GZIP_MAGIC, "gzipped twice")):
        if head.startswith(magic):
            raise FileProblem("files.format", f"{path}: is {name}; save it as CSV, XLSX or NDJSON")
    if suffix in {".xlsx", ".xlsm"}:
        raise FileProblem("files.format", f"{path}: is named {suffix} but is no XLSX file; save it again as XLSX")
    if suffix in {".ndjson", ".jsonl"}:
        return "ndjson"
    if suffix in {".csv", ".tsv", ".txt"}:
        return "csv"
    return "ndjson" if head.removeprefix(_UTF8_BOM).lstrip().startswith(b"{") else "csv"


def _refuse_other_encodings(path: Path, head: bytes) -> None:
    """Names UTF-16 and UTF-32, which are known by their byte order mark or by every second byte being NUL."""
    name = None
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        name = "UTF-32"
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")):
        name = "UTF-16"
    elif len(head) >= 4:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if max(even, odd) > 0.4 * len(head) / 2 and min(even, odd) * 4 <= max(even, odd):
            name = "UTF-16"
    if name:
        raise FileProblem("files.encoding", f"{path}: is written in {name}, from byte 0 on; save as UTF-8")


def _refuse_encoding(path: Path, problem: UnicodeDecodeError, start_byte: int, place: str) -> NoReturn:
    offset = start_byte + problem.start
    value = problem.object[problem.start]
    raise FileProblem(
        "files.encoding", f"{path}: byte {offset} (0x{value:02X}, {place}) is not UTF-8; save as UTF-8"
    ) from None


# ---- Columns and rows, common to all formats -------------------------------------------------------------------------


def _checked_columns(path: Path, header: Sequence[str | None]) -> tuple[str, ...]:
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


def _unescaped(text: str) -> str:
    return text[1:] if _ESCAPED.match(text) else text


def _is_error_file(columns: Iterable[str]) -> bool:
    return {ROW_COLUMN, ERRORS_COLUMN} <= set(columns)


def _kept(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are given out: all, but not those that `ErrorFile` added."""
    if not _is_error_file(columns):
        return columns
    return tuple(name for name in columns if name not in (ROW_COLUMN, ERRORS_COLUMN))


class _Problems:
    """Collects the problems of rows, as many as are worth collecting."""

    def __init__(self, path: Path, columns: tuple[str, ...], unescape: bool) -> None:
        self._path = path
        self._unescape = unescape
        self._dropped = {columns.index(name) for name in columns if name not in _kept(columns)}
        self._characters = 0
        self.found: list[RowProblem] = []

    def add(self, problem: RowProblem) -> None:
        """Takes up a problem; its cells become those of the original file, as `ErrorFile` wants them again."""
        cells = tuple(cell for position, cell in enumerate(problem.cells) if position not in self._dropped)
        if self._unescape:
            cells = tuple(cell and _unescaped(cell) for cell in cells)
        self.found.append(evolve(problem, cells=cells))
        self._characters += sum(len(cell) for cell in problem.cells if cell)
        if len(self.found) > MAXIMUM_ROW_PROBLEMS or self._characters > MAXIMUM_PROBLEM_CHARACTERS:
            raise FileProblem(
                "files.format",
                f"{self._path}: {len(self.found)} rows up to row {problem.row} do not fit the header, "
                f"the first is row {self.found[0].row}: {self.found[0].message}",
            )


def _row_problem(row: int, cells: Sequence[str | None], columns: tuple[str, ...]) -> RowProblem | None:
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


def _refuse_large_cell(path: Path, row: int, cells: Iterable[str | None]) -> None:
    for position, cell in enumerate(cells, start=1):
        if (
            cell
            and len(cell) * 4 > MAXIMUM_CELL_BYTES
            and len(cell.encode("utf-8", "surrogatepass")) > MAXIMUM_CELL_BYTES
        ):
            raise FileProblem(
                "files.too_large", f"{path}: row {row}, cell {position} is above 1 MiB; shorten it or check its quotes"
            )


def _frame(columns: tuple[str, ...], rows: Sequence[Sequence[str | None]]) -> polars.DataFrame:
    """Rows of text as a frame; short rows are filled with None, surplus (empty) cells are cut."""
    width = len(columns)
    even = [row if len(row) == width else [*row[:width], *[None] * (width - len(row))] for row in rows]
    cells: Iterable[Sequence[str | None]] = zip(*even, strict=True) if even else [()] * width
    return polars.DataFrame(
        [polars.Series(name, list(column), dtype=polars.String) for name, column in zip(columns, cells, strict=True)]
    )


def _tidy(numbered: _Numbered, columns: tuple[str, ...], unescape: bool) -> _Numbered:
    """Strips cells, makes empty ones None, leaves out empty rows; the same for all formats."""
    text = polars.all()
    if unescape:
        text = text.str.replace(r"^'('*[=+\-@\t\r])", "${1}")
    frame = numbered.frame.select(columns).with_columns(text.str.strip_chars().replace("", None))
    filled = frame.select(polars.any_horizontal(polars.all().is_not_null())).to_series()
    if filled.all():
        return _Numbered(frame, numbered.row_numbers)
    kept = numpy.flatnonzero(filled.to_numpy()).tolist()
    return _Numbered(frame.filter(filled), [numbered.row_numbers[position] for position in kept])


# ---- CSV -------------------------------------------------------------------------------------------------------------


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

    def __init__(self, source: _Source, delimiter: str, row: int) -> None:
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
                _refuse_encoding(self._source.path, problem, self._source.taken_bytes - len(line), self._place)

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
            _refuse_large_cell(self._source.path, self._row, record)
        self._row += 1
        return record


def _survey_csv(path: Path, source: _Source, unescape: bool) -> TableFile:
    delimiter = _detect_delimiter(source.peek(MAXIMUM_CELL_BYTES))
    header: list[str] | None = []
    records = _CsvRecords(source, delimiter, 0)
    while header is not None and not any(cell.strip() for cell in header):
        records = _CsvRecords(source, delimiter, 0)
        header = records.next()
    if header is None:
        raise FileProblem("files.empty", f"{path}: has no column names; write them into the first line")
    columns = _checked_columns(path, header)
    unescape = unescape or _is_error_file(columns)
    if unescape:
        columns = _checked_columns(path, [_unescaped(name) for name in columns])
    start_byte = source.taken_bytes
    problems = _Problems(path, columns, unescape)
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
        columns=_kept(columns),
        problems=tuple(problems.found),
        row_count=row - 1,
        is_error_file=_is_error_file(columns),
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
    source: _Source, delimiter: str, columns: tuple[str, ...], first_row: int, problems: _Problems
) -> _Piece:
    """Reads records with the csv module until a piece is full, and notes what is wrong with them."""
    start = source.taken_bytes
    records = _CsvRecords(source, delimiter, first_row)
    count = 0
    while source.taken_bytes - start < PIECE_BYTES and (cells := records.next()) is not None:
        problem = _row_problem(first_row + count, cells, columns)
        if problem:
            problems.add(problem)
        count += 1
    return _Piece(False, source.taken_bytes - start, count, True)


def _read_csv(plan: _CsvPlan) -> Iterator[_Numbered]:
    """The second reading, by the plan of the survey."""
    with _opened(plan.path) as stream:
        source = _reopened(plan.path, stream, plan.signature)
        source.take(plan.start_byte)
        row = 1
        for piece in plan.pieces:
            data = source.take(piece.byte_count)
            if piece.plain:
                yield _Numbered(_plain_frame(plan, piece, data), range(row, row + piece.record_count))
            else:
                yield _careful_frame(plan, data, row)
            row += piece.record_count


def _plain_frame(plan: _CsvPlan, piece: _Piece, data: bytes) -> polars.DataFrame:
    frame = polars.read_csv(
        data,
        has_header=False,
        schema=dict.fromkeys(plan.columns, polars.String()),
        infer_schema=False,
        separator=plan.delimiter,
        quote_char='"' if piece.quoted else None,
    )
    if frame.height == piece.record_count:
        return frame
    raise AssertionError(f"{plan.path}: polars found {frame.height} records, the survey {piece.record_count}")


def _careful_frame(plan: _CsvPlan, data: bytes, first_row: int) -> _Numbered:
    rows: list[list[str]] = []
    numbers: list[int] = []
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=plan.delimiter, strict=True)
    for row, cells in enumerate(reader, start=first_row):
        if _row_problem(row, cells, plan.columns) is None:
            rows.append(cells)
            numbers.append(row)
    return _Numbered(_frame(plan.columns, rows), numbers)


# ---- NDJSON ----------------------------------------------------------------------------------------------------------

NDJSON_BATCH_LINES = 5000


class _BadObject(Exception):
    """A line of an NDJSON file that is no flat enough object; carries the code of the row's problem."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _survey_ndjson(path: Path, source: _Source, unescape: bool) -> TableFile:
    start_byte = source.taken_bytes
    names: dict[str, None] = {}
    folded: dict[str, str] = {}
    problems = _Problems(path, (), False)
    row = 0
    while line := source.line():
        row += 1
        try:
            cells = _ndjson_cells(line)
        except UnicodeDecodeError as problem:
            _refuse_encoding(path, problem, source.taken_bytes - len(line), f"row {row}")
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
        _refuse_large_cell(path, row, cells.values())
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
        _checked_columns(path, tuple(names))
    if not names:
        raise FileProblem("files.empty", f"{path}: holds no object; write one JSON object in each line")
    columns = tuple(names)
    signature = source.signature
    return TableFile(
        path=path,
        format="ndjson",
        columns=_kept(columns),
        # The line as it stands follows where the cells would be, so that an error file shows it.
        problems=tuple(evolve(each, cells=(*[None] * len(_kept(columns)), *each.cells)) for each in problems.found),
        row_count=row,
        is_error_file=_is_error_file(columns),
        other_sheets=(),
        numbered=lambda: _read_ndjson(path, signature, start_byte, columns),
        unescape=unescape,
    )


def _ndjson_problem(row: int, problem: _BadObject, line: bytes) -> RowProblem:
    text = line.decode().strip()
    return RowProblem(row, None, problem.code, f"row {row}: {problem}", (text[:MAXIMUM_CELL_BYTES],))


def _read_ndjson(
    path: Path, signature: tuple[int, int], start_byte: int, columns: tuple[str, ...]
) -> Iterator[_Numbered]:
    """The second reading of a surveyed file; lines that the survey found bad are left out."""
    with _opened(path) as stream:
        source = _reopened(path, stream, signature)
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
                yield _Numbered(_frame(columns, rows), numbers)
                rows, numbers = [], []
        if rows:
            yield _Numbered(_frame(columns, rows), numbers)


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


def _plain_number(text: str) -> str:
    """A JSON or Python number without exponent, with the digits as they stand; absurd exponents stay as text."""
    if "e" not in text and "E" not in text:
        return text
    mantissa, _, exponent = text.lower().partition("e")
    if len(exponent) > 5 or abs(int(exponent)) > MAXIMUM_NUMBER_EXPONENT or len(mantissa) > MAXIMUM_NUMBER_EXPONENT:
        return text
    plain = format(Decimal(text), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


_JSON = json.JSONDecoder(
    object_pairs_hook=_unique_object, parse_int=str, parse_float=_plain_number, parse_constant=_no_constant
)


# ---- XLSX ------------------------------------------------------------------------------------------------------------

XLSX_BATCH_ROWS = 5000
_CALAMINE_FAILURES = (python_calamine.CalamineError, OSError, ValueError, KeyError, IndexError, OverflowError)


def _read_xlsx(path: Path, data: bytes, unescape: bool) -> TableFile:
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
                    while stream.read(PIECE_BYTES):
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
    while data := stream.read(PIECE_BYTES):
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
    columns = _checked_columns(path, header)
    unescape = unescape or _is_error_file(columns)
    first_column = sheet.start[1] if sheet.start else 0
    failed = _failed_formulas(data, visible[0], parts, sheet_row, first_column, columns)
    problems = _Problems(path, columns, unescape)
    batches: list[_Numbered] = []
    texts: list[list[str | None]] = []
    numbers: list[int] = []
    row = 0
    for cells in rows:
        row += 1
        text = [_cell_text(cell) for cell in cells]
        _refuse_large_cell(path, row, text)
        problem = _row_problem(row, text, columns)
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
            batches.append(_Numbered(_frame(columns, texts), numbers))
            texts, numbers = [], []
    if texts:
        batches.append(_Numbered(_frame(columns, texts), numbers))
    return TableFile(
        path=path,
        format="xlsx",
        columns=_kept(columns),
        problems=tuple(problems.found),
        row_count=row,
        is_error_file=_is_error_file(columns),
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
        return str(int(cell)) if cell.is_integer() else _plain_number(repr(cell))
    if isinstance(cell, datetime.timedelta):
        seconds, fraction = divmod(cell, datetime.timedelta(seconds=1))
        whole = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return whole if not fraction else f"{whole}.{fraction.microseconds:06d}"
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    raise ValueError(f"a cell of kind {type(cell).__name__}")
