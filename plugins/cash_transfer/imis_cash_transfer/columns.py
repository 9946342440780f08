"""Small pieces of SQL that the computing modules share: whole numbers, and sub-selects computed once."""

from __future__ import annotations

from typing import Any, TypeAlias

import sqlalchemy as sa

Sql: TypeAlias = sa.ColumnElement[Any]


def whole(number: int) -> Sql:
    """A bigint."""
    return sa.cast(sa.literal(number, sa.BigInteger), sa.BigInteger)


def apart(select: sa.Select[Any]) -> sa.CTE:
    """A sub-select computed once: the planner would else write a column's expression out wherever it is used."""
    return select.cte().prefix_with("MATERIALIZED", dialect="postgresql")
