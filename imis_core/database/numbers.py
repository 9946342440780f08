"""Whole numbers in bulk, by binary COPY straight into and out of numpy: no Python object for any value.

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


def read_numbers(
    connection: Connection, statement: str, parameters: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Ints]:
    """The columns of a SELECT, all of them bigint and not null; `%(name)s` stands for a parameter."""
    driver = connection.connection.driver_connection
    assert driver is not None
    connection.dispatch.before_cursor_execute(connection, None, f"COPY {statement}", None, None, False)
    with driver.cursor() as cursor, cursor.copy(f"COPY ({statement}) TO STDOUT (FORMAT BINARY)", parameters) as copy:
        data = b"".join(copy)
    row = np.dtype([("fields", ">i2"), *_fields([8] * len(names))])
    rows = np.frombuffer(data, dtype=row, offset=len(_HEADER), count=(len(data) - len(_HEADER) - 2) // row.itemsize)
    if len(_HEADER) + rows.nbytes + 2 != len(data) or any((rows[f"n{i}"] != 8).any() for i in range(len(names))):
        raise AssertionError(f"a column of {names} is null or no bigint")
    return {name: rows[f"v{i}"].astype(np.int64) for i, name in enumerate(names)}


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
