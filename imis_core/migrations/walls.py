"""The wall around a plugin's schema: nothing that its revisions do may change what lies outside it. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Final

import sqlalchemy as sa

from imis_core.errors import Problem, refused
from imis_core.plugins import KERNEL, Manifest

_SHOWN: Final = 5
# Everything that a revision could make, change or drop in other schemas; what PostgreSQL makes by itself is left out.
_OUTSIDE: Final = sa.text(
    """
    SELECT CASE c.relkind WHEN 'i' THEN 'index ' WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE 'table ' END
           || n.nspname || '.' || c.relname AS thing
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> :own AND n.nspname !~ '^(pg_|information_schema$)' AND c.relkind IN ('r','p','v','m','S','f','i')
    UNION ALL
    SELECT 'column ' || n.nspname || '.' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> :own AND n.nspname !~ '^(pg_|information_schema$)' AND c.relkind IN ('r', 'p')
      AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'trigger ' || t.tgname || ' on ' || n.nspname || '.' || c.relname
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> :own AND NOT t.tgisinternal
    UNION ALL
    SELECT 'policy ' || p.polname || ' on ' || n.nspname || '.' || c.relname
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> :own
    UNION ALL
    SELECT 'function ' || n.nspname || '.' || p.proname || ' ' || md5(coalesce(p.prosrc, ''))
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> :own AND n.nspname !~ '^(pg_|information_schema$)'
    UNION ALL
    SELECT 'constraint ' || k.conname || ' on ' || n.nspname || '.' || c.relname
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> :own AND n.nspname !~ '^(pg_|information_schema$)'
    """
)
_FOREIGN: Final = sa.text(
    "SELECT k.conrelid::regclass::text || ' -> ' || k.confrelid::regclass::text AS thing FROM pg_constraint k "
    "JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_class d ON d.oid = k.confrelid JOIN pg_namespace m ON m.oid = d.relnamespace "
    "WHERE k.contype = 'f' AND n.nspname = :own AND m.nspname NOT IN (:own, 'core')"
)


def table_problems(manifests: Iterable[Manifest]) -> list[Problem]:
    """Tables that plugins define outside their own schema, and keys that lead elsewhere than there and to `core`."""
    found = []
    for manifest in manifests:
        if manifest.tables is None or manifest.name == KERNEL:
            continue
        path = f"plugins.enabled.{manifest.name}"
        try:
            metadata = import_module(manifest.tables).metadata
        except Exception as error:
            message = f"plugin {manifest.name!r}: {manifest.tables} gives no tables: {type(error).__name__}: {error}"
            found.append(Problem(path, "tables", message))
            continue
        for table in metadata.tables.values():
            if table.schema != manifest.name:
                message = f"plugin {manifest.name!r} defines the table {table.fullname} outside its own schema"
                found.append(Problem(path, "schema", message))
            for key in table.foreign_keys:
                if key.target_fullname.partition(".")[0] not in (manifest.name, KERNEL):
                    message = f"plugin {manifest.name!r}: {table.fullname} refers to {key.target_fullname}, not its own"
                    found.append(Problem(path, "schema", message))
    return found


def things_outside(connection: sa.Connection, schema: str) -> frozenset[str]:
    """What lies outside a schema, in words."""
    return frozenset(connection.execute(_OUTSIDE, {"own": schema}).scalars())


def refuse_changes_outside(connection: sa.Connection, schema: str, before: frozenset[str]) -> None:
    """Raise `plugins.outside_schema` if something outside came, went or changed, or a foreign key leads elsewhere."""
    after = things_outside(connection, schema)
    changed = [f"makes {thing}" for thing in sorted(after - before)]
    changed += [f"removes or changes {thing}" for thing in sorted(before - after)]
    changed += [f"refers {thing}" for thing in connection.execute(_FOREIGN, {"own": schema}).scalars()]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise refused(
            "plugins.outside_schema",
            f"a revision of plugin {schema!r} {'; '.join(changed[:_SHOWN])}{more}; a plugin's tables lie in its own "
            "schema and refer to that and to core only: mend the plugin; nothing was changed",
        )
