"""Rules of the tree of locations."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError, Refusal
from imis_core.places.lookup import places_below
from imis_core.testing.app import TestApp


def add_tree(app: TestApp) -> dict[str, Any]:
    """R > D1 > V1, V2 and R > D2 > V3, in one batch."""
    rows = [("R", "region", None), ("D1", "district", "R"), ("D2", "district", "R")]
    rows += [("V1", "village", "D1"), ("V2", "village", "D1"), ("V3", "village", "D2")]
    items = [{"code": c, "name": f"Name {c}", "level": level, "parent": p} for c, level, p in rows]
    return {r["code"]: r["id"] for r in app.do_all("locations.add", items)}


def listed(app: TestApp, **filters: Any) -> dict[str, Any]:
    return {row["code"]: row for row in app.do("locations.list", filters)}


def below(app: TestApp, *codes: str) -> set[str]:
    with app.database.query(app.system) as connection:
        ids = [r["id"] for r in app.rows("SELECT id FROM core.locations WHERE code = ANY(:c)", c=list(codes))]
        found = list(places_below(connection, ids))
    return {r["code"] for r in app.rows("SELECT code FROM core.locations WHERE id = ANY(:i)", i=found)}


def test_a_batch_may_name_its_own_parents(app: TestApp) -> None:
    """A location may hang below one that an earlier item of the batch added; the result carries id and code."""
    ids = add_tree(app)
    assert set(ids) == {"R", "D1", "D2", "V1", "V2", "V3"}
    assert len(set(ids.values())) == 6
    assert listed(app)["V1"]["parent"] == "D1"
    assert below(app, "D1") == {"D1", "V1", "V2"}


def test_a_later_item_is_no_parent_yet(app: TestApp) -> None:
    """Items of a batch come one after the other: a parent that comes later is not found."""
    outcomes = app.do_all(
        "locations.add",
        [
            {"code": "V", "name": "V", "level": "village", "parent": "D"},
            {"code": "D", "name": "D", "level": "district"},
        ],
    )
    assert isinstance(outcomes[0], Refusal)
    assert outcomes[0].code == "not_found"
    assert outcomes[0].problems[0].path == "parent"
    assert outcomes[1]["code"] == "D"


def test_a_code_is_taken_once(app: TestApp) -> None:
    """A code names one location, in the database and within a batch."""
    item = {"code": "R", "name": "R", "level": "region"}
    outcomes = app.do_all("locations.add", [item, item])
    assert outcomes[0]["code"] == "R"
    assert isinstance(outcomes[1], Refusal)
    assert outcomes[1].code == "locations.duplicate_code"
    with pytest.raises(ImisError) as error:
        app.do("locations.add", item)
    assert error.value.code == "locations.duplicate_code"


@pytest.mark.parametrize("code", ["", "   ", " A", "A\n", "x" * 61])
def test_a_code_is_plain_text(app: TestApp, code: str) -> None:
    """A code has 1 to 60 printable characters and no blanks around them."""
    with pytest.raises(ImisError) as error:
        app.do("locations.add", {"code": code, "name": "R", "level": "region"})
    assert error.value.code == "input.invalid"
    assert error.value.refusal.problems[0].path == "code"


def test_a_name_changes_from_a_day_on(app: TestApp) -> None:
    """A renamed location keeps its old name on the days before, and its history has both versions."""
    add_tree(app)
    app.do("locations.rename", {"location": "V1", "name": "New", "on": date(2021, 2, 1)}, on=date(2021, 3, 1))
    assert listed(app)["V1"]["name"] == "New"
    assert listed(app, on="2021-02-01")["V1"]["name"] == "New"
    assert listed(app, on="2021-01-31")["V1"]["name"] == "Name V1"
    history = app.rows("SELECT h.name, h.version FROM core.locations_history h WHERE h.code = 'V1' ORDER BY h.version")
    assert [(r["name"], r["version"]) for r in history] == [("Name V1", 1), ("New", 2)]


def test_the_same_day_corrects_and_an_earlier_day_is_refused(app: TestApp) -> None:
    """A second change on the same day replaces the first; one on an earlier day is `locations.later_change`."""
    add_tree(app)
    rename = [{"location": "V1", "name": name, "on": "2021-01-01"} for name in ("A", "B")]
    rename.append({"location": "V1", "name": "C", "on": "2020-12-31"})
    outcomes = app.do_all("locations.rename", rename)
    assert outcomes[2].code == "locations.later_change"
    assert listed(app)["V1"]["name"] == "B"
    periods = app.rows(
        "SELECT p.name FROM core.location_periods p JOIN core.locations l ON l.id = p.location "
        "WHERE l.code = 'V1' ORDER BY lower(p.valid) NULLS FIRST"
    )
    assert [p["name"] for p in periods] == ["Name V1", "B"]


def test_no_change_lies_in_the_future(app: TestApp) -> None:
    """The day of a change is today or earlier."""
    add_tree(app)
    for name, data in (
        ("locations.rename", {"location": "V1", "name": "A"}),
        ("locations.merge", {"from": ["V1"], "into": "V2"}),
        ("locations.split", {"location": "V1", "into": [{"code": "W", "name": "W"}]}),
    ):
        with pytest.raises(ImisError) as error:
            app.do(name, {**data, "on": "2021-01-02"})
        assert error.value.code == "input.invalid"
        assert error.value.refusal.problems[0].path == "on"


def test_merged_places_hang_below_the_one_they_went_into(app: TestApp) -> None:
    """A merged location is closed from that day, keeps what is below it, and follows its new place in look-ups."""
    add_tree(app)
    result = app.do("locations.merge", {"from": ["D2"], "into": "D1", "on": "2021-01-01"})
    assert result["code"] == "D1"
    assert [m["code"] for m in result["merged"]] == ["D2"]
    assert below(app, "D1") == {"D1", "V1", "V2", "D2", "V3"}
    assert listed(app)["D2"]["closed_on"] == "2021-01-01"
    assert listed(app, on="2020-12-31")["D2"]["parent"] == "R"
    with pytest.raises(ImisError) as error:
        app.do("locations.add", {"code": "V9", "name": "V9", "level": "village", "parent": "D2"})
    assert error.value.code == "locations.closed"


def test_nothing_is_merged_into_itself_or_below(app: TestApp) -> None:
    """A location is never merged into itself or into a place below it, also within one batch."""
    add_tree(app)
    for into in ("D1", "V1"):
        with pytest.raises(ImisError) as error:
            app.do("locations.merge", {"from": ["D1"], "into": into, "on": "2021-01-01"})
        assert error.value.refusal.problems[0].reason == "below_itself"
    outcomes = app.do_all(
        "locations.merge",
        [{"from": ["D2"], "into": "V1", "on": "2021-01-01"}, {"from": ["D1"], "into": "V3", "on": "2021-01-01"}],
    )
    assert outcomes[0]["code"] == "V1"
    assert outcomes[1].problems[0].reason == "below_itself"


def test_a_split_place_is_the_parent_of_its_parts(app: TestApp) -> None:
    """The parts of a split location exist from that day, at its level, below it; it takes no new entries."""
    add_tree(app)
    parts = [{"code": "V1A", "name": "East"}, {"code": "V1B", "name": "West"}]
    result = app.do("locations.split", {"location": "V1", "into": parts, "on": "2021-01-01"})
    assert [p["code"] for p in result["into"]] == ["V1A", "V1B"]
    now = listed(app)
    assert (now["V1A"]["parent"], now["V1A"]["level"], now["V1"]["closed_on"]) == ("V1", "village", "2021-01-01")
    assert "V1A" not in listed(app, on="2020-12-31")
    with pytest.raises(ImisError) as error:
        app.do("locations.split", {"location": "V1", "into": [{"code": "Z", "name": "Z"}], "on": "2021-01-01"})
    assert error.value.code == "locations.closed"
    with pytest.raises(ImisError) as error:
        app.do("locations.split", {"location": "V2", "into": [{"code": "V3", "name": "Z"}], "on": "2021-01-01"})
    assert error.value.code == "locations.duplicate_code"


def test_a_location_is_named_by_code_or_id(app: TestApp) -> None:
    """The outside id serves as well as the code."""
    ids = add_tree(app)
    app.do("locations.rename", {"location": ids["V1"], "name": "By id", "on": "2021-01-01"})
    assert listed(app, parent=ids["D1"])["V1"]["name"] == "By id"


def test_a_batch_takes_a_constant_number_of_statements(app: TestApp) -> None:
    """Ten locations cost as many statements as five hundred."""

    def statements(prefix: str, count: int) -> int:
        items = [{"code": f"{prefix}{i}", "name": "x", "level": "village", "parent": "R"} for i in range(count)]
        before = app.database.statements
        app.do_all("locations.add", items)
        return app.database.statements - before

    add_tree(app)
    assert statements("A", 10) == statements("B", 500)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8))
def test_merges_never_make_a_circle(app: TestApp, moves: list[tuple[int, int]]) -> None:
    """Whatever is merged in a batch, every location still leads up to a root, as a plain model says."""
    prefix = f"h{app.rows('SELECT count(*) AS n FROM core.locations')[0]['n']}_"
    codes = [f"{prefix}{i}" for i in range(6)]
    parents: dict[str, str | None] = {code: (codes[(i - 1) // 2] if i else None) for i, code in enumerate(codes)}
    tree = [{"code": c, "name": c, "level": "x", "parent": p} for c, p in parents.items()]
    app.do_all("locations.add", tree)
    items = [{"from": [codes[a]], "into": codes[b], "on": "2021-01-01"} for a, b in moves]
    outcomes = app.do_all("locations.merge", items) if items else []
    closed: set[str] = set()
    for (a, b), outcome in zip(moves, outcomes, strict=True):
        source, target = codes[a], codes[b]
        up, above = target, {target}
        while parents[up] is not None:
            up = str(parents[up])
            above.add(up)
        allowed = source not in above and source not in closed and target not in closed
        assert isinstance(outcome, Refusal) != allowed
        if allowed:
            parents[source] = target
            closed.add(source)
    rows = app.rows(
        "SELECT l.code, p.code AS parent FROM core.locations l LEFT JOIN core.locations p ON p.id = l.parent "
        "WHERE l.code = ANY(:codes)",
        codes=codes,
    )
    assert {r["code"]: r["parent"] for r in rows} == parents


def test_locations_are_listed_by_id_and_code(app: TestApp) -> None:
    """Exactly one place has a code or an id; its parent is named by code and by id."""
    app.do("locations.add", {"code": "R", "name": "R", "level": "region"})
    app.do("locations.add", {"code": "D", "name": "D", "level": "district", "parent": "R"})
    [parent], [child] = (app.do("locations.list", {"code": code}) for code in "RD")
    assert (child["parent"], child["parent_id"], child["version"]) == ("R", parent["id"], 1)
    assert app.do("locations.list", {"id": child["id"]}) == [child]
    assert app.do("locations.list", {"id": "D"}) == app.do("locations.list", {"code": "d"}) == []
