"""Runs the histories: `core` first, then the plugins, under one advisory lock, as the owning role.

No downgrades: the way back is the previous version on the expanded schema, or a restore.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command as alembic_command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from attrs import frozen

from imis_core.database.ddl import grants
from imis_core.database.engine import Roles, driver_url, unreachable
from imis_core.errors import refused
from imis_core.jobs_tables import queue_schema_sql
from imis_core.migrations.walls import refuse_changes_outside, things_outside
from imis_core.plugins import KERNEL, Manifest

LOCK: Final = 0x1515_0001  # the advisory lock of migrations, the same for every process
PAUSE_SECONDS: Final = 0.1  # between two attempts to take it
_FITS: Final = "imis runs from: "  # how a schema's comment says for which revisions' code it is good
HERE: Final = Path(__file__).parent


@frozen
class SchemaState:
    """Where a history stands: the database's revision (whether the code knows it), and the newest one of the code."""

    plugin: str
    current: str | None
    head: str
    is_known: bool = True
    fits: bool = False  # this code runs on it: at the newest revision, or ahead by steps that only expand

    @property
    def is_current(self) -> bool:
        return self.current == self.head


def migrate(owner_url: str, roles: Roles, manifests: Mapping[str, Manifest]) -> list[SchemaState]:
    """Bring every history to its newest revision; returns what was moved. Safe to run twice, or twice at once."""
    engine = sa.create_engine(driver_url(owner_url), poolclass=sa.NullPool)
    moved = []
    try:
        connection = engine.connect()
    except sa.exc.OperationalError as error:
        raise unreachable(driver_url(owner_url), error) from None
    with connection:
        # Asked for again and again instead of waited for: who waits inside a statement holds a snapshot, and whoever
        # has the lock may wait for all snapshots to end, to make an index beside writers.
        while not connection.execute(sa.text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar_one():
            connection.commit()
            time.sleep(PAUSE_SECONDS)
        connection.execute(sa.text(f'SET ROLE "{roles.owner}"'))
        connection.commit()
        for manifest in _ordered(manifests):
            with connection.begin():
                connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS "{manifest.name}"'))
                before = _current(connection, manifest.name)
            config = config_of(manifest, connection)
            head = ScriptDirectory.from_config(config).get_current_head()
            assert head is not None
            floor = manifest.kernel_revision
            if floor is not None and floor not in _revisions(config_of(manifests[KERNEL], connection)):
                raise refused(
                    "database.kernel_too_old",
                    f"plugin {manifest.name!r} stands on the kernel's revision {floor}, which this one does not have; "
                    "install a newer imis-core",
                )
            if before != head:
                if before is not None and before not in _revisions(config):
                    if _fits(connection, manifest.name, before, head):
                        connection.commit()
                        continue  # the version before, beside or instead of the newer one
                    raise refused(
                        "database.ahead",
                        f"the database's {manifest.name} is at revision {before}, which this version does not know; "
                        "install the newer version",
                    )
                with connection.begin():
                    outside = things_outside(connection, manifest.name)
                config.attributes["checks"] = _checks(manifest.name, outside, _fitting(config))
                alembic_command.upgrade(config, "head")
                connection.commit()
                moved.append(SchemaState(manifest.name, before, head))
        with connection.begin():
            _queue_tables(connection)
            _grant(connection, roles, manifests.values())
    engine.dispose()
    return moved


def _checks(schema: str, outside: frozenset[str], fitting: Sequence[str]) -> list[Callable[[sa.Connection], object]]:
    """What is done in the transaction of the revisions, after them."""

    def note(connection: sa.Connection) -> None:
        words = f"{_FITS}{' '.join(fitting)}"
        connection.exec_driver_sql(f"COMMENT ON SCHEMA \"{schema}\" IS '{words}'")

    if schema == KERNEL:
        return [note]
    return [lambda connection: refuse_changes_outside(connection, schema, outside), note]


def _fitting(config: Config) -> list[str]:
    """The revisions whose code runs on the newest one: back to the one that its file names as `runs_from`."""
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())  # newest first
    oldest = getattr(scripts[0].module, "runs_from", scripts[0].revision)
    names = [script.revision for script in scripts]
    return names[: names.index(oldest) + 1]


def _fits(connection: sa.Connection, schema: str, current: str | None, head: str) -> bool:
    """Whether a database that is ahead says that the code of this revision runs on it, as it stands now."""
    words = connection.execute(
        sa.text("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = :s"), {"s": schema}
    ).scalar()
    if not words or not str(words).startswith(_FITS):
        return False
    named = str(words).removeprefix(_FITS).split()
    return named[0] == current and head in named


def states(connection: sa.Connection, manifests: Mapping[str, Manifest]) -> list[SchemaState]:
    """Where every history stands; for `imis check` and for refusing to serve a database that is behind or ahead."""
    found = []
    for manifest in _ordered(manifests):
        config = config_of(manifest, connection)
        head = ScriptDirectory.from_config(config).get_current_head()
        assert head is not None
        current = _current(connection, manifest.name)
        known = current is None or current in _revisions(config)
        fits = current == head or (not known and _fits(connection, manifest.name, current, head))
        found.append(SchemaState(manifest.name, current, head, known, fits))
    return found


def known_revisions(manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    """The revisions that the code knows of every history, newest first."""
    found = {}
    for manifest in _ordered(manifests):
        scripts = ScriptDirectory.from_config(_config(manifest))
        found[manifest.name] = [script.revision for script in scripts.walk_revisions()]
    return found


def _ordered(manifests: Mapping[str, Manifest]) -> list[Manifest]:
    with_tables = [m for m in manifests.values() if m.migrations is not None]
    return sorted(with_tables, key=lambda m: (m.name != KERNEL, m.name))


def config_of(manifest: Manifest, connection: sa.Connection) -> Config:
    """Alembic's configuration for one history on a connection."""
    config = _config(manifest)
    config.attributes.update(connection=connection, schema=manifest.name)
    return config


def _config(manifest: Manifest) -> Config:
    assert manifest.migrations is not None
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(files(manifest.migrations)))
    return config


def _revisions(config: Config) -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _current(connection: sa.Connection, schema: str) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    return context.get_current_revision()


def _queue_tables(connection: sa.Connection) -> None:
    """The queue library's own tables, made once by its own script."""
    connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS jobs"))
    exists = connection.execute(sa.text("SELECT to_regclass('jobs.procrastinate_jobs') IS NOT NULL")).scalar_one()
    if not exists:
        connection.execute(sa.text("SET LOCAL search_path = jobs"))
        connection.exec_driver_sql(queue_schema_sql().replace("%", "%%"))
        connection.execute(sa.text("SET LOCAL search_path = pg_catalog"))


def tables_of(manifest: Manifest) -> list[sa.Table]:
    """The tables of a plugin's own schema."""
    if manifest.tables is None:
        return []
    metadata: Any = importlib.import_module(manifest.tables).metadata
    return [t for t in metadata.sorted_tables if t.schema == manifest.name]


def _grant(connection: sa.Connection, roles: Roles, manifests: Iterable[Manifest]) -> None:
    both = f'"{roles.app}", "{roles.read}"'
    statements = []
    for manifest in manifests:
        if manifest.tables is None:
            continue
        statements.append(f'GRANT USAGE ON SCHEMA "{manifest.name}" TO {both}')
        statements.append(f'GRANT USAGE ON ALL SEQUENCES IN SCHEMA "{manifest.name}" TO "{roles.app}"')
        statements.append(f'GRANT SELECT ON "{manifest.name}".alembic_version TO {both}')
        for table in tables_of(manifest):
            statements += grants(table, roles.app, roles.read)
    statements.append(f"GRANT USAGE ON SCHEMA jobs TO {both}")
    statements.append(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA jobs TO "{roles.app}"')
    statements.append(f'GRANT USAGE ON ALL SEQUENCES IN SCHEMA jobs TO "{roles.app}"')
    statements.append(f'GRANT SELECT ON ALL TABLES IN SCHEMA jobs TO "{roles.read}"')
    for statement in statements:
        connection.execute(sa.text(statement))
