"""Whose claims they are: patients' numbers for whoever sees the claim, and claims of a person by number or id.

A facility's claims are of persons who may live outside the caller's scope. Whose claim the caller sees, that patient's
number stands on it: it was claimed under it. Nothing else of the person is told, and the read is noted as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from imis_core.beneficiaries.tables import persons
from imis_core.claims.tables import claims
from imis_core.context import Context

_NUMBERS: Final = sa.text("SELECT id, number FROM core.persons WHERE id = ANY(CAST(:ids AS bigint[]))")


def numbers_of(context: Context, rows: Sequence[Any]) -> dict[int, str]:
    """The patients' numbers by person, for rows of claims (`person`, `number`) that the caller may see.

    None of them is read twice: where all of them are in the caller's scope, no statement is needed.
    """
    known = {row.person: row.number for row in rows if row.number is not None}
    missing = sorted({row.person for row in rows} - known.keys())
    if missing and not context.caller.everywhere:
        context.look_up(missing)
        context.tells_of(missing)
        known |= {row.id: row.number for row in context.execute(_NUMBERS, {"ids": missing})}
    return known


def of_person(context: Context, name: str) -> sa.ColumnElement[bool]:
    """The condition for claims of a person, named by number or outside id.

    By exact number they are found wherever the person lives: the claims themselves are the caller's. Claims of persons
    who were merged into one another are one person's.
    """
    number = context.ids.decode("persons", name)
    own = persons.alias("patients")
    named = (
        sa.select(own.c.id, own.c.merged_into).where(own.c.id == number)
        if number is not None
        else sa.select(sa.column("id", sa.BigInteger), sa.column("merged_into", sa.BigInteger)).select_from(
            sa.func.core.find_persons(sa.cast([name], sa.ARRAY(sa.Text)))
        )
    ).cte("named_patients")
    kept = sa.select(sa.func.coalesce(named.c.merged_into, named.c.id))
    same = sa.union(
        kept, sa.select(named.c.id), sa.select(own.c.id).where(own.c.merged_into.in_(kept.scalar_subquery()))
    )
    return claims.c.person.in_(same)
