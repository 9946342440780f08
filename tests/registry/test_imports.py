"""Rules of staged imports: rows are judged one by one, kept, approved by somebody else and loaded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.errors import Refusal
from imis_core.registry.imports import share
from imis_core.testing.app import TestApp
from tests.registry.people import nid, pairs, person, refusal_of, statements

ATTRIBUTES = {
    "zone": {"type": "choice", "choices": ["north", "south"]},
    "card": {"type": "text", "unique": True, "masked": True},
    "children": {"type": "int"},
}


def send(app: TestApp, *rows: dict[str, Any], file: str = "people.csv", **as_: Any) -> Any:
    return app.do("registry.import", {"kind": "persons", "file": file, "rows": list(rows)}, **as_)


def approve(app: TestApp, staged: Any, as_: str = "ben") -> Any:
    app.as_user(as_, "administrator")
    return app.do("registry.approve_import", {"import": staged["id"]}, as_=as_)


def errors(staged: Any) -> list[tuple[int, str, str]]:
    return [(e["row"], e["field"], e["code"]) for e in staged["errors"]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"birth_date": None}, [("birth_date", "required")]),
        ({"birth_date": " "}, [("birth_date", "required")]),
        ({"birth_date": "31.12.1980"}, [("birth_date", "format")]),
        ({"birth_date": "2021-01-02"}, [("birth_date", "format")]),
        ({"sex": "female"}, [("sex", "choice")]),
        ({"given_name": "", "sex": ""}, [("given_name", "required"), ("sex", "required")]),
        ({"family_name": "x" * 301}, [("family_name", "format")]),
        ({"location": "NOWHERE"}, [("location", "choice")]),
        ({"number": "x" * 61}, [("number", "format")]),
        ({"number": "P0"}, [("number", "not_unique")]),
        ({"identifiers": "nid 1"}, [("identifiers", "format")]),
        ({"identifier_value": "1"}, [("identifier_system", "required")]),
        ({"zone": "west"}, [("zone", "choice")]),
        ({"children": "many"}, [("children", "format")]),
        ({"attributes.card": "C0"}, [("attributes.card", "not_unique")]),
        ({"shoe_size": "42"}, [("shoe_size", "format")]),
    ],
)
def test_every_wrong_field_is_told_once(
    make_app: Callable[..., TestApp], change: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """Each row is judged with the rules of a registration; a wrong field has one of four codes."""
    app = make_app(plugins=[], settings={"deployment": {"attributes": ATTRIBUTES}})
    app.do("beneficiaries.register_person", person("P0", attributes={"card": "C0"}))
    staged = send(app, person("P1", zone="north", children="3"), {**person("P2"), **change})
    assert errors(staged) == [(2, field, code) for field, code in expected]
    assert (staged["valid"], staged["invalid"], staged["invalid_share"]) == (1, 1, "50.00")


def test_nothing_is_registered_before_the_approval(app: TestApp) -> None:
    """A staged import waits for somebody else; its maker does not approve it, even as administrator."""
    staged = send(app, person("P1"), person("P2", "Lamin", birth_date=None))
    assert (staged["state"], staged["total"], staged["repeated"]) == ("awaiting_approval", 2, False)
    assert app.do("beneficiaries.list") == []
    assert refusal_of(app, "registry.approve_import", {"import": staged["id"]}).code == "registry.same_person"
    assert approve(app, staged) == {"id": staged["id"], "state": "partly_loaded", "loaded": 1, "skipped": 1}
    assert [p["number"] for p in app.do("beneficiaries.list")] == ["P1"]
    assert (
        refusal_of(app, "registry.approve_import", {"import": staged["id"]}, as_="ben").code == "registry.wrong_state"
    )


def test_an_import_without_a_valid_row_fails(app: TestApp) -> None:
    """No valid row: failed; all of them: loaded."""
    assert approve(app, send(app, {"number": "P1"}))["state"] == "failed"
    assert approve(app, send(app, person("P2"), person()))["state"] == "loaded"
    assert len(app.do("beneficiaries.list")) == 2


def test_a_number_that_was_taken_meanwhile_is_skipped(app: TestApp) -> None:
    """Rows are judged again when they are loaded; what became invalid is skipped and says why."""
    staged = send(app, person("P1"), person("P2"))
    app.do("beneficiaries.register_person", person("P1", "Other"))
    assert approve(app, staged) == {"id": staged["id"], "state": "partly_loaded", "loaded": 1, "skipped": 1}
    shown = app.do("registry.show_import", {"import": staged["id"]})
    assert errors(shown) == [(1, "number", "not_unique")]
    assert (shown["by"], shown["approver"], shown["loaded"], shown["skipped"]) == ("administrator", "ben", 1, 1)


def test_a_number_twice_in_the_file_is_the_later_rows_fault(app: TestApp) -> None:
    """Of two rows with one number the later is not unique; equal identifiers load and are found as duplicates."""
    staged = send(
        app,
        person("P1", "Awa", identifiers=nid("7")),
        person("P1", "Lamin", sex="M"),
        person("P3", "Haddy", "Gomez", identifier_system="nid", identifier_value="7", birth_date="1991-09-09"),
        person("P4", "Ebrima", "Sanneh", identifiers="nid:7; tax:9", birth_date="1971-09-09"),
    )
    assert errors(staged) == [(2, "number", "not_unique")]
    assert approve(app, staged)["loaded"] == 3
    assert app.do("registry.find_duplicates") == {"found": 3}
    assert pairs(app) == [("P1", "P3"), ("P1", "P4"), ("P3", "P4")]


def test_the_same_rows_again_are_the_same_import(app: TestApp) -> None:
    """The content decides, whatever the file's name and whoever sends it: the earlier import comes back."""
    first = send(app, person("P1"), person("P2", sex="X"))
    again = send(app, person("P1"), person("P2", sex="X"), file="again.csv", as_=app.as_user("ann", "administrator"))
    assert again == {**first, "repeated": True}
    approve(app, first)
    assert send(app, person("P1"), person("P2", sex="X"))["state"] == "partly_loaded"
    assert send(app, person("P2", sex="X"), person("P1"))["id"] != first["id"]


def test_invalid_rows_come_back_as_a_file_to_correct(make_app: Callable[..., TestApp]) -> None:
    """The invalid rows are listed with all their fields and errors; masked attributes need a permission."""
    roles = {"clerk": {"permissions": ["registry.*"]}}
    app = make_app(plugins=[], settings={"deployment": {"attributes": ATTRIBUTES}, "roles": roles})
    staged = send(app, person("P1"), person("P2", sex="X", card="C9", birth_date=""))
    (row,) = app.do("registry.import_rows", {"import": staged["id"]})
    assert (row["row"], row["number"], row["sex"], row["attributes"]) == (2, "P2", "X", {"card": "C9"})
    assert row["errors"] == "sex: choice; birth_date: required"
    assert len(app.do("registry.import_rows", {"import": staged["id"], "valid": True})) == 1
    (seen,) = app.do("registry.import_rows", {"import": staged["id"]}, as_=app.as_user("cara", "clerk"))
    assert seen["attributes"] == {"card": "***"}


def test_a_rejected_import_loads_nothing(app: TestApp) -> None:
    """A rejected import is final."""
    staged = send(app, person("P1"))
    assert app.do("registry.reject_import", {"import": staged["id"], "reason": "old list"})["state"] == "rejected"
    app.as_user("ben", "administrator")
    refusal = refusal_of(app, "registry.approve_import", {"import": staged["id"]}, as_="ben")
    assert refusal.code == "registry.wrong_state"


def test_who_sees_a_place_sees_its_imports(make_app: Callable[..., TestApp]) -> None:
    """A caller of some places imports into them, and sees only imports whose persons all live there."""
    roles = {"clerk": {"permissions": ["registry.*"], "scope": "place"}}
    app = make_app(plugins=[], settings={"roles": roles})
    app.do_all("locations.add", [{"code": c, "name": c, "level": "x"} for c in "AB"])
    amy = app.as_user("amy", "clerk", places=["A"])
    bob = app.as_user("bob", "clerk", places=["B"])
    both = app.as_user("both", "clerk", places=["A", "B"])
    staged = send(app, person("P1", location="A"), person("P2", location="B"), person("P3"), as_=amy)
    assert errors(staged) == [(2, "location", "choice"), (3, "location", "required")]
    assert refusal_of(app, "registry.show_import", {"import": staged["id"]}, as_=bob).code == "not_found"
    everybody = send(app, person("Q1", location="A"), person("Q2"))
    assert refusal_of(app, "registry.show_import", {"import": everybody["id"]}, as_=both).code == "not_found"
    assert app.do("registry.approve_import", {"import": staged["id"]}, as_=both)["loaded"] == 1
    nothing = send(app, {"number": "Z"}, as_=amy)
    assert nothing["valid"] == 0
    assert refusal_of(app, "registry.show_import", {"import": nothing["id"]}, as_=bob).code == "not_found"


def test_a_file_of_any_length_takes_the_same_statements(app: TestApp) -> None:
    """The number of statements does not depend on the number of rows."""
    few, many = ([{"kind": "persons", "file": "f", "rows": [person(f"{n}-{i}") for i in range(n)]}] for n in (60, 400))
    assert statements(app, "registry.import", few) == statements(app, "registry.import", many)
    app.as_user("ben", "administrator")
    counts = []
    for files in (few, many):
        staged = app.do("registry.import", files[0])
        before = app.database.statements
        assert app.do("registry.approve_import", {"import": staged["id"]}, as_="ben")["state"] == "loaded"
        counts.append(app.database.statements - before)
    assert counts[0] == counts[1]


def test_a_file_has_rows_and_a_known_kind(app: TestApp) -> None:
    """No rows or another kind is wrong input."""
    for data, path in (
        ({"kind": "persons", "file": "f", "rows": []}, "rows"),
        ({"kind": "cows", "file": "f", "rows": [{}]}, "kind"),
        ({"kind": "persons", "file": "", "rows": [{}]}, "file"),
    ):
        refusal = refusal_of(app, "registry.import", data)
        assert (refusal.code, refusal.problems[0].path) == ("input.invalid", path)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_the_share_is_rounded_half_up(invalid: int, others: int) -> None:
    """Within half a hundredth of a percent of the exact share, halves upward."""
    total = invalid + others
    shown = share(invalid, total)
    hundredths = int(shown.replace(".", ""))
    assert len(shown.partition(".")[2]) == 2
    assert -total <= 2 * (10_000 * invalid - hundredths * total) < total


def test_an_import_is_hashed_by_what_it_says(app: TestApp) -> None:
    """The kept digest is one of 32 bytes; no row is kept in it."""
    send(app, person("P1"))
    (row,) = app.rows("SELECT content_hash FROM core.registry_imports")
    assert len(row["content_hash"]) == hashlib.sha256().digest_size


def test_a_command_batch_refuses_item_by_item(app: TestApp) -> None:
    """Two files in one request are judged one after the other: the second sees the first one's number only loaded."""
    files = [{"kind": "persons", "file": f, "rows": [person("P1", f)]} for f in "ab"]
    one, two = app.do_all("registry.import", files)
    assert not isinstance(one, Refusal)
    assert (one["valid"], two["valid"]) == (1, 1)
    assert approve(app, one)["state"] == "loaded"
    assert approve(app, two)["state"] == "failed"
