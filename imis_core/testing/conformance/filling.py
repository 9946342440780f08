"""Many rows in any table, made by one statement a table, so that plans can be looked at as a country sees them.

Row `n` of a table refers to row `n` of every other one. The rows satisfy types, keys and uniqueness; keys and triggers
are off while they are written and checks are dropped, since plans know neither. It is for throw-away databases only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, DATERANGE, JSONB

# What columns of the kernel hold so that rows count as in force; others follow from their types.
VALUES: Final[Mapping[str, str]] = {
    "persons.status": "'active'", "persons.birth_date": "DATE '1980-01-01' + (g % 9000)::int",
    "persons.sex": "CASE WHEN g % 2 = 0 THEN 'F' ELSE 'M' END", "groups.status": "'active'",
    "groups.kind": "'household'", "memberships.relationship": "'head'", "memberships.recipient": "'primary'",
    "coverages.state": "'active'", "coverages.effective_from": "DATE '2020-01-01'", "coverages.person": "NULL",
    "claim_current.state": "4", "entitlement_current.state": "'approved'", "entitlements.source_kind": "'regular'",
    "entitlements.person": "NULL", "order_current.state": "'approved'", "orders.source_kind": "'payroll'",
    "orders.provider": "NULL", "recipients.provider": "NULL", "recipients.scheme": "''",
    "package_versions.terms": "'{}'", "employments.wage_minor": "100000",
}  # fmt: skip
_PAST: Final = "DATE '2020-01-01'"
_FUTURE: Final = "DATE '2039-12-31'"


def value_of(column: sa.Column[object], constants: Mapping[str, str]) -> str:
    """SQL for a column of row `g`."""
    table = column.table
    if f"{table.name}.{column.name}" in constants:
        return constants[f"{table.name}.{column.name}"]
    alone = any(
        isinstance(c, (sa.UniqueConstraint, sa.PrimaryKeyConstraint)) and list(c.columns.keys()) == [column.name]
        for c in table.constraints
    ) or any(i.unique and [c.name for c in i.columns] == [column.name] for i in table.indexes)
    if column.name in constants and not alone:
        return constants[column.name]
    if f"{table.name}.{column.name}" in VALUES:
        return VALUES[f"{table.name}.{column.name}"]
    kind = column.type
    refers = {key.column.table.fullname for key in column.foreign_keys}
    if column.nullable and (table.fullname in refers or column.name in ("replaces", "renews", "merged_into")):
        return "NULL"
    if isinstance(kind, ARRAY):
        return "'{}'"
    if isinstance(kind, JSONB):
        return "'{}'"
    if isinstance(kind, DATERANGE):
        return f"daterange({_PAST}, {_FUTURE})"
    if isinstance(kind, sa.Boolean):
        return "true" if column.name in ("active", "open") else "false"
    if isinstance(kind, sa.DateTime):
        return "NULL" if column.nullable else "TIMESTAMPTZ '2020-01-01'"
    if isinstance(kind, sa.Date):
        if column.nullable:
            return "NULL"
        return _FUTURE if column.name in ("ends", "to_date", "until", "last_payment") else _PAST
    if isinstance(kind, sa.SmallInteger):
        return "1 + g % 30000"
    if isinstance(kind, sa.Integer):  # bigint too: a key, an amount, a number of a row elsewhere
        return "1" if column.name in ("version", "attempt", "ordinal", "line") and not alone else "g"
    if isinstance(kind, sa.Numeric):
        return "1"
    if isinstance(kind, sa.Text):
        return f"'{column.name}-' || g"
    return "NULL" if column.nullable else f"g::text::{kind.compile(dialect=sa.dialects.postgresql.dialect())}"  # type: ignore[no-untyped-call]


def fill(
    connection: sa.Connection, tables: Iterable[sa.Table], rows: int, constants: Mapping[str, str], first: int = 1
) -> None:
    """Write rows `first` to `rows` of each table, as the server's administrator, and tell the planner of them."""
    connection.execute(sa.text("SET session_replication_role = replica"))
    for table in tables:
        for name in connection.execute(_CHECKS, {"table": table.fullname}).scalars().all():
            connection.execute(sa.text(f'ALTER TABLE {table.fullname} DROP CONSTRAINT "{name}"'))
        names = ", ".join(f'"{c.name}"' for c in table.columns)
        values = ", ".join(value_of(c, constants) for c in table.columns).replace(":", "\\:")
        connection.execute(
            sa.text(
                f"INSERT INTO {table.fullname} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} "
                "FROM generate_series(CAST(:first AS bigint), CAST(:rows AS bigint)) AS g ON CONFLICT DO NOTHING"
            ),
            {"first": first, "rows": rows},
        )
        connection.execute(sa.text(f"ANALYZE {table.fullname}"))
    connection.execute(sa.text("SET session_replication_role = origin"))


_CHECKS: Final = sa.text(
    "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:table AS regclass) AND contype = 'c'"
)
