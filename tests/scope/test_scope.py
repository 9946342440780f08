"""Who works in place A neither sees, counts, guesses nor changes anything of place B, by any command or query.

Made from all that the kernel and the plugins register. The exceptions are those that are documented (EXCEPTIONS).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core.application import Composition
from imis_core.commands import digest_of, outcomes_as_json, perform
from imis_core.context import Context
from imis_core.database.engine import set_scope
from imis_core.deployment import settings_from
from imis_core.errors import ImisError
from imis_core.migrations.runner import tables_of
from imis_core.opening import Playground
from imis_core.queries import run_query
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp, default_settings, test_application
from tests.scope.inputs import Call, calls, filled
from tests.scope.world import CENTS, SETTINGS, TODAY, World, answer_about, report_of

_DEFAULTS: Final = default_settings()
COMPOSITION: Final = Composition(
    settings_from({**_DEFAULTS, **{k: {**_DEFAULTS.get(k, {}), **v} for k, v in SETTINGS.items()}}, "test")
)
COMMANDS: Final = sorted(COMPOSITION.commands)
QUERIES: Final = sorted(COMPOSITION.queries)
ROLES: Final = ("place", "facility")
NOBODY: Final = 987_654_321  # the number of something that is not there


@frozen
class Twins:
    """The world with both places, what A's users were told before B was there, and B's rows."""

    app: TestApp
    world: World
    before: Mapping[tuple[str, str, int], Any]
    all_rows: frozenset[tuple[str, str]]
    rows_of_b: frozenset[tuple[str, str]]
    keys_of_b: Mapping[str, frozenset[int]]

    def refers_to_b(self, name: str, row: Mapping[str, Any]) -> str | None:
        """The column by which a row refers to a row of B, apart from the directory of places and facilities."""
        table = next(t for m in self.app.plugins.manifests.values() for t in tables_of(m) if t.fullname == name)
        for key in table.foreign_keys:
            if row.get(key.parent.name) in self.keys_of_b.get(key.column.table.fullname, frozenset()):
                return f"{key.parent.name} = {row[key.parent.name]}"
        return None

    def user(self, role: str) -> Caller:
        caller: Caller = self.world.user("A", role)
        return caller


@pytest.fixture(scope="module")
def twins(playground: Playground) -> Iterator[Twins]:
    with test_application(playground, TODAY, SETTINGS) as app:
        yield make_twins(app)


def make_twins(app: TestApp, *, asked: bool = True) -> Twins:
    """Both places; `asked`: each query is asked before B is there."""
    world = World(app)
    world.build("A")
    users = {role: world.user("A", role) for role in ROLES}
    before = {
        (role, name, position): ask(app, name, filled(call.data, filler(world, "A")), users[role])
        for name in (QUERIES if asked else ())
        for role in ROLES
        for position, call in enumerate(calls(name, app.queries[name].input))
    }
    with app.database.query(app.system) as connection:
        common = rows(app, connection)
    world.build("B")
    with app.database.query(app.system) as connection:
        everything = rows(app, connection)
    of_b = everything - common
    keys: dict[str, set[int]] = {}
    for table, row in of_b:
        if isinstance(number := json.loads(row).get("id"), int):
            keys.setdefault(table, set()).add(number)
    return Twins(
        app,
        world,
        before,
        frozenset(everything),
        frozenset(of_b),
        {table: frozenset(found) for table, found in keys.items()},
    )


# --- asking and comparing


def filler(world: World, side: str, other: str | None = None, path: tuple[Any, ...] | None = None) -> Any:
    """Fills names in for a side; at `path` for another one: `B`, or `X` for something that is not there."""

    def fill(template: str, at: tuple[Any, ...]) -> str:
        of = other if other is not None and (path is None or at == path) else side
        if not template.startswith("@"):
            return template.format(q=f"Q{of}", side=of.lower())
        if of != "X":
            return world.of[of][template[1:]]
        if template == "@report":
            return report_of(world.app.ids.encode("orders", NOBODY))
        if template == "@answer":
            return answer_about("NOBODY")
        noun = world.app.ids.decode_any(world.of["A"][template[1:]])
        assert noun is not None
        return world.app.ids.encode(noun[0], NOBODY)

    return fill


def ask(app: TestApp, name: str, data: Mapping[str, Any], caller: Caller) -> Any:
    """A query's answer, or its refusal, as plain data; with how many statements."""
    before = app.database.statements
    try:
        answer = run_query(app, name, data, caller)
    except ImisError as error:
        answer = {"refused": error.refusal.as_json()}
    return plain(answer), app.database.statements - before


def plain(answer: Any) -> Any:
    return json.loads(json.dumps(answer, sort_keys=True, default=str))


def without(text: Any, *names: str) -> str:
    """An answer as text, without the names that were asked for."""
    found = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", json.dumps(text, sort_keys=True, default=str))
    found = re.sub(r"\b(G-\d{4}|EII)-\d{6}", "<code>", found)
    for name in sorted({n for n in names if n}, key=len, reverse=True):
        found = found.replace(name, "<asked>")
    return found


def rows(app: TestApp, connection: Any) -> set[tuple[str, str]]:
    """Every row of every table of the kernel and the plugins, as (table, JSON)."""
    tables = [t for m in app.plugins.manifests.values() for t in tables_of(m)]
    statement = " UNION ALL ".join(
        f"SELECT '{t.fullname}' AS name, to_jsonb(t)::text AS row FROM {t.fullname} t" for t in tables
    )
    return {(row.name, row.row) for row in connection.execute(sa.text(statement))}


@frozen
class Done:
    """What a command answered, in how many statements, and the rows that it would leave."""

    answer: Any
    statements: int
    rows: set[tuple[str, str]]


class _RolledBack(Exception):
    pass


def run(app: TestApp, name: str, data: Mapping[str, Any], caller: Caller) -> Done:
    """Run a command, look at all rows as the system sees them, and roll everything back."""
    definition = app.commands[name]
    done: Done | None = None
    try:
        with app.database.command(caller) as (connection, audit):
            context = Context(app, connection, caller, app.clock.now(), app.clock.today(), audit, name)
            before = app.database.statements
            outcomes = perform(context, definition, [data], digest_of(app, definition, [data]))
            statements = app.database.statements - before
            set_scope(connection, app.system)
            done = Done(plain(outcomes_as_json(outcomes)[0]), statements, rows(app, connection))
            raise _RolledBack
    except _RolledBack:
        assert done is not None
        return done
    except ImisError as error:
        return Done({"error": error.refusal.as_json()}, app.database.statements - before, set())


def marks_of_b(twins: Twins) -> re.Pattern[str]:
    """Whatever of B could stand in an answer: its mark, its amounts, its ids."""
    ids = {value for value in twins.world.of["B"].values() if value not in twins.world.of["A"].values()}
    return re.compile("|".join(["QB", rf"\.{CENTS['B']}\b", *map(re.escape, sorted(ids))]))


# --- the documented exceptions

# The tree of places and the list of facilities are open to every user, as in a printed directory.
DIRECTORY: Final = frozenset({"locations.list", "providers.list", "providers.show"})
IN_THE_DIRECTORY: Final = ("PLACE-{q}", "HC-{q}", "@location_id", "@facility_id", "place-{side}")
# What a scheme has as a whole, for who has the permission: its ledger's sums, and the budgets of its packages.
WHOLE_SCHEMES: Final = frozenset({"ledger.balances", "payroll.budget"})
# They tell who asked, so that each asking adds to the next answer.
# The deployment's public keys stand in a file, to which a test of their rotation adds.
GROWING: Final = frozenset({"audit.reads", "beneficiaries.export_person", "cards.keys"})
# A card's signed code is letters and digits at random, in which a mark may stand by chance.
SIGNED: Final = re.compile(r'"code": "[0-9A-Z $%*+./:-]{100,}"')
# So may it in a file; what it is made of is shown by the query beside it, and compared as a whole.
FILE: Final = re.compile(r'"content": ?"[A-Za-z0-9+/]{1000,}=*"')
# Their right input is another user's (a request of one's own, one's own password), or not in the world of the tests.
REFUSED: Final = frozenset({"approvals.withdraw", "users.change_password", "contributions.record_subsidy"})
COMMON_TABLES: Final = frozenset({"core.budgets", "core.payment_days"})
# Numbers that are unique in the deployment: taking one that is taken says so.
UNIQUE: Final = frozenset({("beneficiaries.register_person", "number")})
# A contracted provider looks up any person by exact number (docs/decisions/0005); each look-up leaves a row.
LOOK_UPS: Final = frozenset({("eligibility.check", "number"), ("eligibility.check", "person"),
                             ("claims.submit", "number"), ("claims.submit", "person")})  # fmt: skip
EXCEPTIONS: Final = "docs/decisions/0005-row-security.md"


def is_exception(name: str, role: str, template: str, path: tuple[Any, ...]) -> bool:
    if (template in IN_THE_DIRECTORY and not name.startswith("users.")) or (name, path[-1]) in UNIQUE:
        return True
    return role == "facility" and (name, path[-1]) in LOOK_UPS and not template.startswith("@")


# --- the tests


@pytest.mark.parametrize("name", [*COMMANDS, *QUERIES])
def test_the_tests_can_exercise_it(twins: Twins, name: str) -> None:
    """The right input, by a user who sees everything, is done; or its state forbids it, which it says when found."""
    app, everybody = twins.app, twins.app.as_user("everybody", "everybody")
    definition = app.commands.get(name) or app.queries[name]
    right = filled(next(calls(name, definition.input)).data, filler(twins.world, "A"))
    if name in app.queries:
        answer, _ = ask(app, name, right, everybody)
        assert "refused" not in answer, answer
    else:
        error = run(app, name, right, everybody).answer.get("error", {"code": "fine"})
        assert error["code"] == "fine" or error["code"].endswith(".wrong_state") or name in REFUSED, error


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_tells_nothing_of_another_place(twins: Twins, name: str, role: str) -> None:
    """It answers about A as before B was there, and about what is B's as about what is not there."""
    app, user, marks = twins.app, twins.user(role), marks_of_b(twins)
    wrong = []
    for position, call in enumerate(calls(name, app.queries[name].input)):
        data = filled(call.data, filler(twins.world, "A"))
        answer = ask(app, name, data, user)
        if name not in DIRECTORY | WHOLE_SCHEMES:
            if answer != twins.before[role, name, position] and name not in GROWING:
                wrong.append(f"{data}: was {twins.before[role, name, position]}, is {answer}")
            if found := marks.search(FILE.sub("", json.dumps(answer))):
                wrong.append(f"{data}: tells {found.group()!r}: {answer}")
            wrong += [text for path in call.varied if (text := _differs(twins, name, role, call, path, user))]
    assert not wrong, "\n".join(wrong)


def _differs(twins: Twins, name: str, role: str, call: Call, path: tuple[Any, ...], user: Caller) -> str | None:
    """How the answer about something of B differs from the answer about something that is not there."""
    template = at_path(call.data, path)
    if is_exception(name, role, template, path):
        return None
    told = {}
    for side in ("B", "X"):
        data = filled(call.data, filler(twins.world, "A", side, path))
        if name in twins.app.queries:
            answer, statements = ask(twins.app, name, data, user)
        else:
            done = run(twins.app, name, data, user)
            answer, statements = done.answer, done.statements
        told[side] = (without(answer, at_path(data, path)), statements)
    if told["B"] != told["X"]:
        return f"{path} {template}: of B {told['B']}, of nothing {told['X']}"
    return None


def at_path(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_neither_sees_nor_changes_another_place(twins: Twins, name: str, role: str) -> None:
    """Named or not, nothing of B is changed or referred to, and B's names are refused like names of nothing."""
    app, user, marks = twins.app, twins.user(role), marks_of_b(twins)
    wrong = []
    for call in calls(name, app.commands[name].input):
        data = filled(call.data, filler(twins.world, "A"))
        done = run(app, name, data, user)
        if found := marks.search(SIGNED.sub("", json.dumps(done.answer))):
            wrong.append(f"{data}: tells {found.group()!r}: {done.answer}")
        wrong += _harm(twins, data, done)
        for path in call.varied:
            template = at_path(call.data, path)
            data = filled(call.data, filler(twins.world, "A", "B", path))
            if template in IN_THE_DIRECTORY or not is_exception(name, role, template, path):
                wrong += _harm(twins, data, run(app, name, data, user))
            if text := _differs(twins, name, role, call, path, user):
                wrong.append(text)
    assert not wrong, "\n".join(wrong)


def _harm(twins: Twins, data: Any, done: Done) -> list[str]:
    """What a command would do to B: rows that are changed or gone, and new rows that refer to them."""
    if not done.rows:
        return []
    changed = [row for row in twins.rows_of_b - done.rows if row[0] not in COMMON_TABLES]
    found = [f"{data}: changes {row}" for row in sorted(changed)[:3]]
    for table, row in sorted(done.rows - twins.all_rows):
        if reference := twins.refers_to_b(table, json.loads(row)):
            found.append(f"{data}: {table} refers to B by {reference}: {row}")
    return found
