"""Commands of temporary disablement: certificates of absence, longer periods, and paying the days that are due.

Every certified day is paid once, however late or overlapping the certificates come. Source: contract-eii.md.
"""

from __future__ import annotations

from datetime import date, timedelta

from attrs import frozen

from imis_core.api import Context, Money, Problem, Refusal, command, invalid, not_found
from imis_eii.cases import DECLINED, PERIOD, Case, Lump, Work, load, no_terms
from imis_eii.rules.temporary import Days, certified_days, daily_benefit, days_of, period_amount


@frozen(kw_only=True)
class Certify:
    """`from_` and `to`: the first and the last day of absence."""

    accident: str
    from_: date
    to: date
    doctor: str | None = None


@frozen(kw_only=True)
class Certified:
    certified_days: int


@command("eii.certify", input=Certify, result=Certified)
def certify(context: Context, items: tuple[Certify, ...]) -> list[Certified | Refusal]:
    """Add a doctor's certificate of absence; days that others certify already count once."""
    work = load(context, {item.accident for item in items})
    outcomes: list[Certified | Refusal] = []
    for item in items:
        case = work.by_name.get(item.accident)
        if case is None:
            outcomes.append(not_found("accident", "accident", item.accident))
        elif (refusal := _cannot_certify(item, case)) is not None:
            outcomes.append(refusal)
        else:
            case.certificates.append((item.from_, item.to))
            work.new_certificates.append((case, item.from_, item.to, item.doctor))
            outcomes.append(Certified(certified_days=certified_until(case, context.today)))
    work.write(context)
    return outcomes


def _cannot_certify(item: Certify, case: Case) -> Refusal | None:
    problems = []
    if item.to < item.from_:
        problems.append(Problem("to", "order", f"the last day {item.to} is before the first ({item.from_})"))
    if item.from_ < case.occurred_on:
        problems.append(Problem("from", "order", f"the accident was on {case.occurred_on}"))
    if problems:
        return invalid(*problems)
    if case.status == DECLINED:
        return Refusal("eii.wrong_state", f"accident {case.code} is declined; appeal before anything is certified")
    return None


def certified_until(case: Case, until: date) -> int:
    """Distinct certified days up to a day; the day of death and those after it do not count."""
    counts_accident = case.terms.temporary is None or case.terms.temporary.accident_day
    last = until if case.died_on is None else min(until, case.died_on - timedelta(days=1))
    return certified_days(case.certificates, case.occurred_on, counts_accident, last)


def paid_days(case: Case) -> int:
    """Days of temporary benefit that were paid, or are on their way."""
    return sum(lump.days or 0 for lump in case.lumps if lump.kind == PERIOD)


@frozen(kw_only=True)
class Extend:
    accident: str
    reason: str


@frozen(kw_only=True)
class Extended:
    """`maximum_days`: how many days may be paid now; null: without end."""

    maximum_days: int | None


@command("eii.extend_temporary", input=Extend, result=Extended)
def extend_temporary(context: Context, items: tuple[Extend, ...]) -> list[Extended | Refusal]:
    """Extend the temporary benefit once, by the days that the terms allow."""
    work = load(context, {item.accident for item in items})
    outcomes: list[Extended | Refusal] = []
    for item in items:
        case = work.by_name.get(item.accident)
        if case is None:
            outcomes.append(not_found("accident", "accident", item.accident))
        elif not item.reason.strip():
            outcomes.append(invalid(Problem("reason", "required", "give the reason")))
        else:
            outcomes.append(_extend(case))
    work.write(context)
    return outcomes


def _extend(case: Case) -> Extended | Refusal:
    refusal = case.cash_refusal()
    if refusal is not None:
        return refusal
    terms = case.terms.temporary
    if terms is None:
        return no_terms(case, "temporary benefit")
    if case.extended:
        return Refusal("eii.wrong_state", f"the temporary benefit of accident {case.code} is extended already")
    case.extended = case.changed = True
    return Extended(maximum_days=None if terms.maximum_days is None else terms.maximum_days + terms.extension_days)


@frozen(kw_only=True)
class PayTemporary:
    """`until`: certified days up to that day; absent: today."""

    accident: str
    until: date | None = None


@frozen(kw_only=True)
class TemporaryPaid:
    """`days` and `amount` are of this period; `paid_days` and `paid_amount` of all periods so far."""

    days: int
    amount: Money
    daily_benefit: Money
    certified_days: int
    waiting_days: int
    paid_days: int
    paid_amount: Money


@command("eii.pay_temporary", input=PayTemporary, result=TemporaryPaid)
def pay_temporary(context: Context, items: tuple[PayTemporary, ...]) -> list[TemporaryPaid | Refusal]:
    """Make the certified days that were not paid yet into a period, which the next payroll pays."""
    work = load(context, {item.accident for item in items})
    outcomes: list[TemporaryPaid | Refusal] = []
    for item in items:
        case = work.by_name.get(item.accident)
        until = item.until or context.today
        if case is None:
            outcomes.append(not_found("accident", "accident", item.accident))
        elif until > context.today:
            outcomes.append(
                invalid(Problem("until", "future", f"{until} lies in the future; today is {context.today}"))
            )
        else:
            outcomes.append(_pay(work, case, until))
    work.write(context)
    return outcomes


def _pay(work: Work, case: Case, until: date) -> TemporaryPaid | Refusal:
    refusal = case.cash_refusal()
    if refusal is not None:
        return refusal
    terms = case.terms.temporary
    if terms is None:
        return no_terms(case, "temporary benefit")
    days: Days = days_of(terms, certified_until(case, until), case.extended)
    benefit = daily_benefit(terms, case.wages()[1], case.currency)
    due = max(0, days.payable - paid_days(case))
    amount = period_amount(benefit, due)
    if due:
        steps = (("daily_benefit", str(case.money(benefit))), ("days", str(due)), ("until", until.isoformat()))
        due_on = min(until, max(last for _, last in case.certificates))
        work.add_lump(
            case,
            Lump(kind=PERIOD, person=case.person, due_on=due_on, amount_minor=amount, days=due, steps=steps),
        )
    return TemporaryPaid(
        days=due,
        amount=case.money(amount),
        daily_benefit=case.money(benefit),
        certified_days=days.certified,
        waiting_days=days.waiting,
        paid_days=paid_days(case),
        paid_amount=case.money(sum(lump.amount_minor for lump in case.lumps if lump.kind == PERIOD)),
    )


COMMANDS = (certify, extend_temporary, pay_temporary)
