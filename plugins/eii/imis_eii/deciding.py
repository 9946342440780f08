"""Commands that decide on reported accidents: accept (with the wage before the accident), decline, appeal.

Source: contract-eii.md, `eii.accept`, 'Wage'. Appeals against assessments are taken here as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import (
    Context,
    Money,
    MonthWage,
    Problem,
    Refusal,
    Spell,
    StateTable,
    command,
    invalid,
    not_found,
    spells_of,
    wages_of_window,
)
from imis_eii.cases import ACCEPTED, APPEALED, DECLINED, Case, Steps, load
from imis_eii.rules.wages import MonthOfWage, ReferenceWage, reference_wage, window
from imis_eii.tables import assessments

DECIDED: Final = "decided"
ASSESSMENT_STATES: Final = StateTable("eii", {DECIDED: (APPEALED,), APPEALED: ()})


@frozen(kw_only=True)
class Accept:
    accident: str
    kind: Literal["work", "commuting", "non_work"]
    reason: str | None = None


@frozen(kw_only=True)
class AcceptedAccident:
    """Monthly and daily wage before the accident, shown rounded; they are used exactly."""

    status: str
    kind: str
    monthly_wage: Money
    daily_wage: Money


@command("eii.accept", input=Accept, result=AcceptedAccident)
def accept(context: Context, items: tuple[Accept, ...]) -> list[AcceptedAccident | Refusal]:
    """Accept an accident of somebody employed that day, and fix the wage that all benefits are computed from."""
    work = load(context, {item.accident for item in items})
    spells, wages = _employments(context, work.by_number.values()), _wages(context, work.by_number.values())
    outcomes: list[AcceptedAccident | Refusal] = []
    for item in items:
        case = work.by_name.get(item.accident)
        if case is None:
            outcomes.append(not_found("accident", "accident", item.accident))
            continue
        outcomes.append(_accept(context, item, case, spells[case.id], wages[case.id]))
    work.write(context)
    return outcomes


def _accept(
    context: Context, item: Accept, case: Case, spell: Spell | None, declared: Iterable[MonthWage]
) -> AcceptedAccident | Refusal:
    if spell is None:
        message = f"{case.number} was not with that employer on {case.occurred_on}; register the employment, or decline"
        return Refusal("eii.not_employed", message)
    months = [MonthOfWage(m.month, m.wage_minor, m.days) for m in declared]
    wage = reference_wage(case.terms.wage, months, spell.wage_minor, case.currency)
    if wage is None:
        message = (
            f"no wage of {case.number} before {case.occurred_on:%Y-%m} is known; declare wages, or give the agreed"
        )
        return Refusal("eii.no_wages", message)
    refusal = case.move(ACCEPTED, context.today, item.reason)
    if refusal is not None:
        return refusal
    case.kind, case.monthly, case.daily = item.kind, wage.monthly, wage.daily
    case.steps = _steps(case, wage)
    return AcceptedAccident(
        status=case.status, kind=item.kind, monthly_wage=case.money(wage.monthly), daily_wage=case.money(wage.daily)
    )


def _steps(case: Case, wage: ReferenceWage) -> Steps:
    """How the wage came about: its origin, the months that count, and the exact result in minor units."""
    return (
        ("wage_origin", wage.origin),
        *((f"wage {m.month:%Y-%m}", str(case.money(m.wage_minor))) for m in wage.months),
        ("monthly_wage", str(case.money(wage.monthly))),
        ("daily_wage", str(case.money(wage.daily))),
    )


def _employments(context: Context, cases: Iterable[Case]) -> dict[int, Spell | None]:
    """The spell with the accident's employer on its day, first and last day included, by accident."""
    known = list(cases)
    spells = spells_of(context, {(case.employer, case.person) for case in known})
    return {
        case.id: next(
            (s for s in spells[case.employer, case.person] if s.meets(case.occurred_on, case.occurred_on)), None
        )
        for case in known
    }


def _wages(context: Context, cases: Iterable[Case]) -> dict[int, list[MonthWage]]:
    """The declared wages of each accident's window. One statement for each scheme."""
    by_scheme: dict[str, list[Case]] = {}
    for case in cases:
        by_scheme.setdefault(case.scheme, []).append(case)
    found = {}
    for scheme, several in by_scheme.items():
        windows = [(case.person, *window(case.terms.wage, case.occurred_on)) for case in several]
        answer = wages_of_window(context, scheme, windows)
        found.update({case.id: answer[position] for position, case in enumerate(several)})
    return found


@frozen(kw_only=True)
class Decline:
    accident: str
    reason: str


@frozen(kw_only=True)
class Moved:
    status: str


@command("eii.decline", input=Decline, result=Moved)
def decline(context: Context, items: tuple[Decline, ...]) -> list[Moved | Refusal]:
    """Decline an accident, with the reason."""
    work = load(context, {item.accident for item in items})
    outcomes: list[Moved | Refusal] = []
    for item in items:
        case = work.by_name.get(item.accident)
        refusal = _no_reason(item.reason)
        if refusal is None:
            refusal = (
                not_found("accident", "accident", item.accident)
                if case is None
                else case.move(DECLINED, context.today, item.reason)
            )
        outcomes.append(Moved(status=DECLINED) if refusal is None else refusal)
    work.write(context)
    return outcomes


def _no_reason(reason: str) -> Refusal | None:
    return None if reason.strip() else invalid(Problem("reason", "required", "give the reason"))


@frozen(kw_only=True)
class Appeal:
    """One of the two: an accident that was declined or accepted as not from work, or an assessment of its degree."""

    accident: str | None = None
    assessment: str | None = None
    reason: str


@command("eii.appeal", input=Appeal, result=Moved)
def appeal(context: Context, items: tuple[Appeal, ...]) -> list[Moved | Refusal]:
    """Appeal against a decision that denies cash benefits: the accident is decided again; or against an assessment."""
    work = load(context, {item.accident for item in items if item.accident is not None})
    known = _assessments(context, [item.assessment for item in items if item.assessment is not None])
    appealed: dict[int, str] = {}
    outcomes: list[Moved | Refusal] = []
    for item in items:
        refusal = _no_reason(item.reason)
        if (item.accident is None) == (item.assessment is None):
            refusal = invalid(Problem("accident", "required", "name one of accident and assessment"))
        elif refusal is None and item.accident is not None:
            case = work.by_name.get(item.accident)
            refusal = (
                not_found("accident", "accident", item.accident)
                if case is None
                else _appeal_accident(context, case, item.reason)
            )
        elif refusal is None and item.assessment is not None:
            refusal = _appeal_assessment(item.assessment, item.reason, known, appealed)
        outcomes.append(Moved(status=APPEALED) if refusal is None else refusal)
    work.write(context)
    if appealed:
        context.execute(_APPEAL, {"id": list(appealed), "reason": list(appealed.values())})
    return outcomes


def _appeal_accident(context: Context, case: Case, reason: str) -> Refusal | None:
    if case.status == ACCEPTED and case.kind != "non_work":
        return Refusal("eii.wrong_state", f"accident {case.code} is accepted as {case.kind}; nothing is left to appeal")
    return case.move(APPEALED, context.today, reason)


_APPEAL: Final = sa.text(
    "UPDATE eii.assessments AS a SET status = 'appealed', reason = n.reason "
    "FROM unnest(CAST(:id AS bigint[]), CAST(:reason AS text[])) AS n(id, reason) WHERE a.id = n.id"
)


def _assessments(context: Context, names: Iterable[str]) -> dict[str, Any]:
    """The assessments that are named by id, locked."""
    wanted = {name: number for name in names if (number := context.ids.decode("awards", name)) is not None}
    if not wanted:
        return {}
    rows = context.execute(
        sa.select(assessments.c.id, assessments.c.status)
        .where(
            assessments.c.id == sa.any_(sa.literal(sorted(wanted.values()), ARRAY(sa.BigInteger))),
            context.scoped(assessments),
        )
        .order_by(assessments.c.id)
        .with_for_update()
    )
    found = {row.id: row for row in rows}
    return {name: found[number] for name, number in wanted.items() if number in found}


def _appeal_assessment(name: str, reason: str, known: dict[str, Any], appealed: dict[int, str]) -> Refusal | None:
    row = known.get(name)
    if row is None:
        return not_found("assessment", "assessment", name)
    status = APPEALED if row.id in appealed else row.status
    if not ASSESSMENT_STATES.allows(status, APPEALED):
        return ASSESSMENT_STATES.refusal("the assessment", status, APPEALED)
    appealed[row.id] = reason
    return None


COMMANDS = (accept, decline, appeal)
