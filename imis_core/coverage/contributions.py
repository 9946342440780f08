"""Recording contributions: what is paid for policies, and when that makes them active; what employers pay for a month.

Contributions are never changed; a refused one leaves nothing behind, its receipt included.
Source: health_insurance.md 2, 'Contribution recorded'; contract-kernel.md, `contributions.record`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from imis_core.beneficiaries.tables import persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.accounts import Account, load_accounts, write_accounts
from imis_core.coverage.employers import EmployerMonth, load_months, month_of
from imis_core.coverage.enrolment import already_enrolled
from imis_core.coverage.holds import Hold, Holds, hold_again
from imis_core.coverage.lookup import NOUN, Policy, load_policies
from imis_core.coverage.receipts import (
    Method,
    Receipt,
    duplicate_receipt,
    form_problems,
    used_receipts,
    write_receipts,
)
from imis_core.coverage.standing import Payment
from imis_core.coverage.states import ACTIVE, COVERAGES, EXPIRED, IDLE, TERMINATED, state_on
from imis_core.coverage.tables import coverage_members
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.ledger.book import CASH, RECEIVABLE, post
from imis_core.security.caller import denied
from imis_core.values import Amount, Money

OVERRIDE = "contributions.override"


@frozen(kw_only=True)
class Record:
    """For a policy (`coverage`), or by an employer for a `month` ("2024-01") of declared wages.

    `scheme`: of an employer's month, by default the employer's.
    """

    coverage: str | None = None
    employer: str | None = None
    month: str | None = None
    scheme: str | None = None
    amount: Amount
    on: date | None = None
    receipt: str
    method: Method = "cash"
    payer: str | None = None
    override_reason: str | None = None


@frozen(kw_only=True)
class Recorded:
    """`balance`: what is still owed, negative a credit; `status` of the policy, or paid | unpaid of the month."""

    id: str
    balance: Money
    status: str
    effective_from: date | None


@define
class _Judgement:
    """What is decided of a batch: outcomes, what is to be written, the holds taken again."""

    outcomes: list[Any]
    accounts: Mapping[int, Account]
    months: Mapping[tuple[str, date, str], EmployerMonth]
    used: set[tuple[str, str]]
    late: Mapping[int, Sequence[_Late]]
    holds: Holds
    accepted: list[tuple[int, Receipt]] = field(factory=list)
    reheld: list[tuple[int, Hold]] = field(factory=list)  # (member row, hold)


@frozen
class _Late:
    """A member of a policy that is paid late: his or her days may have been given up meanwhile."""

    row: int
    person: int
    number: str | None  # None: the caller does not see him or her
    joined_on: date


@command("contributions.record", input=Record, result=Recorded)
def record(context: Context, items: tuple[Record, ...]) -> list[Recorded | Refusal]:
    """Record a contribution: paid in full by the last payment date, the policy becomes active.

    For a terminated policy, what was refunded of it and not paid after all is recorded so.
    """
    numbers = [None if i.coverage is None else context.ids.decode(NOUN, i.coverage) for i in items]
    policies = load_policies(context, [n for n in numbers if n is not None], lock=True)
    accounts = load_accounts(context, policies)
    months = load_months(
        context, [(i.employer, i.month, i.scheme) for i in items if i.employer is not None and i.month is not None]
    )
    schemes = {p.scheme for p in policies.values()} | {m.scheme for m in months.values()}
    used = used_receipts(context, [(scheme, item.receipt) for scheme in schemes for item in items])
    late = _late_members(context, items, numbers, policies)
    packages = {policies[n].package for n in late}
    people = {m.person for members in late.values() for m in members}
    holds = Holds.load(context, packages, people) if late else Holds()
    judgement = _Judgement([None] * len(items), accounts, months, used, late, holds)
    for position, (item, number) in enumerate(zip(items, numbers, strict=True)):
        judgement.outcomes[position] = _judge(context, judgement, position, item, number)
    identities = write_receipts(context, [receipt for _, receipt in judgement.accepted])
    write_accounts(context, accounts.values())
    judgement.holds.write_changed(context)
    hold_again(context, judgement.reheld)
    _post(context, [receipt for _, receipt in judgement.accepted])
    for (position, _), identity in zip(judgement.accepted, identities, strict=True):
        judgement.outcomes[position] = evolve(judgement.outcomes[position], id=identity)
    return judgement.outcomes


def _late_members(
    context: Context, items: Sequence[Record], numbers: Sequence[int | None], policies: Mapping[int, Policy]
) -> dict[int, list[_Late]]:
    """The members of idle policies that somebody pays late, their persons locked: are they still free?"""
    wanted = {
        one.id
        for item, number in zip(items, numbers, strict=True)
        if number is not None and (one := policies.get(number)) is not None
        if one.state == IDLE and (item.on or context.today) > one.last_payment
    }
    if not wanted:
        return {}
    m = coverage_members.c
    number = sa.case((context.scoped(persons), persons.c.number)).label("number")
    with context.seeing_all():
        members = context.execute(
            sa.select(m.id, m.coverage, m.person, number, m.joined_on)
            .join_from(coverage_members, persons, persons.c.id == m.person)
            .where(m.coverage == any_of(wanted))
            .order_by(persons.c.id)
            .with_for_update(key_share=True, of=persons)
        ).all()
    found: dict[int, list[_Late]] = {policy: [] for policy in wanted}
    for row in members:
        found[row.coverage].append(_Late(row.id, row.person, row.number, row.joined_on))
    return found


def _judge(
    context: Context, judgement: _Judgement, position: int, item: Record, number: int | None
) -> Recorded | Refusal:
    """Judge an item after what those before it did."""
    if (item.coverage is None) == (item.employer is None):
        return invalid(Problem("coverage", "required", "name a policy (coverage), or an employer and a month"))
    if item.employer is not None:
        return _judge_month(context, judgement, position, item)
    account = judgement.accounts.get(number) if number is not None else None
    if account is None:
        return not_found("coverage", "coverage", item.coverage or "")
    one = account.policy
    for name in ("month", "scheme"):
        if getattr(item, name) is not None:
            return invalid(Problem(name, "excluded", f"{name} goes with an employer; leave it out for a policy"))
    receipt = _receipt(context, item, one.scheme, one.currency)
    if isinstance(receipt, Refusal):
        return receipt
    if (one.scheme, item.receipt) in judgement.used:
        return duplicate_receipt(one.scheme, item.receipt)
    refusal = _refusal(context, account, item, receipt.on, receipt.minor)
    if refusal is None and one.id in judgement.late:
        refusal = _taken_meanwhile(context, one, receipt.on, judgement.late[one.id], judgement.holds)
    if refusal is not None:
        return refusal
    account.pay(Payment(receipt.on, receipt.minor))
    if account.policy.effective_from is not None and one.id in judgement.late:
        judgement.reheld += _take(account.policy, judgement.late[one.id], judgement.holds)
    judgement.used.add((one.scheme, item.receipt))
    judgement.accepted.append((position, evolve(receipt, coverage=one.id)))
    one = account.policy
    return Recorded(
        id="", balance=Money(account.owed, one.currency),
        status=state_on(one.state, one.ends, context.today), effective_from=one.effective_from,
    )  # fmt: skip


def _judge_month(context: Context, judgement: _Judgement, position: int, item: Record) -> Recorded | Refusal:
    """A payment of an employer for a month."""
    month = month_of(context, judgement.months, item.employer or "", item.month, item.scheme)
    if isinstance(month, Refusal):
        return month
    receipt = _receipt(context, item, month.scheme, month.currency)
    if isinstance(receipt, Refusal):
        return receipt
    if (month.scheme, item.receipt) in judgement.used:
        return duplicate_receipt(month.scheme, item.receipt)
    if receipt.minor > month.balance:
        return _overpaid(receipt.minor, month.balance, month.currency)
    month.paid_minor += receipt.minor
    judgement.used.add((month.scheme, item.receipt))
    judgement.accepted.append((position, evolve(receipt, employer=month.employer, month=month.first)))
    status = "unpaid" if month.balance else "paid"
    return Recorded(id="", balance=Money(month.balance, month.currency), status=status, effective_from=None)


def _receipt(context: Context, item: Record, scheme: str, currency: str) -> Receipt | Refusal:
    """The payment as it is written, but for what it is paid for; `input.invalid` with all that is wrong."""
    read = form_problems(context, item.amount, item.receipt, item.on, currency)
    if not isinstance(read, int):
        return invalid(*read)
    return Receipt(
        scheme=scheme, minor=read, currency=currency, on=item.on or context.today, receipt=item.receipt,
        method=item.method, payer=item.payer, override_reason=item.override_reason,
    )  # fmt: skip


def _refusal(context: Context, account: Account, item: Record, on: date, minor: int) -> Refusal | None:
    """Why a policy cannot take this contribution, if so."""
    one = account.policy
    if one.state == TERMINATED:
        if account.owed <= 0:
            return COVERAGES.refusal(f"policy {item.coverage}", TERMINATED, ACTIVE)
        return _overpaid(minor, account.owed, one.currency) if minor > account.owed else None
    if account.balance <= 0 and not account.terms.keeps_credit:
        return _overpaid(minor, account.balance, one.currency)
    if on > one.last_payment and account.balance > 0:
        if not (item.override_reason or "").strip():
            return Refusal(
                "contributions.overdue",
                f"the last payment date was {one.last_payment}; enrol again, or give override_reason "
                f"(permission {OVERRIDE})",
            )
        if not context.caller.may(OVERRIDE):
            return denied(OVERRIDE)
        if state_on(one.state, one.ends, on) == EXPIRED:
            return COVERAGES.refusal(f"policy {item.coverage}", EXPIRED, ACTIVE)
    limit = account.terms.max_installments
    if limit is not None and account.paid.installments >= limit:
        return Refusal(
            "contributions.too_many_installments",
            f"the contribution may be paid in {limit} part(s), and as many were recorded; enrol again",
        )
    if minor > account.balance and not account.terms.keeps_credit:
        return _overpaid(minor, account.balance, one.currency)
    return None


def _overpaid(minor: int, balance: int, currency: str) -> Refusal:
    paid, left = Money(minor, currency), Money(max(balance, 0), currency)
    return Refusal("contributions.overpaid", f"{paid} is more than is left to pay ({left}); record at most that")


def _taken_meanwhile(context: Context, one: Policy, on: date, members: Sequence[_Late], holds: Holds) -> Refusal | None:
    """A policy that lapsed unpaid holds nobody; it cannot come back for a person who has another one since."""
    for member in members:
        starts = max(one.starts, member.joined_on)
        hold = holds.conflict(one.package, member.person, starts, one.ends, on, own=one.id)
        if hold is not None:
            return already_enrolled(context, member.number, hold)
    return None


def _take(one: Policy, members: Sequence[_Late], holds: Holds) -> list[tuple[int, Hold]]:
    taken = []
    for member in members:
        starts = max(one.starts, member.joined_on)
        hold = Hold(None, one.id, starts, one.ends, one.state, one.ends, one.last_payment)
        holds.take(one.package, member.person, hold)
        taken.append((member.row, hold))
    return taken


def _post(context: Context, accepted: Sequence[Receipt]) -> None:
    sums: dict[str, int] = defaultdict(int)
    for one in accepted:
        sums[one.scheme] += one.minor
    for scheme, minor in sums.items():
        post(context, scheme, "contributions.record", {CASH: minor, RECEIVABLE: -minor})
