"""What the doors keep apart stays apart outside them: over REST, in exported files, and in FHIR.

The world is that of `test_scope`; here its users of place A log in at the real server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest
from attrs import frozen

from imis_core.opening import Playground
from imis_core.resource_mappings import ResourceMapping
from imis_core.testing.app import test_application
from imis_core.web.exports import FILE_TYPES
from tests.scope.inputs import calls, filled
from tests.scope.test_scope import (
    COMPOSITION,
    DIRECTORY,
    FILE,
    NOBODY,
    QUERIES,
    ROLES,
    WHOLE_SCHEMES,
    Twins,
    at_path,
    filler,
    is_exception,
    make_twins,
    marks_of_b,
    without,
)
from tests.scope.world import SETTINGS, TODAY
from tests.web.conftest import PASSWORD, served

TEXTS: Final = ("text/csv", "application/x-ndjson")  # files whose words can be searched as they are
# Places and facilities are open to every user, as in a printed directory.
FHIR_DIRECTORY: Final = frozenset({"Location", "Organization"})
MAPPINGS: Final = sorted(
    (mapping for mapping in COMPOSITION.mappings if mapping.resource not in FHIR_DIRECTORY),
    key=lambda mapping: mapping.resource,
)


@frozen
class Served:
    """The world of both places behind a real server, and the clients of A's users by role."""

    twins: Twins
    clients: Mapping[str, httpx.Client]


@pytest.fixture(scope="module")
def both(playground: Playground) -> Iterator[Served]:
    with test_application(playground, TODAY, SETTINGS) as app:
        twins = make_twins(app, asked=False)
        with served(app) as site:
            for role in ROLES:
                app.do("users.change", {"user": f"{role}-a", "password": PASSWORD})
            yield Served(twins, {role: site.login(f"{role}-a", None) for role in ROLES})


def parameters(data: Mapping[str, Any]) -> dict[str, str]:
    """An input as a query string has it: text as it is, everything else as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in data.items()}


def accepted(name: str) -> tuple[str, ...]:
    return ("application/json", *TEXTS) if COMPOSITION.queries[name].listing else ("application/json",)


def test_the_searched_files_are_among_those_that_are_offered() -> None:
    """The two formats are written from the very rows that XLSX and Parquet hold in binary form."""
    assert set(TEXTS) < set(FILE_TYPES)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", QUERIES)
def test_an_answer_over_http_tells_nothing_of_another_place(both: Served, name: str, role: str) -> None:
    """As JSON and as a file: no mark of B, and what is B's is answered like what is not there."""
    twins, client = both.twins, both.clients[role]
    marks, wrong = marks_of_b(twins), []
    address = "/api/" + name.replace(".", "/")
    for call in calls(name, twins.app.queries[name].input):
        for media_type in accepted(name):

            def ask(data: Any, media_type: str = media_type) -> httpx.Response:
                return client.get(address, params=parameters(data), headers={"Accept": media_type})

            answer = ask(filled(call.data, filler(twins.world, "A")))
            found = marks.search(FILE.sub("", answer.text)) if name not in DIRECTORY | WHOLE_SCHEMES else None
            if found or answer.status_code >= 500:
                wrong.append(f"{media_type} {call.data}: {answer.status_code}, {found}: {answer.text[:500]}")
            for path in call.varied:
                template = at_path(call.data, path)
                if name in DIRECTORY | WHOLE_SCHEMES or is_exception(name, role, template, path):
                    continue
                told = {}
                for side in ("B", "X"):
                    data = filled(call.data, filler(twins.world, "A", side, path))
                    reply = ask(data)
                    told[side] = (reply.status_code, without(reply.text, at_path(data, path)))
                if told["B"] != told["X"]:
                    wrong.append(f"{media_type} {path} {template}: of B {told['B']}, of nothing {told['X']}")
    assert not wrong, "\n".join(wrong)


# --- FHIR


def of_side(twins: Twins, side: str) -> dict[str, tuple[str, ...]]:
    """What a client could ask for of a side: ids, and codes and numbers."""
    nouns = ("P1", "F1", "claim1", "coverage-F1", "facility_id")
    ids = {noun: twins.world.of["B"][noun] for noun in nouns}
    if side == "X":
        known = {noun: twins.app.ids.decode_any(identity) for noun, identity in ids.items()}
        ids = {noun: twins.app.ids.encode(found[0], NOBODY) for noun, found in known.items() if found is not None}
    q = f"Q{side}"
    return {"ids": tuple(ids.values()), "texts": (f"P1-{q}", f"F1-{q}", f"CL1-{q}", f"NID-{q}-P1", q)}


def asked_of(mapping: ResourceMapping, side: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """(address, the name in it) of everything that can be asked of a resource about a side."""
    for identity in side["ids"]:
        yield f"{mapping.resource}/{identity}", identity
    for one in mapping.filters:
        values = (*side["ids"], *(f"{one.of}/{i}" for i in side["ids"] if one.of), *side["texts"])
        for value in values if one.form in ("id", "token", "string", "reference") else ():
            yield f"{mapping.resource}?{httpx.QueryParams({one.name: value})}", value.rpartition("/")[2]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda mapping: mapping.resource)
def test_fhir_tells_nothing_of_another_place(both: Served, mapping: ResourceMapping, role: str) -> None:
    """No search shows B; a read or search of something of B is answered like one of something that is not there."""
    twins, client = both.twins, both.clients[role]
    everything = client.get(f"/fhir/R4/{mapping.resource}?_count=500")
    assert everything.status_code == 200, everything.text
    assert not marks_of_b(twins).search(everything.text)
    wrong = []
    pairs = zip(asked_of(mapping, of_side(twins, "B")), asked_of(mapping, of_side(twins, "X")), strict=True)
    for (of_b, name), (of_nothing, nothing) in pairs:
        told = []
        for address, named in ((of_b, name), (of_nothing, nothing)):
            answer = client.get(f"/fhir/R4/{address}")
            told.append((answer.status_code, without(answer.text, named)))
        if told[0] != told[1]:
            wrong.append(f"{of_b}: {told[0]}; {of_nothing}: {told[1]}")
    assert not wrong, "\n".join(wrong)


def test_fhir_shows_what_is_ones_own(both: Served) -> None:
    """The search that shows nothing of B shows A: the test above would see B if it were there."""
    answer = both.clients["place"].get("/fhir/R4/Patient", params={"_count": "500"})
    assert "P1-QA" in answer.text
