"""Query parameters, pages and exports, over real HTTP."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars
import pytest
from python_calamine import CalamineWorkbook

from imis_core.files.writing import formats
from imis_core.web.exports import FILE_TYPES, negotiate

NOTHING = {
    "number": None, "flag": None, "codes": [], "numbers": [], "nested": None, "on": None, "kind": "all", "from": None,
}  # fmt: skip
EXPECTED_TEXTS = [f"=1+{n}" for n in range(1, 8)]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("", {}),
        ("number=7", {"number": 7}),
        ("number=-7&flag=false", {"number": -7, "flag": False}),
        ("codes=A&codes=B%2CC", {"codes": ["A", "B,C"]}),
        ("codes=A,B", {"codes": ["A", "B"]}),
        ('codes=["A,B"]', {"codes": ["A,B"]}),
        ("numbers=1,2", {"numbers": [1, 2]}),
        ('nested={"name":"x"}', {"nested": {"name": "x"}}),
        ("on=2021-01-31&kind=some&from=%C3%A4", {"on": "2021-01-31", "kind": "some", "from": "ä"}),
        ("from=7", {"from": "7"}),
    ],
)
def test_parameters_are_read_by_their_fields(site: Any, asked: str, answered: dict[str, Any]) -> None:
    """Numbers, booleans, lists, nested values and text each as their field takes them."""
    answer = site.client.get(f"/api/probe/echo?{asked}")
    assert (answer.status_code, answer.json()) == (200, {**NOTHING, **answered})


@pytest.mark.parametrize(
    ("asked", "path", "says"),
    [
        ("nubmer=7", "nubmer", "did you mean 'number'"),
        ("number=seven", "number", "whole number"),
        ("number=1.0", "number", "whole number"),
        ("number=%D9%A7", "number", "whole number"),
        ("number=1&number=2", "number", "more than once"),
        ("flag=yes", "flag", "true or false"),
        ("numbers=1,x", "numbers.1", "whole number"),
        ("nested=x", "nested", "table of fields"),
        ("on=31.1.2021", "on", "2021-01-31"),
        ("kind=none", "kind", "some, all"),
        ("from=a%00b", "from", "NUL"),
        ("from=%FF", "", "UTF-8"),
        ("&".join(f"codes={n}" for n in range(1001)), "", "1000"),
    ],
)
def test_a_wrong_parameter_is_422(site: Any, asked: str, path: str, says: str) -> None:
    """Unknown, unreadable and repeated parameters are named, with what was expected."""
    answer = site.client.get(f"/api/probe/echo?{asked}")
    assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid")
    error = answer.json()["errors"][0]
    assert error["path"] == path
    assert says in error["message"]


def test_a_listing_is_paged_by_cursor(site: Any) -> None:
    """Pages follow each other without gap or overlap; the last one has no next."""
    seen, cursor, pages = [], None, 0
    while True:
        asked = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = site.client.get("/api/probe/rows", params=asked).json()
        seen += [item["number"] for item in page["items"]]
        pages, cursor = pages + 1, page["next"]
        if cursor is None:
            break
    assert (seen, pages) == ([1, 2, 3, 4, 5, 6, 7], 3)


def test_a_listing_takes_filters_and_sort(site: Any) -> None:
    """Filters are the input's fields; `-` sorts descending."""
    page = site.client.get("/api/probe/rows?least=5&sort=-number").json()
    assert [item["number"] for item in page["items"]] == [7, 6, 5]
    assert page["items"][0]["due"] == "7.05"


@pytest.mark.parametrize(
    "asked", ["limit=0", "limit=x", "limit=1001", "cursor=x", "sort=colour", "sort=number&sort=number"]
)
def test_wrong_paging_is_422(site: Any, asked: str) -> None:
    """Limits, cursors and sort columns are checked."""
    answer = site.client.get(f"/api/probe/rows?{asked}")
    assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid")


def test_a_listing_as_csv(site: Any) -> None:
    """The whole listing; nested values are JSON text, and what a spreadsheet would compute is made harmless."""
    answer = site.client.get("/api/probe/rows", headers={"Accept": "text/csv"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="probe.rows.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["text"] for row in rows] == [f"'{text}" for text in EXPECTED_TEXTS]
    assert (rows[0]["due"], rows[0]["on"], rows[0]["note"]) == ("1.05", "2021-01-01", "")
    assert json.loads(rows[0]["steps"]) == [{"name": "ä,b"}]


def test_a_listing_as_xlsx(site: Any, tmp_path: Path) -> None:
    """Amounts are numbers and dates are dates in a sheet."""
    media_type = next(t for t, name in FILE_TYPES.items() if name == "xlsx")
    answer = site.client.get("/api/probe/rows", headers={"Accept": media_type})
    file = tmp_path / "rows.xlsx"
    file.write_bytes(answer.content)
    head, first, *rest = CalamineWorkbook.from_path(file).get_sheet_by_index(0).to_python()
    assert head == ["number", "text", "due", "on", "steps", "note"]
    assert (first[0], first[1], first[2], str(first[3])) == (1, "=1+1", 1.05, "2021-01-01")
    assert len(rest) == 6


def test_a_listing_as_ndjson_and_parquet(site: Any) -> None:
    """For programs: NDJSON as the API shows it, Parquet with exact amounts."""
    answer = site.client.get("/api/probe/rows", headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == site.client.get("/api/probe/rows").json()["items"]
    answer = site.client.get("/api/probe/rows", headers={"Accept": "application/vnd.apache.parquet"})
    frame = polars.read_parquet(io.BytesIO(answer.content))
    assert frame["text"].to_list() == EXPECTED_TEXTS
    assert frame["due"].to_list()[0] == Decimal("1.05")


def test_a_file_takes_no_page(site: Any) -> None:
    """A file is whole: a limit that would be ignored is refused, and so is a wrong filter."""
    for asked in ("limit=2", "sort=number", "cursor=x", "leest=2"):
        answer = site.client.get(f"/api/probe/rows?{asked}", headers={"Accept": "text/csv"})
        assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid"), answer.text


def test_every_format_of_the_file_room_is_offered() -> None:
    """The media types stated here and in the file room are the same."""
    assert {f.media_type: f.name for f in formats()} == FILE_TYPES


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "a/json"),
        ("*/*", "a/json"),
        ("text/csv", "text/csv"),
        ("text/csv;q=0.5, a/json", "a/json"),
        ("text/*, a/json;q=0.9", "text/csv"),
        ("text/csv;q=0, */*", "a/json"),
        ("a/*;q=0.1, TEXT/CSV;Q=0.2", "text/csv"),
    ],
)
def test_the_best_accepted_format_is_chosen(accept: str | None, chosen: str) -> None:
    """By quality, the most specific range deciding (RFC 9110)."""
    assert negotiate(accept, ("a/json", "text/csv")) == chosen
