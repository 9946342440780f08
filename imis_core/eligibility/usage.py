"""What covers have used up of deductibles and ceilings, as the counters of claims tell. It changes none.

Counters of deductibles are in thousandths of a minor unit, those of ceilings in minor units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.eligibility.terms import Limit

UsageKey = tuple[str, int, int, str]  # cover kind, cover, person (0: the whole cover), counter

_USED: Final = sa.text(
    "SELECT u.cover_kind, u.cover, u.person, u.counter, u.used FROM core.cover_usage u "
    "JOIN unnest(CAST(:kinds AS text[]), CAST(:covers AS bigint[])) AS c(kind, cover) "
    "ON u.cover_kind = c.kind AND u.cover = c.cover WHERE u.person IN (0, :person)"
)


def read_usage(context: Context, covers: Iterable[tuple[str, int]], person: int) -> dict[UsageKey, int]:
    """What has been used up of some covers (kind, id), by this person and by everybody; at most one statement."""
    wanted = sorted(set(covers))
    if not wanted:
        return {}
    rows = context.execute(_USED, {"kinds": [k for k, _ in wanted], "covers": [c for _, c in wanted], "person": person})
    return {(row.cover_kind, row.cover, row.person, row.counter): row.used for row in rows}


def used_of(used: Mapping[UsageKey, int], limit: Limit, counter: str, kind: str, cover: int, person: int) -> int:
    """What is used up of a limit: nothing of a treatment's, this person's, or everyone's on the policy."""
    if limit.level == "treatment":
        return 0
    return used.get((kind, cover, person if limit.level == "person" else 0, counter), 0)
