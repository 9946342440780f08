"""Rules of self-exclusion."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa

from imis_core.registry.exclusion import self_excluded_groups_sql, self_excluded_persons_sql
from imis_core.testing.app import TestApp
from tests.registry.people import household, person, refusal_of


def excluded(app: TestApp) -> tuple[list[str], list[str]]:
    groups = sa.text("SELECT code FROM core.groups WHERE id = ANY(:ids)")
    people = sa.text("SELECT number FROM core.persons WHERE id = ANY(:ids)")
    with app.database.query(app.system) as connection:
        found = [
            list(connection.execute(names, {"ids": list(connection.execute(keys).scalars())}).scalars())
            for names, keys in ((groups, self_excluded_groups_sql()), (people, self_excluded_persons_sql()))
        ]
    return found[0], found[1]


def test_an_exclusion_is_kept_for_good(app: TestApp) -> None:
    """A group's exclusion is the group's, a person's the person's; asking again keeps the first day."""
    household(app, "H1", person("P1"), person("P2"))
    done = app.do("registry.self_exclude", {"group": "H1", "reason": "we manage"})
    assert (done["status"], done["group"], done["since"]) == ("self_excluded", "H1", "2021-01-01")
    assert excluded(app) == (["H1"], [])
    app.do_all("registry.self_exclude", [{"person": "P2"}, {"person": "P2"}])
    assert excluded(app) == (["H1"], ["P2"])
    app.clock.set(date(2021, 1, 4))
    assert app.do("registry.self_exclude", {"group": "H1"})["since"] == "2021-01-01"


def test_one_is_excluded_at_a_time(app: TestApp) -> None:
    """One of group and person is named, and it is there."""
    for data, code, path in (
        ({}, "input.invalid", "group"),
        ({"group": "H1", "person": "P1"}, "input.invalid", "group"),
        ({"group": "H1"}, "not_found", "group"),
        ({"person": "P1"}, "not_found", "person"),
    ):
        refusal = refusal_of(app, "registry.self_exclude", data)
        assert (refusal.code, refusal.problems[0].path) == (code, path)
