"""What the database itself guarantees: scope, insert-only tables, balanced entries, and tables as they are defined."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import alembic.autogenerate
import pytest
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects.postgresql.base import ischema_names

from imis_core.database import ddl
from imis_core.database.bulk import insert_returning, insert_rows
from imis_core.database.engine import Database
from imis_core.database.tables import metadata
from imis_core.errors import ImisError
from imis_core.migrations.runner import tables_of
from imis_core.opening import Playground
from imis_core.rooms_tables import ROOMS
from imis_core.runtime_tables import TransactionId
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp

assert ROOMS
SCOPED = sorted(t.name for t in metadata.tables.values() if "row_security" in t.info and "history_of" not in t.info)
INSERT_ONLY = sorted(t.fullname for t in metadata.tables.values() if t.info.get("insert_only"))
HISTORIES = sorted(t.fullname for t in metadata.tables.values() if "history_of" in t.info)
PERSON = {"given_name": "Ama", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
ROLES = {"local": {"permissions": ["*"], "scope": "place"}, "clinic": {"permissions": ["*"], "scope": "provider"}}


@pytest.fixture
def country(make_app: Callable[..., TestApp]) -> TestApp:
    """Two districts with a village, a family, a policy, a facility and a claim each; one family is nowhere."""
    app = make_app(settings={"roles": ROLES})
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    app.do("catalogue.define_item", {"code": "LAB", "name": "LAB", "kind": "service", "price": "100"})
    app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": {"LAB": "100"}})
    terms = {"insurance_months": 12, "items": {"LAB": {}}}
    package = {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2019-01-01", "terms": terms}
    app.do("benefit_packages.define", package)
    for d in ("D1", "D2"):
        app.do("locations.add", {"code": d, "name": d, "level": "district"})
        app.do("locations.add", {"code": f"{d}V", "name": d, "level": "village", "parent": d})
        app.do("providers.register", {"code": f"H{d}", "name": d, "location": f"{d}V", "price_lists": ["PL"]})
    for number, place in (("N1", "D1V"), ("N2", "D2V"), ("N3", None)):
        where = {"location": place} if place else {}
        member = {**PERSON, **where, "number": number, "relationship": "head"}
        app.do("beneficiaries.register_group", {"code": f"F{number}", **where, "members": [member]})
        app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": f"F{number}"})
        if place:
            line = {"item": "LAB", "quantity": 1, "price": "100"}
            claim = {"code": f"C{number}", "provider": f"H{place[:2]}", "number": number, "from": "2021-01-01"}
            app.do("claims.submit", {**claim, "diagnosis": "A09", "lines": [line]})
    return app


def raw(app: TestApp, caller: Caller, table: str) -> list[Any]:
    """Rows of a table by plain SQL as the application's role, without any condition."""
    with app.database.query(caller, writes=True) as connection:
        return list(connection.execute(sa.text(f"SELECT * FROM core.{table}")).mappings())


def test_the_place_is_a_wall_in_the_database(country: TestApp) -> None:
    """A caller of a district sees its rows and those below it even where a query forgets the condition."""
    local = country.as_user("leo", "local", places=["D1"])
    assert [r["number"] for r in raw(country, local, "persons")] == ["N1"]
    assert {r["number"] for r in raw(country, local, "persons_history")} == {"N1"}
    assert [r["code"] for r in raw(country, local, "groups")] == ["FN1"]
    assert [r["code"] for r in raw(country, local, "claims")] == ["CN1"]
    assert len(raw(country, local, "coverages")) == len(raw(country, local, "memberships")) == 1
    everybody = country.as_user("administrator")
    assert len(raw(country, everybody, "persons")) == 3


def test_row_security_and_scope_say_the_same(country: TestApp) -> None:
    """The condition of queries and the wall in the database let the same rows through, for every kind of scope."""
    callers = (
        country.as_user("leo", "local", places=["D1"]),
        country.as_user("cleo", "clinic", providers=["HD2"]),
        country.as_user("nora", "local"),
    )
    tables = [metadata.tables[f"core.{name}"] for name in SCOPED]
    assert {"persons", "groups", "claims", "coverages", "orders"} < set(SCOPED)
    for caller, table in itertools.product(callers, [t for t in tables if "scope" in t.info]):
        key = list(table.primary_key.columns)
        with country.database.query(country.system) as connection:
            scoped = connection.execute(sa.select(*key).where(table.info["scope"](table, caller))).all()
        with country.database.query(caller) as connection:
            walled = connection.execute(sa.select(*key)).all()
        assert sorted(map(tuple, walled)) == sorted(map(tuple, scoped)), (caller.name, table.name)


def test_without_a_scope_nothing_is_seen(country: TestApp) -> None:
    """A connection that forgot to say for whom it asks sees no row of a scoped table."""
    with country.database.engine.connect() as connection:
        connection.execute(sa.text(f'SET LOCAL ROLE "{country.database.roles.app}"'))
        for name in SCOPED:
            assert connection.execute(sa.text(f"SELECT count(*) FROM core.{name}")).scalar_one() == 0


def test_a_row_cannot_be_moved_out_of_ones_scope(country: TestApp) -> None:
    """Whoever sees one district cannot write into another, by insert or by update."""
    local = country.as_user("leo", "local", places=["D1"])
    (other,) = country.rows("SELECT id FROM core.locations WHERE code = 'D2V'")
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"), country.database.command(local) as opened:
        opened[0].execute(sa.text("UPDATE core.persons SET place = :place"), {"place": other["id"]})


def refused(app: TestApp, statement: str) -> bool:
    try:
        with app.database.command(app.system) as (connection, _):
            connection.execute(sa.text(statement))
    except sa.exc.ProgrammingError as error:
        return "permission denied" in str(error)
    return False


@pytest.mark.parametrize("statement", ["DELETE FROM {0}", "TRUNCATE {0}", "UPDATE {0} SET {1} = {1}"])
def test_what_is_written_stays_written(app: TestApp, statement: str) -> None:
    """The application has neither UPDATE nor DELETE on the log, the ledger, mass nouns and histories."""
    assert {"core.audit_entries", "core.ledger_postings", "core.claims"} < set(INSERT_ONLY)
    for name in (*INSERT_ONLY, *HISTORIES):
        column = f'"{next(iter(metadata.tables[name].c)).name}"'
        assert refused(app, statement.format(name, column)), name


def test_a_history_is_written_by_its_trigger_alone(app: TestApp) -> None:
    """Nobody adds to a history by hand."""
    for name in HISTORIES:
        assert refused(app, f"INSERT INTO {name} (id, version) VALUES (1, 1)"), name


def test_nouns_with_a_history_are_not_deleted(app: TestApp) -> None:
    """They end, they do not vanish."""
    for table in metadata.tables.values():
        if "history" in table.info:
            assert refused(app, f"DELETE FROM {table.fullname}"), table.name


def test_the_application_owns_nothing(app: TestApp) -> None:
    """No table can be altered, no trigger switched off, no policy dropped by the application's login."""
    for statement in (
        "ALTER TABLE core.persons DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE core.users DISABLE TRIGGER ALL",
    ):
        with app.database.engine.connect() as connection, pytest.raises(sa.exc.ProgrammingError, match="must be owner"):
            connection.execute(sa.text(statement))


@pytest.mark.parametrize(("amounts", "good"), [((5, -5), True), ((5, -4), False), ((1,), False)])
def test_an_entry_balances_or_is_not_written(app: TestApp, amounts: tuple[int, ...], good: bool) -> None:
    """The database refuses postings of an entry that do not add up to 0."""

    def write() -> None:
        with app.database.command(app.system) as (connection, audit):
            entry = connection.execute(
                sa.text(
                    "INSERT INTO core.ledger_entries (scheme, currency, booked_on, purpose, audit) "
                    "VALUES ('chf', 'USD', '2021-01-01', 'test', :audit) RETURNING id"
                ),
                {"audit": audit},
            ).scalar_one()
            accounts = [f"a{n}" for n in range(len(amounts))]
            columns = {"entry": [entry] * len(amounts), "account": accounts, "amount": list(amounts)}
            insert_returning(connection, metadata.tables["core.ledger_postings"], columns)

    if good:
        write()
    else:
        with pytest.raises(sa.exc.IntegrityError, match="does not balance"):
            write()
    assert len(app.rows("SELECT * FROM core.ledger_postings")) == (len(amounts) if good else 0)


def test_the_migrated_database_is_what_the_definitions_say(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic finds no difference between the migrated tables and their definitions, of the kernel and of plugins."""
    monkeypatch.setitem(ischema_names, "xid8", TransactionId)
    with app.database.engine.connect() as connection:
        connection.execute(sa.text(f'SET LOCAL ROLE "{app.database.roles.read}"'))
        for manifest in app.plugins.manifests.values():
            tables = tables_of(manifest)
            if not tables:
                continue

            def ours(name: str | None, kind: str, _: Any, schema: str = manifest.name) -> bool:
                return name == schema if kind == "schema" else name != "alembic_version"

            options = {"include_schemas": True, "include_name": ours, "version_table_schema": manifest.name}
            context = MigrationContext.configure(connection, opts=options)
            assert alembic.autogenerate.compare_metadata(context, tables[0].metadata) == []


def test_row_security_stands_exactly_where_it_is_defined(app: TestApp) -> None:
    """Tables with `row_security`, and no others, have it switched on, with the one policy of their definition."""
    rows = app.rows(
        "SELECT c.relname, (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies FROM pg_class c "
        "WHERE c.relnamespace = 'core'::regnamespace AND c.relkind = 'r' AND c.relrowsecurity"
    )
    assert {r["relname"]: r["policies"] for r in rows} == {
        t.name: 1 for t in metadata.tables.values() if t.info.get("row_security")
    }


def test_the_functions_are_those_of_the_definitions(app: TestApp) -> None:
    """The text of the kernel's functions in the database is that of `database/ddl.py`."""
    for row in app.rows("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'core'::regnamespace"):
        if row["proname"] in ("write_history", "next_version", "check_entry_balances", "scope_is_all", "scope_places"):
            assert row["prosrc"] in ddl.SCOPE_FUNCTIONS


def test_a_superuser_is_no_login_for_the_application(playground: Playground, app: TestApp) -> None:
    """Row security and grants do not bind a superuser, so the application refuses to be one."""
    name = app.database.url.database
    assert name is not None
    admin = playground.databases._admin.set(database=name).render_as_string(hide_password=False)
    database = Database(admin)
    try:
        with pytest.raises(ImisError) as caught, database.command(app.system):
            pass
    finally:
        database.dispose()
    assert caught.value.code == "database.superuser"


def test_a_database_that_does_not_answer_is_unreachable() -> None:
    """The error names the address without the password, and is no wrong input."""
    database = Database("postgresql://me:secret@127.0.0.1:1/here")
    with pytest.raises(ImisError) as caught:
        assert database.roles
    assert caught.value.code == "database.unreachable"
    assert caught.value.exit_code == 1
    assert "secret" not in str(caught.value)


ODD = ["plain", "tab\tand\nline", 'quote"and\\slash', "comma,{brace}", "NULL", "", "ünï", "\\N", "'"]


@pytest.mark.parametrize("count", [1, 3, 60])
def test_bulk_writes_keep_every_value(app: TestApp, count: int) -> None:
    """By COPY or by INSERT from arrays: odd text, nulls, lists with odd elements, bytes and documents come back."""
    table = metadata.tables["core.users"]
    names = [f"{n}-{ODD[n % len(ODD)]}" for n in range(count)]
    columns = {
        "name": names,
        "password": [None if n % 2 else ODD[n % len(ODD)] for n in range(count)],
        "disabled": [bool(n % 2) for n in range(count)],
        "roles": [ODD[: n % len(ODD)] for n in range(count)],
        "places": [[n, n + 1] if n % 3 else [] for n in range(count)],
        "providers": [[] for _ in range(count)],
    }
    mass = metadata.tables["core.idempotency"]
    answers = ['{"a": "\\\\b\\"c"}' if n % 2 else None for n in range(count)]
    with app.database.command(app.system) as (connection, _):
        assert insert_rows(connection, table, columns) == count
        written = {"actor": list(range(count)), "key": names, "digest": names, "answer": answers}
        insert_rows(connection, mass, {**written, "at": [app.clock.now()] * count})
    rows = {r["name"]: r for r in app.rows("SELECT * FROM core.users")}
    for n, name in enumerate(names):
        assert {c: rows[name][c] for c in columns} == {c: columns[c][n] for c in columns}
    stored = {r["key"]: r["answer"] for r in app.rows("SELECT key, answer FROM core.idempotency")}
    assert stored == {k: {"a": '\\b"c'} if a else None for k, a in zip(names, answers, strict=True)}


@pytest.fixture
def counted() -> list[int]:
    return []


def test_the_pool_gives_connections_back(app: TestApp, counted: list[int]) -> None:
    """Errors in transactions leave no connection behind, and no role or scope of another caller."""
    for _ in range(40):
        with pytest.raises(sa.exc.ProgrammingError), app.database.command(app.system) as (connection, _audit):
            connection.execute(sa.text("SELECT nothing"))

    def work() -> None:
        with app.database.query(app.system) as connection:
            counted.append(connection.execute(sa.text("SELECT 1")).scalar_one())

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counted) == 20
    with app.database.engine.connect() as connection:
        scope = connection.execute(sa.text("SELECT coalesce(current_setting('imis.scope', true), '')")).scalar_one()
        assert scope == ""
        assert connection.execute(sa.text("SELECT current_user = session_user")).scalar_one()
