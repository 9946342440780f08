"""The command that ends an award: the others' parts are computed anew, and what the end itself owes is paid once.

Source: contract-eii.md, `eii.end_award`.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from typing import Literal

from attrs import frozen

from imis_core.api import Context, Money, Problem, Refusal, command, day_before, invalid, not_found
from imis_eii.cases import MONTH_DAYS, PENSION, SELF, Award, Case, Lump, Work, load_by_award
from imis_eii.rules.permanent import months_begun
from imis_eii.rules.survivors import Span, until
from imis_eii.survivors import AwardShown, respan, shown


@frozen(kw_only=True)
class EndAward:
    """`on`: the first day without it."""

    award: str
    on: date
    reason: Literal["recovery", "death", "remarriage", "age", "studies", "other"]


@frozen(kw_only=True)
class Guarantee:
    """What the years of guarantee still owe after a pensioner's death."""

    months: int
    amount: Money


@frozen(kw_only=True)
class AwardEnded:
    """`ended`: the last day. `awards`: the survivors' awards that run on the day after it, with their new amounts."""

    ended: date
    lump: Money | None
    guarantee: Guarantee | None
    awards: tuple[AwardShown, ...]


@command("eii.end_award", input=EndAward, result=AwardEnded)
def end_award(context: Context, items: tuple[EndAward, ...]) -> list[AwardEnded | Refusal]:
    """End a pension from a day on; where the terms say so, the others share what becomes free."""
    work, awards = load_by_award(context, {item.award for item in items})
    outcomes: list[AwardEnded | Refusal] = []
    for item in items:
        award = awards.get(item.award)
        if award is None:
            outcomes.append(not_found("award", "award", item.award))
            continue
        case = work.by_number[award.accident]
        refusal = _cannot_end(context, item, case, award)
        outcomes.append(_end(context, work, item, case, award) if refusal is None else refusal)
    work.write(context)
    return outcomes


def _cannot_end(context: Context, item: EndAward, case: Case, award: Award) -> Refusal | None:
    if item.on > context.today:
        return invalid(Problem("on", "future", f"{item.on} lies in the future; today is {context.today}"))
    if award.kind != PENSION:
        return Refusal("eii.wrong_state", "a lump sum is paid once; it does not end")
    if item.on < award.starts:
        return invalid(Problem("on", "order", f"the award runs from {award.starts}"))
    if award.ended_by is not None or (
        award.ends is not None and award.ends < item.on and not (item.reason == "death" and _stopped(case, award))
    ):
        return Refusal("eii.wrong_state", f"the award ended on {award.ends} already")
    if item.reason == "remarriage":
        survivors = case.terms.survivors
        if award.relationship == SELF:
            return Refusal("eii.wrong_state", "the injured person's own pension does not end by marriage")
        if survivors is not None and survivors.remarriage.keeps:
            return Refusal("eii.wrong_state", "by the terms a survivor keeps the pension after a marriage")
    return None


def _stopped(case: Case, award: Award) -> bool:
    """Whether the recorded death stopped the injured person's pension, and nobody has said yet that it ended."""
    return award.relationship == SELF and case.died_on is not None and award.ends == day_before(case.died_on)


def _end(context: Context, work: Work, item: EndAward, case: Case, award: Award) -> AwardEnded:
    last = day_before(item.on)
    stopped = award.ends if _stopped(case, award) and item.reason == "death" else None
    day = max(last if stopped is None else min(last, stopped), award.starts)
    amount = award.awarded_minor if not award.spans else award.amount_on(day)
    monthly = amount * (MONTH_DAYS if award.per == "day" else 1)
    award.ends, award.ended_by, award.changed = last, item.reason, True
    lump = _remarriage_lump(work, item, case, award, monthly)
    guarantee = _guarantee(work, item, case, award, monthly)
    if award.relationship == SELF:
        paid_until = _month_end(item.on) if guarantee is not None else last
        rows = until(award.spans, paid_until)
        if stopped is not None and stopped < paid_until:
            rows.append(Span(max(stopped + timedelta(days=1), award.starts), paid_until, amount))
        award.set_spans(rows)
    else:
        respan(case)
    return AwardEnded(
        ended=last,
        lump=lump,
        guarantee=guarantee,
        awards=tuple(shown(context, case, other, item.on) for other in case.pensioners() if other.runs(item.on)),
    )


def _remarriage_lump(work: Work, item: EndAward, case: Case, award: Award, monthly: int) -> Money | None:
    """Months of the pension that a marriage is worth by the terms."""
    survivors = case.terms.survivors
    months = 0 if survivors is None or item.reason != "remarriage" else survivors.remarriage.lump_months
    if not months:
        return None
    minor = months * monthly
    steps = (("months", str(months)), ("monthly_amount", str(case.money(monthly))))
    work.add_lump(
        case,
        Lump(kind="remarriage", person=award.person, due_on=item.on, amount_minor=minor, award=award.id, steps=steps),
    )
    return case.money(minor)


def _guarantee(work: Work, item: EndAward, case: Case, award: Award, monthly: int) -> Guarantee | None:
    """What is left of the guaranteed months when a pensioner dies."""
    permanent = case.terms.permanent
    if item.reason != "death" or award.relationship != SELF or permanent is None:
        return None
    months = 12 * permanent.guarantee_years - months_begun(award.starts, item.on)
    if months <= 0:
        return None
    minor = months * monthly
    steps = (("months", str(months)), ("monthly_amount", str(case.money(monthly))))
    work.add_lump(
        case,
        Lump(kind="guarantee", person=award.person, due_on=item.on, amount_minor=minor, award=award.id, steps=steps),
    )
    return Guarantee(months=months, amount=case.money(minor))


def _month_end(on: date) -> date:
    """The last day of the month of death, which is paid in full."""
    return on.replace(day=monthrange(on.year, on.month)[1])


COMMANDS = (end_award,)
