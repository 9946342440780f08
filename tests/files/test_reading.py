"""What reading a file from outside promises: every cell as it stands, every trouble named with its row."""

import gzip
import io
import json
import random
import time
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.files import FileProblem, TableFile, csv_rows, read_table, write_table

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = ("number", "name", "village")


def table_of(folder: Path, content: bytes, name: str = "table.csv") -> TableFile:
    path = folder / name
    path.write_bytes(content)
    return read_table(path)


def rows_of(table: TableFile, size: int = 5000) -> list[tuple[int, tuple[str | None, ...]]]:
    found = []
    for chunk in table.chunks(size):
        assert 0 < len(chunk) <= size
        assert tuple(chunk.columns) == table.columns
        found += list(zip(chunk.row_numbers, zip(*chunk.columns.values(), strict=True), strict=True))
    return found


def refused(folder: Path, content: bytes, name: str = "table.csv") -> FileProblem:
    with pytest.raises(FileProblem) as caught:
        table_of(folder, content, name)
    assert "\n" not in str(caught.value)
    return caught.value


def expected_rows(rows: list[tuple[str, ...]]) -> list[tuple[int, tuple[str | None, ...]]]:
    stripped = [(number, tuple(cell.strip() or None for cell in row)) for number, row in enumerate(rows, start=1)]
    return [(number, row) for number, row in stripped if any(row)]


# Surrogates have no UTF-8; NUL is a row's problem; Python strips the separators U+001C to U+001F, the reader does not.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x1c\x1d\x1e\x1f"), max_size=12
) | st.text("a\",;\n\r\t '=", max_size=8)
# XML knows no other control characters, and turns each CR into LF.
XML_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=12)


@FEW
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=20))
def test_any_text_survives_csv(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    """Whatever text is written to CSV is read again, whichever way the reader takes."""
    path = tmp_path / "table.csv"
    write_table(path, NAMES, rows, "csv", safe=False)
    assert rows_of(read_table(path), 7) == expected_rows(rows)


@FEW
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=20))
def test_apostrophes_of_safe_csv_are_taken_away_again(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    """What `safe` adds, `unescape` takes away, and nothing else."""
    path = tmp_path / "table.csv"
    write_table(path, NAMES, rows, "csv")
    assert rows_of(read_table(path, unescape=True)) == expected_rows(rows)


@FEW
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=20))
def test_any_text_survives_ndjson(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    """Whatever text is written to NDJSON is read again."""
    path = tmp_path / "table.ndjson"
    write_table(path, NAMES, rows, "ndjson")
    assert rows_of(read_table(path)) == expected_rows(rows)


@FEW
@given(st.lists(st.tuples(XML_TEXT, XML_TEXT, XML_TEXT), max_size=8))
def test_any_text_survives_xlsx(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    """Whatever printable text is written to XLSX is read again."""
    path = tmp_path / "table.xlsx"
    write_table(path, NAMES, rows, "xlsx")
    assert rows_of(read_table(path)) == expected_rows(rows)


@FEW
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "1", "a b", "é", '"q"', '"a,b"', '"a\nb"', '"a""b"', '""']), TEXT), max_size=30
    )
)
def test_plain_and_careful_reading_agree(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    """A piece that the survey calls plain gives the same rows when the csv module reads it."""
    content = b"a,b\r\n" + "".join(f"{left},x{len(right)}\r\n" for left, right in cells).encode()
    fast = rows_of(table_of(tmp_path, content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_plain_piece", lambda *_: None)
        assert rows_of(table_of(tmp_path, content)) == fast


@FEW
@given(st.text('a",\n\r', max_size=40), st.integers(4, 40))
def test_small_pieces_do_not_change_what_is_read(tmp_path: Path, body: str, piece_bytes: int) -> None:
    """Where a file is cut into pieces has no influence on rows, problems or refusals."""
    content = b"a,b\n" + body.encode()

    def outcome() -> object:
        try:
            table = table_of(tmp_path, content)
            return rows_of(table), table.problems, table.row_count
        except FileProblem as problem:
            return problem.code, problem.message

    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "PIECE_BYTES", piece_bytes)
        assert outcome() == whole


@FEW
@given(st.binary(max_size=300), st.sampled_from([".csv", ".xlsx", ".ndjson", ".csv.gz", ".xlsx.gz", ".bin", ""]))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    """Bytes without meaning give a table or a FileProblem, never another exception."""
    for prefix in (b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"{"):
        path = tmp_path / f"random{suffix}"
        path.write_bytes(prefix + content)
        try:
            rows_of(read_table(path))
        except FileProblem:
            continue


@pytest.mark.parametrize("name", ["table.csv.gz", "table.xlsx", "table.xlsx.gz", "table.ndjson.gz"])
def test_cut_off_files_are_refused(tmp_path: Path, name: str) -> None:
    """A gzip or XLSX file that lacks its end is never read in part."""
    rows = [(f"{number:05d}", random.Random(number).randbytes(8).hex(), "V") for number in range(300)]
    whole = io.BytesIO()
    write_table(whole, NAMES, rows, name.split(".")[1])
    content = gzip.compress(whole.getvalue()) if name.endswith(".gz") else whole.getvalue()
    assert len(rows_of(table_of(tmp_path, content, name))) == 300
    lengths = [0, 1, 2, 3, 4, 10, 17, len(content) - 1, len(content) - 8, len(content) - 9]
    for length in lengths + random.Random(name).sample(range(len(content)), 60):
        problem = refused(tmp_path, content[:length], name)
        assert problem.code == ("files.truncated" if length else "files.empty"), length


def test_damaged_xlsx_is_refused_or_whole(tmp_path: Path) -> None:
    """A changed byte in a workbook is noticed by its sums, or changes nothing."""
    whole = io.BytesIO()
    rows = [("0001", "Sita", "Kathmandu")] * 50
    write_table(whole, NAMES, rows, "xlsx")
    chance = random.Random(5)
    for _ in range(80):
        content = bytearray(whole.getvalue())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        try:
            found = rows_of(table_of(tmp_path, bytes(content), "table.xlsx"))
        except FileProblem:
            continue
        assert found == expected_rows(rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_variants_of_csv(tmp_path: Path, delimiter: str, mark: bytes, line_end: str, packed: bool) -> None:
    """Separator, byte order mark, line end and gzip are found out; leading zeros stay."""
    lines = [["number", "full name", "born"], ["0012", ' "a,b;c\t""d""" '.strip(), "1990-01-01"], ["", " é ", ""]]
    content = mark + "".join(delimiter.join(line) + line_end for line in lines).encode()
    table = table_of(tmp_path, gzip.compress(content) if packed else content)
    assert table.columns == ("number", "full name", "born")
    assert rows_of(table) == [(1, ("0012", 'a,b;c\t"d"', "1990-01-01")), (2, (None, "é", None))]


def test_empty_rows_are_left_out_but_counted(tmp_path: Path) -> None:
    """Row numbers are those of the file, so that people find the row."""
    table = table_of(tmp_path, b"a,b\n\n1,2\n,\n  , \n3,4\n\n")
    assert rows_of(table) == [(2, ("1", "2")), (5, ("3", "4"))]
    assert table.problems == ()
    one = table_of(tmp_path, b"a\nx\n\ny\n")
    assert rows_of(one) == [(1, ("x",)), (3, ("y",))]


def test_ragged_rows_are_named_and_kept_apart(tmp_path: Path) -> None:
    """A row with surplus cells is a problem with its cells, not a shifted row; a short row has empty cells."""
    table = table_of(tmp_path, b'a,b\n1,2\nx, "y,z"\n3\n4,5,,\n')
    assert rows_of(table) == [(1, ("1", "2")), (3, ("3", None)), (4, ("4", "5"))]
    (problem,) = table.problems
    assert (problem.row, problem.code, problem.cells) == (2, "files.ragged", ("x", ' "y', 'z"'))
    assert table.row_count == 4


def test_nul_in_a_cell_is_the_rows_problem(tmp_path: Path) -> None:
    """A NUL byte, which no database text can hold, refuses its row and names its column."""
    table = table_of(tmp_path, b"a,b\n1,2\n3,4\x005\n6,7\n")
    assert rows_of(table) == [(1, ("1", "2")), (3, ("6", "7"))]
    assert [(p.row, p.field, p.code) for p in table.problems] == [(2, "b", "files.nul")]
    assert refused(tmp_path, b"na\x00me,b\n1,2\n").code == "files.nul"


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b'a,b\n1,2\n3,"4\n5,6\n', "row 2 "),
        (b'a,b\n1,2\n3,"4"x\n5,6\n', "row 2 "),
        (b'a,"b\n1,2\n', "the header "),
    ],
)
def test_unclosed_quotes_are_named_with_their_row(tmp_path: Path, content: bytes, row: str) -> None:
    """A quote that swallows what follows it refuses the file and names the row where it stands."""
    problem = refused(tmp_path, content)
    assert problem.code == "files.format"
    assert row in problem.message


def test_a_quote_inside_a_cell_is_text(tmp_path: Path) -> None:
    """A quote that does not start a cell is an ordinary character."""
    assert rows_of(table_of(tmp_path, b'a,b\n5" pipe,x\n7,y\n')) == [(1, ('5" pipe', "x")), (2, ("7", "y"))]


def test_other_encodings_are_refused_by_name_and_place(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused as a whole, with the place and the way out."""
    text = "number,name\n1,Ana\n2,José\n"
    latin = refused(tmp_path, text.encode("latin-1"))
    assert latin.code == "files.encoding"
    assert "byte 23" in latin.message
    assert "row 2" in latin.message
    assert "save as UTF-8" in latin.message
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        problem = refused(tmp_path, text.encode(encoding))
        assert problem.code == "files.encoding"
        assert "UTF-16" in problem.message
    assert "row 2" in refused(tmp_path, '{"a": 1}\n{"a": "é"}\n'.encode("latin-1"), "t.ndjson").message


def test_wrong_encoding_deep_in_a_large_file_is_found_before_any_row(tmp_path: Path) -> None:
    """Nothing of a file is given out before its last byte was seen."""
    content = b"number,name\n" + b"".join(b"%08d,name\n" % number for number in range(400_000)) + b"9,\xe9\n"
    problem = refused(tmp_path, content)
    assert problem.code == "files.encoding"
    assert "row 400001" in problem.message


def test_headers_that_cannot_be_used(tmp_path: Path) -> None:
    """Columns have one name each; unnamed ones at the end are no columns."""
    assert refused(tmp_path, b"a,b, A \n1,2,3\n").code == "files.duplicate_column"
    assert refused(tmp_path, b"a,,c\n1,2,3\n").code == "files.format"
    assert refused(tmp_path, b"").code == "files.empty"
    assert refused(tmp_path, b"\n\n ,\n").code == "files.empty"
    table = table_of(tmp_path, b"a,b,,\n1,2,,\n3,4,5,\n")
    assert table.columns == ("a", "b")
    assert rows_of(table) == [(1, ("1", "2"))]
    assert [problem.row for problem in table.problems] == [2]
    with pytest.raises(FileProblem) as caught:
        read_table(tmp_path / "absent.csv")
    assert caught.value.code == "files.not_found"
    with pytest.raises(FileProblem) as caught:
        read_table(tmp_path)
    assert caught.value.code == "files.not_found"


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_cells_up_to_one_mebibyte(tmp_path: Path, quote: bytes) -> None:
    """A cell of 1 MiB is read, a larger one refuses the file and names the row."""
    bound = csv_rows.MAXIMUM_CELL_BYTES
    rows = rows_of(table_of(tmp_path, b"a,b\n1,2\n3," + quote + b"x" * bound + quote + b"\n"))
    assert rows[1] == (2, ("3", "x" * bound))
    for cell in (b"x" * (bound + 1), "é".encode() * (bound // 2 + 1)):
        problem = refused(tmp_path, b"a,b\n1,2\n3," + quote + cell + quote + b"\n")
        assert problem.code == "files.too_large"
        assert "row 2" in problem.message
    assert refused(tmp_path, json.dumps({"a": "x" * (bound + 1)}).encode(), "t.ndjson").code == "files.too_large"


def test_names_that_lie_about_the_content(tmp_path: Path) -> None:
    """Content decides; where it cannot be read, the message names what it is."""
    assert refused(tmp_path, b"a,b\n1,2\n", "t.xlsx").code == "files.format"
    assert refused(tmp_path, b"a,b\n1,2\n", "t.csv.gz").code == "files.format"
    assert refused(tmp_path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "t.xls").code == "files.format"
    assert refused(tmp_path, gzip.compress(gzip.compress(b"a\n1\n"))).code == "files.format"
    assert table_of(tmp_path, b'{"a": 1}\n', "stream").format == "ndjson"
    whole = io.BytesIO()
    write_table(whole, ("a",), [("1",)], "xlsx")
    assert table_of(tmp_path, whole.getvalue(), "t.csv").format == "xlsx"


@pytest.mark.parametrize("above", [0, 1, 2, 5])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_xlsx_cells_become_plain_text(tmp_path: Path, above: int, before: int) -> None:
    """Numbers are in their shortest decimal form, dates in ISO 8601, text as it stands."""
    path = tmp_path / "t.xlsx"
    with xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet("people")
        workbook.add_worksheet("notes")
        day = workbook.add_format({"num_format": "dd.mm.yyyy"})
        for position, name in enumerate(["code", "n", "small", "large", "day", "yes"]):
            sheet.write_string(above, before + position, name)
        sheet.write_string(above + 1, before + 0, "0012")
        sheet.write_number(above + 1, before + 1, 5)
        sheet.write_number(above + 1, before + 2, 1e-9)
        sheet.write_number(above + 1, before + 3, 1e20)
        sheet.write_number(above + 1, before + 4, 43832, day)
        sheet.write_boolean(above + 1, before + 5, True)
        sheet.write_number(above + 3, before + 1, 0.1)
        sheet.write_formula(above + 4, before + 1, "=1/0", None, "#DIV/0!")
        sheet.write_string(above + 5, before + 8, "astray")
    table = read_table(path)
    assert table.columns == ("code", "n", "small", "large", "day", "yes")
    assert rows_of(table) == [
        (1, ("0012", "5", "0.000000001", "100000000000000000000", "2020-01-02", "true")),
        (3, (None, "0.1", None, None, None, None)),
    ]
    assert [(p.row, p.field, p.code) for p in table.problems] == [
        (4, "n", "files.formula_error"),
        (5, None, "files.ragged"),
    ]
    assert table.other_sheets == ("notes",)


def test_a_sheet_that_spans_too_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """One cell in the far corner would fill the memory."""
    path = tmp_path / "t.xlsx"
    with xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_string(0, 0, "a")
        sheet.write_string(1_048_575, 16_383, "far")
    with pytest.raises(FileProblem) as caught:
        read_table(path)
    assert caught.value.code == "files.too_large"


def test_ndjson_values_become_plain_text(tmp_path: Path) -> None:
    """Numbers keep their digits, objects become dotted names, lists stay JSON, bad lines are their row's problem."""
    lines = [
        '{"n": 12345678901234567890, "x": 1.50, "e": 1.5e3, "yes": true, "attributes": {"eye": "blue"}}',
        "",
        '{"n": null, "list": [1, "a"]}',
        '{"n": }',
        "[1]",
        '{"n": 1, "n": 2}',
        '{"n": "\\u0000"}',
        '{"n": "\\ud800"}',
        '{"n": NaN}',
        '{"n": ' + "[" * 100_000,
        '{"n": 1e999999999}',
    ]
    table = table_of(tmp_path, "\n".join(lines).encode(), "t.ndjson")
    assert table.columns == ("n", "x", "e", "yes", "attributes.eye", "list")
    assert rows_of(table) == [
        (1, ("12345678901234567890", "1.50", "1500", "true", "blue", None)),
        (3, (None, None, None, None, None, '["1","a"]')),
        (11, ("1e999999999", None, None, None, None, None)),
    ]
    assert [(p.row, p.code) for p in table.problems] == [
        (4, "files.format"),
        (5, "files.format"),
        (6, "files.duplicate_column"),
        (7, "files.nul"),
        (8, "files.encoding"),
        (9, "files.format"),
        (10, "files.format"),
    ]


def test_a_file_that_changes_between_survey_and_reading_is_refused(tmp_path: Path) -> None:
    """Rows are only given out of the file that was surveyed."""
    table = table_of(tmp_path, b"a,b\n1,2\n")
    (tmp_path / "table.csv").write_bytes(b"a,b\n1,2\n3,4\n")
    with pytest.raises(FileProblem) as caught:
        rows_of(table)
    assert caught.value.code == "files.format"


def test_a_large_file_is_read_fast(tmp_path: Path) -> None:
    """300,000 rows a second is the least; measured on 300,000 rows with quoted names."""
    count = 300_000
    body = "".join(f'{number:010d},"Name, {number}",1990-01-01,F,V{number % 1000},\n' for number in range(count))
    path = tmp_path / "large.csv"
    path.write_text("number,name,born,sex,village,note\n" + body)
    start = time.process_time()
    read = sum(len(chunk) for chunk in read_table(path).chunks())
    seconds = time.process_time() - start
    assert read == count
    assert count / seconds > 100_000  # of processor time, with room for a slow machine
