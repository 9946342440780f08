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


def test_an_update_makes_a_version_and_a_history_row(app: TestApp) -> None:
    """Both triggers stand on every edited table, for inserts and updates, and no handler can forget them."""
    rows = app.rows("SELECT relname, tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid")
    found = {(r["relname"], r["tgname"]) for r in rows}
    for name in EDITED:
        assert {(name, trigger) for trigger in ("history_insert", "history_update", "next_version")} <= found, name


def test_versions_count_up_with_the_command_that_made_them(app: TestApp) -> None:
    """Each change is one version, and its row names the audit entry of the command."""
    app.do("locations.add", {"code": "L1", "name": "Old", "level": "region"})
    app.do("locations.rename", {"location": "L1", "name": "New", "on": "2021-01-01"})
    rows = app.rows(
        "SELECT h.version, e.command FROM core.locations_history h JOIN core.audit_entries e ON e.id = h.audit "
        "ORDER BY h.version"
    )
    assert (rows[0]["version"], rows[0]["command"]) == (1, "locations.add")
    (now,) = app.rows("SELECT version FROM core.locations")
    assert now["version"] == len(rows)


def test_the_trail_of_a_person(app: TestApp) -> None:
    """Who changed what, when and by which command: each field with before and after."""
    person = app.do("beneficiaries.register_person", {**PERSON, "number": "N1"})
    app.clock.set(date(2021, 2, 1))
    app.do("beneficiaries.record_death", {"person": person["id"], "on": "2021-01-31"}, as_="anna")
    made, changed = app.do("audit.trail", {"entity": person["id"]})
    assert (made["actor"], made["command"]) == ("administrator", "beneficiaries.register_person")
    assert made["changes"]["given_name"] == [None, "Ama"]
    assert (changed["actor"], changed["command"]) == ("anna", "beneficiaries.record_death")
    assert changed["at"] == "2021-02-01T12:00:00Z"
    assert [None, "2021-01-31"] in changed["changes"].values()
    assert "given_name" not in changed["changes"]


def test_an_entity_is_named_by_its_code_or_number(app: TestApp) -> None:
    """Business codes and numbers are accepted wherever an entity is named; one that names two is refused."""
    person = app.do("beneficiaries.register_person", {**PERSON, "number": "N1"})
    assert app.do("audit.trail", {"entity": "N1"}) == app.do("audit.trail", {"entity": person["id"]})
    app.do("locations.add", {"code": "HC", "name": "HC", "level": "village"})
    assert app.do("audit.trail", {"entity": "HC"})[0]["command"] == "locations.add"
    app.do("providers.register", {"code": "HC", "name": "HC"})
    with pytest.raises(ImisError) as caught:
        app.do("audit.trail", {"entity": "HC"})
    assert caught.value.refusal.problems[0].reason == "ambiguous"
    with pytest.raises(ImisError) as caught:
        app.do("audit.trail", {"entity": "NOPE"})
    assert caught.value.code == "not_found"


def test_references_in_the_trail_are_outside_ids(app: TestApp) -> None:
    """A trail gives no number of a row away."""
    places = [app.do("locations.add", {"code": c, "name": c, "level": "village"})["id"] for c in ("L1", "L2")]
    provider = app.do("providers.register", {"code": "HC", "name": "HC", "location": "L1"})
    app.do("providers.change", {"provider": "HC", "location": "L2"})
    made, changed = app.do("audit.trail", {"entity": provider["id"]})
    assert made["changes"]["location"] == [None, places[0]]
    assert changed["changes"] == {"location": places}


def test_the_trail_of_a_claim_and_of_its_order(app: TestApp) -> None:
    """Nouns that are only ever inserted show their states, each with its command and actor."""
    claim, order = pay_a_claim(app)
    steps = [(e["command"], e["changes"]["state"]) for e in app.do("audit.trail", {"entity": claim})]
    assert steps[0][0] == "claims.submit"
    assert [state for _, state in steps][-1] == "paid"
    assert ("claims.process", "valuated") in steps
    trail = app.do("audit.trail", {"entity": order})
    assert [e["changes"]["state"] for e in trail] == ["approved", "submitted", "paid"]
    assert [e["actor"] for e in trail] == ["ben", "administrator", "administrator"]


def pay_a_claim(app: TestApp) -> tuple[str, str]:
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    app.do("catalogue.define_item", {"code": "LAB", "name": "LAB", "kind": "service", "price": "100"})
    app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": {"LAB": "100"}})
    app.do("providers.register", {"code": "HC1", "name": "HC1", "care_type": "both", "price_lists": ["PL"]})
    terms = {"insurance_months": 12, "items": {"LAB": {}}}
    package = {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2019-01-01", "terms": terms}
    app.do("benefit_packages.define", package)
    app.do(
        "beneficiaries.register_group", {"code": "F", "members": [{**PERSON, "number": "N1", "relationship": "head"}]}
    )
    app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": "F"})
    app.do("payments.register_provider", {"code": "BANK", "name": "BANK", "channel": "cash_list"})
    line = {"item": "LAB", "quantity": 1, "price": "100"}
    visit = {"code": "C1", "provider": "HC1", "number": "N1", "from": "2021-01-01", "diagnosis": "A09", "lines": [line]}
    claim = app.do("claims.submit", visit)
    app.do("claims.process", {"scheme": "chf", "claims": ["C1"]})
    period = {"scheme": "chf", "from": "2021-01-01", "to": "2021-12-31"}
    request = app.do("claims.request_payment", period, as_="anna")
    app.do("claims.approve_payment", {"request": request["id"]}, as_="ben")
    app.do("payments.enrol_recipient", {"facility": "HC1", "provider": "BANK"})
    app.do("payments.submit", {"claims_batch": request["id"]})
    (order,) = app.do("payments.orders", {"claims_batch": request["id"]})
    row = {"order": order["id"], "status": "paid", "amount": order["amount"]}
    app.do("payments.reconcile", {"provider": "BANK", "rows": [row]})
    return str(claim["id"]), str(order["id"])


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


def test_the_trail_of_a_group_tells_of_its_members(app: TestApp) -> None:
    """Who joins and leaves a household, who is its head and its recipient: one entry a command, by number."""
    born = {"given_name": "Ama", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
    members = [{**born, "number": "P1", "relationship": "head"}, {**born, "number": "P2", "relationship": "spouse"}]
    group = app.do("beneficiaries.register_group", {"code": "H1", "members": members})
    app.do("beneficiaries.change_head", {"group": "H1", "number": "P2"}, as_="anna")
    app.do("beneficiaries.remove_member", {"group": "H1", "number": "P1", "reason": "moved"}, as_="ben")
    made, headed, removed = app.do("audit.trail", {"entity": group["id"]})
    assert made["changes"]["code"] == [None, "H1"]
    assert made["changes"]["members"]["P1"]["relationship"] == [None, "head"]
    assert (headed["actor"], headed["command"]) == ("anna", "beneficiaries.change_head")
    assert headed["changes"] == {
        "members": {"P1": {"relationship": ["head", "other"]}, "P2": {"relationship": ["spouse", "head"]}}
    }
    assert (removed["actor"], removed["command"]) == ("ben", "beneficiaries.remove_member")
    assert removed["changes"]["members"] == {
        "P1": {"left_on": [None, "2021-01-01"], "left_reason": [None, "moved"]},
        "P2": {"recipient": [None, "primary"]},
    }


def test_the_trail_of_a_group_tells_who_was_merged(app: TestApp) -> None:
    """A member who is found to be somebody else is told under the number of the one who was kept."""
    born = {"given_name": "Ama", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
    kept = app.do("beneficiaries.register_person", {**born, "number": "P0"})
    group = app.do(
        "beneficiaries.register_group", {"code": "H1", "members": [{**born, "number": "P1", "relationship": "head"}]}
    )
    app.do("beneficiaries.merge", {"keep": "P0", "drop": "P1"})
    made, merged = app.do("audit.trail", {"entity": "H1"})
    assert list(made["changes"]["members"]) == ["P1"]
    assert merged["command"] == "beneficiaries.merge"
    assert merged["changes"]["members"] == {"P0": {"person": [group["members"][0]["id"], kept["id"]]}}
