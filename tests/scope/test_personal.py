"""What leaves the system about persons: queries that name one are logged, masks hold, an export is whole.

On the world of the scope's tests, by every command and query that is registered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from imis_core.beneficiaries.masks import UNMASK
from imis_core.migrations.runner import tables_of
from imis_core.opening import Playground
from imis_core.person_export import NAMED_OTHERWISE
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp, test_application
from tests.scope.inputs import calls, filled
from tests.scope.test_scope import COMMANDS, QUERIES, ask, filler, run
from tests.scope.world import CANARY, SETTINGS, TODAY, World

MASKING = {**SETTINGS, "deployment": {**SETTINGS["deployment"], "masked_identifiers": ["nid"]}}


@pytest.fixture(scope="module")
def world(playground: Playground) -> Iterator[World]:
    with test_application(playground, TODAY, MASKING) as app:
        world = World(app)
        world.build("A")
        yield world


# Columns that name a person; one that is called `person` is followed even without a foreign key.
NAMING = {"persons", "kept", "dropped", "about"}
# An error's text is whatever a plugin said; only who sees everything reads it.
FREE_TEXT = {"events.deliveries"}


def logged(app: TestApp) -> list[Any]:
    return app.rows("SELECT id, query, persons FROM core.reads ORDER BY id")


def everybody(world: World) -> Caller:
    caller: Caller = world.app.as_user("everybody", "everybody")
    return caller


def persons_in(world: World, answer: Any) -> set[int]:
    """The persons whose number, or id, stands anywhere in an answer."""
    text = json.dumps(answer)
    numbers = re.findall(r"\b[PTI]\d-QA\b", text)
    rows = world.app.rows("SELECT id FROM core.persons WHERE number = ANY(:numbers)", numbers=numbers)
    ids = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)
    decoded = {number for one in ids if (number := world.app.ids.decode("persons", one)) is not None}
    return {row["id"] for row in rows} | decoded


@pytest.mark.parametrize("name", [name for name in QUERIES if name not in FREE_TEXT])
def test_a_query_that_names_persons_is_logged(world: World, name: str) -> None:
    """One row for an answer, with everybody whom it names; none, and no statement, if it names nobody."""
    app = world.app
    for call in calls(name, app.queries[name].input):
        before = len(logged(app))
        answer, _ = ask(app, name, filled(call.data, filler(world, "A")), everybody(world))
        fresh = logged(app)[before:]
        assert len(fresh) <= 1
        named = set() if "refused" in answer else persons_in(world, answer)
        assert named <= {one for row in fresh for one in row["persons"]}, answer
        assert all(row["query"] == name for row in fresh)


@pytest.mark.parametrize("name", [*COMMANDS, *QUERIES])
def test_masked_values_need_their_permission(world: World, name: str) -> None:
    """Whoever has every permission but this one never gets a masked attribute's or identifier's value."""
    app = world.app
    permissions = {d.permission for d in (*app.commands.values(), *app.queries.values())} - {UNMASK}
    blind = attrs.evolve(everybody(world), permissions=frozenset(permissions))
    definition = app.commands.get(name) or app.queries[name]
    for call in calls(name, definition.input):
        data = filled(call.data, filler(world, "A"))
        asked = json.dumps(data)
        told = json.dumps(ask(app, name, data, blind)[0] if name in app.queries else run(app, name, data, blind).answer)
        assert CANARY not in told
        assert not [one for one in re.findall(r"NID-QA-\w+", told) if one not in asked]


def test_the_mask_is_all_that_hides_them(world: World) -> None:
    """With the permission both are shown: the test before does not pass because nothing is there."""
    shown = json.dumps(world.do("beneficiaries.show_person", number="P1-QA"))
    assert CANARY in shown
    assert "NID-QA-P1" in shown


def test_every_column_of_persons_is_in_the_export(world: World) -> None:
    """A table of the kernel or a plugin names a person by a foreign key, which the export follows."""
    for manifest in world.app.plugins.manifests.values():
        for table in tables_of(manifest):
            keys = {k.parent.name for k in table.foreign_keys}
            for column in table.columns:
                if column.name in NAMING and column.name not in keys:
                    place = f"{table.fullname}.{column.name}"
                    assert "history_of" in table.info or place in NAMED_OTHERWISE, place


def test_an_export_has_everything_about_a_person(world: World) -> None:
    """Rows of every room and plugin, what belongs to them, earlier versions with who made them, and who read it."""
    before = len(logged(world.app))
    world.do("beneficiaries.show_person", number="P1-QA")
    told = world.do("beneficiaries.export_person", number="P1-QA")
    assert {
        "core.persons", "core.identifiers", "core.memberships", "core.groups", "core.coverages",
        "core.coverage_members", "core.contributions", "core.claims", "core.claim_lines", "core.claim_states",
        "core.notifications", "core.recipients", "grievance.grievances", "grievance.grievance_comments",
    } <= set(told["tables"])  # fmt: skip
    assert len(told["tables"]["core.claims"]) == 5
    assert told["tables"]["core.persons"][0]["given_name"] == "GivenQAP1"
    assert told["history"]["core.persons"][0]["changed"]["command"] == "beneficiaries.register_group"
    assert len(told["files"]) >= 2
    assert ("administrator", "beneficiaries.show_person") in {(r["user"], r["query"]) for r in told["read_by"]}
    worker = world.do("beneficiaries.export_person", number="P4-QA")["tables"]
    assert {"eii.accidents", "eii.awards", "core.employments", "core.wages"} <= set(worker)
    assert [row["query"] for row in logged(world.app)[before:]][1:] == ["beneficiaries.export_person"] * 2


def test_an_export_of_somebody_elsewhere_is_refused(world: World) -> None:
    """Who does not see the person gets no export, and the same answer as for nobody."""
    world.do("locations.add", code="FAR", name="Far", level="region")
    far = world.app.as_user("far", "place", places=["FAR"])
    answer, _ = ask(world.app, "beneficiaries.export_person", {"number": "P1-QA"}, far)
    nobody, _ = ask(world.app, "beneficiaries.export_person", {"number": "P0-QA"}, far)
    assert json.dumps(answer).replace("P1-QA", "") == json.dumps(nobody).replace("P0-QA", "")
    assert answer["refused"]["code"] == "not_found"


def test_the_auditor_sees_who_read_whom(world: World) -> None:
    """Of one person by any user, of one user any person, within days."""
    reader = world.app.as_user("reader", "everybody")
    world.do("beneficiaries.show_person", reader, number="P5-QA")
    (one,) = world.do("audit.reads", user="reader")
    assert (one["person"], one["query"], one["looked_up"]) == ("P5-QA", "beneficiaries.show_person", False)
    assert one in world.do("audit.reads", person="P5-QA", from_="2024-06-30", to="2024-06-30")
    assert world.do("audit.reads", user="reader", to="2024-06-29") == []
    assert world.do("audit.reads", user="reader", person="P6-QA") == []


def test_days_of_the_log_of_reads_are_the_deployments(playground: Playground) -> None:
    """Noon in UTC is the next day in Kiritimati; the first and the last day that there is may be asked for."""
    there = {**MASKING, "deployment": {**MASKING.get("deployment", {}), "timezone": "Pacific/Kiritimati"}}
    with test_application(playground, TODAY, there) as app:
        person = {"number": "1", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
        app.do("beneficiaries.register_person", person)
        app.do("beneficiaries.show_person", {"number": "1"}, as_=app.as_user("reader", "everybody"))

        def found(**days: str) -> int:
            return len(app.do("audit.reads", {"user": "reader", **days}))

        assert found(to="2024-06-30") == 0
        assert found(**{"from": "2024-07-01", "to": "2024-07-01"}) == 1
        assert found(**{"from": "0001-01-01", "to": "9999-12-31"}) == 1
