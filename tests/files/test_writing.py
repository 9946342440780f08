"""What writing promises: whole files or none, nothing that a spreadsheet computes, and rows that can come again."""

import datetime
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import polars
import pytest

from imis_core.files import ErrorFile, FileProblem, RowProblem, formats, read_table, write_table

COLUMNS = ("code", "amount", "day", "yes", "share", "note")
ROWS = [
    ("0012", 5, datetime.date(2020, 1, 2), True, Decimal("0.25"), None),
    ("12345678901234567890", 12345678901234567890, datetime.date(1890, 1, 2), False, Decimal("1E+3"), "a"),
]
AS_TEXT = [
    ("0012", "5", "2020-01-02", "true", "0.25", None),
    ("12345678901234567890", "12345678901234567890", "1890-01-02", "false", "1000", "a"),
]


def read_back(path: Path) -> list[tuple[str | None, ...]]:
    return [row for chunk in read_table(path).chunks() for row in zip(*chunk.columns.values(), strict=True)]


@pytest.mark.parametrize("file_format", ["csv", "xlsx", "ndjson"])
def test_values_keep_all_their_digits(tmp_path: Path, file_format: str) -> None:
    """Codes, long numbers, old dates and decimals come back as they were."""
    path = tmp_path / f"t.{file_format}"
    assert write_table(path, COLUMNS, iter(ROWS), file_format) == 2
    assert read_back(path) == AS_TEXT
    stream = io.BytesIO()
    write_table(stream, COLUMNS, iter(ROWS), file_format)
    assert not stream.closed
    (tmp_path / f"s.{file_format}").write_bytes(stream.getvalue())
    assert read_back(tmp_path / f"s.{file_format}") == AS_TEXT


def test_parquet_keeps_types(tmp_path: Path) -> None:
    """Parquet holds numbers, dates and text as such."""
    path = tmp_path / "t.parquet"
    rows = [("0012", 5, datetime.date(2020, 1, 2)), (None, None, None)]
    assert write_table(path, ("code", "amount", "day"), iter(rows), "parquet") == 2
    assert polars.read_parquet(path).rows() == rows


@pytest.mark.parametrize("file_format", [each.name for each in formats()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, file_format: str) -> None:
    """A file is written whole or not at all, and nothing is left beside it."""
    path = tmp_path / "t"
    path.write_text("before")

    def rows() -> Iterator[tuple[str]]:
        yield ("1",)
        raise ConnectionError("the database went away")

    with pytest.raises(ConnectionError):
        write_table(path, ("a",), rows(), file_format)
    with pytest.raises(FileProblem) as caught:
        write_table(path, ("a",), [("1", "2")], file_format)
    assert caught.value.code == "files.format"
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["t"]


def test_xlsx_and_parquet_streams_get_nothing_of_a_failure() -> None:
    """Formats that are only whole at their end reach a stream whole."""
    for file_format in ("xlsx", "parquet"):
        stream = io.BytesIO()
        with pytest.raises(FileProblem):
            write_table(stream, ("a",), [("1",), ("1", "2")], file_format)
        assert stream.getvalue() == b""


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("'=1", "''=1"),
        ("-5", "-5"),
        ("+9779812345678", "+9779812345678"),
        (-5, "-5"),
        (Decimal("-0.50"), "-0.50"),
        ("O'Brien", "O'Brien"),
        ("'tis", "'tis"),
    ],
)
def test_text_that_a_spreadsheet_would_compute_is_marked(cell: object, written: str) -> None:
    """Formulas from outside do not run in a reader's spreadsheet; numbers stay numbers."""
    stream = io.BytesIO()
    write_table(stream, ("a", "b"), [(cell, "x")])
    assert stream.getvalue().decode() == f"a,b\r\n{written},x\r\n"
    stream = io.BytesIO()
    write_table(stream, ("a", "b"), [(cell, "x")], safe=False)
    assert stream.getvalue().decode().startswith(f"a,b\r\n{cell}")


def test_formulas_are_text_in_xlsx(tmp_path: Path) -> None:
    """A workbook never computes what came from outside."""
    path = tmp_path / "t.xlsx"
    write_table(path, ("a",), [("=1+1",), ("http://x.example",)], "xlsx")
    assert read_back(path) == [("=1+1",), ("http://x.example",)]


def test_what_xlsx_cannot_hold_is_refused(tmp_path: Path) -> None:
    """No text is cut off silently."""
    with pytest.raises(FileProblem) as caught:
        write_table(tmp_path / "t.xlsx", ("a",), [("x" * 32_768,)], "xlsx")
    assert caught.value.code == "files.too_large"
    assert list(tmp_path.iterdir()) == []


def test_formats_and_folders_that_do_not_exist(tmp_path: Path) -> None:
    """Both are problems with a code."""
    with pytest.raises(FileProblem) as caught:
        write_table(tmp_path / "t", ("a",), [], "xls")
    assert caught.value.code == "files.format"
    with pytest.raises(FileProblem) as caught:
        write_table(tmp_path / "no" / "t.csv", ("a",), [])
    assert caught.value.code == "files.not_found"


def test_ndjson_keeps_numbers_and_nested_values() -> None:
    """Programs get numbers as numbers, decimals and dates as text."""
    stream = io.BytesIO()
    write_table(stream, ("a", "b", "c"), [(1, {"x": datetime.date(2020, 1, 2)}, Decimal("1.10"))], "ndjson")
    assert json.loads(stream.getvalue()) == {"a": 1, "b": {"x": "2020-01-02"}, "c": "1.10"}


def test_an_error_file_can_be_corrected_and_imported_again(tmp_path: Path) -> None:
    """It holds the original columns and cells, surplus cells too; its own columns are left out when it is read."""
    source = tmp_path / "in.csv"
    source.write_bytes(b"-code,note\n001,'=x\n002,=1+1\n003,a,b\n")
    table = read_table(source)
    errors = tmp_path / "errors.csv"
    with ErrorFile(errors, table.columns) as error_file:
        for chunk in table.chunks():
            for row, cells in zip(chunk.row_numbers, zip(*chunk.columns.values(), strict=True), strict=True):
                problem = RowProblem(row, "note", "persons.bad", "is\nbad; mend it")
                error_file.write(row, cells, [problem, RowProblem(row, None, "persons.worse", "is worse")])
        for problem in table.problems:
            error_file.write_problem(problem)
    assert error_file.count == 3
    text = errors.read_text(encoding="utf-8-sig").splitlines()
    assert text[0] == "#row,#errors,'-code,note"
    assert text[1] == "1,persons.bad note: is bad; mend it; persons.worse: is worse,001,''=x"
    assert text[2].endswith(",002,'=1+1")
    assert text[3].startswith("3,files.ragged: ")
    assert text[3].endswith(",003,a,b")
    again = read_table(errors)
    assert again.is_error_file
    assert again.columns == ("-code", "note")
    assert read_back(errors) == [("001", "'=x"), ("002", "=1+1")]
    assert [(problem.row, problem.cells) for problem in again.problems] == [(3, ("003", "a", "b"))]


def test_an_error_file_without_rows_or_after_a_failure_is_none(tmp_path: Path) -> None:
    """No errors, no file; a failure leaves nothing."""
    path = tmp_path / "errors.csv"
    with ErrorFile(path, ("a",)):
        pass

    def fail() -> None:
        with ErrorFile(path, ("a",)) as error_file:
            error_file.write(1, ("x",), [])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    assert list(tmp_path.iterdir()) == []
