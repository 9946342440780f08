"""Random households with awkward attributes, in the database and as the oracle's rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.testing.app import TestApp
from tests.criteria.oracle import Row

TODAY = date(2021, 3, 1)
NAMES = ("flag", "amount", "day", "water", "odd name", "rooms", "roof", "since", "owned")
VALUES: tuple[Any, ...] = (
    True, False, 0, 1, 2, -3, 7, Decimal("0.1"), Decimal("1.50"), Decimal("0.30"), 2**62, "", "well", "river", "Well",
    "o'k", "12", "-1.5", "1e3", "2020-02-29", "2021-02-29", "2021-03-01", "2019-11-31", "0000-01-01", "20210301",
    "2021-03-01 ", "é", "x" * 40, None, [1], {"a": 1},
)  # fmt: skip
BIRTHS = (date(2020, 2, 29), date(2004, 2, 29), date(2003, 3, 1), date(2003, 3, 2), date(1961, 3, 1), date(2021, 6, 1))


@contextmanager
def context_of(app: TestApp) -> Iterator[Context]:
    with app.database.query(app.system) as connection:
        yield Context(app, connection, app.system, app.clock.now(), app.clock.today())


@frozen
class World:
    """Rows by key: households with their current members, and all persons on their own."""

    households: dict[int, Row]
    persons: dict[int, Row]


def build(app: TestApp, seed: int, households: int, declared: dict[str, dict[str, str]] | None) -> World:
    """`declared`: attribute types by `person` and `group`; values are written without any check."""
    random = Random(seed)
    for code in ("D1", "D2"):
        app.do("locations.add", {"code": code, "name": code, "level": "district"})
    groups = [_group(random, number) for number in range(households)]
    made = app.do_all("beneficiaries.register_group", groups)
    assert not [answer for answer in made if not isinstance(answer, dict)]
    with app.database.command(app.system) as (connection, _):
        for table in ("persons", "groups"):
            keys = list(connection.execute(sa.text(f"SELECT id FROM core.{table} ORDER BY id")).scalars())
            update = sa.text(f"UPDATE core.{table} SET attributes = CAST(:attributes AS jsonb) WHERE id = :id")
            connection.execute(update, [{"id": key, "attributes": _json(_attributes(random))} for key in keys])
        gone = sa.text("UPDATE core.memberships SET left_on = :on WHERE id = :id")
        for key in connection.execute(sa.text("SELECT id FROM core.memberships ORDER BY id")).scalars().all():
            if random.random() < 0.15:
                connection.execute(gone, {"on": TODAY, "id": key})
    return _rows(app, declared or {})


def _group(random: Random, number: int) -> dict[str, Any]:
    place = random.choice(["D1", "D2", None])
    members = [
        {
            "number": f"{number:03d}-{position}", "given_name": "A", "family_name": "B", "sex": random.choice("FMO"),
            "birth_date": random.choice([*BIRTHS, TODAY - timedelta(days=random.randrange(30_000))]),
            "relationship": "head" if position == 0 else random.choice(["spouse", "child", "other"]),
            **({"recipient": "primary"} if position == 1 else {}),
            **({"location": other} if (other := random.choice(["D1", "D2", None])) else {}),
        }
        for position in range(random.randint(1, 4))
    ]  # fmt: skip
    for member in members:
        member["birth_date"] = min(member["birth_date"], TODAY)
    return {"code": f"H{number:03d}", "members": members, **({"location": place} if place else {})}


def _attributes(random: Random) -> dict[str, Any]:
    return {name: random.choice(VALUES) for name in NAMES if random.random() < 0.7}


def _json(values: dict[str, Any]) -> str:
    parts = [f"{json.dumps(key)}: {value if isinstance(value, Decimal) else json.dumps(value)}"
             for key, value in values.items()]  # fmt: skip
    return "{" + ", ".join(parts) + "}"


def _rows(app: TestApp, declared: dict[str, dict[str, str]]) -> World:
    of_person, of_group = declared.get("person"), declared.get("group")
    found = app.rows(
        "SELECT p.id, p.sex, p.birth_date, p.number, l.code AS location, m.relationship, m.recipient, m.group, "
        "p.attributes::text AS attributes FROM core.persons p LEFT JOIN core.locations l ON l.id = p.place "
        "LEFT JOIN core.memberships m ON m.person = p.id AND m.left_on IS NULL"
    )
    persons = {row["id"]: Row(dict(row), _read(row["attributes"]), TODAY, of_person) for row in found}
    households = {}
    for row in app.rows(
        "SELECT g.id, g.code, l.code AS location, g.attributes::text AS attributes FROM core.groups g "
        "LEFT JOIN core.locations l ON l.id = g.place"
    ):
        members = tuple(person for person in persons.values() if person.built_in["group"] == row["id"])
        built_in = {**row, "size": len(members)}
        households[row["id"]] = Row(built_in, _read(row["attributes"]), TODAY, of_group, members)
    return World(households, persons)


def _read(text: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return read
