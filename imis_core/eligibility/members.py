"""How many persons a policy covers on a day, for ceilings that grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.benefit_packages.schemes import SchemeType
from imis_core.context import Context
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.terms import NO_LIMITS, LimitsKey, PackageLimits

DayOfCover = tuple[str, int, date]  # kind and number of a cover, and a day


def members_by_cover(
    context: Context, kind: SchemeType, limits: Mapping[LimitsKey, PackageLimits], asked: Iterable[tuple[Cover, date]]
) -> dict[DayOfCover, int]:
    """Persons covered by each cover on a day, of those whose ceiling depends on it; at most one statement for them.

    All members count, also those whom the caller may not see: the ceiling is the family's.
    """
    wanted = sorted(
        {
            (cover.kind, cover.id, on)
            for cover, on in asked
            if limits.get((cover.package_version, cover.kind), NO_LIMITS).by_members
        }
    )
    if not wanted or kind.covers_sql is None:
        return {}
    cases = (
        sa.func.unnest(
            sa.literal([cover_kind for cover_kind, _, _ in wanted], ARRAY(sa.Text)),
            sa.literal([cover for _, cover, _ in wanted], ARRAY(sa.BigInteger)),
            sa.literal([day for _, _, day in wanted], ARRAY(sa.Date)),
        )
        .table_valued(
            sa.column("cover_kind", sa.Text),
            sa.column("cover", sa.BigInteger),
            sa.column("on_day", sa.Date),
            with_ordinality="position",
        )
        .render_derived(name="cases")
    )
    of_type = kind.covers_sql(sa.literal_column("cases.on_day", sa.Date()), sa.null().cast(sa.BigInteger))
    c = of_type.selected_columns
    covers = of_type.where(c["cover"] == cases.c.cover, c["cover_kind"] == cases.c.cover_kind).lateral("covers")
    statement = (
        sa.select(cases.c.position, sa.func.count(covers.c.person.distinct()))
        .select_from(cases.join(covers, sa.true()))
        .group_by(cases.c.position)
    )
    with context.seeing_all():
        rows: Iterable[Any] = context.execute(statement).all()
    return {wanted[position - 1]: count for position, count in rows}
