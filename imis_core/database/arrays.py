"""A column that is one of many values: one parameter, an array, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine


def any_of(values: Iterable[Any], kind: type[TypeEngine[Any]] = sa.BigInteger) -> sa.CollectionAggregate[Any]:
    """The right side of `column == any_of(values)`: each value once, in order, so that equal sets are equal statements.

    None of the values is NULL. Unlike IN, the statement is the same text for any number of them, none included.
    """
    return sa.any_(sa.literal(sorted(set(values)), ARRAY(kind)))
