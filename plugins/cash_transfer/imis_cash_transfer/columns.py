"""Small pieces of SQL that the computing modules share: whole numbers, sub-selects computed once, steady plans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from imis_core.api import Context

Sql: TypeAlias = sa.ColumnElement[Any]


def whole(number: int) -> Sql:
    """A bigint."""
    return sa.cast(sa.literal(number, sa.BigInteger), sa.BigInteger)


def apart(select: sa.Select[Any]) -> sa.CTE:
    """A sub-select computed once: the planner would else write a column's expression out wherever it is used."""
    return select.cte().prefix_with("MATERIALIZED", dialect="postgresql")


@contextmanager
def whole_tables(context: Context) -> Iterator[None]:
    """For statements over everybody: tables are joined as wholes.

    Of tables that were filled a moment ago the planner knows nothing and guesses a handful of rows; looping over them
    would then group all members of a country once per household.
    """
    context.execute(_WHOLE)
    yield
    # Not in a `finally`: an exception ends the transaction, and with it the setting.
    context.execute(_AS_BEFORE)


_WHOLE: Final = sa.text("SET LOCAL enable_nestloop TO off")
_AS_BEFORE: Final = sa.text("SET LOCAL enable_nestloop TO DEFAULT")
