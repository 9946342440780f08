"""All floors: the same rows into the same tables with the same indexes and foreign keys, in one synced commit.

By COPY where a case takes its rows from outside, by INSERT..SELECT where it makes them in the database.

What a case wrote is read back from its database by transaction number, and copied into a clone that stands where the
case began. Triggers of the framework (history, balance) are off: their rows are copied like all others.
"""

from __future__ import annotations

import time
from io import BytesIO

import psycopg
from attrs import frozen


@frozen
class Written:
    """The rows that a case wrote, per table in an order that foreign keys allow, in COPY's binary form."""

    tables: tuple[tuple[str, bytes], ...]
    rows: int


def mark(connection: psycopg.Connection[tuple[int]]) -> int:
    """The transaction number before a case: what it writes has a higher one."""
    row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    connection.commit()
    assert row is not None
    return row[0]


def written_since(connection: psycopg.Connection[tuple[int]], transaction: int, tables: list[str]) -> Written:
    """The rows whose present version was written after `mark`."""
    found, rows = [], 0
    for table in tables:
        where = f"WHERE xmin::text::bigint > {transaction}"
        count = connection.execute(f"SELECT count(*) FROM {table} {where}").fetchone()
        assert count is not None
        if count[0]:
            rows += count[0]
            data = BytesIO()
            with connection.cursor().copy(f"COPY (SELECT * FROM {table} {where}) TO STDOUT (FORMAT binary)") as copy:
                for part in copy:
                    data.write(part)
            found.append((table, data.getvalue()))
    connection.rollback()
    return Written(tuple(found), rows)


def copy_floor(connection: psycopg.Connection[tuple[int]], written: Written) -> float:
    """Seconds to COPY the rows into a clone and commit."""
    for table, _ in written.tables:
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    connection.commit()
    started = time.perf_counter()
    for table, data in written.tables:
        # Tables that a case only changes (counters, sequences of work) may hold the old version of a row.
        with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
            copy.write(data)
    connection.commit()
    return time.perf_counter() - started


def insert_floor(connection: psycopg.Connection[tuple[int]], written: Written) -> float:
    """Seconds to INSERT..SELECT the rows into a clone, from tables without indexes that hold them, and commit."""
    staged = []
    for position, (table, data) in enumerate(written.tables):
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        connection.execute(f"CREATE TEMPORARY TABLE staged_{position} AS SELECT * FROM {table} WITH NO DATA")
        with connection.cursor().copy(f"COPY staged_{position} FROM STDIN (FORMAT binary)") as copy:
            copy.write(data)
        connection.execute(f"ANALYZE staged_{position}")
        staged.append((table, f"staged_{position}"))
    connection.commit()
    started = time.perf_counter()
    for table, source in staged:
        connection.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {source}")
    connection.commit()
    return time.perf_counter() - started
