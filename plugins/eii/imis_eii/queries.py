"""Queries of employment injury: an accident with what was computed, and the awards that run on a day."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.api import Context, Money, Refusal, claims, not_found, package_versions, query
from imis_eii.cases import load
from imis_eii.tables import assessments, claim_accidents
from imis_eii.temporary import certified_until, paid_days


@frozen(kw_only=True)
class ShowAccident:
    accident: str


@frozen
class StepShown:
    name: str
    value: str


@frozen(kw_only=True)
class AccidentShown:
    """`package_version`: the number of the version whose terms hold; `degree`: the latest assessed one.

    `claims`: codes of the claims for treatment that named the accident, in the order of their entry.
    """

    id: str
    code: str
    scheme: str
    person: str
    occurred_on: date
    status: str
    reason: str | None
    kind: str | None
    monthly_wage: Money | None
    daily_wage: Money | None
    degree: Decimal | None
    died_on: date | None
    certified_days: int
    paid_days: int
    package_version: int
    claims: tuple[str, ...]
    steps: tuple[StepShown, ...]


@query("eii.show", input=ShowAccident, result=AccidentShown)
def show(context: Context, asked: ShowAccident) -> AccidentShown | Refusal:
    """An accident with its decision, its wages and how they came about, degree and days of temporary benefit."""
    case = load(context, [asked.accident], lock=False).by_name.get(asked.accident)
    if case is None:
        return not_found("accident", "accident", asked.accident)
    version = context.execute(
        sa.select(package_versions.c.number).where(package_versions.c.id == case.version)
    ).scalar_one()
    degree = context.execute(
        sa.select(assessments.c.degree)
        .where(assessments.c.accident == case.id, assessments.c.replaced_from.is_(None), context.scoped(assessments))
        .order_by(assessments.c.id.desc())
        .limit(1)
    ).scalar()
    treated: Any = context.execute(
        sa.select(claims.c.code)
        .join(claim_accidents, claim_accidents.c.claim == claims.c.id)
        .where(claim_accidents.c.accident == case.id, context.scoped(claims))
        .order_by(claims.c.id)
    ).scalars()
    return AccidentShown(
        id=context.ids.encode("accidents", case.id),
        code=case.code,
        scheme=case.scheme,
        person=case.number,
        occurred_on=case.occurred_on,
        status=case.status,
        reason=case.reason,
        kind=case.kind,
        monthly_wage=None if case.monthly is None else case.money(case.monthly),
        daily_wage=None if case.daily is None else case.money(case.daily),
        degree=None if degree is None else Decimal(degree),
        died_on=case.died_on,
        certified_days=certified_until(case, context.today),
        paid_days=paid_days(case),
        package_version=version,
        claims=tuple(treated),
        steps=tuple(StepShown(name, value) for name, value in case.steps),
    )


@frozen(kw_only=True)
class ListAwards:
    """`on`: absent = today; a later day shows what is known to hold then."""

    accident: str
    on: date | None = None


@frozen(kw_only=True)
class AwardOnDay:
    """A pension that runs on the day, with the amount of that day. `status` is that of the day."""

    id: str
    person: str
    relationship: str
    kind: str
    amount: Money
    per: str
    from_: date
    ends: date | None
    status: str


@query("eii.awards", input=ListAwards, result=AwardOnDay)
def list_awards(context: Context, asked: ListAwards) -> tuple[AwardOnDay, ...] | Refusal:
    """The pensions of an accident that run on a day, in the order in which they were awarded."""
    case = load(context, [asked.accident], lock=False).by_name.get(asked.accident)
    if case is None:
        return not_found("accident", "accident", asked.accident)
    on = asked.on or context.today
    running = [award for award in case.awards if award.runs(on)]
    return tuple(
        AwardOnDay(
            id=identity,
            person=award.number,
            relationship=award.relationship,
            kind=award.kind,
            amount=case.money(award.amount_on(on)),
            per=award.per,
            from_=award.starts,
            ends=award.ends,
            status="running",
        )
        for identity, award in zip(context.ids.encode_all("awards", [a.id for a in running]), running, strict=True)
    )


QUERIES = (show, list_awards)
