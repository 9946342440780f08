"""Who is covered by what on a day, as the scheme type's select says, read once for a whole batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.benefit_packages.schemes import SchemeType
from imis_core.context import Context

CoverKey = tuple[str, int]  # kind and number of a cover


@frozen
class Cover:
    """A person's cover on a day. `effective_from` is the first day of that person in it, `effective_to` its last day.

    `waits`: waiting periods hold, from `effective_from`.
    """

    kind: str
    id: int
    package_version: int
    effective_from: date
    effective_to: date
    waits: bool


def covers_on(
    context: Context, kind: SchemeType, scheme: str, asked: Sequence[tuple[int, date, int | None]]
) -> list[tuple[Cover, ...]]:
    """The covers of each (person, day, case) in a scheme, by the person's effective date; one statement for the batch.

    A case is what a claim names of the type's own (`ClaimCase`); None: nothing. What a type does not say of its covers:
    one without `effective_to` has no end, one without `waits` no waiting periods.
    """
    found: list[list[Cover]] = [[] for _ in asked]
    if kind.covers_sql is None or not asked:
        return [tuple(covers) for covers in found]
    cases = (
        sa.func.unnest(
            sa.literal([person for person, _, _ in asked], ARRAY(sa.BigInteger)),
            sa.literal([day for _, day, _ in asked], ARRAY(sa.Date)),
            sa.literal([case for _, _, case in asked], ARRAY(sa.BigInteger)),
        )
        .table_valued(
            sa.column("person", sa.BigInteger),
            sa.column("on_day", sa.Date),
            sa.column("of_case", sa.BigInteger),
            with_ordinality="position",
        )
        .render_derived(name="cases")
    )
    # Named as text, so that a type's select may use them at any depth: they are columns of the lateral join around it.
    on, case = sa.literal_column("cases.on_day", sa.Date()), sa.literal_column("cases.of_case", sa.BigInteger())
    of_type = kind.covers_sql(on, case)
    covers = of_type.where(
        of_type.selected_columns["person"] == cases.c.person, of_type.selected_columns["scheme"] == scheme
    ).lateral("covers")
    c = covers.c
    statement = (
        sa.select(
            cases.c.position, c.cover_kind, c.cover, c.package_version, c.effective_from,
            c.effective_to if "effective_to" in c else sa.null().label("effective_to"),
            c.waits if "waits" in c else sa.false().label("waits"),
        )
        .select_from(cases.join(covers, sa.true()))
        .order_by(cases.c.position, c.effective_from, c.cover)
    )  # fmt: skip
    rows: Iterable[Any] = context.execute(statement)
    for position, cover_kind, number, version, effective_from, effective_to, waits in rows:
        found[position - 1].append(
            Cover(cover_kind, number, version, effective_from, effective_to or date.max, bool(waits))
        )
    return [tuple(covers) for covers in found]
