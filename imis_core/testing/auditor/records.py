"""The records: every change names an audit entry that exists, histories are whole, what happened was delivered."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from imis_core.testing.auditor.findings import Check, Finding

_COLUMNS: Final = sa.text(
    """
    SELECT n.nspname AS schema, c.relname AS "table",
           array_agg(a.attname ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'jobs')
    GROUP BY 1, 2 ORDER BY 1, 2
    """
)
_HISTORY: Final = "_history"


def check_records(connection: Connection) -> list[Finding]:
    """Checks over every table that there is, the plugins' too, found in the catalogue of the database."""
    tables = {(row.schema, row.table): list(row.columns) for row in connection.execute(_COLUMNS)}
    return [
        finding for check in (*_audit_checks(tables), *_history_checks(tables)) for finding in check.run(connection)
    ]


def _audit_checks(tables: dict[tuple[str, str], list[str]]) -> list[Check]:
    parts = [
        f"SELECT DISTINCT '{schema}.{table}' AS location, audit FROM {schema}.{table} WHERE audit IS NOT NULL"
        for (schema, table), columns in tables.items()
        if "audit" in columns
    ]
    return [
        Check(
            "audit.missing",
            f"""
            SELECT location, 'its rows name entry ' || audit || ', which the audit log does not have' AS what
            FROM ({" UNION ALL ".join(parts)}) named
            WHERE NOT EXISTS (SELECT FROM core.audit_entries e WHERE e.id = named.audit)
            """,
        )
    ]


def _history_checks(tables: dict[tuple[str, str], list[str]]) -> list[Check]:
    parts = []
    for (schema, table), columns in tables.items():
        history = tables.get((schema, f"{table}{_HISTORY}"))
        if history is None:
            continue
        shared = ", ".join(f'"{name}"' for name in columns if name in history)
        name = f"{schema}.{table}"
        parts.append(
            f"""
            SELECT '{name} ' || id AS location,
                   'version ' || version || ' is not in its history as it stands' AS what
            FROM (SELECT {shared} FROM {name} EXCEPT SELECT {shared} FROM {name}{_HISTORY}) changed
            UNION ALL
            SELECT '{name} ' || h.id, 'its history has ' || count(*) || ' versions up to ' || max(h.version)
                   || ', it is version ' || coalesce(max(n.version)::text, 'none: the row is gone')
            FROM {name}{_HISTORY} h LEFT JOIN {name} n ON n.id = h.id GROUP BY h.id
            HAVING count(*) <> max(h.version) OR max(n.version) IS DISTINCT FROM max(h.version)
            """
        )
    return [Check("history.differs", " UNION ALL ".join(parts))]


_LOST: Final = Check(
    "outbox.lost",
    """
    SELECT 'event ' || e.id AS location, e.name || ' has no delivery to anybody' AS what
    FROM core.events e WHERE NOT EXISTS (SELECT FROM core.deliveries d WHERE d.event = e.id)
    """,
)
_PARKED: Final = Check(
    "outbox.parked",
    """
    SELECT 'event ' || event || ' to ' || subscriber AS location,
           'given up after ' || attempts || ' attempts: ' || coalesce(error, 'no error is kept') AS what
    FROM core.deliveries WHERE state = 'parked'
    """,
)
PENDING: Final = Check(
    "outbox.pending",
    """
    SELECT 'event ' || event || ' to ' || subscriber AS location,
           'not delivered yet, ' || attempts || ' attempts' || coalesce(': ' || error, '') AS what
    FROM core.deliveries WHERE state = 'pending'
    """,
)
CHECKS: Final = (_LOST, _PARKED)
