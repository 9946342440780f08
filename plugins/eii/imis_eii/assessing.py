"""The command that assesses a degree of permanent disablement and awards a pension or a lump sum for it.

Source: contract-eii.md, `eii.assess`; the arithmetic is in `rules.permanent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import (
    Context,
    Money,
    Percent,
    Problem,
    Refusal,
    add_months,
    command,
    day_before,
    insert_rows,
    invalid,
    not_found,
)
from imis_eii.cases import (
    LUMP_SUM,
    ONCE,
    PENSION,
    SELF,
    Award,
    Case,
    Lump,
    Work,
    load,
    new_award_ids,
    no_terms,
    steps_json,
)
from imis_eii.deciding import DECIDED
from imis_eii.queries import StepShown
from imis_eii.rules.permanent import Assessed, Injured, NoFactor, assess, counted_degree
from imis_eii.rules.survivors import Span, birthday, until
from imis_eii.tables import accidents, assessments

EXACT_DIGITS: Final = 100  # of a degree as a decimal: more than products of percentages have
REPLACED: Final = "replaced"


@frozen(kw_only=True)
class Assess:
    """`degree` in percent; `on`: the board's day (absent: today); `from_`: from when it counts (absent: `on`)."""

    accident: str
    degree: Percent
    on: date | None = None
    from_: date | None = None
    children: int = 0
    attendance: bool = False


@frozen(kw_only=True)
class Assessment:
    """`counted_degree`: what counts after earlier accidents; `combined_degree`: together with them."""

    id: str
    degree: Decimal
    counted_degree: Decimal
    combined_degree: Decimal
    kind: str
    amount: Money
    per: str | None
    from_: date
    ends: date | None
    review_on: date | None
    steps: tuple[StepShown, ...]


@define
class _Standing:
    """The assessment of an accident that holds now. `id` is its award's number."""

    id: int
    accident: int
    counted: Fraction


@frozen
class _New:
    """An assessment to be written."""

    award: Award
    case: Case
    item: Assess
    counted: Fraction
    combined: Fraction
    on: date
    review_on: date | None
    assessed: Assessed


@command("eii.assess", input=Assess, result=Assessment)
def assess_degree(context: Context, items: tuple[Assess, ...]) -> list[Assessment | Refusal]:
    """Assess a degree: a pension or a lump sum by the terms; a second assessment replaces the first from its day."""
    work = load(context, {item.accident for item in items})
    standing = _standing(context, {case.person for case in work.by_number.values()})
    numbers = iter(new_award_ids(context, len(items)))
    outcomes: list[Any] = []
    new: list[_New] = []
    replaced: dict[int, date] = {}
    for item in items:
        case = work.by_name.get(item.accident)
        if case is None:
            outcomes.append(not_found("accident", "accident", item.accident))
            continue
        judged = _judge(context, item, case, standing.setdefault(case.person, {}), next(numbers))
        if isinstance(judged, _New):
            _replace(case, judged, standing[case.person], replaced)
            _award(work, judged)
            new.append(judged)
            outcomes.append(_shown(context, judged))
        else:
            outcomes.append(judged)
    work.write(context)
    _write(context, new, replaced)
    return outcomes


def _standing(context: Context, people: Iterable[int]) -> dict[int, dict[int, _Standing]]:
    """The assessments that hold for persons, by person and accident; all accidents of these persons are locked."""
    wanted = sa.any_(sa.literal(sorted(set(people)), ARRAY(sa.BigInteger)))
    context.execute(
        sa.select(accidents.c.id)
        .where(accidents.c.person == wanted, context.scoped(accidents))
        .order_by(accidents.c.id)
        .with_for_update()
    ).all()
    rows = context.execute(
        sa.select(assessments.c.id, assessments.c.accident, assessments.c.counted, accidents.c.person)
        .join(accidents, accidents.c.id == assessments.c.accident)
        .where(accidents.c.person == wanted, assessments.c.replaced_from.is_(None), context.scoped(accidents))
        .order_by(assessments.c.id)
    )
    found: dict[int, dict[int, _Standing]] = {}
    for row in rows:
        found.setdefault(row.person, {})[row.accident] = _Standing(row.id, row.accident, Fraction(row.counted))
    return found


def _judge(
    context: Context, item: Assess, case: Case, standing: Mapping[int, _Standing], number: int
) -> _New | Refusal:
    refusal = case.cash_refusal()
    if refusal is not None:
        return refusal
    permanent = case.terms.permanent
    if permanent is None:
        return no_terms(case, "permanent disablement")
    on = item.on or context.today
    starts = item.from_ or on
    problems = _problems(context, item, case, on, starts)
    if problems:
        return invalid(*problems)
    earlier = sum((s.counted for s in standing.values() if s.accident != case.id), Fraction(0))
    counted = counted_degree(permanent.combine, Fraction(item.degree), earlier)
    combined = counted + earlier
    monthly, daily = case.wages()
    injured = Injured(monthly, daily, case.born, case.occurred_on, case.currency)
    try:
        assessed = assess(case.terms, injured, counted, combined, starts, item.children, item.attendance)
    except NoFactor as error:
        return Refusal("eii.no_factor", f"{error}; give it in the terms")
    is_pension = assessed.kind == PENSION
    ends = None
    if is_pension and permanent.until_age is not None:
        ends = day_before(birthday(case.born, permanent.until_age))
    award = Award(
        id=number, accident=case.id, person=case.person, number=case.number, relationship=SELF, kind=assessed.kind,
        per=assessed.per or ONCE, starts=starts, ends=ends, awarded_minor=assessed.amount, is_new=True,
    )  # fmt: skip
    review = case.terms.review
    review_on = None if review is None else add_months(on, review.months)
    return _New(award, case, item, counted, combined, on, review_on, assessed)


def _problems(context: Context, item: Assess, case: Case, on: date, starts: date) -> list[Problem]:
    found = []
    if on > context.today:
        found.append(Problem("on", "future", f"{on} lies in the future; today is {context.today}"))
    if on < case.occurred_on:
        found.append(Problem("on", "order", f"the accident was on {case.occurred_on}"))
    if starts < case.occurred_on:
        found.append(Problem("from", "order", f"the accident was on {case.occurred_on}"))
    if case.died_on is not None and starts >= case.died_on:
        found.append(Problem("from", "dead", f"{case.number} died on {case.died_on}"))
    if item.children < 0:
        found.append(Problem("children", "range", f"expected 0 or more, found {item.children}"))
    return found


def _replace(case: Case, new: _New, standing: dict[int, _Standing], replaced: dict[int, date]) -> None:
    """The earlier assessment of the same accident ends the day before the new one counts."""
    before = standing.get(case.id)
    if before is not None:
        replaced[before.id] = new.award.starts
        old = next(award for award in case.awards if award.id == before.id)
        if old.kind == PENSION and old.ended_by is None:
            last = day_before(new.award.starts)
            if old.ends is None or old.ends > last:
                old.ends, old.ended_by, old.changed = last, REPLACED, True
                old.set_spans(until(old.spans, last))
    standing[case.id] = _Standing(new.award.id, case.id, new.counted)


def _award(work: Work, new: _New) -> None:
    """Let the pension run, or have the lump sum paid; what earlier lump sums of the accident paid is not paid again."""
    case, award = new.case, new.award
    case.awards.append(award)
    if award.kind == PENSION:
        if award.ends is None or award.starts <= award.ends:
            award.set_spans([Span(award.starts, award.ends, award.awarded_minor)])
        return
    paid = sum(lump.amount_minor for lump in case.lumps if lump.kind == LUMP_SUM and lump.person == case.person)
    due = max(0, award.awarded_minor - paid)
    if due:
        work.add_lump(
            case,
            Lump(
                kind=LUMP_SUM, person=case.person, due_on=award.starts, amount_minor=due, award=award.id,
                steps=new.assessed.steps,
            ),
        )  # fmt: skip


def _shown(context: Context, new: _New) -> Assessment:
    return Assessment(
        id=context.ids.encode("awards", new.award.id),
        degree=new.item.degree,
        counted_degree=exact(new.counted),
        combined_degree=exact(new.combined),
        kind=new.assessed.kind,
        amount=new.case.money(new.assessed.amount),
        per=new.assessed.per,
        from_=new.award.starts,
        ends=new.award.ends,
        review_on=new.review_on,
        steps=tuple(StepShown(name, value) for name, value in new.assessed.steps),
    )


def exact(value: Fraction) -> Decimal:
    """A degree as a decimal: products of percentages always are one."""
    with localcontext() as digits:
        digits.prec = EXACT_DIGITS
        return Decimal(value.numerator) / Decimal(value.denominator)


_REPLACE: Final = sa.text(
    "UPDATE eii.assessments AS a SET replaced_from = n.starts "
    "FROM unnest(CAST(:id AS bigint[]), CAST(:starts AS date[])) AS n(id, starts) WHERE a.id = n.id"
)


def _write(context: Context, new: Sequence[_New], replaced: Mapping[int, date]) -> None:
    """Write the assessments beside their awards; those that were replaced say from when."""
    insert_rows(
        context.connection,
        assessments,
        {
            "id": [one.award.id for one in new],
            "accident": [one.case.id for one in new],
            "assessed_on": [one.on for one in new],
            "degree": [str(one.item.degree) for one in new],
            "counted": [str(one.counted) for one in new],
            "combined": [str(one.combined) for one in new],
            "children": [one.item.children for one in new],
            "attendance": [one.item.attendance for one in new],
            "review_on": [one.review_on for one in new],
            "status": [DECIDED] * len(new),
            "steps": [steps_json(one.assessed.steps) for one in new],
        },
    )
    if replaced:
        context.execute(_REPLACE, {"id": list(replaced), "starts": list(replaced.values())})


COMMANDS = (assess_degree,)
