"""The command that raises running pensions: once a year, by the rate of each award's own terms.

Survivors' parts are computed anew from their full rate. Source: contract-eii.md, `eii.index_awards`.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.api import Context, Money, Problem, Refusal, command, day_before, invalid, scheme_type
from imis_eii.cases import PENSION, SELF, Award, Case, Work, cases_by_number
from imis_eii.rules.amounts import percent, rounded
from imis_eii.rules.survivors import Span, until
from imis_eii.survivors import respan
from imis_eii.tables import awards
from imis_eii.terms import IndexationTerms


@frozen(kw_only=True)
class IndexAwards:
    """`on`: the day from which the raised amounts hold; absent: today."""

    scheme: str
    on: date | None = None


@frozen(kw_only=True)
class AwardsIndexed:
    """`before` and `after`: the sums of the awards' amounts, whatever they are per."""

    awards: int
    before: Money
    after: Money


@command("eii.index_awards", input=IndexAwards, result=AwardsIndexed)
def index_awards(context: Context, items: tuple[IndexAwards, ...]) -> list[AwardsIndexed | Refusal]:
    """Raise every running pension that began before the day; a second time in the same year nothing is raised."""
    problems = [_problem(context, item) for item in items]
    asked = [item for item, problem in zip(items, problems, strict=True) if problem is None]
    schemes = {item.scheme for item in asked}
    work = _load(context, schemes, min((item.on or context.today for item in asked), default=context.today))
    raised = _first_raises(context, schemes)
    outcomes: list[AwardsIndexed | Refusal] = []
    for item, problem in zip(items, problems, strict=True):
        outcomes.append(problem or _index(context, work, raised, item.scheme, item.on or context.today))
    work.write(context)
    return outcomes


def _problem(context: Context, item: IndexAwards) -> Refusal | None:
    kind = scheme_type(context, item.scheme)
    if isinstance(kind, Refusal):
        return kind
    if item.on is not None and item.on > context.today:
        return invalid(Problem("on", "future", f"{item.on} lies in the future; today is {context.today}"))
    return None


def _load(context: Context, schemes: set[str], on: date) -> Work:
    """The accidents of the schemes with a pension that runs on a day or begins after it, locked."""
    a = awards.c
    rows: Any = context.execute(
        sa.select(a.accident)
        .distinct()
        .where(
            a.scheme.in_(sorted(schemes)),
            a.kind == PENSION,
            sa.or_(a.ends.is_(None), a.ends >= on),
            context.scoped(awards),
        )
    ).scalars()
    return Work({}, cases_by_number(context, rows))


Raises = dict[tuple[str, int], date]  # the day from which a scheme's pensions were first raised in a year


def _first_raises(context: Context, schemes: set[str]) -> Raises:
    """Pensions that have ended since count too: what began after the year's raise is not raised with it."""
    a = awards.c
    rows: Any = context.execute(
        sa.select(a.scheme, sa.func.min(a.indexed_until))
        .where(a.scheme.in_(sorted(schemes)), a.indexed_until.is_not(None), context.scoped(awards))
        .group_by(a.scheme, sa.extract("year", a.indexed_until))
    )
    return {(scheme, first.year): first for scheme, first in rows}


def _index(context: Context, work: Work, raised: Raises, scheme: str, on: date) -> AwardsIndexed:
    count, before, after = 0, 0, 0
    first = raised.get((scheme, on.year), on)
    for case in work.by_number.values():
        rate = None if case.scheme != scheme else rate_on(case.terms.indexation, on)
        if rate is None:
            continue
        due = [award for award in case.awards if _is_due(award, on, first)]
        amounts = [award.amount_on(on) for award in due]
        _raise(work, case, due, rate, on)
        count += len(due)
        before += sum(amounts)
        after += sum(award.amount_on(on) for award in due)
    if count:
        raised[scheme, on.year] = min(first, on)
    return AwardsIndexed(awards=count, before=context.money(before, scheme), after=context.money(after, scheme))


def rate_on(terms: IndexationTerms | None, on: date) -> Decimal | None:
    """The percentage of a year; None where the terms have none for it, or not yet in this month."""
    if terms is None:
        return None
    if terms.table is not None:
        return terms.table.get(str(on.year))
    assert terms.month is not None  # checked when the package was defined
    return terms.rate if on.month >= terms.month else None


def _is_due(award: Award, on: date, first: date) -> bool:
    """A pension that runs, and that was not raised in that year or later though it began before the year's raise.

    Who was awarded a pension of earlier days only after the year's raise has it with the next call.
    """
    raised = award.indexed_until
    return award.runs(on) and award.starts < min(on, first) and (raised is None or raised.year < on.year)


def _raise(work: Work, case: Case, due: list[Award], rate: Decimal, on: date) -> None:
    factor = 1 + percent(rate)
    for award in due:
        award.indexed_until, award.changed = on, True
        if award.relationship == SELF:
            raised = [
                Span(max(s.starts, on), s.ends, rounded(s.amount * factor))
                for s in award.spans
                if s.ends is None or s.ends >= on
            ]
            award.set_spans([*until(award.spans, day_before(on)), *raised])
    if any(award.relationship != SELF for award in due):
        latest = max(starts for starts in case.full_rates if starts <= on)
        work.set_rate(case, on, rounded(case.full_rates[latest] * factor))
        respan(case)


COMMANDS = (index_awards,)
