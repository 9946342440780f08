"""Categories of grievances: their time limit, whether they are sensitive, and whether they hold a payment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import (
    Context,
    Listing,
    Problem,
    Refusal,
    code_problem,
    command,
    insert_returning,
    invalid,
    name_problem,
    query,
)
from imis_grievance.tables import grievance_categories

DAYS_MAX: Final = 3650


@frozen(kw_only=True)
class DefineCategory:
    """`days`: the time limit, counted from the day after opening.

    `holds_payment`: the order that it is about is held; `holds_next_payments`: what its beneficiary is owed by payrolls
    that are approved while it is open.
    """

    code: str
    name: str
    days: int
    sensitivity: Literal["standard", "sensitive"] = "standard"
    holds_payment: bool = False
    holds_next_payments: bool = False


@frozen(kw_only=True)
class CategoryDefined:
    id: str
    code: str


@command("grievances.define_category", input=DefineCategory, result=CategoryDefined)
def define_category(context: Context, items: tuple[DefineCategory, ...]) -> list[CategoryDefined | Refusal]:
    """Define a category; defined again it changes for what is opened from then on, its sensitivity for all."""
    outcomes: list[Any] = [None] * len(items)
    newest: dict[str, DefineCategory] = {}
    for position, item in enumerate(items):
        problems = [p for p in (code_problem("code", item.code), name_problem("name", item.name)) if p is not None]
        if not 0 <= item.days <= DAYS_MAX:
            problems.append(Problem("days", "range", f"expected 0 to {DAYS_MAX} days, found {item.days}"))
        if problems:
            outcomes[position] = invalid(*problems)
        else:
            newest[item.code] = item
    columns = ("code", "name", "days", "sensitivity", "holds_payment", "holds_next_payments")
    changes = columns[1:]
    mine, given = (", ".join(f"{table}.{c}" for c in changes) for table in ("grievance_categories", "excluded"))
    insert_returning(
        context.connection,
        grievance_categories,
        {column: [getattr(newest[code], column) for code in sorted(newest)] for column in columns},
        conflict=f"(code) DO UPDATE SET ({', '.join(changes)}) = ROW({given}) "
        f"WHERE ({mine}) IS DISTINCT FROM ({given})",
    )
    found = {
        row.code: row.id
        for row in context.execute(
            sa.select(grievance_categories.c.id, grievance_categories.c.code).where(
                grievance_categories.c.code == sa.any_(sa.literal(sorted(newest), ARRAY(sa.Text)))
            )
        )
    }
    ids = dict(zip(found, context.ids.encode_all("grievance_categories", found.values()), strict=True))
    return [
        CategoryDefined(id=ids[item.code], code=item.code) if outcome is None else outcome
        for item, outcome in zip(items, outcomes, strict=True)
    ]


@frozen(kw_only=True)
class ListCategories:
    pass


@frozen(kw_only=True)
class Category:
    id: str
    code: str
    name: str
    days: int
    sensitivity: str
    holds_payment: bool
    holds_next_payments: bool


@query("grievances.categories", input=ListCategories, result=Category, listing=True)
def list_categories(context: Context, _: ListCategories) -> Listing:
    """The categories of grievances, by code."""

    def build(rows: Sequence[Any]) -> list[Category]:
        ids = context.ids.encode_all("grievance_categories", [row.id for row in rows])
        return [
            Category(
                id=identity, code=row.code, name=row.name, days=row.days, sensitivity=row.sensitivity,
                holds_payment=row.holds_payment,
                holds_next_payments=row.holds_next_payments,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(sa.select(grievance_categories), (grievance_categories.c.code,), build)
