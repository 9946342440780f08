"""Files as hypothesis makes them: tables with hostile cells, broken bytes, XLSX that are not what they say."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import xlsxwriter
from hypothesis import strategies as st

ENDINGS: Final = ("csv", "xlsx", "ndjson")
HOSTILE: Final = (
    "", " ", "=1+1", '=HYPERLINK("http://x")', "@SUM(A1)", "\u202etxt", "'; DROP TABLE core.persons; --", "1e400",
    "NaN", "-0", "9" * 400, "0001-01-01", "2021-02-30", "9999-12-31", "\t", '"', "a\r\nb", "x" * 70_000, "\x00",
    "\ud7ff", "é" * 300, "null", "[]", "{}", "true", "1,5", "٣",
)  # fmt: skip
VALID: Final = ("N1", "D1", "HC1", "LAB", "A09", "F", "M", "2020-01-31", "10", "10.50", "head", "service", "paid")
cells: Final = st.one_of(st.sampled_from(VALID), st.sampled_from(HOSTILE), st.text(max_size=20))


@st.composite
def tables(draw: st.DrawFn, fields: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Column names, most of them right, and some rows."""
    names = draw(st.lists(st.sampled_from([*fields, "unknown"]), min_size=1, max_size=len(fields) + 1))
    if draw(st.booleans()):
        names = list(fields)
    rows = draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=8))
    return names, rows


@st.composite
def files(draw: st.DrawFn, fields: Sequence[str]) -> tuple[str, bytes]:
    """A file's ending and its bytes: whole or broken."""
    ending = draw(st.sampled_from(ENDINGS))
    shape = draw(st.sampled_from(("whole", "whole", "broken", "bytes", "archive")))
    if shape == "bytes":
        return ending, draw(st.binary(max_size=400))
    if shape == "archive":
        return "xlsx", draw(archives())
    names, rows = draw(tables(fields))
    content = written(ending, names, rows)
    if shape == "broken" and content:
        at = draw(st.integers(0, len(content) - 1))
        broken = draw(st.sampled_from(("cut", "byte", "utf16", "latin1")))
        if broken == "cut":
            content = content[:at]
        elif broken == "byte":
            content = content[:at] + draw(st.binary(min_size=1, max_size=3)) + content[at + 1 :]
        elif ending != "xlsx":
            content = content.decode("utf-8", "replace").encode("utf-16" if broken == "utf16" else "latin1", "replace")
    return ending, content


def written(ending: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """A table as a file."""
    if ending == "csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerows([names, *rows])
        return text.getvalue().encode("utf-8", "surrogatepass")
    if ending == "ndjson":
        return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows).encode()
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"in_memory": True, "strings_to_formulas": True}) as book:
        book.set_properties({"created": datetime(2021, 1, 1, tzinfo=UTC)})  # the same rows, the same bytes
        sheet = book.add_worksheet()
        for number, row in enumerate([names, *rows]):
            for column, cell in enumerate(row):
                sheet.write(number, column, cell[:32_000].replace("\x00", ""))
    return target.getvalue()


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Zip archives that are no workbook, or one that would fill the memory when it is unpacked."""
    target = io.BytesIO()
    bomb = draw(st.booleans())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            draw(st.sampled_from((b"", b"<Types/>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"))),
        )
        archive.writestr("xl/workbook.xml", draw(st.sampled_from((b"", b"<workbook/>", b"\xff\xfe"))))
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 60_000_000 if bomb else draw(st.binary(max_size=50)))
    return target.getvalue()


def as_rows(table: tuple[list[str], list[list[str]]]) -> list[dict[str, Any]]:
    """The same table as `registry.import` gets it."""
    names, rows = table
    return [dict(zip(names, row, strict=True)) for row in rows]
