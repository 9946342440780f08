"""Writing many rows in one statement: COPY where the table allows it, INSERT from arrays under row security.

Columns in, columns as lists of equal length; a constant number of statements whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from types import NoneType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

Columns = Mapping[str, Sequence[Any]]
_ALIKE = (str, int, date, NoneType)
COPY_ROWS = 50  # fewer rows are not worth a COPY of their own (docs/decisions/0004-bulk-writes.md)


def insert_rows(connection: Connection, table: sa.Table, columns: Columns) -> int:
    """Insert rows given as columns; returns their number. Row security forbids COPY, arrays are nearly as fast."""
    count = len(next(iter(columns.values())))
    if count == 0:
        return 0
    if table.info.get("row_security") or count < COPY_ROWS or table.info.get("history") is not None:
        insert_returning(connection, table, columns)
        return count
    names = ", ".join(f'"{name}"' for name in columns)
    driver = connection.connection.driver_connection
    assert driver is not None
    connection.dispatch.before_cursor_execute(connection, None, f"COPY {table.fullname}", None, None, False)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.fullname} ({names}) FROM STDIN") as copy:
        for row in zip(*columns.values(), strict=True):
            copy.write_row(row)
    return count


def insert_returning(
    connection: Connection, table: sa.Table, columns: Columns, *, conflict: str = "", returning: str = ""
) -> list[Any]:
    """INSERT ... SELECT FROM unnest(arrays) [ON CONFLICT ...] [RETURNING ...]; the rows returned."""
    if not len(next(iter(columns.values()))):
        return []
    statement, parameters = _insert(connection, table, columns, "p")
    statement += (f" ON CONFLICT {conflict}" if conflict else "") + (f" RETURNING {returning}" if returning else "")
    result = connection.execute(sa.text(statement), parameters)
    return list(result) if returning else []


def insert_together(connection: Connection, *rows: tuple[sa.Table, Columns]) -> None:
    """Insert into several tables that do not refer to each other in one statement; tables without rows are left out."""
    statements, parameters = [], {}
    for position, (table, columns) in enumerate(rows):
        if len(next(iter(columns.values()))):
            statement, own = _insert(connection, table, columns, f"t{position}_")
            statements.append(statement)
            parameters.update(own)
    if statements:
        *first, last = statements
        beside = ", ".join(f"w{position} AS ({statement})" for position, statement in enumerate(first))
        connection.execute(sa.text(f"WITH {beside} {last}" if first else last), parameters)


def _insert(connection: Connection, table: sa.Table, columns: Columns, prefix: str) -> tuple[str, dict[str, Any]]:
    """INSERT ... SELECT FROM unnest(arrays), with the parameters' names beginning with `prefix`."""
    names = ", ".join(f'"{name}"' for name in columns)
    # unnest() flattens arrays of arrays, so array columns travel as text and are cast on the way in. What is the same
    # in all rows travels once: the keys, at least, are not.
    sources: list[str] = []
    casts: list[str] = []
    aliases: list[str] = []
    parameters: dict[str, Any] = {}
    for position, (name, values) in enumerate(columns.items()):
        kind = table.c[name].type.compile(dialect=connection.dialect)
        nested = isinstance(table.c[name].type, sa.ARRAY)
        document = kind == "JSONB"
        if sources and not nested and _is_constant(values):
            casts.append(f"CAST(:{prefix}{position} AS {kind})")
            parameters[f"{prefix}{position}"] = values[0]
            continue
        sources.append(f"CAST(:{prefix}{position} AS {'text' if nested or document else kind}[])")
        aliases.append(f"c{position}")
        casts.append(f"CAST(c{position} AS {kind})" if nested or document else f"c{position}")
        cells = [None if v is None else array_literal(v) for v in values] if nested else values
        parameters[f"{prefix}{position}"] = array_literal(cells)
    statement = (
        f"INSERT INTO {table.fullname} ({names}) SELECT {', '.join(casts)} "
        f"FROM unnest({', '.join(sources)}) AS rows({', '.join(aliases)})"
    )
    return statement, parameters


def _is_constant(values: Sequence[Any]) -> bool:
    """Whether a long column has one value; only of types whose equal values are written alike."""
    first = values[0]
    return len(values) >= COPY_ROWS and isinstance(first, _ALIKE) and values.count(first) == len(values)


def take_ids(connection: Connection, table: sa.Table, count: int) -> list[int]:
    """`count` fresh primary keys of a table, so that rows of several tables can be written with known keys."""
    if count == 0:
        return []
    sequence = f"{table.schema}.{table.name}_id_seq"
    rows = connection.execute(
        sa.text("SELECT nextval(CAST(:sequence AS regclass)) FROM generate_series(1, :count)"),
        {"sequence": sequence, "count": count},
    )
    return [row[0] for row in rows]


def array_literal(values: Sequence[Any]) -> str:
    """A one-dimensional array as PostgreSQL's array text.

    The driver dumps lists element by element in Python; joining whole columns is about five times as fast, and this is
    the hottest path of every bulk write.
    """
    if not values:
        return "{}"
    if None in values:
        known = next((v for v in values if v is not None), None)
        if known is None or (isinstance(known, int) and not isinstance(known, bool)):
            return "{" + ",".join(["NULL" if v is None else str(v) for v in values]) + "}"
        return "{" + ",".join(["NULL" if v is None else _element(v) for v in values]) + "}"
    if isinstance(values[0], int) and not isinstance(values[0], bool):
        return "{" + ",".join(map(str, values)) + "}"
    if isinstance(values[0], bytes):
        return "{" + ",".join(map(_element, values)) + "}"
    joined = '","'.join(map(str, values))
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        return "{" + ",".join(map(_element, values)) + "}"
    return '{"' + joined + '"}'


def _element(value: Any) -> str:
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
