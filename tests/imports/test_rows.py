"""Every row of an imported file is loaded or listed with its reasons, and loading it again changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError
from imis_core.imports import ImportReport, entities, import_file
from imis_core.testing.app import TestApp
from tests.imports.conftest import LINES, SAMPLES, Load, counts, errors_of, write

PERSON = ("number", "given_name", "family_name", "sex", "birth_date", "death_date")
Sample = Callable[..., dict[str, ImportReport]]


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".csv.gz", ".ndjson"])
def test_every_kind_loads_from_every_format(sample: Sample, suffix: str) -> None:
    """All rows of all kinds load, whatever the format."""
    for kind, report in sample(suffix=suffix).items():
        assert (report.loaded, report.error_files) == (len(SAMPLES[kind][1]), []), kind


def test_the_same_files_twice_change_nothing(app: TestApp, sample: Sample) -> None:
    """The second time each row is `unchanged`, and no table has a row more."""
    first = sample()
    before = counts(app)
    second = sample()
    assert counts(app) == before
    assert {k: (r.loaded, r.unchanged) for k, r in second.items()} == {k: (0, r.rows) for k, r in first.items()}
    assert before["core.persons"] == 3
    assert before["core.claim_lines"] == 3


def test_the_format_and_the_order_of_columns_do_not_matter(load: Load) -> None:
    """What counts is a row's content: the same rows from XLSX with other columns first are unchanged."""
    columns, rows = SAMPLES["items"]
    load("items", columns, rows)
    again = load("items", columns[::-1], [row[::-1] for row in rows], suffix=".xlsx")
    assert again.unchanged == 2


def test_the_same_row_twice_in_a_file_is_loaded_once(app: TestApp, load: Load) -> None:
    """A repeated row is unchanged, also for a person whose number the system makes."""
    row = (None, "Ana", "Silva", "F", "1980-01-01", None)
    report = load("persons", PERSON, [row, row, row])
    assert (report.loaded, report.unchanged) == (1, 2)
    assert counts(app)["core.imported_rows"] == counts(app)["core.persons"] == 1


def test_the_twin_of_a_refused_row_is_refused_with_its_reason(load: Load) -> None:
    """Two bad rows alike are both listed."""
    row = ("P1", "Ana", "Silva", "X", "1980-01-01", None)
    report = load("persons", PERSON, [row, row])
    assert [number for number, reason in errors_of(report) if "choice sex" in reason] == [1, 2]


def test_a_number_that_is_taken_is_a_reason(load: Load) -> None:
    """The second person with a number is refused; the first is loaded."""
    report = load("persons", PERSON, [("P1", n, "Silva", "F", "1980-01-01", None) for n in ("Ana", "Eva")])
    assert (report.loaded, report.reasons) == (1, {"beneficiaries.number_taken": 1})


def test_a_corrected_error_file_loads_the_rest(app: TestApp, load: Load) -> None:
    """What was refused is corrected in the error file and imported from there; its own errors go elsewhere."""
    rows = [(f"P{i}", "Ana", "Silva", "F", "1980-01-01" if i % 3 else "1.1.80", None) for i in range(9)]
    report = load("persons", PERSON, rows)
    assert (report.loaded, report.refused) == (6, 3)
    path = report.error_files[0]
    assert path.name == "persons.errors.csv"
    text = path.read_text("utf-8-sig").replace("found '1.1.80'", "").replace("1.1.80", "1980-01-01", 2)
    path.write_text(text, "utf-8-sig")
    again = import_file(app, "persons", path, app.as_user("administrator"))
    assert (again.loaded, again.refused) == (2, 1)
    assert [p.name for p in again.error_files] == ["persons.errors-2.csv"]
    assert path.read_text("utf-8-sig") == text


def test_an_interrupted_import_goes_on_where_it_stopped(
    app: TestApp, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first chunk loaded stays; the next run finds it unchanged and loads the rest."""
    monkeypatch.setattr(entities, "CHUNK", 10)
    rows = [(None, f"Name {i}", "Silva", "F", "1980-01-01", None) for i in range(25)]

    def stop(done: int, total: int) -> None:
        assert (done, total) == (10, 25)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load("persons", PERSON, rows, progress=stop)
    assert counts(app)["core.persons"] == 10
    report = load("persons", PERSON, rows)
    assert (report.unchanged, report.loaded) == (10, 15)
    assert counts(app)["core.persons"] == 25


def test_statements_do_not_grow_with_the_rows(app: TestApp, load: Load) -> None:
    """A chunk takes the same number of statements whether it holds 60 rows or 600."""

    def statements(prefix: str, count: int) -> int:
        rows = [(f"{prefix}{i}", "Ana", "Silva", "F", "1980-01-01", "2020-01-01") for i in range(count)]
        before = app.database.statements
        assert load("persons", PERSON, rows, name=f"persons{count}").loaded == count
        return app.database.statements - before

    statements("X", 60)  # warm: roles and types are looked up once
    assert statements("A", 60) == statements("B", 600)


@pytest.mark.parametrize(
    ("death", "reason"),
    [("1979-12-31", "input.invalid.before_birth death_date"), ("soon", "input.invalid.date death_date"),
     ("2999-01-01", "death_date")],
)  # fmt: skip
def test_a_wrong_day_of_death_refuses_its_row_alone(app: TestApp, load: Load, death: str, reason: str) -> None:
    """A death before birth, in the future or of no day refuses the person; the others of the chunk are loaded."""
    rows = [(f"P{i}", "Ana", "Silva", "F", "1980-01-01", "2020-01-01" if i else death) for i in range(3)]
    report = load("persons", PERSON, rows)
    assert (report.loaded, report.refused) == (2, 1)
    assert errors_of(report)[0][0] == 1
    assert reason in errors_of(report)[0][1]
    persons = app.rows("SELECT number, death_date::text FROM core.persons ORDER BY number")
    assert [tuple(p.values()) for p in persons] == [("P1", "2020-01-01"), ("P2", "2020-01-01")]
    assert load("persons", PERSON, rows).unchanged == 2


GOOD_NAME = st.sampled_from(["Ana", "Ève", "O'Neil", "=Sum"])
GOOD = st.fixed_dictionaries(
    {
        "number": st.integers(1, 6),
        "given_name": GOOD_NAME,
        "family_name": GOOD_NAME,
        "sex": st.sampled_from("FM"),
        "birth_date": st.just("1980-01-01"),
        "death_date": st.sampled_from([None, "1999-12-31"]),
    }
)
FAULTS: tuple[tuple[str, Any], ...] = (
    ("given_name", None), ("sex", "X"), ("sex", None), ("birth_date", "1980-02-30"), ("birth_date", "3000-01-01"),
    ("death_date", "1979-12-31"), ("death_date", "x"), ("family_name", "a" * 10_001),
)  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(GOOD, st.sampled_from((None,) * 8 + FAULTS)), max_size=25), st.integers(2, 9))
def test_any_mixture_of_rows_is_accounted_for(
    app: TestApp, load: Load, rows: list[tuple[dict[str, Any], tuple[str, Any] | None]], chunk: int
) -> None:
    """Good rows are loaded, the same again is unchanged, a taken number and every fault is listed, in any order."""
    run = counts(app)["core.audit_entries"]
    cells, expected, taken = [], {"loaded": 0, "unchanged": 0, "refused": 0}, {}
    for good, fault in rows:
        row = {**good, "number": f"{run}-{good['number']}", **(dict([fault]) if fault else {})}
        content = tuple(row[name] for name in PERSON)
        cells.append(content)
        if fault:
            expected["refused"] += 1
        elif row["number"] not in taken:
            taken[row["number"]] = content
            expected["loaded"] += 1
        else:
            expected["unchanged" if taken[row["number"]] == content else "refused"] += 1
    before = counts(app)["core.persons"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entities, "CHUNK", chunk)
        report = load("persons", PERSON, cells)
        assert {name: getattr(report, name) for name in expected} == expected
        assert counts(app)["core.persons"] - before == expected["loaded"]
        if report.refused:
            assert len(errors_of(report)) == report.refused
        again = load("persons", PERSON, cells)
    assert (again.loaded, again.refused) == (0, expected["refused"])


def test_a_row_that_was_changed_back_is_loaded_again(app: TestApp, load: Load) -> None:
    """An item's price goes from 5 to 6 and back to 5: each file goes through, none is taken for one loaded before."""
    columns = ("code", "name", "kind", "price")
    for price in (5, 6, 5):
        assert load("items", columns, [("CONS", "Consultation", "service", price)]).loaded == 1
        assert app.do("catalogue.items")[0]["price"] == f"{price}.00"


@pytest.mark.parametrize("kind", ["items", "diagnoses"])
def test_two_rows_that_say_different_things_of_the_same_are_listed(load: Load, kind: str) -> None:
    """Of two rows with the same code and other content the second is refused, whichever chunk it stands in."""
    columns = ("code", "name", "kind", "price") if kind == "items" else ("code", "name")
    rows = [("A", name, "service", "1")[: len(columns)] for name in ("one", "two", "one")]
    report = load(kind, columns, rows)
    assert (report.loaded, report.unchanged, report.reasons) == (1, 1, {"import.named_twice": 1})
    assert errors_of(report)[0][0] == 2


def test_a_price_list_that_names_an_item_twice_is_listed(app: TestApp, load: Load, sample: Sample) -> None:
    """Two prices of an item in a list refuse the list; the same row twice does not; another day is another list."""
    sample("items")
    columns = SAMPLES["price_lists"][0]
    rows = [("A", "2020-01-01", "CONS", p) for p in (1, 2)] + [("B", "2020-01-01", "CONS", 1)] * 2
    rows += [("B", "2021-01-01", "CONS", 3), ("C", "2020-01-01", None, 1)]
    report = load("price_lists", columns, rows)
    assert (report.loaded, report.unchanged) == (2, 1)
    assert report.reasons == {"import.named_twice": 2, "input.invalid.required": 1}
    assert "rows 1 and 2 name item 'CONS'" in errors_of(report)[0][1]
    assert app.rows("SELECT count(*) AS n FROM core.price_list_versions")[0]["n"] == 2


def test_rows_of_a_price_list_agree_on_its_currency(load: Load, sample: Sample) -> None:
    """A list is in one currency."""
    sample("items")
    rows = [("A", "2020-01-01", "CONS", 1, "USD"), ("A", "2020-01-01", "007", 1, "EUR")]
    assert load("price_lists", (*SAMPLES["price_lists"][0], "currency"), rows).reasons == {"import.differs": 2}


def test_lists_whole_numbers_and_dates_of_a_workbook_are_read(app: TestApp, load: Load, sample: Sample) -> None:
    """Cells of XLSX: dates, numbers and true or false are what they say; a number too large is listed."""
    import datetime

    sample("price_lists")
    columns = ("code", "name", "price_lists", "contract_from", "contract_to")
    day = datetime.date(2020, 1, 1)
    rows = [("F1", "One", "STD", day, None), (7, True, "STD|STD2", day, day), ("F3", "Three", None, None, day)]
    report = load("facilities", columns, rows, suffix=".xlsx")
    assert report.loaded == 1
    assert [number for number, _ in errors_of(report)] == [2, 3]
    items = load("items", ("code", "name", "kind", "price"), [("I", "Item", "service", 10**25)], suffix=".xlsx")
    assert items.refused == 1


def test_claims_without_lines_and_lines_without_claims_are_listed(load: Load, sample: Sample) -> None:
    """A claim without lines is refused; lines of no claim go to a second error file, those of stored claims do not."""
    sample("claims")
    columns, _ = SAMPLES["claims"]
    claims = [
        ("C3", "P1", "HC1", "2020-08-01", None, "B54", "other"),
        (None, "P1", "HC1", "2020-08-02", None, "B54", "other"),
    ]
    lines = (LINES[0], [*LINES[1], ("C9", 1, "CONS", 1, 1), (None, 1, "CONS", 1, 1), ("None", 1, "CONS", 1, 1)])
    report = load("claims", columns, claims, lines=lines)
    assert (report.loaded, report.refused, report.lines_refused) == (0, 2, 3)
    second = report.error_files[1]
    assert second.name == "claims.errors.lines.csv"
    text = second.read_text("utf-8-sig")
    assert "there is no claim 'C9'" in text
    assert "'C1'" not in text
    assert "lines" in errors_of(report)[0][1]


def test_a_claim_whose_line_cannot_be_read_is_refused(app: TestApp, sample: Sample, tmp_path: Path) -> None:
    """A claim is never loaded without one of its lines; a line that does not tell its claim refuses the whole file."""
    sample("households")
    claims = write(tmp_path / "claims.csv", *SAMPLES["claims"])
    lines = tmp_path / "lines.csv"
    head = "claim_id,line,item,quantity,price\nC1,1,CONS,1,4.50\nC2,1,CONS,1,4.50\n"
    lines.write_text(head + "C1,2,007,1,40,00\n")
    caller = app.as_user("administrator")
    report = import_file(app, "claims", claims, caller, lines=lines)
    assert (report.loaded, report.reasons, report.lines_refused) == (1, {"import.unreadable_line": 1}, 1)
    lines.write_text(head + ",2,007,1,40,00\n")
    with pytest.raises(ImisError) as caught:
        import_file(app, "claims", claims, caller, lines=lines)
    assert caught.value.code == "import.unreadable_line"


def test_a_line_that_stands_twice_refuses_its_claim(load: Load, sample: Sample) -> None:
    """Two lines of a claim with one number: neither is left out in silence."""
    sample("households")
    report = load("claims", *SAMPLES["claims"], lines=(LINES[0], [*LINES[1], LINES[1][0]]))
    assert report.reasons == {"import.named_twice": 1}


def test_a_problem_of_a_line_names_its_row(load: Load, sample: Sample) -> None:
    """Whoever corrects the file of lines is told which row to look at."""
    sample("households")
    lines = [("C1", 1, "CONS", 1, "4.50"), ("C2", 1, "CONS", "many", "4.50")]
    report = load("claims", *SAMPLES["claims"], lines=(LINES[0], lines))
    assert "lines.0.quantity: row 2 of the file of lines: " in errors_of(report)[0][1]


def test_a_problem_of_a_member_names_its_row(load: Load, sample: Sample) -> None:
    """Each row of a household that is refused says which of them is wrong."""
    sample("facilities")
    rows = [
        ("H9", "N1", "Ana", "Silva", "F", "1980-01-01", "head"),
        ("H9", "N2", "Ben", "Silva", "Z", "1980-01-01", "child"),
    ]
    report = load("households", SAMPLES["households"][0], rows)
    assert [(number, "members.1.sex: row 2: " in reason) for number, reason in errors_of(report)] == [
        (1, True),
        (2, True),
    ]


def test_rows_of_a_household_may_stand_anywhere(app: TestApp, sample: Sample) -> None:
    """Members of a household are gathered from all over the file; a number alone is an existing person."""
    sample("households")
    members = app.rows(
        'SELECT g.code, p.number FROM core.memberships m JOIN core.groups g ON g.id = m."group" '
        "JOIN core.persons p ON p.id = m.person ORDER BY 1, 2"
    )
    assert [tuple(m.values()) for m in members] == [("H1", "P1"), ("H1", "P3"), ("H2", "P2")]


def test_two_imports_of_one_file_at_a_time_load_it_once(app: TestApp, tmp_path: Path) -> None:
    """The second waits for the first, and finds its rows unchanged."""
    rows = [(None, f"Name {i}", "Silva", "F", "1980-01-01", None) for i in range(200)]
    path = write(tmp_path / "persons.csv", PERSON, rows)
    caller = app.as_user("administrator")
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: import_file(app, "persons", path, caller), range(2)))
    assert sorted((r.loaded, r.unchanged) for r in reports) == [(0, 200), (200, 0)]
    assert counts(app)["core.persons"] == 200
