"""Commands beside the pensions: the funeral grant, proofs of life, and what was paid too much and is taken back.

Source: contract-eii.md, `eii.award_funeral`, `eii.confirm_alive`, `eii.recover`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from attrs import frozen

from imis_core.api import (
    Amount,
    Context,
    Money,
    NotExact,
    Problem,
    Refusal,
    command,
    insert_returning,
    insert_rows,
    invalid,
    not_found,
    resolve_persons,
    to_minor,
)
from imis_eii.cases import FUNERAL, PENSION, Case, Lump, Work, load, load_by_award, no_terms
from imis_eii.rules.amounts import minor_or_none, rounded
from imis_eii.survivors import already_awarded
from imis_eii.tables import proofs, recoveries


@frozen(kw_only=True)
class AwardFuneral:
    """`payee`: the person who is paid (number or id); `cost`: what the funeral cost, where the terms pay the cost."""

    accident: str
    payee: str
    cost: Amount | None = None


@frozen(kw_only=True)
class FuneralAwarded:
    amount: Money


@command("eii.award_funeral", input=AwardFuneral, result=FuneralAwarded)
def award_funeral(context: Context, items: tuple[AwardFuneral, ...]) -> list[FuneralAwarded | Refusal]:
    """Award the funeral grant after a death that was recorded; the next payroll pays it."""
    work = load(context, {item.accident for item in items})
    people = resolve_persons(context, {item.payee for item in items})
    outcomes: list[FuneralAwarded | Refusal] = []
    for item in items:
        case = work.by_name.get(item.accident)
        if case is None:
            outcomes.append(not_found("accident", "accident", item.accident))
        else:
            outcomes.append(_award_funeral(work, item, case, people))
    work.write(context)
    return outcomes


def _award_funeral(work: Work, item: AwardFuneral, case: Case, people: Mapping[str, Any]) -> FuneralAwarded | Refusal:
    refusal = case.cash_refusal()
    if refusal is not None:
        return refusal
    if case.terms.funeral is None:
        return no_terms(case, "a funeral grant")
    if case.died_on is None:
        message = f"no death is recorded for accident {case.code}; record it with eii.award_survivors"
        return Refusal("eii.not_deceased", message)
    if any(lump.kind == FUNERAL for lump in case.lumps):
        return already_awarded(case, "the funeral grant")
    payee = people.get(item.payee)
    if payee is None:
        return not_found("payee", "person", item.payee)
    minor = _funeral_amount(item, case)
    if isinstance(minor, Problem):
        return invalid(minor)
    work.add_lump(case, Lump(kind=FUNERAL, person=payee.id, due_on=case.died_on, amount_minor=minor))
    return FuneralAwarded(amount=case.money(minor))


def _funeral_amount(item: AwardFuneral, case: Case) -> int | Problem:
    """The amount, the months of the wage or the cost, at most what the terms allow."""
    funeral = case.terms.funeral
    assert funeral is not None
    if funeral.cost:
        if item.cost is None:
            return Problem("cost", "required", "the terms pay what the funeral cost; give it")
        try:
            minor = to_minor(item.cost, case.currency)
        except NotExact as error:
            return Problem("cost", "not_exact", str(error))
    elif item.cost is not None:
        return Problem("cost", "excluded", "the terms do not pay by cost; leave it out")
    elif funeral.months is not None:
        minor = rounded(case.wages()[0] * funeral.months)
    else:
        minor = minor_or_none(funeral.amount, case.currency) or 0
    limit = minor_or_none(funeral.at_most, case.currency)
    return minor if limit is None else min(minor, limit)


@frozen(kw_only=True)
class ConfirmAlive:
    award: str
    on: date


@frozen(kw_only=True)
class Confirmed:
    """`on`: the latest proof of life that is known."""

    on: date


@command("eii.confirm_alive", input=ConfirmAlive, result=Confirmed)
def confirm_alive(context: Context, items: tuple[ConfirmAlive, ...]) -> list[Confirmed | Refusal]:
    """Keep a proof of life; payroll leaves out pensions whose proof is overdue until there is one."""
    _, awards = load_by_award(context, {item.award for item in items})
    outcomes: list[Confirmed | Refusal] = []
    new: set[tuple[int, date]] = set()
    for item in items:
        award = awards.get(item.award)
        if award is None:
            outcomes.append(not_found("award", "award", item.award))
        elif item.on > context.today:
            outcomes.append(invalid(Problem("on", "future", f"{item.on} lies in the future; today is {context.today}")))
        elif award.kind != PENSION:
            outcomes.append(Refusal("eii.wrong_state", "a lump sum is paid once; it needs no proof of life"))
        else:
            new.add((award.id, item.on))
            outcomes.append(Confirmed(on=item.on))
    rows = sorted(new)
    insert_returning(
        context.connection,
        proofs,
        {"award": [a for a, _ in rows], "alive_on": [on for _, on in rows], "audit": [context.audit] * len(rows)},
        conflict="(award, alive_on) DO NOTHING",
    )
    return outcomes


@frozen(kw_only=True)
class Recover:
    """`amount`: what was paid too much; `instalment`: what each payroll takes back of it."""

    award: str
    amount: Amount
    instalment: Amount


@frozen(kw_only=True)
class RecoveryAgreed:
    amount: Money
    instalment: Money


@command("eii.recover", input=Recover, result=RecoveryAgreed)
def recover(context: Context, items: tuple[Recover, ...]) -> list[RecoveryAgreed | Refusal]:
    """Take back an overpayment: payroll deducts the instalment from the award until all is paid back."""
    work, awards = load_by_award(context, {item.award for item in items})
    outcomes: list[RecoveryAgreed | Refusal] = []
    new: list[tuple[int, int, int, str]] = []
    for item in items:
        award = awards.get(item.award)
        if award is None:
            outcomes.append(not_found("award", "award", item.award))
            continue
        case = work.by_number[award.accident]
        amounts = _recovery_amounts(item, case.currency)
        if isinstance(amounts, Refusal):
            outcomes.append(amounts)
        elif award.kind != PENSION:
            outcomes.append(Refusal("eii.wrong_state", "a lump sum is paid once; nothing can be deducted from it"))
        else:
            amount, instalment = amounts
            new.append((award.id, amount, instalment, case.currency))
            outcomes.append(RecoveryAgreed(amount=case.money(amount), instalment=case.money(instalment)))
    insert_rows(
        context.connection,
        recoveries,
        {
            "award": [award for award, _, _, _ in new],
            "amount_minor": [amount for _, amount, _, _ in new],
            "instalment_minor": [instalment for _, _, instalment, _ in new],
            "currency": [currency for _, _, _, currency in new],
            "agreed_on": [context.today] * len(new),
            "audit": [context.audit] * len(new),
        },
    )
    return outcomes


def _recovery_amounts(item: Recover, currency: str) -> tuple[int, int] | Refusal:
    problems = []
    found = []
    for name in ("amount", "instalment"):
        try:
            minor = to_minor(getattr(item, name), currency)
        except NotExact as error:
            problems.append(Problem(name, "not_exact", str(error)))
            continue
        if minor == 0:
            problems.append(Problem(name, "range", "expected an amount above 0"))
        found.append(minor)
    return invalid(*problems) if problems else (found[0], found[1])


COMMANDS = (award_funeral, confirm_alive, recover)
