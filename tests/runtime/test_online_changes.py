"""Large tables change while others write; two versions of a plugin run on one database; nothing outside its schema."""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core import rooms
from imis_core.application import Composition
from imis_core.database.engine import Database, Roles, driver_url
from imis_core.database.server import Addresses
from imis_core.database.tables import identity, plugin_metadata, reference, text
from imis_core.deployment import settings_from
from imis_core.errors import ImisError
from imis_core.hookspecs import hookimpl
from imis_core.migrations import online
from imis_core.migrations.runner import migrate, states
from imis_core.opening import Playground
from imis_core.plugins import Manifest
from imis_core.security.caller import system_caller

CORE = {"core": rooms.imis_plugin()}
FIRST = "op.execute('CREATE TABLE roster.shifts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, reason text)')"


@pytest.fixture(scope="module")
def migrated(playground: Playground) -> Iterator[str]:
    """A database with the kernel's tables only, to be cloned."""
    name = f"{playground.prefix}_online"
    addresses = playground.databases.template(name)
    migrate(addresses.owner, Roles.of(name), CORE)
    yield name
    playground.databases.drop(name)


@pytest.fixture
def fresh(playground: Playground, migrated: str) -> Iterator[Addresses]:
    name = f"{playground.prefix}_{secrets.token_hex(4)}"
    addresses = playground.databases.clone(migrated, name)
    admin = playground.databases._admin.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(admin, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:  # a clone is its maker's
        connection.execute(sa.text(f'ALTER DATABASE "{name}" OWNER TO "{migrated}_owner"'))
    yield addresses
    playground.databases.drop(name)


class Roster:
    """A plugin of a test, whose revisions are files; each version of it is a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, address: Addresses, roles: Roles) -> None:
        self._folder, self._roles = folder, roles
        self.address = address
        self._mark = f"roster_{secrets.token_hex(4)}"
        monkeypatch.syspath_prepend(str(folder))
        self._tables = f"{self._mark}_tables"
        module = ModuleType(self._tables)
        module.metadata = plugin_metadata("roster")  # type: ignore[attr-defined]
        sa.Table("shifts", module.metadata, identity(), text("reason", nullable=True))
        monkeypatch.setitem(sys.modules, self._tables, module)

    def version(self, number: int, *bodies: str) -> Manifest:
        """The manifest of a version with these revisions; a body may begin with lines of the module (`runs_from`)."""
        package = self._folder / f"{self._mark}_{number}_{secrets.token_hex(3)}"
        package.mkdir()
        (package / "__init__.py").write_text("")
        for position, body in enumerate(bodies, start=1):
            head, _, steps = body.rpartition("---\n")
            down = f"roster_{position - 1:04d}" if position > 1 else None
            lines = "\n".join(f"    {line}" for line in steps.splitlines())
            (package / f"{position:04d}.py").write_text(
                "from alembic import op\nfrom imis_core.api import online\n"
                f'revision = "roster_{position:04d}"\ndown_revision = {down!r}\n{head}\n\ndef upgrade():\n{lines}\n'
            )
        return Manifest(name="roster", version=str(number), kernel=">=0", migrations=package.name, tables=self._tables)

    def migrate(self, manifest: Manifest) -> None:
        migrate(self.address.owner, self._roles, {**CORE, "roster": manifest})

    def fits(self, manifest: Manifest) -> bool:
        """Whether this version of the code takes the database as it is."""
        with self.owner() as connection:
            (state,) = [s for s in states(connection, {**CORE, "roster": manifest}) if s.plugin == "roster"]
        return state.fits

    def owner(self) -> Any:
        engine = sa.create_engine(driver_url(self.address.owner), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        connection.execute(sa.text(f'SET ROLE "{self._roles.owner}"'))
        return connection


@pytest.fixture
def roster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: Addresses, migrated: str) -> Roster:
    return Roster(tmp_path, monkeypatch, fresh, Roles.of(migrated))


CHANGE = """
online.add_column("roster.shifts", "code", "text")
online.backfill("roster.shifts", "code = upper(reason)", "code IS NULL AND reason IS NOT NULL", batch=7)
online.create_index("ix_shifts_code", "roster.shifts", ["code"])
online.add_check("ck_shifts_code", "roster.shifts", "length(code) < 50")
online.add_foreign_key("fk_shifts_twin", "roster.shifts", "id", "roster.shifts (id)")
online.set_not_null("roster.shifts", "reason")
"""


def test_writes_go_on_while_a_large_table_changes(roster: Roster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that must wait for a long reader lets writers pass; in the end every row is changed, old and new."""
    roster.migrate(roster.version(1, FIRST))
    with roster.owner() as owner, roster.owner() as reader, roster.owner() as watcher:
        owner.execute(sa.text("INSERT INTO roster.shifts (reason) SELECT 'r' || n FROM generate_series(1, 50) n"))
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM roster.shifts")
        failures: list[BaseException] = []

        def change() -> None:
            try:
                roster.migrate(roster.version(2, FIRST, CHANGE))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=change)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'roster.shifts'::regclass"
        while not watcher.exec_driver_sql(waiting).scalar_one():
            assert not failures
            assert thread.is_alive()
        for number in range(5):  # behind the waiting change, while the reader still reads
            owner.execute(sa.text("INSERT INTO roster.shifts (reason) VALUES (:r)"), {"r": f"late{number}"})
        assert watcher.exec_driver_sql("SELECT count(*) FROM roster.shifts").scalar_one() == 55
        reader.exec_driver_sql("COMMIT")
        thread.join(120)
        assert not failures
        wrong = "SELECT count(*) FROM roster.shifts WHERE code IS DISTINCT FROM upper(reason)"
        assert owner.exec_driver_sql(wrong).scalar_one() == 0
        made = "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'roster.shifts'::regclass ORDER BY 1"
        validated = {row.conname: row.convalidated for row in owner.exec_driver_sql(made)}
        assert validated["ck_shifts_code"] is validated["fk_shifts_twin"] is True
        assert "nn_shifts_reason" not in validated
        with pytest.raises(sa.exc.IntegrityError, match="not-null"):
            owner.exec_driver_sql("INSERT INTO roster.shifts (reason) VALUES (NULL)")


def test_a_change_that_was_broken_off_is_run_again(roster: Roster) -> None:
    """What is done stays done, a half made index is made anew, and the revision counts when all of it is."""
    roster.migrate(roster.version(1, FIRST))
    unique = 'online.create_index("uq_shifts_reason", "roster.shifts", ["reason"], unique=True)\n'
    with roster.owner() as owner:
        owner.exec_driver_sql("INSERT INTO roster.shifts (reason) VALUES ('a'), ('a')")
        with pytest.raises(sa.exc.IntegrityError):
            roster.migrate(roster.version(2, FIRST, CHANGE + unique))
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert owner.exec_driver_sql(invalid).scalar_one() == 1
        assert not roster.fits(roster.version(2, FIRST, CHANGE + unique))
        owner.exec_driver_sql("UPDATE roster.shifts SET reason = 'b' WHERE id = 2")
        roster.migrate(roster.version(2, FIRST, CHANGE + unique))
        assert owner.exec_driver_sql(invalid).scalar_one() == 0
        assert roster.fits(roster.version(2, FIRST, CHANGE + unique))


def test_a_lock_that_never_comes_is_told(roster: Roster, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its tries the change gives up with `database.lock_timeout`, and nothing is changed."""
    monkeypatch.setattr(online, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(online, "TRIES", 2)
    monkeypatch.setattr(online, "PAUSE_SECONDS", 0.01)
    roster.migrate(roster.version(1, FIRST))
    with roster.owner() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM roster.shifts")
        with pytest.raises(ImisError) as caught:
            roster.migrate(roster.version(2, FIRST, CHANGE))
        assert caught.value.code == "database.lock_timeout"
        reader.exec_driver_sql("ROLLBACK")
    assert roster.fits(roster.version(1, FIRST))


# A column gets another name in three steps. The second keeps both in step, whoever writes; the third drops the old one.
EXPAND = """runs_from = "roster_0001"
---
online.add_column("roster.shifts", "cause", "text")
op.execute('''CREATE FUNCTION roster.keep_both() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF TG_OP = 'INSERT' THEN NEW.cause := coalesce(NEW.cause, NEW.reason); NEW.reason := NEW.cause;
ELSIF NEW.cause IS DISTINCT FROM OLD.cause THEN NEW.reason := NEW.cause; ELSE NEW.cause := NEW.reason; END IF;
RETURN NEW; END $$''')
op.execute("CREATE TRIGGER keep_both BEFORE INSERT OR UPDATE ON roster.shifts "
           "FOR EACH ROW EXECUTE FUNCTION roster.keep_both()")
online.backfill("roster.shifts", "cause = reason", "cause IS NULL AND reason IS NOT NULL")
"""
CONTRACT = """runs_from = "roster_0002"
---
op.execute("DROP TRIGGER keep_both ON roster.shifts")
op.execute("DROP FUNCTION roster.keep_both()")
op.execute("ALTER TABLE roster.shifts DROP COLUMN reason")
"""


def test_two_versions_run_on_one_database(roster: Roster) -> None:
    """Expand, then contract: the old code goes on beside the new one until the contraction, and is refused after it."""
    one, two, three = (
        roster.version(1, FIRST),
        roster.version(2, FIRST, EXPAND),
        roster.version(3, FIRST, EXPAND, CONTRACT),
    )
    roster.migrate(one)
    database = Database(roster.address.app, pool_size=2)

    def run(sql: str, **values: Any) -> Any:
        with database.command(system_caller()) as (connection, _):
            result = connection.execute(sa.text(sql), values)
            return result.scalars().all() if result.returns_rows else None

    run("INSERT INTO roster.shifts (reason) VALUES ('before')")
    roster.migrate(two)
    assert (roster.fits(one), roster.fits(two), roster.fits(three)) == (True, True, False)
    roster.migrate(one)  # the old version beside the new one has nothing to do, and undoes nothing
    run("INSERT INTO roster.shifts (reason) VALUES ('by the old')")
    run("INSERT INTO roster.shifts (cause) VALUES ('by the new')")
    run("UPDATE roster.shifts SET reason = 'changed by the old' WHERE cause = 'by the new'")
    run("UPDATE roster.shifts SET cause = 'changed by the new' WHERE reason = 'by the old'")
    seen = ["before", "changed by the new", "changed by the old"]
    assert run("SELECT reason FROM roster.shifts ORDER BY reason") == seen
    assert run("SELECT cause FROM roster.shifts ORDER BY cause") == seen
    roster.migrate(three)
    assert (roster.fits(one), roster.fits(two), roster.fits(three)) == (False, True, True)
    with pytest.raises(ImisError) as caught:
        roster.migrate(one)
    assert caught.value.code == "database.ahead"
    assert run("SELECT cause FROM roster.shifts ORDER BY cause") == seen
    database.dispose()


OUTSIDE = (
    "op.execute('CREATE TABLE core.mine (id int)')",
    "op.execute('CREATE TABLE public.mine (id int)')",
    "op.execute('ALTER TABLE core.persons ADD COLUMN mine int')",
    "op.execute('ALTER TABLE core.persons ALTER COLUMN family_name SET NOT NULL')",
    "op.execute('CREATE INDEX ix_mine ON core.persons (family_name)')",
    "op.execute('DROP TABLE core.lookups')",
    "op.execute('DROP TRIGGER history_insert ON core.persons')",
    "op.execute('CREATE SCHEMA other'); op.execute('CREATE TABLE other.t (id int PRIMARY KEY)')\n"
    "op.execute('CREATE TABLE roster.x (id int REFERENCES other.t)')",
)  # fmt: skip


@pytest.mark.parametrize("steps", OUTSIDE)
def test_a_revision_that_reaches_outside_its_schema_is_refused(roster: Roster, steps: str) -> None:
    """`plugins.outside_schema` names plugin and thing; nothing of the revision stays."""
    roster.migrate(roster.version(1, FIRST))
    with pytest.raises(ImisError) as caught:
        roster.migrate(roster.version(2, FIRST, f"{steps}\nop.execute('CREATE TABLE roster.own (id int)')"))
    assert caught.value.code == "plugins.outside_schema"
    assert "'roster'" in str(caught.value)
    with roster.owner() as owner:
        gone = "SELECT to_regclass('roster.own'), to_regclass('core.mine'), to_regclass('public.mine')"
        assert tuple(owner.exec_driver_sql(gone).one()) == (None, None, None)
    assert roster.fits(roster.version(1, FIRST))


def _metadata(build: Callable[[sa.MetaData], object]) -> sa.MetaData:
    metadata = plugin_metadata("probe")
    build(metadata)
    return metadata


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda m: sa.Table("t", m, identity(), schema="core"), "defines the table core.t outside its own schema"),
        (lambda m: sa.Table("t", m, identity(), schema="public"), "defines the table public.t outside its own schema"),
        (lambda m: sa.Table("t", m, identity(), reference("x", "eii.awards")), "refers to eii.awards.id, not its own"),
    ],
)
def test_tables_outside_the_schema_are_refused_at_the_start(
    build: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`imis check`, and every start, refuses a plugin whose definitions lie or lead elsewhere."""
    module = ModuleType("probe_tables")
    module.metadata = _metadata(build)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "probe_tables", module)

    class Probe:
        @hookimpl
        def imis_plugin(self) -> Manifest:
            return Manifest(name="probe", version="1", kernel=">=0", tables="probe_tables")

    tables = {"deployment": {"country": "XX", "currency": "USD"}, "plugins": {"enabled": ["probe"]}}
    with pytest.raises(ImisError) as caught:
        Composition(settings_from(tables, "x", default_name="x"), extra={"probe": Probe()})
    assert words in str(caught.value)
