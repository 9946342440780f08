"""Queries of the room registry, collected from its subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imis_core.registry import duplicates, import_queries, periods

if TYPE_CHECKING:
    from imis_core.queries import Query

QUERIES: Final[tuple[Query, ...]] = (*import_queries.QUERIES, *duplicates.QUERIES, *periods.QUERIES)
