"""The OpenAPI document: complete, consistent, exact in its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import attrs
import pytest
from attrs import frozen

from imis_core.testing.app import TestApp
from imis_core.values import Amount, Money
from imis_core.web.openapi import address_of, as_3_0, openapi_document
from imis_core.web.schemas import Components

SCHEMA_TYPES = {"object", "array", "string", "integer", "boolean", "null"}


def parts(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a document with its path."""
    if isinstance(value, dict):
        yield path, value
        for name, part in value.items():
            yield from parts(part, f"{path}/{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from parts(part, f"{path}/{index}")


@pytest.fixture
def document(app: TestApp) -> dict[str, Any]:
    """The document of an application with every installed plugin."""
    return openapi_document(app)


def test_every_command_and_query_is_there(app: TestApp, document: dict[str, Any]) -> None:
    """One address each, the commands with POST, the queries with GET, and operation ids that are unique."""
    for name, command in app.commands.items():
        operation = document["paths"][address_of(name)]["post"]
        assert operation["summary"] == command.summary != ""
        assert command.permission in operation["description"]
    for name in app.queries:
        assert document["paths"][address_of(name)]["get"]["summary"]
    ids = [part["operationId"] for _, part in parts(document) if "operationId" in part]
    assert len(ids) == len(set(ids)) == len(app.commands) + len(app.queries) + 4


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    """Every `$ref` resolves, and every component has a name that OpenAPI allows."""
    for path, part in parts(document):
        if "$ref" not in part:
            continue
        target: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            assert step in target, f"{path}: {part['$ref']}"
            target = target[step]
    for name in document["components"]["schemas"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


def test_schemas_are_schemas(document: dict[str, Any]) -> None:
    """Types are JSON's, required members exist, patterns compile, records are closed; no binary fractions."""
    records = 0
    for path, part in parts(document["components"]["schemas"]):
        if path.endswith("/properties"):
            continue
        kinds = part.get("type", [])
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            assert kind in SCHEMA_TYPES, f"{path}: {kind}"
        if "pattern" in part and isinstance(part["pattern"], str):
            re.compile(part["pattern"])
        if "properties" in part and isinstance(part.get("required"), list):
            assert set(part["required"]) <= set(part["properties"]), path
            records += part.get("additionalProperties") is False
    assert records > 10


def test_parameters_are_parameters(document: dict[str, Any]) -> None:
    """Each has a name, a place and one of schema and content; no name twice."""
    for path, part in parts(document["paths"]):
        parameters = part.get("parameters")
        if not isinstance(parameters, list):
            continue
        for parameter in parameters:
            assert parameter["in"] in ("query", "header"), path
            assert ("schema" in parameter) != ("content" in parameter), path
        names = [(p["in"], p["name"]) for p in parameters]
        assert len(names) == len(set(names)), path


def test_the_document_is_served(site: Any) -> None:
    """As `/schema/openapi.json`, without login; the page's form is 3.0 and knows no null."""
    served = site.anyone.get("/schema/openapi.json").json()
    assert served["openapi"] == "3.1.0"
    assert served == openapi_document(site.app)
    older = site.anyone.get("/schema/openapi-3.0.json").json()
    assert older["openapi"] == "3.0.3"
    assert older == as_3_0(served)
    assert not [path for path, part in parts(older) if part.get("type") == "null" or isinstance(part.get("type"), list)]
    assert served["paths"]["/api/probe/hold"]["post"]["responses"]["202"]
    assert "202" not in served["paths"]["/api/probe/write"]["post"]["responses"]


def test_parameters_of_a_query_follow_its_fields(site: Any) -> None:
    """Scalars and lists are plain parameters, nested values JSON; a listing takes pages besides."""
    paths = site.anyone.get("/schema/openapi.json").json()["paths"]
    echo = {p["name"]: p for p in paths["/api/probe/echo"]["get"]["parameters"]}
    assert echo["number"]["schema"] == {"type": "integer", "format": "int64"}
    assert echo["codes"]["schema"]["type"] == "array"
    assert "application/json" in echo["nested"]["content"]
    assert echo["kind"]["schema"]["enum"] == ["some", "all"]
    assert "from" in echo
    rows = paths["/api/probe/rows"]["get"]
    assert [p["name"] for p in rows["parameters"]] == ["least", "sort", "limit", "cursor"]
    assert "text/csv" in rows["responses"]["200"]["content"]


@frozen(kw_only=True)
class Inner:
    """Words."""

    of: Literal["a", "b"] = "a"


@frozen(kw_only=True)
class Outer:
    amount: Amount
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    prices: dict[str, Money] = attrs.field(factory=dict)
    free: object = None
    from_: int = 3


def test_a_class_becomes_a_schema() -> None:
    """Required, optional, default, nested, free and renamed members each in their form."""
    schemas = Components([Outer]).schemas()
    inner = {"$ref": "#/components/schemas/Inner"}
    assert schemas["Outer"] == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "amount": {"$ref": "#/components/schemas/Amount"},
            "inner": {"anyOf": [inner, {"type": "null"}]},
            "inners": {"type": "array", "items": inner, "default": []},
            "prices": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Money"}, "default": {}},
            "free": {},
            "from": {"type": "integer", "format": "int64", "default": 3},
        },
        "required": ["amount"],
    }
    assert schemas["Inner"]["description"] == "Words."
    assert [kind.get("type") for kind in schemas["Amount"]["anyOf"]] == ["string", "integer"]


def test_two_classes_of_one_name_are_kept_apart() -> None:
    """Each gets its module before its name, in any order of the plugins."""
    other = attrs.make_class("Inner", {"x": attrs.field(type=int)})
    other.__module__ = "imis_core.claims.commands"
    names = set(Components([Inner, other]).schemas())
    assert "claims_Inner" in names
    assert "Inner" not in names
    assert names == set(Components([other, Inner]).schemas())
