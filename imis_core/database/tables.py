"""The kinds of tables that rooms are made of, and the rules that come with each kind.

*Edited nouns* have an integer `version` and a dated history row for every change, written by a trigger, so that no
handler can forget it. *Mass nouns* are insert-only. *Scoped* tables carry a condition that says who may see a row, once
as an expression for queries and once as row security. This module knows no room.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects.postgresql import JSONB

CORE: Final = "core"
NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata: Final = MetaData(schema=CORE, naming_convention=NAMING)

# A row-security condition in SQL over the table's own columns; the functions are made by the first migration.
ALL_SEEN: Final = "(SELECT core.scope_is_all())"


def plugin_metadata(schema: str) -> MetaData:
    """The metadata of a plugin's own schema."""
    return MetaData(schema=schema, naming_convention=NAMING)


def identity(**options: Any) -> Column[int]:
    """The bigint primary key of a noun."""
    return Column("id", sa.BigInteger, sa.Identity(), primary_key=True, **options)


def reference(name: str, target: str, *, nullable: bool = False, index: bool = False, **options: Any) -> Column[int]:
    """A bigint foreign key; `target` is `table` (in `core`) or `schema.table`."""
    table = target if "." in target else f"{CORE}.{target}"
    return Column(name, sa.BigInteger, sa.ForeignKey(f"{table}.id"), nullable=nullable, index=index, **options)


def text(name: str, *, nullable: bool = False, **options: Any) -> Column[str]:
    return Column(name, sa.Text, nullable=nullable, **options)


def minor(name: str, *, nullable: bool = False, **options: Any) -> Column[int]:
    """An amount in whole minor units."""
    return Column(name, sa.BigInteger, nullable=nullable, **options)


def day(name: str, *, nullable: bool = False, **options: Any) -> Column[Any]:
    return Column(name, sa.Date, nullable=nullable, **options)


def instant(name: str, *, nullable: bool = False, **options: Any) -> Column[Any]:
    return Column(name, sa.DateTime(timezone=True), nullable=nullable, **options)


def document(name: str, *, nullable: bool = False, **options: Any) -> Column[Any]:
    return Column(name, JSONB, nullable=nullable, **options)


def edited(name: str, meta: MetaData, *columns: Any, **info: Any) -> Table:
    """An edited noun: its table with `version`, and `<name>_history` with a row for each version.

    The history row carries the noun as it became, without columns marked `info={"history": False}` (secrets), and
    `audit`, the entry of the command that did it. Row security of the noun holds for its history as well.
    """
    table = Table(name, meta, *columns, Column("version", sa.Integer, nullable=False, server_default="1"), info=info)
    history = Table(
        f"{name}_history",
        meta,
        *[
            Column(c.name, c.type, nullable=True)
            for c in table.columns
            if c.name not in ("id", "version") and c.info.get("history", True)
        ],
        Column("id", sa.BigInteger, primary_key=True),
        Column("version", sa.Integer, primary_key=True),
        Column("audit", sa.BigInteger, nullable=True),
    )
    table.info["history"] = history
    history.info["history_of"] = table
    if "row_security" in table.info:
        history.info["row_security"] = re.sub(rf"\b{name}\.", f"{name}_history.", table.info["row_security"])
    return table


def mass(name: str, meta: MetaData, *columns: Any, **info: Any) -> Table:
    """An insert-only table: the application's role has no UPDATE or DELETE on it."""
    return Table(name, meta, *columns, info={"insert_only": True, **info})


Scope = Callable[[Table, Any], "sa.ColumnElement[bool]"]


def by_place(column: str = "place") -> dict[str, Any]:
    """Scope of a table that carries its place: rows without a place are seen by scope `all` only."""
    return {
        "scope": lambda table, caller: caller.sees_place(table.c[column]),
        "row_security": f"{ALL_SEEN} OR {column} = ANY ((SELECT core.scope_places())::bigint[])",
    }
