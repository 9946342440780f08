"""The counters of what covers have used up of deductibles and ceilings: locked in the order of their keys, and written.

Whoever changes them holds them until the commit, so that two workers never both spend the last unit. It computes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.eligibility.usage import UsageKey

_LOCK_USAGE: Final = sa.text(
    """
    INSERT INTO core.cover_usage AS u (cover_kind, cover, person, counter, used)
    SELECT k, c, p, n, 0 FROM unnest(CAST(:kinds AS text[]), CAST(:covers AS bigint[]), CAST(:persons AS bigint[]),
                                     CAST(:counters AS text[])) AS keys(k, c, p, n) ORDER BY 1, 2, 3, 4
    ON CONFLICT (cover_kind, cover, person, counter) DO UPDATE SET used = u.used
    RETURNING cover_kind, cover, person, counter, used
    """
)
_SET_USAGE: Final = sa.text(
    """
    UPDATE core.cover_usage u SET used = n.used
    FROM unnest(CAST(:kinds AS text[]), CAST(:covers AS bigint[]), CAST(:persons AS bigint[]),
                CAST(:counters AS text[]), CAST(:used AS bigint[])) AS n(cover_kind, cover, person, counter, used)
    WHERE (u.cover_kind, u.cover, u.person, u.counter) = (n.cover_kind, n.cover, n.person, n.counter)
      AND u.used <> n.used
    """
)


def lock_usage(context: Context, keys: Sequence[UsageKey]) -> dict[UsageKey, int]:
    """What the counters show, locked until the commit, in the order of their keys."""
    if not keys:
        return {}
    kinds, covers, persons, counters = (list(column) for column in zip(*keys, strict=True))
    rows = context.execute(_LOCK_USAGE, {"kinds": kinds, "covers": covers, "persons": persons, "counters": counters})
    return {(r.cover_kind, r.cover, r.person, r.counter): r.used for r in rows}


def write_usage(context: Context, used: Mapping[UsageKey, int]) -> None:
    """Write what the counters show from now."""
    if not used:
        return
    kinds, covers, persons, counters = (list(column) for column in zip(*used, strict=True))
    context.execute(
        _SET_USAGE,
        {"kinds": kinds, "covers": covers, "persons": persons, "counters": counters, "used": list(used.values())},
    )
