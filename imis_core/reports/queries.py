"""Queries of the room reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from imis_core.queries import Query

QUERIES: Final[tuple[Query, ...]] = ()
