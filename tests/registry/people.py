"""Short ways to persons and households for the tests of the registry."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp


def person(number: str | None = None, given: str = "Awa", family: str = "Touray", **fields: Any) -> dict[str, Any]:
    named = {} if number is None else {"number": number}
    return {"given_name": given, "family_name": family, "sex": "F", "birth_date": "1980-01-01", **named, **fields}


def nid(*values: str) -> list[dict[str, str]]:
    return [{"system": "nid", "value": value} for value in values]


def household(app: TestApp, code: str, *members: dict[str, Any], **fields: Any) -> Any:
    """A household whose members are persons' fields; who has no relationship is `other`."""
    rows = [{"relationship": "other", **member} for member in members]
    return app.do("beneficiaries.register_group", {"code": code, "members": rows, **fields})


def members(app: TestApp, code: str) -> list[tuple[str, str, str | None]]:
    shown = app.do("beneficiaries.show_group", {"group": code})
    return [(m["number"], m["relationship"], m["recipient"]) for m in shown["members"]]


def refusal_of(app: TestApp, name: str, data: dict[str, Any], **as_: Any) -> Refusal:
    with pytest.raises(ImisError) as error:
        app.do(name, data, **as_)
    return error.value.refusal


def pairs(app: TestApp, status: str = "open") -> list[tuple[str, str]]:
    return [(d["first"], d["second"]) for d in app.do("registry.duplicates", {"status": status})]


def statements(app: TestApp, name: str, items: list[dict[str, Any]]) -> int:
    app.do("beneficiaries.list")  # the first of all looks up the database's roles
    before = app.database.statements
    assert not any(isinstance(o, Refusal) for o in app.do_all(name, items))
    return app.database.statements - before
