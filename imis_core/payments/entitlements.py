"""What the sources say about the orders they placed: for whom each is (the beneficiary), whoever collects it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.payments.tables import orders


def with_beneficiaries(
    context: Context, clause: sa.FromClause, kinds: Iterable[str]
) -> tuple[sa.FromClause, sa.ColumnElement[Any]]:
    """`clause` (orders among it) joined to the entitlements of these kinds of sources, and the beneficiary's column.

    The column is NULL for orders of sources without entitlements.
    """
    columns: list[sa.ColumnElement[Any]] = []
    for kind in sorted(kinds):
        describe = context.app.sources[kind].entitlements_sql
        if describe is not None:
            entitled = describe().subquery(f"entitled_{len(columns)}")
            clause = clause.outerjoin(
                entitled, sa.and_(orders.c.source_kind == kind, entitled.c.entitlement == orders.c.entitlement)
            )
            columns.append(entitled.c.beneficiary)
    if not columns:
        return clause, sa.cast(sa.null(), sa.Text)
    return clause, sa.func.coalesce(*columns) if len(columns) > 1 else columns[0]


def entitlement_ids(context: Context, rows: Sequence[Any]) -> list[str | None]:
    """The outside ids of the entitlements of orders (rows with source_kind and entitlement), None where there are none.

    One pass per kind of source.
    """
    found: list[str | None] = [None] * len(rows)
    for kind in {row.source_kind for row in rows}:
        noun = context.app.sources[kind].entitlement_noun
        if noun is not None:
            places = [place for place, row in enumerate(rows) if row.source_kind == kind]
            outside = context.ids.encode_all(noun, [rows[place].entitlement for place in places])
            for place, identity in zip(places, outside, strict=True):
                found[place] = identity
    return found
