"""Changes of large tables that do not keep anybody from writing, for revisions: `from imis_core.api import online`.

Each step commits by itself and looks first whether it is done, so that a revision that was killed is run again; a
revision that uses these holds nothing else. A lock that cannot be had soon is given up and asked for again, so that a
long reader in front never makes all writers queue behind it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from psycopg import errors as pg

from imis_core.errors import Refusal, Unavailable

LOCK_TIMEOUT_MS: Final = 1_000  # writers wait that long at most behind a waiting change
TRIES: Final = 60
PAUSE_SECONDS: Final = 1.0
BATCH: Final = 5_000  # rows of one transaction of a backfill
_INDEX: Final = sa.text(
    "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :name"
)
_CONSTRAINT: Final = sa.text(
    "SELECT c.convalidated FROM pg_constraint c WHERE c.conname = :name AND c.conrelid = to_regclass(:table)"
)


def create_index(
    name: str, table: str, columns: Sequence[str], *, unique: bool = False, where: str | None = None
) -> None:
    """An index on `schema.table`, made while rows are written; one that a killed attempt left half made goes first."""
    schema = table.partition(".")[0]
    kind = "UNIQUE INDEX" if unique else "INDEX"
    condition = f" WHERE {where}" if where else ""
    with op.get_context().autocommit_block():

        def attempt() -> None:
            # Each attempt looks anew: one that gave up, this one's or a killed one's, leaves an index half made.
            valid = _connection().execute(_INDEX, {"schema": schema, "name": name}).scalar()
            if valid is False:
                _connection().exec_driver_sql(f'DROP INDEX CONCURRENTLY "{schema}"."{name}"')
            if valid is not True:
                made = f'CREATE {kind} CONCURRENTLY "{name}" ON {table} ({", ".join(columns)}){condition}'
                _connection().exec_driver_sql(made.replace("%", "%%"))

        _again(attempt)


def drop_index(name: str, schema: str) -> None:
    """The end of an index, while rows are written."""
    with op.get_context().autocommit_block():
        _patiently(f'DROP INDEX CONCURRENTLY IF EXISTS "{schema}"."{name}"')


def add_column(table: str, column: str, kind: str, *, default: str | None = None) -> None:
    """A column that may be null, or that has a constant default: neither rewrites the table."""
    fallback = f" NOT NULL DEFAULT {default}" if default is not None else ""
    with op.get_context().autocommit_block():
        _patiently(f'ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "{column}" {kind}{fallback}')


def add_check(name: str, table: str, condition: str) -> None:
    """A check: for new rows at once, then for the old ones while others write."""
    _add_constraint(name, table, f"CHECK ({condition})")


def add_foreign_key(name: str, table: str, column: str, target: str) -> None:
    """A foreign key to `schema.table (column)`: for new rows at once, then for the old ones while others write."""
    _add_constraint(name, table, f'FOREIGN KEY ("{column}") REFERENCES {target}')


def set_not_null(table: str, column: str) -> None:
    """NOT NULL without a scan under a lock: a check is validated first, from which PostgreSQL knows."""
    name = f"nn_{table.partition('.')[2]}_{column}"[:63]
    add_check(name, table, f'"{column}" IS NOT NULL')
    with op.get_context().autocommit_block():
        _patiently(f'ALTER TABLE {table} ALTER COLUMN "{column}" SET NOT NULL')
        _patiently(f'ALTER TABLE {table} DROP CONSTRAINT IF EXISTS "{name}"')


def backfill(table: str, assignments: str, where: str, *, key: str = "id", batch: int = BATCH) -> int:
    """`UPDATE table SET assignments WHERE where`, a range of keys at a time, each in a transaction; the rows changed.

    `where` says what is still to be done, so that a second run passes over what the first one did.
    """
    changed, after = 0, None
    statement = sa.text(
        f"WITH part AS MATERIALIZED (SELECT {key} AS k FROM {table} "
        f"WHERE (CAST(:after AS bigint) IS NULL OR {key} > :after) ORDER BY {key} LIMIT :batch), "
        f"done AS (UPDATE {table} SET {assignments} WHERE {key} IN (SELECT k FROM part) AND ({where}) RETURNING 1) "
        "SELECT (SELECT max(k) FROM part) AS last, (SELECT count(*) FROM done) AS changed"
    )
    with op.get_context().autocommit_block():
        while True:
            row = _again(lambda: _connection().execute(statement, {"after": after, "batch": batch}).one())  # noqa: B023
            if row.last is None:
                return changed
            after = row.last
            changed += int(row.changed)


def _add_constraint(name: str, table: str, definition: str) -> None:
    with op.get_context().autocommit_block():
        validated = _connection().execute(_CONSTRAINT, {"name": name, "table": table}).scalar()
        if validated is None:
            _patiently(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition} NOT VALID')
        if validated is not True:
            _patiently(f'ALTER TABLE {table} VALIDATE CONSTRAINT "{name}"')


def _connection() -> sa.Connection:
    return op.get_bind()


def _patiently(statement: str) -> None:
    _again(lambda: _connection().exec_driver_sql(statement.replace("%", "%%")))


def _again(run: Any) -> Any:
    """Run it with a short wait for locks, again and again. Raises `database.lock_timeout` in the end."""
    connection = _connection()
    connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    try:
        for _ in range(TRIES):
            try:
                return run()
            except sa.exc.OperationalError as error:
                if not isinstance(error.orig, (pg.LockNotAvailable, pg.DeadlockDetected)):
                    raise
            time.sleep(PAUSE_SECONDS)
    finally:
        connection.exec_driver_sql("RESET lock_timeout")
    message = f"a table was in use by others for {TRIES} tries; end long transactions (imis doctor), migrate again"
    raise Unavailable(Refusal("database.lock_timeout", message))
