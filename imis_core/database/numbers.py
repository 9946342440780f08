"""Whole numbers in bulk, in PostgreSQL's binary form straight into and out of numpy: no Python object for any value.

Only for columns of whole numbers and booleans without nulls, all of one width each. Everything else goes by `bulk`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from imis_core.database.bulk import COPY_ROWS, insert_rows

Ints = NDArray[np.int64]

_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)  # signature, flags, length of an extension
_END: Final = b"\xff\xff"
_BIGINT: Final = 20  # the type's number in PostgreSQL


def read_numbers(
    connection: Connection, statement: str, parameters: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Ints]:
    """The columns of a SELECT, all of them bigint and not null, in no order; `%(name)s` stands for a parameter.

    Each column comes as one array, so that the driver has one row to look at instead of one for each of ours.
    """
    columns = [f"c{i}" for i in range(len(names))]
    arrays = ", ".join(f"array_agg({column})" for column in columns)
    whole = f"SELECT {arrays} FROM ({statement}) AS rows ({', '.join(columns)})"
    driver: Any = connection.connection.driver_connection
    connection.dispatch.before_cursor_execute(connection, None, whole, None, None, False)
    with driver.cursor(binary=True) as cursor:
        cursor.execute(whole, parameters)
        return {name: _array(cursor.pgresult.get_value(0, i)) for i, name in enumerate(names)}


def _array(data: bytes | None) -> Ints:
    """PostgreSQL's binary form of a bigint array: dimensions, nulls, type, size, first index, then the values."""
    if data is None:
        return np.zeros(0, dtype=np.int64)
    dimensions, nulls, kind = np.frombuffer(data, dtype=">i4", count=3).tolist()
    if dimensions != 1 or nulls or kind != _BIGINT:
        raise AssertionError("a column is null somewhere, or no bigint")
    values = np.frombuffer(data, dtype=[("length", ">i4"), ("value", ">i8")], offset=5 * 4)
    return values["value"].astype(np.int64)


def insert_numbers(connection: Connection, table: sa.Table, columns: Mapping[str, Ints]) -> int:
    """Insert rows given as numpy columns; returns their number."""
    count = len(next(iter(columns.values())))
    if count < COPY_ROWS:
        return insert_rows(connection, table, {name: column.tolist() for name, column in columns.items()})
    widths = [_width(table.c[name].type) for name in columns]
    rows = np.zeros(count, dtype=np.dtype([("fields", ">i2"), *_fields(widths)]))
    rows["fields"] = len(columns)
    for position, (column, width) in enumerate(zip(columns.values(), widths, strict=True)):
        rows[f"n{position}"] = width
        rows[f"v{position}"] = column
    names = ", ".join(f'"{name}"' for name in columns)
    driver = connection.connection.driver_connection
    assert driver is not None
    statement = f"COPY {table.fullname} ({names}) FROM STDIN (FORMAT BINARY)"
    connection.dispatch.before_cursor_execute(connection, None, statement, None, None, False)
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER)
        copy.write(rows.tobytes())
        copy.write(_END)
    return count


def _fields(widths: Sequence[int]) -> list[tuple[str, str]]:
    """A length and a value for each column, big-endian, as COPY has them."""
    return [pair for i, width in enumerate(widths) for pair in ((f"n{i}", ">i4"), (f"v{i}", f">i{width}"))]


def _width(kind: sa.types.TypeEngine[Any]) -> int:
    if isinstance(kind, sa.Boolean):
        return 1
    if isinstance(kind, sa.SmallInteger):
        return 2
    return 8 if isinstance(kind, sa.BigInteger) else 4
