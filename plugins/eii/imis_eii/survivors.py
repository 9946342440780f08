"""The command that records a death and awards the survivors' benefits, and how their amounts are computed anew.

Source: contract-eii.md, `eii.award_survivors`; the arithmetic is in `rules.survivors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

from attrs import evolve, frozen

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
    Shared,
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
RECORD_DEATH: Final = "beneficiaries.record_death"


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


@frozen
class _Planned:
    """What a right item will award. `hindered`: why not after all, for what comes before it in the batch."""

    case: Case
    died_on: date
    named: tuple[_Person, ...]
    entitled: tuple[_Person, ...]
    full_rate: int
    shared: Shared
    hindered: Refusal | None = None


@command("eii.award_survivors", input=AwardSurvivors, result=SurvivorsAwarded)
def award_survivors(context: Context, items: tuple[AwardSurvivors, ...]) -> list[SurvivorsAwarded | Refusal]:
    """Record the death and award each survivor's part of the full rate, or of the lump sum."""
    work = load(context, {item.accident for item in items})
    names = [[person_reference(one) for one in item.survivors] for item in items]
    dead = {case.number for case in work.by_number.values()}
    people = resolve_persons(context, dead | {n for several in names for n in several if isinstance(n, str)})
    planned = _in_order([_plan(context, item, named, work, people) for item, named in zip(items, names, strict=True)])
    unregistered = _record_deaths(context, [one for one in planned if isinstance(one, _Planned)], people)
    judged = [
        one if isinstance(one, Refusal) else unregistered.get(one.case.number) or one.hindered or one for one in planned
    ]
    right = [one for one in judged if isinstance(one, _Planned)]
    numbers = iter(new_award_ids(context, sum(len(one.entitled) for one in right)))
    outcomes = [one if isinstance(one, Refusal) else _award(context, work, one, numbers) for one in judged]
    work.write(context)
    return outcomes


def _plan(
    context: Context,
    item: AwardSurvivors,
    names: Sequence[str | Refusal],
    work: Work,
    people: Mapping[str, Any],
) -> _Planned | Refusal:
    """The survivors in the register with their parts, or why nothing is awarded."""
    case = work.by_name.get(item.accident)
    if case is None:
        return not_found("accident", "accident", item.accident)
    refusal = case.cash_refusal()
    if refusal is not None:
        return refusal
    if case.died_on is not None:
        return already_awarded(case, "the survivors")
    terms = case.terms.survivors or SurvivorsTerms()
    try:
        full_rate = _full_rate(case, terms)
    except NoFactor as error:
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
    if problems:
        return invalid(*problems)
    stands = entitled(terms, item.died_on, [one.survivor for one in found])
    chosen = tuple(one for one, is_entitled in zip(found, stands, strict=True) if is_entitled)
    relationships = [one.survivor.relationship for one in chosen]
    shared = (
        share_out(terms, full_rate, relationships, case.currency)
        if terms.method == "shares"
        else divide_lump(terms, full_rate, relationships)
    )
    return _Planned(case, item.died_on, tuple(found), chosen, full_rate, shared)


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


def _in_order(planned: Sequence[_Planned | Refusal]) -> list[_Planned | Refusal]:
    """The items as if they came one after the other: one award per accident, one day of death per person."""
    awarded: set[int] = set()
    died: dict[str, date] = {}
    found: list[_Planned | Refusal] = []
    for one in planned:
        if isinstance(one, _Planned):
            one = evolve(one, hindered=_hindered(one, awarded, died))
            if one.hindered is None:
                awarded.add(one.case.id)
                died[one.case.number] = one.died_on
        found.append(one)
    return found


def _hindered(one: _Planned, awarded: Set[int], died: Mapping[str, date]) -> Refusal | None:
    if one.case.id in awarded:
        return already_awarded(one.case, "the survivors")
    problems = []
    own = died.get(one.case.number, one.died_on)
    if own != one.died_on:
        message = f"an earlier item of this request says that {one.case.number} died on {own}"
        problems.append(Problem("died_on", "differs", message))
    for index, survivor in enumerate(one.named):
        day = died.get(survivor.number)
        if day is not None and day <= one.died_on:
            message = f"an earlier item of this request says that {survivor.number} died on {day}"
            problems.append(Problem(f"survivors.{index}", "dead", message))
    return invalid(*problems) if problems else None


def _record_deaths(context: Context, planned: Sequence[_Planned], people: Mapping[str, Any]) -> dict[str, Refusal]:
    """Tell the register of the deaths that it does not know; by number, why it did not take one.

    A death that first waits for a second person is no death yet: nothing is asked and nothing is awarded.
    """
    wanted = {
        one.case.number: one.died_on
        for one in planned
        if one.hindered is None and ((known := people.get(one.case.number)) is None or known.death_date is None)
    }
    if RECORD_DEATH in context.settings.approvals:
        return {number: _needs_second_person(number) for number in wanted}
    deaths = [{"number": number, "on": died_on} for number, died_on in wanted.items()]
    answers = context.perform(RECORD_DEATH, deaths) if deaths else []
    return {number: answer for number, answer in zip(wanted, answers, strict=True) if isinstance(answer, Refusal)}


def _needs_second_person(number: str) -> Refusal:
    return Refusal(
        "eii.death_not_recorded",
        f"a second person must agree to the death of {number}; "
        f"record it with {RECORD_DEATH}, and award the survivors when that is approved",
    )


def _award(context: Context, work: Work, one: _Planned, numbers: Iterator[int]) -> SurvivorsAwarded:
    case, died_on = one.case, one.died_on
    terms = case.terms.survivors or SurvivorsTerms()
    is_pension = terms.method == "shares"
    per = case.terms.survivors_per if is_pension else ONCE
    case.died_on, case.changed = died_on, True
    _stop_own(case, died_on)
    new = [
        _new(case, terms, person, share, per, died_on, next(numbers))
        for person, share in zip(one.entitled, one.shared.shares, strict=True)
    ]
    case.awards += new
    if is_pension:
        work.set_rate(case, died_on, one.full_rate)
        respan(case)
    _pay_once(work, case, new, died_on)
    return SurvivorsAwarded(
        full_rate=case.money(one.full_rate),
        total=case.money(one.shared.total if is_pension else one.full_rate),
        per=per,
        awards=tuple(shown(context, case, award, died_on) for award in new),
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
