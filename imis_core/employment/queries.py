"""Queries of employment: who works where, and the wages that hold now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.employment.lookup import resolve_employers
from imis_core.employment.tables import employers, employments, wages
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query
from imis_core.values import Money


@frozen(kw_only=True)
class ListEmployments:
    """`on`: only those employed on that day."""

    employer: str | None = None
    number: str | None = None
    on: date | None = None


@frozen(kw_only=True)
class EmploymentShown:
    id: str
    employer: str
    number: str
    from_: date
    to: date | None
    wage: Money | None


@query("employment.list", input=ListEmployments, result=EmploymentShown, listing=True)
def list_employments(context: Context, asked: ListEmployments) -> Listing | Refusal:
    """Employments by employer, person and first day."""
    e = employments.c
    select = (
        sa.select(e.id, e.starts, e.ends, e.wage_minor, e.currency, employers.c.code, persons.c.number)
        .select_from(employments)
        .join(employers, employers.c.id == e.employer)
        .join(persons, persons.c.id == e.person)
        .where(context.scoped(employments), context.scoped(employers), context.scoped(persons))
    )
    limited = _limited(context, select, e, asked.employer, asked.number)
    if isinstance(limited, Refusal):
        return limited
    if asked.on is not None:
        limited = limited.where(e.starts <= asked.on, sa.or_(e.ends.is_(None), e.ends >= asked.on))

    def build(rows: Sequence[Any]) -> list[EmploymentShown]:
        return [
            EmploymentShown(
                id=identity,
                employer=row.code,
                number=row.number,
                from_=row.starts,
                to=row.ends,
                wage=None if row.wage_minor is None else Money(row.wage_minor, row.currency),
            )
            for identity, row in zip(context.ids.encode_all("employments", [r.id for r in rows]), rows, strict=True)
        ]

    order = (employers.c.code, persons.c.number, e.starts, e.id)
    return Listing(limited, order, build, {"from": e.starts, "number": persons.c.number})


@frozen(kw_only=True)
class ListWages:
    """`from_` and `to` bound the months by their first day; absent: all."""

    scheme: str | None = None
    employer: str | None = None
    number: str | None = None
    from_: date | None = None
    to: date | None = None


@frozen(kw_only=True)
class WageShown:
    """A wage that holds, as it was declared last. `days`: worked in the month, if they were given."""

    scheme: str
    employer: str
    number: str
    month: str
    wage: Money
    days: int | None
    employee: Money
    employer_part: Money
    state: Money


@query("employment.wages", input=ListWages, result=WageShown, listing=True)
def list_wages(context: Context, asked: ListWages) -> Listing | Refusal:
    """Declared wages and their contributions by month, employer and person."""
    w = wages.c
    select = (
        sa.select(wages, employers.c.code, persons.c.number)
        .select_from(wages)
        .join(employers, employers.c.id == w.employer)
        .join(persons, persons.c.id == w.person)
        .where(context.scoped(wages), context.scoped(employers), context.scoped(persons))
    )
    limited = _limited(context, select, w, asked.employer, asked.number)
    if isinstance(limited, Refusal):
        return limited
    if asked.scheme is not None:
        limited = limited.where(w.scheme == asked.scheme)
    if asked.from_ is not None:
        limited = limited.where(w.month >= asked.from_)
    if asked.to is not None:
        limited = limited.where(w.month <= asked.to)

    def build(rows: Sequence[Any]) -> list[WageShown]:
        return [
            WageShown(
                scheme=row.scheme,
                employer=row.code,
                number=row.number,
                month=f"{row.month:%Y-%m}",
                wage=Money(row.wage_minor, row.currency),
                days=row.days,
                employee=Money(row.employee_minor, row.currency),
                employer_part=Money(row.employer_minor, row.currency),
                state=Money(row.state_minor, row.currency),
            )
            for row in rows
        ]

    return Listing(limited, (w.month, employers.c.code, persons.c.number, w.scheme), build, {"month": w.month})


def _limited(
    context: Context, select: sa.Select[Any], columns: Any, employer: str | None, number: str | None
) -> sa.Select[Any] | Refusal:
    """The select narrowed to an employer and a person, where they are named."""
    if employer is not None:
        found = resolve_employers(context, [employer]).get(employer)
        if found is None:
            return not_found("employer", "employer", employer)
        select = select.where(columns.employer == found.id)
    if number is not None:
        person = resolve_persons(context, [number]).get(number)
        if person is None:
            return not_found("number", "person", number)
        select = select.where(columns.person == person.id)
    return select


QUERIES = (list_employments, list_wages)
