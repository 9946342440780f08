"""The bytes of a file from outside, unpacked and bounded, and what kind of file they are; cells are not its matter."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from pathlib import Path
from typing import IO, Final, NoReturn

from imis_core.files.rows import FileProblem

MAXIMUM_RECORD_BYTES: Final = 64 * 1024 * 1024
MAXIMUM_FILE_BYTES: Final = 16 * 1024**3

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZIP_MAGIC: Final = b"PK\x03\x04"
_OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0"
_UTF8_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n?|\n")


def opened(path: Path) -> IO[bytes]:
    """Opens a file for reading; every reason why that fails is `files.not_found`."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise FileProblem("files.not_found", f"{path}: there is no such file; check the name and the folder") from None
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise FileProblem("files.not_found", f"{path}: cannot be opened ({reason}); check name and rights") from None


class Source:
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


def reopened(path: Path, stream: IO[bytes], signature: tuple[int, int]) -> Source:
    """The file again for its second reading; `files.format` if it is not the one that was surveyed."""
    source = Source(path, stream)
    if source.signature != signature:
        raise FileProblem("files.format", f"{path}: the file was changed while it was read; start again")
    return source


def detect_format(path: Path, head: bytes, compressed: bool) -> str:
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


def refuse_other_encodings(path: Path, head: bytes) -> None:
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


def refuse_encoding(path: Path, problem: UnicodeDecodeError, start_byte: int, place: str) -> NoReturn:
    offset = start_byte + problem.start
    value = problem.object[problem.start]
    raise FileProblem(
        "files.encoding", f"{path}: byte {offset} (0x{value:02X}, {place}) is not UTF-8; save as UTF-8"
    ) from None
