"""The command that records a death and awards the survivors' benefits, and how their amounts are computed anew.

Source: contract-eii.md, `eii.award_survivors`; the arithmetic is in `rules.survivors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from attrs import frozen

from imis_core.api import (
    Context,
    Money,
    Problem,
    Refusal,
    command,
    day_before,
    full_years,
    invalid,
    not_found,
    person_reference,
    resolve_persons,
)
from imis_eii.cases import LUMP_SUM, ONCE, PENSION, SELF, Award, Case, Lump, Work, load, new_award_ids
from imis_eii.rules.amounts import decimal_text, percent, rounded
from imis_eii.rules.permanent import NoFactor, after_offsets, factor_of
from imis_eii.rules.survivors import (
    Running,
    Share,
    Survivor,
    divide_lump,
    entitled,
    last_day,
    share_out,
    spans,
    until,
)
from imis_eii.terms import SurvivorsTerms

SHARE_PLACES = 2


@frozen(kw_only=True)
class SurvivorGiven:
    """Somebody who may be entitled; `student` and `disabled` move the end of a child's pension."""

    person: str | None = None
    number: str | None = None
    relationship: Literal["spouse", "child", "orphan", "parent", "other"]
    student: bool = False
    disabled: bool = False


@frozen(kw_only=True)
class AwardSurvivors:
    accident: str
    died_on: date
    survivors: tuple[SurvivorGiven, ...]


@frozen(kw_only=True)
class AwardShown:
    """A survivor's award: percent of the full rate after the cut, and the amount per month, day or once."""

    id: str
    person: str
    relationship: str
    share: Decimal | None
    amount: Money
    per: str
    once: Money | None
    from_: date
    ends: date | None


@frozen(kw_only=True)
class SurvivorsAwarded:
    full_rate: Money
    total: Money
    per: str
    awards: tuple[AwardShown, ...]


@frozen
class _Person:
    """A survivor in the register, with what the input says of him or her."""

    id: int
    number: str
    survivor: Survivor


@command("eii.award_survivors", input=AwardSurvivors, result=SurvivorsAwarded)
def award_survivors(context: Context, items: tuple[AwardSurvivors, ...]) -> list[SurvivorsAwarded | Refusal]:
    """Record the death and award each survivor's part of the full rate, or of the lump sum."""
    work = load(context, {item.accident for item in items})
    names = [[person_reference(one) for one in item.survivors] for item in items]
    dead = {case.number for case in work.by_number.values()}
    people = resolve_persons(context, dead | {n for several in names for n in several if isinstance(n, str)})
    judged = [_judge(context, item, named, work, people) for item, named in zip(items, names, strict=True)]
    judged = _record_deaths(context, items, judged, work, people)
    numbers = iter(new_award_ids(context, sum(len(one) for one in judged if not isinstance(one, Refusal))))
    outcomes: list[SurvivorsAwarded | Refusal] = []
    for item, one in zip(items, judged, strict=True):
        outcomes.append(one if isinstance(one, Refusal) else _award(context, work, item, one, numbers))
    work.write(context)
    return outcomes


def _judge(
    context: Context,
    item: AwardSurvivors,
    names: Sequence[str | Refusal],
    work: Work,
    people: Mapping[str, Any],
) -> list[_Person] | Refusal:
    """The survivors in the register, or why nothing is awarded."""
    case = work.by_name.get(item.accident)
    if case is None:
        return not_found("accident", "accident", item.accident)
    refusal = case.cash_refusal()
    if refusal is not None:
        return refusal
    if case.died_on is not None:
        return already_awarded(case, "the survivors")
    try:
        _full_rate(case, case.terms.survivors or SurvivorsTerms())
    except NoFactor as error:  # before the register is told of the death
        return Refusal("eii.no_factor", f"{error}; give it in the terms, or write between = 'linear'")
    problems = _problems(context, item, case, people)
    found: list[_Person] = []
    for index, (given, name) in enumerate(zip(item.survivors, names, strict=True)):
        path = f"survivors.{index}"
        if isinstance(name, Refusal):
            problems += [p.at(path) for p in name.problems]
            continue
        row = people.get(name)
        field = f"{path}.{'number' if given.person is None else 'person'}"
        if row is None:
            return not_found(field, "person", name)
        if row.id == case.person:
            problems.append(Problem(field, "duplicate", "this is the person who died"))
        if row.id in {one.id for one in found}:
            problems.append(Problem(field, "duplicate", f"{row.number} is named twice"))
        if row.death_date is not None and row.death_date <= item.died_on:
            problems.append(Problem(field, "dead", f"{row.number} died on {row.death_date}"))
        survivor = Survivor(given.relationship, row.birth_date, given.student, given.disabled)
        found.append(_Person(row.id, row.number, survivor))
    return invalid(*problems) if problems else found


def _problems(context: Context, item: AwardSurvivors, case: Case, people: Mapping[str, Any]) -> list[Problem]:
    found = []
    if item.died_on > context.today:
        found.append(Problem("died_on", "future", f"{item.died_on} lies in the future; today is {context.today}"))
    if item.died_on < case.occurred_on:
        found.append(Problem("died_on", "order", f"the accident was on {case.occurred_on}"))
    person = people.get(case.number)
    if person is not None and person.death_date not in (None, item.died_on):
        found.append(Problem("died_on", "differs", f"the register says that {case.number} died on {person.death_date}"))
    return found


def already_awarded(case: Case, what: str) -> Refusal:
    """`eii.already_awarded`: that benefit of an accident is awarded once."""
    return Refusal("eii.already_awarded", f"{what} of accident {case.code} have their award already")


def _record_deaths(
    context: Context,
    items: Sequence[AwardSurvivors],
    judged: Sequence[list[_Person] | Refusal],
    work: Work,
    people: Mapping[str, Any],
) -> list[list[_Person] | Refusal]:
    """Tell the register of the deaths that it does not know; what it refuses is refused here."""
    outcomes = list(judged)
    wanted: dict[str, tuple[int, date]] = {}
    for position, (item, one) in enumerate(zip(items, judged, strict=True)):
        if isinstance(one, Refusal):
            continue
        case = work.by_name[item.accident]
        person = people.get(case.number)
        if person is not None and person.death_date is None:
            wanted.setdefault(case.number, (position, item.died_on))
    if wanted:
        deaths = [{"number": number, "on": died_on} for number, (_, died_on) in wanted.items()]
        for (position, _), answer in zip(
            wanted.values(), context.perform("beneficiaries.record_death", deaths), strict=True
        ):
            if isinstance(answer, Refusal):
                outcomes[position] = answer
    return outcomes


def _award(
    context: Context, work: Work, item: AwardSurvivors, people: Sequence[_Person], numbers: Iterator[int]
) -> SurvivorsAwarded | Refusal:
    case = work.by_name[item.accident]
    if case.died_on is not None:
        return already_awarded(case, "the survivors")
    terms = case.terms.survivors or SurvivorsTerms()
    stands = entitled(terms, item.died_on, [one.survivor for one in people])
    chosen = [one for one, is_entitled in zip(people, stands, strict=True) if is_entitled]
    full_rate = _full_rate(case, terms)
    relationships = [one.survivor.relationship for one in chosen]
    is_pension = terms.method == "shares"
    shared = (
        share_out(terms, full_rate, relationships, case.currency)
        if is_pension
        else divide_lump(terms, full_rate, relationships)
    )
    per = case.terms.survivors_per if is_pension else ONCE
    case.died_on, case.changed = item.died_on, True
    _stop_own(case, item.died_on)
    new = [
        _new(case, terms, one, share, per, item.died_on, next(numbers))
        for one, share in zip(chosen, shared.shares, strict=True)
    ]
    case.awards += new
    if is_pension:
        work.set_rate(case, item.died_on, full_rate)
        respan(case)
    _pay_once(work, case, new, item.died_on)
    total = shared.total if is_pension else full_rate
    return SurvivorsAwarded(
        full_rate=case.money(full_rate),
        total=case.money(total),
        per=per,
        awards=tuple(shown(context, case, award, item.died_on) for award in new),
    )


def _stop_own(case: Case, died_on: date) -> None:
    """The dead have no pension; `eii.end_award` still says how it ended, and gives the guarantee."""
    last = day_before(died_on)
    for award in case.awards:
        if award.relationship == SELF and award.runs(max(died_on, award.starts)):
            award.ends, award.changed = last, True
            award.set_spans(until(award.spans, last))


def _full_rate(case: Case, terms: SurvivorsTerms) -> int:
    """W x rate, or the lump sum that is divided, less the offsets of the terms. Raises `NoFactor`."""
    monthly, daily = case.wages()
    rate = percent(case.terms.survivors_rate)
    if terms.method == "months":
        return after_offsets(case.terms, rounded(monthly * (terms.months or 0)), case.currency)[0]
    if terms.method == "age_factor":
        assert case.terms.permanent is not None  # checked when the package was defined
        age = full_years(case.born, case.occurred_on)
        lump = rounded(rate * monthly * factor_of(case.terms.permanent, age))
        return after_offsets(case.terms, lump, case.currency)[0]
    return rounded((daily if case.terms.survivors_per == "day" else monthly) * rate)


def _new(case: Case, terms: SurvivorsTerms, one: _Person, share: Share, per: str, died_on: date, number: int) -> Award:
    own = terms.of(one.survivor.relationship)
    assert own is not None
    once = None if own.once is None else rounded(case.wages()[0] * percent(own.once))
    return Award(
        id=number,
        accident=case.id,
        person=one.id,
        number=one.number,
        relationship=one.survivor.relationship,
        kind=LUMP_SUM if per == ONCE else PENSION,
        per=per,
        starts=died_on,
        ends=None if per == ONCE else last_day(terms, one.survivor),
        share=Decimal(decimal_text(share.percent, SHARE_PLACES)),
        once_minor=once,
        awarded_minor=share.amount,
        is_new=True,
    )


def _pay_once(work: Work, case: Case, new: Sequence[Award], died_on: date) -> None:
    """Lump sums and what is paid once beside a pension: the next payroll pays them."""
    for award in new:
        amounts = [(LUMP_SUM, award.awarded_minor if award.kind == LUMP_SUM else 0), (ONCE, award.once_minor or 0)]
        for kind, minor in amounts:
            if minor:
                work.add_lump(
                    case, Lump(kind=kind, person=award.person, due_on=died_on, amount_minor=minor, award=award.id)
                )


def respan(case: Case) -> None:
    """Compute the survivors' amounts anew from who is there when, and from the full rates."""
    terms = case.terms.survivors or SurvivorsTerms()
    pensioners = case.pensioners()
    running = [Running(a.relationship, a.starts, a.ends) for a in pensioners]
    for award, rows in zip(pensioners, spans(terms, case.full_rates, running, case.currency), strict=True):
        award.set_spans(rows)


def _share_on(case: Case, award: Award, on: date) -> Decimal | None:
    """A pension's percent of the full rate on a day, which changes when others end; of a lump sum as awarded."""
    terms = case.terms.survivors or SurvivorsTerms()
    among = [a for a in case.pensioners() if (a.runs(on) if terms.reshare else a.starts <= on)]
    if award.kind == LUMP_SUM or award not in among:
        return award.share
    rate = case.full_rates[max(starts for starts in case.full_rates if starts <= on)]
    shared = share_out(terms, rate, [a.relationship for a in among], case.currency)
    return Decimal(decimal_text(shared.shares[among.index(award)].percent, SHARE_PLACES))


def shown(context: Context, case: Case, award: Award, on: date) -> AwardShown:
    """A survivor's award with its share and amount of a day."""
    minor = award.awarded_minor if award.kind == LUMP_SUM else award.amount_on(on)
    return AwardShown(
        id=context.ids.encode("awards", award.id),
        person=award.number,
        relationship=award.relationship,
        share=_share_on(case, award, on),
        amount=case.money(minor),
        per=award.per,
        once=None if award.once_minor is None else case.money(award.once_minor),
        from_=award.starts,
        ends=award.ends,
    )


COMMANDS = (award_survivors,)
