"""`imis plugins remove`: a plugin's tables put away or dropped, so that the others go on without it.

Put away, its schema keeps every row under another name, without keys to the kernel, and nobody but the owner reads it.
The plugin's package, its settings and its schemes are the operator's to take out, before this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.database.engine import driver_url
from imis_core.database.server import find_database
from imis_core.deployment import load_settings
from imis_core.errors import refused
from imis_core.migrations.runner import LOCK
from imis_core.operations import facts
from imis_core.plugins import RESERVED

ARCHIVED: Final = "archived_"
_NAME_MAX: Final = 63  # bytes of a name in PostgreSQL
_LEAVING: Final = sa.text(
    "SELECT k.conname, k.conrelid::regclass::text AS place FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
    "JOIN pg_class d ON d.oid = k.confrelid WHERE k.contype = 'f' AND k.conparentid = 0 "
    "AND c.relnamespace = to_regnamespace(:schema) AND d.relnamespace <> to_regnamespace(:schema)"
)
# What lies elsewhere and rests on the schema: keys to it, views over it.
_RESTING: Final = sa.text(
    "SELECT k.conrelid::regclass::text AS thing FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
    "JOIN pg_class d ON d.oid = k.confrelid WHERE k.contype = 'f' "
    "AND d.relnamespace = to_regnamespace(:schema) AND c.relnamespace <> to_regnamespace(:schema) "
    "UNION SELECT v.oid::regclass::text FROM pg_depend p JOIN pg_rewrite r ON r.oid = p.objid "
    "JOIN pg_class v ON v.oid = r.ev_class JOIN pg_class t ON t.oid = p.refobjid "
    "WHERE p.classid = 'pg_rewrite'::regclass AND p.refclassid = 'pg_class'::regclass "
    "AND t.relnamespace = to_regnamespace(:schema) AND v.relnamespace <> to_regnamespace(:schema)"
)
_UNDELIVERED: Final = sa.text(
    "DELETE FROM core.deliveries WHERE subscriber = :name AND state <> 'done' RETURNING subscriber"
)


@frozen
class Removed:
    """What became of a plugin's tables: `archive` is the schema that keeps them, None if they were dropped."""

    name: str
    rows: int
    archive: str | None
    keys: int  # foreign keys to other schemas that were dropped
    deliveries: int  # events that were still to be delivered to it


def remove_plugin(folder: Path, name: str, *, drop: bool, dry_run: bool = False) -> Removed:
    """Put a plugin's tables away, or drop them, in one transaction; with `dry_run` only say what would become of them.

    Raises `plugins.enabled`, `plugins.no_tables`, `plugins.needed`.
    """
    settings = load_settings(folder)
    if name in (*settings.enabled, *settings.disabled):
        message = f"plugin {name!r} is switched on: take it out of [plugins] enabled, with its schemes, and try again"
        raise refused("plugins.enabled", message)
    addresses = find_database(settings.database.url, settings.database.owner_url, settings.folder, settings.name)
    engine = sa.create_engine(driver_url(addresses.owner), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
            roles = facts.roles_in(connection)
            connection.execute(sa.text(f'SET ROLE "{roles.owner}"'))
            connection.commit()
            with connection.begin() as transaction:
                done = _remove(connection, name, roles.owner, drop=drop)
                if dry_run:
                    transaction.rollback()
            return done
    finally:
        engine.dispose()
        addresses.release()


def _remove(connection: sa.Connection, name: str, owner: str, *, drop: bool) -> Removed:
    schemas = facts.schemas_of(connection, owner)
    if name in RESERVED or name not in schemas or name not in facts.revisions_of(connection, [name]):
        known = ", ".join(facts.revisions_of(connection, [s for s in schemas if s not in RESERVED])) or "none"
        raise refused("plugins.no_tables", f"no plugin {name!r} has tables in this database (those that have: {known})")
    connection.exec_driver_sql("SET LOCAL lock_timeout = '30s'")
    resting = connection.execute(_RESTING, {"schema": name}).scalars().all()
    if resting:
        message = f"{', '.join(resting)} rest on the tables of {name!r}: remove or change what they belong to first"
        raise refused("plugins.needed", message)
    rows = sum(facts.counts_of(connection, [name]).values())
    undelivered = len(connection.execute(_UNDELIVERED, {"name": name}).all())
    leaving = connection.execute(_LEAVING, {"schema": name}).all()
    for key in leaving:
        connection.exec_driver_sql(f'ALTER TABLE {key.place} DROP CONSTRAINT "{key.conname}"')
    if drop:
        connection.exec_driver_sql(f'DROP SCHEMA "{name}" CASCADE')
        return Removed(name, rows, None, len(leaving), undelivered)
    archive = _free_name(name, schemas)
    for role in facts.application_roles(owner):
        connection.exec_driver_sql(f'REVOKE ALL ON ALL TABLES IN SCHEMA "{name}" FROM "{role}"')
        connection.exec_driver_sql(f'REVOKE ALL ON SCHEMA "{name}" FROM "{role}"')
    connection.exec_driver_sql(f'ALTER SCHEMA "{name}" RENAME TO "{archive}"')
    return Removed(name, rows, archive, len(leaving), undelivered)


def _free_name(name: str, taken: list[str]) -> str:
    number = 1
    while True:
        suffix = "" if number == 1 else f"_{number}"
        candidate = f"{ARCHIVED}{name}"[: _NAME_MAX - len(suffix)] + suffix
        if candidate not in taken:
            return candidate
        number += 1
