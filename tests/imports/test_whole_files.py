"""Files that cannot be read as a whole are refused in one line, and nothing of them is loaded."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from imis_core.errors import ImisError
from imis_core.imports import import_file
from imis_core.imports.error_files import error_file_of, is_error_file
from imis_core.testing.app import TestApp
from tests.imports.conftest import LINES, SAMPLES, counts, write

HEAD = b"number,given_name,family_name,sex,birth_date\n"
GOOD = HEAD + b"1,Ana,Silva,F,1980-01-01\n" * 3


def workbook(folder: Path) -> bytes:
    return write(folder / "whole.xlsx", *SAMPLES["persons"]).read_bytes()


CASES: list[tuple[str, Callable[[Path], bytes], str]] = [
    ("persons.csv", lambda _: GOOD + "2,Zoë,Silva,F,1980-01-01\n".encode("latin-1"), "files.encoding"),
    ("persons.csv", lambda _: GOOD.decode().encode("utf-16"), "files.encoding"),
    ("persons.csv.gz", lambda _: gzip.compress(GOOD)[:-12], "files.truncated"),
    ("persons.xlsx", lambda folder: workbook(folder)[:-200], "files.truncated"),
    ("persons.csv", lambda _: HEAD + b"1," + b"a" * 1_100_000 + b",Silva,F,1980-01-01\n", "files.too_large"),
    ("persons.csv", lambda _: GOOD + b'2,"Ana,Silva,F,1980-01-01\n', "files.format"),
    ("persons.csv", lambda _: b"", "files.empty"),
    ("persons.csv", lambda _: b"\n\n", "files.empty"),
    ("persons.csv", lambda _: b"number,Number\n1,2\n", "files.duplicate_column"),
]


@pytest.mark.parametrize(("name", "content", "code"), CASES)
def test_a_broken_file_is_one_line_and_loads_nothing(
    app: TestApp, tmp_path: Path, name: str, content: Callable[[Path], bytes], code: str
) -> None:
    """The trouble may stand at the file's end: the rows before it are not loaded either."""
    path = tmp_path / name
    path.write_bytes(content(tmp_path))
    caller = app.as_user("administrator")
    before = counts(app)
    with pytest.raises(ImisError) as caught:
        import_file(app, "persons", path, caller)
    assert caught.value.code == code
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert counts(app) == before


def test_a_nul_refuses_its_row(app: TestApp, tmp_path: Path) -> None:
    """A NUL byte in a cell is a row's problem; the other rows are loaded."""
    path = tmp_path / "persons.csv"
    path.write_bytes(HEAD + b"1,Ana,Silva,F,1980-01-01\n2,B\x00n,Silva,M,1980-01-01\n")
    report = import_file(app, "persons", path, app.as_user("administrator"))
    assert (report.loaded, report.reasons) == (1, {"files.nul": 1})


def test_a_file_that_holds_its_header_alone_loads_nothing(app: TestApp, tmp_path: Path) -> None:
    """No rows are no mistake."""
    path = tmp_path / "persons.csv"
    path.write_bytes(HEAD)
    report = import_file(app, "persons", path, app.as_user("administrator"))
    assert (report.rows, report.error_files) == (0, [])


def test_a_file_that_changes_while_it_is_read_is_a_refusal(
    app: TestApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was loaded by then stays, and the same file again goes on."""
    from imis_core.imports import entities

    monkeypatch.setattr(entities, "CHUNK", 2)
    path = tmp_path / "persons.csv"
    path.write_bytes(
        HEAD + b"".join(b"%d,Ana,Silva,F,1980-01-01\n" % i for i in range(6)) + b"7,Ana,Silva,X,1980-01-01\n"
    )
    grown = path.read_bytes() + b"8,Ana,Silva,F,1980-01-01\n"
    caller = app.as_user("administrator")
    with pytest.raises(ImisError) as caught:
        import_file(app, "persons", path, caller, progress=lambda done, total: path.write_bytes(grown) and None)
    assert caught.value.code == "files.format"
    report = import_file(app, "persons", path, caller)
    assert (report.unchanged + report.loaded, report.refused) == (7, 1)


def test_unknown_kinds_and_files_of_lines_are_refused(app: TestApp, tmp_path: Path) -> None:
    """A kind that is not known gets a suggestion; claims come with lines, and nothing else does."""
    path = write(tmp_path / "claims.csv", *SAMPLES["claims"])
    lines = write(tmp_path / "claim_lines.csv", *LINES)
    caller = app.as_user("administrator")
    for kind, given, code in (
        ("claim", None, "import.unknown_kind"), ("claims", None, "input.invalid"), ("persons", lines, "input.invalid"),
    ):  # fmt: skip
        with pytest.raises(ImisError) as caught:
            import_file(app, kind, path, caller, lines=given)
        assert caught.value.code == code


def test_error_files_overwrite_nothing_that_is_read(app: TestApp, tmp_path: Path) -> None:
    """Neither the file nor its lines are written over; a target that cannot be is told before anything is loaded."""
    path = write(tmp_path / "claims.csv", *SAMPLES["claims"])
    lines = write(tmp_path / "other.lines.csv", *LINES)
    (tmp_path / "link.csv").symlink_to(path)
    caller = app.as_user("administrator")
    for errors, code in (
        (path, "import.errors_overwrite"), (tmp_path / "link.csv", "import.errors_overwrite"),
        (tmp_path / "other.csv", "import.errors_overwrite"), (path / "errors.csv", "import.errors_folder"),
        (tmp_path, "import.errors_folder"),
    ):  # fmt: skip
        with pytest.raises(ImisError) as caught:
            import_file(app, "claims", path, caller, lines=lines, errors=errors)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("items.csv", "items.errors.csv"),
        ("items.csv.gz", "items.errors.csv"),
        ("2024.01.items.XLSX", "2024.01.items.errors.csv"),
        ("items.errors.csv", "items.errors-2.csv"),
        ("items.errors-9.csv", "items.errors-10.csv"),
    ],
)
def test_the_errors_of_an_error_file_have_a_name_of_their_own(name: str, expected: str) -> None:
    """`items.errors.csv` is corrected and imported; what is still wrong goes to `items.errors-2.csv`."""
    assert error_file_of(Path(name)).name == expected
    assert is_error_file(Path(expected))
    assert is_error_file(Path(name)) == ("errors" in name)


def test_a_command_that_waits_for_a_second_person_takes_no_file(
    make_app: Callable[..., TestApp], tmp_path: Path
) -> None:
    """Rows cannot wait for an approval, so a file of a command under `[approvals]` is refused before it is loaded."""
    app = make_app(settings={"approvals": {"catalogue.define_item": {}}})
    columns, rows = SAMPLES["items"]
    with pytest.raises(ImisError) as refused:
        import_file(app, "items", write(tmp_path / "items.csv", columns, rows), app.system)
    assert refused.value.code == "import.needs_approval"
    assert counts(app)["core.items"] == 0
