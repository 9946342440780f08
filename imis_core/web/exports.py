"""Listings as files: which format a client accepts, and a whole listing written in it. Chooses no rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, cast

import attrs
import msgspec

from imis_core.errors import refused
from imis_core.values import Money
from imis_core.web.parameters import fields_of

JSON: Final = "application/json"
# Media types and the names that `imis_core.files` gives the formats. Stated here too, because the file room brings the
# columnar engine into memory, which a web process loads only for its first export; a test keeps the two alike.
FILE_TYPES: Final[dict[str, str]] = {
    "text/csv": "csv",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/x-ndjson": "ndjson",
    "application/vnd.apache.parquet": "parquet",
}
_IN_MEMORY: Final = 1024 * 1024  # bytes of an export before it goes to a temporary file
_CHUNK: Final = 256 * 1024


def negotiate(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that the header `Accept` likes best, the first one by default.

    Raises `http.not_acceptable`.
    """
    if not accept or accept.strip() == "*/*":
        return offered[0]
    best, best_quality = None, 0.0
    ranges = [_range(part) for part in accept.lower().split(",")[:50]]
    for media_type in offered:
        # The most specific range that matches decides (RFC 9110, 12.5.1).
        quality = max(((r.count("*") * -1, q) for r, q in ranges if _matches(r, media_type)), default=(0, 0.0))[1]
        if quality > best_quality:
            best, best_quality = media_type, quality
    if best is None:
        raise refused("http.not_acceptable", f"nothing that you accept is offered here; offered: {', '.join(offered)}")
    return best


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (p.strip() for p in part.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return name, float(quality)
    except ValueError:
        return name, 0.0


def _matches(wanted: str, media_type: str) -> bool:
    return wanted in ("*/*", media_type) or (wanted.endswith("/*") and media_type.startswith(wanted[:-1]))


def write_export(chunks: Iterable[list[Any]], result: type, media_type: str) -> IO[bytes]:
    """A listing's results in a temporary file, read from its beginning; the file is whole before a byte is sent.

    So a failure midway is an error rather than half a file, and a slow client holds no transaction open. Raises
    `files.too_large` and what reading the listing raises.
    """
    from imis_core.files.reading import FileProblem
    from imis_core.files.writing import write_table

    name = FILE_TYPES[media_type]
    if not attrs.has(result):
        raise refused("http.not_acceptable", "the columns of these rows are not fixed; export `reports.NAME` itself")
    cells = {column: _cell(kind, name) for column, kind in fields_of(result).items()}
    rows = ([cell(item[column]) for column, cell in cells.items()] for items in chunks for item in items)
    file = cast(IO[bytes], SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 - closed once it is sent
    try:
        write_table(file, tuple(cells), rows, name)
    except FileProblem as problem:
        file.close()
        raise refused(problem.code, problem.message) from None
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def parts_of(file: IO[bytes]) -> Iterator[bytes]:
    """The file in parts; closes it."""
    with file:
        while part := file.read(_CHUNK):
            yield part


def _cell(kind: Any, file_format: str) -> Callable[[Any], Any]:
    """How a result's member becomes a cell: dates and amounts as such where the format has them, lists as JSON text."""
    if file_format == "ndjson":
        return _as_it_is
    if file_format in ("xlsx", "parquet"):
        if kind is date:
            return _date
        if kind in (Money, Decimal):
            return _decimal
    return _flat


def _as_it_is(value: Any) -> Any:
    return value


def _flat(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, (list, dict)) else value


def _date(value: str | None) -> date | None:
    return None if value is None else date.fromisoformat(value)


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)
