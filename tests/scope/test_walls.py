"""The second wall: row security itself, by bare SQL without any condition of ours, in the twin world.

Which tables belong to somebody or somewhere and have no policy is compared with the list of docs/decisions/0005.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from psycopg.errors import InsufficientPrivilege

from imis_core.migrations.runner import tables_of
from imis_core.opening import Playground
from imis_core.testing.app import test_application
from tests.scope.test_scope import COMPOSITION, ROLES, Twins, make_twins
from tests.scope.world import SETTINGS, TODAY

TABLES: Final = {t.fullname: t for m in COMPOSITION.plugins.manifests.values() for t in tables_of(m)}
WALLED: Final = sorted(name for name, table in TABLES.items() if table.info.get("row_security"))
DECISION: Final = Path(__file__).parents[2] / "docs" / "decisions" / "0005-row-security.md"
NOUNS: Final = frozenset({"core.persons", "core.groups", "core.locations", "core.providers"})


@pytest.fixture(scope="module")
def twins(playground: Playground) -> Iterator[Twins]:
    with test_application(playground, TODAY, SETTINGS) as app:
        yield make_twins(app, asked=False)


def _keys_of_b(twins: Twins, name: str) -> set[tuple[Any, ...]]:
    """The primary keys of B's rows in a table."""
    columns = [column.name for column in TABLES[name].primary_key.columns]
    assert columns, name
    found = (json.loads(row) for table, row in twins.rows_of_b if table == name)
    return {tuple(row[column] for column in columns) for row in found}


def _of_nobody(name: str, row: str) -> bool:
    """A message to an address, about no person: the first wall alone keeps it (docs/decisions/0005)."""
    return name == "core.notifications" and json.loads(row)["person"] is None


@pytest.mark.parametrize("role", ROLES)
def test_bare_sql_counts_nothing_of_another_place(twins: Twins, role: str) -> None:
    """A SELECT without a condition shows rows of A, and as many as it counts, and not one of B."""
    shown, of_b, wrong = 0, 0, []
    with twins.app.database.query(twins.user(role)) as connection:
        for name in WALLED:
            rows = set(connection.execute(sa.text(f"SELECT to_jsonb(t)::text FROM {name} t")).scalars())
            assert connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one() == len(rows), name
            shown += bool(rows)
            theirs = {row for table, row in twins.rows_of_b if table == name}
            of_b += bool(theirs)
            wrong += [(name, row) for row in sorted(rows & theirs) if not _of_nobody(name, row)][:2]
    assert not wrong, wrong
    assert shown >= (30 if role == "place" else 3), shown
    assert of_b >= 30, of_b


@pytest.mark.parametrize("role", ROLES)
def test_bare_sql_changes_nothing_of_another_place(twins: Twins, role: str) -> None:
    """An UPDATE without a condition, by the role that writes, takes rows of A and not one of B."""
    user, changed, wrong = twins.user(role), 0, []
    with twins.app.database.command(user) as (connection, _):
        for name in WALLED:
            key = ", ".join(f'"{column.name}"' for column in TABLES[name].primary_key.columns)
            column = list(TABLES[name].columns)[-1].name
            point = connection.begin_nested()
            try:
                taken = connection.execute(sa.text(f'UPDATE {name} SET "{column}" = "{column}" RETURNING {key}')).all()
            except sa.exc.ProgrammingError as error:
                if not isinstance(error.orig, InsufficientPrivilege):
                    raise
                taken = []  # a table that is only added to
            point.rollback()
            changed += bool(taken)
            wrong += [(name, row) for row in taken if tuple(row) in _keys_of_b(twins, name)][:2]
    assert not wrong, wrong
    assert changed >= (10 if role == "place" else 1), changed


def _unwalled() -> set[str]:
    """Tables without row security that refer to a noun of a place, or hang on a table that has it; and histories."""
    found: set[str] = set()
    hanging = set(WALLED)
    while True:
        more = {
            name
            for name, table in TABLES.items()
            if name not in hanging and any(key.column.table.fullname in hanging for key in table.foreign_keys)
        }
        if not more:
            break
        hanging |= more
        found |= more
    found |= {
        name
        for name, table in TABLES.items()
        if name not in WALLED and any(key.column.table.fullname in NOUNS for key in table.foreign_keys)
    }
    histories = {
        table.info["history"].fullname
        for name, table in TABLES.items()
        if name in found and table.info.get("history") is not None
    }
    return found | histories


def test_a_table_without_a_wall_is_known() -> None:
    """Each is named in the decision with its reason, and no other: whoever adds one must think about it."""
    section = DECISION.read_text("utf-8").partition("**Tables without a policy")[2].partition("\n**")[0]
    listed = re.findall(r"`([a-z_]+\.[a-z_]+)`", section)
    assert len(listed) == len(set(listed))
    assert set(listed) == _unwalled()
