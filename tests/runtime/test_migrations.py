"""Migrations: again and at once, ahead and behind, plugins with tables of their own, and a server by its address."""

from __future__ import annotations

import multiprocessing
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from imis_core import rooms
from imis_core.database.engine import Database, Roles
from imis_core.database.server import Addresses, ensure_roles
from imis_core.database.tables import edited, identity, metadata, plugin_metadata, text
from imis_core.errors import ImisError
from imis_core.migrations.runner import migrate, states
from imis_core.opening import Playground, check_schema, first_user, migrate_deployment, open_application
from imis_core.plugins import Manifest
from imis_core.security.caller import system_caller
from imis_core.testing.app import TestApp

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}


def upgrade() -> None:
    op.execute("{sql}")
"""
CORE = {"core": rooms.imis_plugin()}


@pytest.fixture
def fresh(playground: Playground) -> Iterator[Addresses]:
    """An empty database with its roles."""
    name = f"{playground.prefix}_{secrets.token_hex(4)}"
    yield playground.databases.template(name)
    playground.databases.drop(name)
    admin = sa.create_engine(
        playground.databases._admin.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        for role in (f"{name}_owner", f"{name}_app", f"{name}_read"):
            connection.execute(sa.text(f'DROP ROLE IF EXISTS "{role}"'))
    admin.dispose()


def run(address: Addresses) -> int:
    return len(migrate(address.owner, Roles.of(address.database), CORE))


def test_migrating_twice_moves_once(fresh: Addresses) -> None:
    """The second run finds nothing to do."""
    assert run(fresh) == 1
    assert run(fresh) == 0


def _in_process(owner: str, database: str, results: Any) -> None:
    results.put(len(migrate(owner, Roles.of(database), {"core": rooms.imis_plugin()})))


def test_two_processes_migrate_at_once(fresh: Addresses) -> None:
    """One moves the tables, the other waits and finds them."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_in_process, args=(fresh.owner, fresh.database, results)) for _ in range(2)]
    for process in processes:
        process.start()
    counts = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert counts == [0, 1]


def set_revision(app: TestApp, revision: str) -> None:
    owner = make_url(app.database.url).set(
        username=f"{str(app.database.url.username).removesuffix('_app_login')}_owner_login"
    )
    engine = sa.create_engine(owner)
    with engine.begin() as connection:
        connection.execute(sa.text(f'SET LOCAL ROLE "{app.database.roles.owner}"'))
        connection.execute(sa.text("UPDATE core.alembic_version SET version_num = :r"), {"r": revision})
    engine.dispose()


def test_a_database_that_is_newer_is_refused(app: TestApp) -> None:
    """`database.ahead`, when the application is opened and when it migrates."""
    set_revision(app, "core_9999")
    with pytest.raises(ImisError) as caught:
        check_schema(app)
    assert caught.value.code == "database.ahead"
    with app.database.engine.connect() as connection:
        (state,) = [s for s in states(connection, app.plugins.manifests) if s.plugin == "core"]
    assert (state.current, state.is_known, state.is_current) == ("core_9999", False, False)


def test_an_empty_or_older_database_is_refused(fresh: Addresses, tmp_path: Path) -> None:
    """`database.not_migrated` without tables, `database.behind` with older ones; `imis migrate` is the way out."""
    database = Database(fresh.app, pool_size=1)
    with pytest.raises(ImisError) as caught, database.command(system_caller()):
        pass
    assert caught.value.code == "database.not_migrated"
    database.dispose()


@pytest.fixture
def visits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """A plugin with a noun of its own in a schema of its own; further revisions on demand."""
    package = tmp_path / "visits_migrations"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    tables = ModuleType("visits_tables")
    tables.metadata = plugin_metadata("visits")  # type: ignore[attr-defined]
    edited("visits", tables.metadata, identity(), text("reason"), noun="visits")
    monkeypatch.setitem(sys.modules, "visits_tables", tables)

    def add(revision: str, down: str | None, sql: str) -> None:
        (package / f"{revision}.py").write_text(REVISION.format(revision=revision, down=repr(down), sql=sql))

    add(
        "visits_0001",
        None,
        "CREATE TABLE visits.visits (id bigint PRIMARY KEY, reason text NOT NULL, version int NOT NULL DEFAULT 1); "
        "CREATE TABLE visits.visits_history "
        "(id bigint, version int, reason text, audit bigint, PRIMARY KEY (id, version))",
    )
    monkeypatch.setitem(sys.modules, "visits_add", add)  # type: ignore[arg-type]
    yield add
    sys.modules.pop("visits_migrations", None)


def manifest(**more: Any) -> Manifest:
    given = {"name": "visits", "version": "1", "kernel": ">=0", "nouns": {"visits": 1001}}
    return Manifest(**{**given, "migrations": "visits_migrations", "tables": "visits_tables", **more})


def test_a_plugin_has_a_schema_and_a_history_of_its_own(fresh: Addresses, visits: Callable[..., None]) -> None:
    """Its tables and its version table lie in its schema; further revisions move it alone; its tables are granted."""
    both = {**CORE, "visits": manifest()}
    roles = Roles.of(fresh.database)
    assert [(s.plugin, s.current, s.head) for s in migrate(fresh.owner, roles, both)][1] == (
        "visits",
        None,
        "visits_0001",
    )
    visits("visits_0002", "visits_0001", "ALTER TABLE visits.visits ADD COLUMN place bigint")
    assert [(s.plugin, s.current, s.head) for s in migrate(fresh.owner, roles, both)] == [
        ("visits", "visits_0001", "visits_0002")
    ]
    database = Database(fresh.app, pool_size=1)
    with database.command(system_caller()) as (connection, _):
        assert (
            connection.execute(sa.text("SELECT version_num FROM visits.alembic_version")).scalar_one() == "visits_0002"
        )
        assert (
            connection.execute(sa.text("SELECT version_num FROM core.alembic_version")).scalar_one().startswith("core_")
        )
        connection.execute(sa.text("INSERT INTO visits.visits (id, reason) VALUES (1, 'x')"))
    with (
        pytest.raises(sa.exc.ProgrammingError, match="permission"),
        database.command(system_caller()) as (connection, _),
    ):
        connection.execute(sa.text("DELETE FROM visits.visits"))
    with database.engine.connect() as connection:
        assert all(s.is_current for s in states(connection, both))
    database.dispose()


def test_a_failing_revision_leaves_the_database_as_it_was(fresh: Addresses, visits: Callable[..., None]) -> None:
    """A revision is applied whole or not at all, and can be mended and run again."""
    both, roles = {**CORE, "visits": manifest()}, Roles.of(fresh.database)
    migrate(fresh.owner, roles, both)
    visits("visits_0002", "visits_0001", "ALTER TABLE visits.visits ADD COLUMN place bigint; SELECT 1 / 0")
    with pytest.raises(sa.exc.DataError):
        migrate(fresh.owner, roles, both)
    visits("visits_0002", "visits_0001", "ALTER TABLE visits.visits ADD COLUMN place bigint")
    assert [s.head for s in migrate(fresh.owner, roles, both)] == ["visits_0002"]


def test_a_plugin_states_the_kernels_revision_that_it_stands_on(fresh: Addresses, visits: Callable[..., None]) -> None:
    """A kernel that does not have it is too old, and the plugin's tables are not begun."""
    with pytest.raises(ImisError) as caught:
        migrate(fresh.owner, Roles.of(fresh.database), {**CORE, "visits": manifest(kernel_revision="core_9999")})
    assert caught.value.code == "database.kernel_too_old"
    migrate(fresh.owner, Roles.of(fresh.database), {**CORE, "visits": manifest(kernel_revision="core_0001")})


class Plain:
    """A plain database on the server, and logins as an administrator hands them out."""

    def __init__(self, playground: Playground) -> None:
        self._admin = playground.databases._admin.set(drivername="postgresql+psycopg")
        self.name = f"{playground.prefix}_plain_{secrets.token_hex(3)}"
        self.logins: list[str] = []
        self.execute(f'CREATE DATABASE "{self.name}"')

    def execute(self, *statements: str) -> None:
        engine = sa.create_engine(self._admin, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def login(self, what: str, options: str = "") -> str:
        name = f"{self.name}_{what}_login"
        self.logins.append(name)
        self.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'secret' {options}")
        url = self._admin.set(drivername="postgresql", username=name, password="secret", database=self.name)
        return url.render_as_string(hide_password=False)

    def drop(self) -> None:
        self.execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')
        for role in (*(f"{self.name}_{kind}" for kind in ("owner", "app", "read")), *self.logins):
            self.execute(f'DROP ROLE IF EXISTS "{role}"')


@pytest.fixture
def plain(playground: Playground) -> Iterator[Plain]:
    made = Plain(playground)
    yield made
    made.drop()


def use(app_url: str) -> None:
    database = Database(app_url, pool_size=1)
    try:
        first_user(database)
        with database.query(system_caller()) as connection:
            assert connection.execute(sa.text("SELECT name FROM core.users")).scalar_one() == "administrator"
            assert not connection.execute(
                sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = session_user")
            ).scalar_one()
    finally:
        database.dispose()


def test_a_server_by_address_with_a_login_that_may_make_roles(plain: Plain) -> None:
    """The owning login owns the database and may make roles: everything is made, and made once."""
    owner, app = plain.login("owner", "CREATEROLE"), plain.login("app")
    plain.execute(f'ALTER DATABASE "{plain.name}" OWNER TO "{plain.name}_owner_login"')
    for _ in range(2):
        roles = ensure_roles(owner, app, plain.name)
        migrate(owner, roles, CORE)
    use(app)


def test_one_login_may_do_both(plain: Plain) -> None:
    """`owner_url` is by default the same address."""
    url = plain.login("owner", "CREATEROLE")
    plain.execute(f'ALTER DATABASE "{plain.name}" OWNER TO "{plain.name}_owner_login"')
    migrate(url, ensure_roles(url, url, plain.name), CORE)
    use(url)


@pytest.mark.parametrize("options", ["", "CREATEROLE"])
def test_missing_roles_are_told_with_the_statements(plain: Plain, options: str) -> None:
    """A login that may not make the roles, or not grant on the database, says what an administrator has to run."""
    owner, app = plain.login("owner", options), plain.login("app")
    with pytest.raises(ImisError) as caught:
        ensure_roles(owner, app, plain.name)
    assert caught.value.code == "database.roles_missing"
    statements = str(caught.value).split("as an administrator: ")[1]
    plain.execute(*[s for s in statements.split("; ") if s.strip(";")])
    roles = ensure_roles(owner, app, plain.name)
    migrate(owner, roles, CORE)
    use(app)


def test_roles_that_an_administrator_made_are_used(plain: Plain) -> None:
    """Nothing is granted again by a login that may not grant."""
    owner, app = plain.login("owner"), plain.login("app")
    for kind, login in (("owner", "owner"), ("app", "app"), ("read", "app")):
        plain.execute(
            f'CREATE ROLE "{plain.name}_{kind}"', f'GRANT "{plain.name}_{kind}" TO "{plain.name}_{login}_login"'
        )
    plain.execute(f'GRANT CREATE ON DATABASE "{plain.name}" TO "{plain.name}_owner"')
    migrate(owner, ensure_roles(owner, app, plain.name), CORE)
    use(app)


def test_a_deployment_on_a_server_by_address(plain: Plain, tmp_path: Path) -> None:
    """`imis migrate` and opening, from a folder whose file names the server; refused before, and when behind."""
    owner, app = plain.login("owner", "CREATEROLE"), plain.login("app")
    plain.execute(f'ALTER DATABASE "{plain.name}" OWNER TO "{plain.name}_owner_login"')
    (tmp_path / "imis.toml").write_text(
        '[deployment]\nname = "here"\ncountry = "XX"\ncurrency = "USD"\n'
        f'[database]\nurl = "{app}"\nowner_url = "{owner}"\n'
    )
    with pytest.raises(ImisError) as caught, open_application(tmp_path):
        pass
    assert caught.value.code == "database.not_migrated"
    assert [s.plugin for s in migrate_deployment(tmp_path).moved] == ["core"]
    assert migrate_deployment(tmp_path).moved == []
    with open_application(tmp_path) as opened:
        first = opened.ids.encode("users", 1)
    with open_application(tmp_path) as opened:
        assert opened.ids.encode("users", 1) == first
        assert opened.run("users.list", {}, opened.system)[0]["name"] == "administrator"
    set_owner = sa.create_engine(make_url(owner).set(drivername="postgresql+psycopg"))
    with set_owner.begin() as connection:
        connection.execute(sa.text(f'SET LOCAL ROLE "{plain.name}_owner"'))
        connection.execute(sa.text("DELETE FROM core.alembic_version"))
    set_owner.dispose()
    with pytest.raises(ImisError) as caught, open_application(tmp_path):
        pass
    assert caught.value.code == "database.behind"


def test_all_schemas_are_known() -> None:
    """The kernel's tables stand in one schema, with one history."""
    assert {t.schema for t in metadata.tables.values()} == {"core"}
