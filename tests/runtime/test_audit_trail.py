"""Histories, versions and the trail of an entity."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from imis_core.database.tables import metadata
from imis_core.errors import ImisError
from imis_core.rooms_tables import ROOMS
from imis_core.testing.app import TestApp

PERSON = {"given_name": "Ama", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
EDITED = sorted(t.name for t in metadata.tables.values() if "history" in t.info)


def test_every_edited_noun_has_its_history() -> None:
    """The nouns that the design names as edited are kept with versions."""
    assert ROOMS
    assert {"persons", "groups", "locations", "providers", "items", "packages", "coverages", "users"} <= {
        name.removeprefix("benefit_") for name in EDITED
    } | {"packages"}


@pytest.mark.parametrize("name", EDITED)
def test_an_update_makes_a_version_and_a_history_row(app: TestApp, name: str) -> None:
    """Both triggers stand on every edited table, for inserts and updates, and no handler can forget them."""
    triggers = {
        r["tgname"]
        for r in app.rows("SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(:t AS regclass)", t=f"core.{name}")
    }
    assert {"history_insert", "history_update", "next_version"} <= triggers


def test_versions_count_up_with_the_command_that_made_them(app: TestApp) -> None:
    """Each change is one version, and its row names the audit entry of the command."""
    app.do("locations.add", {"code": "L1", "name": "Old", "level": "region"})
    app.do("locations.rename", {"location": "L1", "name": "New", "on": "2021-01-01"})
    rows = app.rows(
        "SELECT h.version, e.command FROM core.locations_history h JOIN core.audit_entries e ON e.id = h.audit "
        "ORDER BY h.version"
    )
    assert [(r["version"], r["command"]) for r in rows][0] == (1, "locations.add")
    (now,) = app.rows("SELECT version FROM core.locations")
    assert now["version"] == len(rows)


def test_the_trail_of_a_person(app: TestApp) -> None:
    """Who changed what, when and by which command: fields with before and after, references as outside ids."""
    place = app.do("locations.add", {"code": "L1", "name": "Here", "level": "village"})
    person = app.do("beneficiaries.register_person", {**PERSON, "number": "N1"})
    app.clock.set(date(2021, 2, 1))
    app.do("beneficiaries.change_person", {"person": person["id"], "given_name": "Afi", "location": "L1"}, as_="anna")
    made, changed = app.do("audit.trail", {"entity": person["id"]})
    assert (made["actor"], made["command"]) == ("administrator", "beneficiaries.register_person")
    assert made["changes"]["given_name"] == [None, "Ama"]
    assert (changed["actor"], changed["command"]) == ("anna", "beneficiaries.change_person")
    assert changed["at"] == "2021-02-01T12:00:00Z"
    assert changed["changes"]["given_name"] == ["Ama", "Afi"]
    assert changed["changes"]["place"] == [None, place["id"]]


def test_the_trail_masks_what_is_masked(make_app: Callable[..., TestApp]) -> None:
    """A masked attribute is no plainer in the trail than in the person."""
    roles = {"auditor": {"permissions": ["audit.*", "beneficiaries.show_person"]}}
    deployment = {"attributes": {"hiv": {"type": "text", "masked": True}, "job": {"type": "text"}}}
    app = make_app(settings={"roles": roles, "deployment": deployment})
    person = app.do("beneficiaries.register_person", {**PERSON, "attributes": {"hiv": "yes", "job": "smith"}})
    auditor = app.as_user("audrey", "auditor")
    (entry,) = app.do("audit.trail", {"entity": person["id"]}, as_=auditor)
    assert entry["changes"]["attributes"] == [None, {"hiv": "***", "job": "smith"}]
    (entry,) = app.do("audit.trail", {"entity": person["id"]})
    assert entry["changes"]["attributes"] == [None, {"hiv": "yes", "job": "smith"}]


def test_the_trail_of_what_one_does_not_see_is_not_found(make_app: Callable[..., TestApp]) -> None:
    """Out of scope, unknown and garbage are the same answer."""
    roles = {"local": {"permissions": ["audit.*"], "scope": "place"}}
    app = make_app(settings={"roles": roles})
    person = app.do("beneficiaries.register_person", PERSON)
    local = app.as_user("leo", "local")
    for entity in (person["id"], "nonsense", app.ids.encode("persons", 999), app.ids.encode("jobs", 1)):
        with pytest.raises(ImisError) as caught:
            app.do("audit.trail", {"entity": entity}, as_=local)
        assert caught.value.code == "not_found"


@pytest.mark.parametrize("noun", ["users", "approvals"])
def test_the_trail_shows_no_secret(app: TestApp, noun: str) -> None:
    """Neither password nor request stands in a trail."""
    user: dict[str, Any] = app.do("users.add", {"name": "ann", "roles": [], "password": "correct horse"})
    app.do("users.change", {"user": "ann", "password": "another horse"})
    if noun == "users":
        trail = app.do("audit.trail", {"entity": user["id"]})
        assert [e["command"] for e in trail] == ["users.add", "users.change"]
        assert "password" not in str(trail)
    else:
        assert metadata.tables["core.approvals_history"].c.keys().count("request") == 0
