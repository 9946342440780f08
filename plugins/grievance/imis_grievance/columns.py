"""Small pieces of SQL that the modules of this plugin share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY


def any_of(keys: Iterable[int]) -> Any:
    """`= any_of(keys)`: one of these bigints."""
    return sa.any_(sa.literal(sorted(set(keys)), ARRAY(sa.BigInteger)))
