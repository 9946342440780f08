"""A plugin's tables: migrations up from nothing, in its own schema only, equal to its definitions, and scoped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.operations import ops

from imis_core.database.engine import Roles, driver_url
from imis_core.database.server import Addresses
from imis_core.migrations.next_revision import difference, new_functions
from imis_core.migrations.runner import migrate, tables_of
from imis_core.plugins import KERNEL, Manifest
from imis_core.testing.conformance.complaints import Complaint

# Tables whose rows are about somebody; whoever refers to one of them carries its scope.
PERSONAL: Final = frozenset(
    f"core.{name}"
    for name in (
        "persons", "groups", "memberships", "coverages", "coverage_members", "claims", "contributions", "employments",
        "employers", "entitlements", "orders", "recipients", "attachments",
    )
)  # fmt: skip
_OBJECTS: Final = sa.text(
    """
    SELECT kind, name FROM (
        SELECT 'table' AS kind, n.nspname AS schema, n.nspname || '.' || c.relname AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        UNION ALL
        SELECT 'function', n.nspname, n.nspname || '.' || p.proname
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        UNION ALL
        SELECT 'trigger', n.nspname, n.nspname || '.' || c.relname || '.' || t.tgname FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal
        UNION ALL
        SELECT 'constraint', n.nspname, n.nspname || '.' || c.relname || '.' || k.conname FROM pg_constraint k
        JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        UNION ALL
        SELECT 'policy', n.nspname, n.nspname || '.' || c.relname || '.' || p.polname FROM pg_policy p
        JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        UNION ALL
        SELECT 'column', n.nspname, n.nspname || '.' || c.relname || '.' || a.attname FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r'
    ) found
    WHERE schema <> :own AND schema NOT IN ('information_schema', 'jobs') AND schema NOT LIKE 'pg\\_%'
    """
)
_LEAVING: Final = sa.text(
    """
    SELECT c.relname AS "table", k.conname AS name, t.nspname AS target
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace t ON t.oid = f.relnamespace
    WHERE k.contype = 'f' AND n.nspname = :own AND t.nspname NOT IN (:own, 'core')
    """
)
_UNPROTECTED: Final = sa.text(
    """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :own AND c.relkind = 'r' AND NOT c.relrowsecurity
    """
)


def check_schema(
    address: Addresses, roles: Roles, manifests: Mapping[str, Manifest], plugin: str, unscoped: Mapping[str, str]
) -> list[Complaint]:
    """Migrate a database with the kernel's tables only up to the plugin's; what is wrong with it."""
    manifest = manifests[plugin]
    if manifest.migrations is None or manifest.tables is None:
        return []
    migrate(address.owner, roles, {KERNEL: manifests[KERNEL]})
    engine = sa.create_engine(driver_url(address.owner), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            before = _objects(connection, plugin)
        try:
            migrate(address.owner, roles, {KERNEL: manifests[KERNEL], plugin: manifest})
        except Exception as error:
            mend = "let the revisions run from an empty schema, one after the other"
            return [Complaint(plugin, f"migrations {manifest.migrations}", f"they do not run: {error}", mend)]
        with engine.connect() as connection:
            connection.execute(sa.text(f'SET ROLE "{roles.owner}"'))
            return [
                *_outside(before, _objects(connection, plugin), plugin),
                *_leaving(connection, plugin),
                *_differing(connection, manifest),
                *_unscoped(connection, manifest, unscoped),
            ]
    finally:
        engine.dispose()


def _objects(connection: sa.Connection, own: str) -> set[tuple[str, str]]:
    return {(row.kind, row.name) for row in connection.execute(_OBJECTS, {"own": own})}


def _outside(before: set[tuple[str, str]], after: set[tuple[str, str]], plugin: str) -> Iterator[Complaint]:
    for kind, name in sorted(before ^ after):
        what = f"they {'make' if (kind, name) in after else 'remove'} the {kind} {name}"
        yield Complaint(plugin, "migrations", what, f"touch nothing outside of the schema {plugin!r}")


def _leaving(connection: sa.Connection, plugin: str) -> Iterator[Complaint]:
    for row in connection.execute(_LEAVING, {"own": plugin}):
        what = f"the key {row.name} points into the schema {row.target!r}"
        yield Complaint(plugin, f"table {row.table}", what, "let foreign keys point to your own schema or to core")


def _differing(connection: sa.Connection, manifest: Manifest) -> Iterator[Complaint]:
    steps = difference(connection, manifest)
    where = f"tables {manifest.tables}"
    mend = f"write the next revision: python -m imis_core.migrations.next_revision {manifest.name} WHAT_IT_IS_ABOUT"
    for step in steps.ops:
        if isinstance(step, ops.ExecuteSQLOp):
            continue  # it completes a table that is told of already
        text = render_python_code(ops.UpgradeOps([step]), sqlalchemy_module_prefix="sa.")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
        yield Complaint(manifest.name, where, f"the migrations lack {' '.join(lines)[:200]}", mend)
    for sql in new_functions(manifest):
        yield Complaint(manifest.name, where, f"the migrations lack the function {sql.splitlines()[0][:120]}", mend)


def _unscoped(connection: sa.Connection, manifest: Manifest, unscoped: Mapping[str, str]) -> Iterator[Complaint]:
    """Tables that refer to somebody, and their histories, without row security; `unscoped` says which may be so.

    What belongs to one of the plugin's own nouns is read beside it, in the noun's scope.
    """
    open_to_all = set(connection.execute(_UNPROTECTED, {"own": manifest.name}).scalars())
    for table in tables_of(manifest):
        noun = table.info.get("history_of", table)
        about = sorted({key.column.table.fullname for key in noun.foreign_keys} & PERSONAL)
        if about and table.name in open_to_all and not unscoped.get(noun.name, "").strip():
            what = f"its rows refer to {', '.join(about)}, and every caller sees them"
            mend = (
                "give it `row_security` (and `scope`), as **by_place() does, with a revision that makes the policy; "
                f"or say why not: unscoped={{{noun.name!r}: 'because ...'}}"
            )
            yield Complaint(manifest.name, f"table {table.fullname}", what, mend)
