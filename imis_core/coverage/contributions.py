"""Recording contributions: what is paid for policies, and when that makes them active.

Contributions are never changed; a refused one leaves nothing behind, its receipt included.
Source: health_insurance.md 2, 'Contribution recorded'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from attrs import define, evolve, field, frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.beneficiaries.tables import persons
from imis_core.benefit_packages.lookup import parsed_terms, versions_by_id
from imis_core.benefit_packages.schemes import PaymentTerms
from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.enrolment import already_enrolled, future
from imis_core.coverage.holds import Hold, Holds, day_range
from imis_core.coverage.lookup import NOUN, Paid, Policy, load_policies, paid_for
from imis_core.coverage.states import ACTIVE, COVERAGES, EXPIRED, IDLE, TERMINATED, state_on
from imis_core.coverage.tables import contributions, coverage_members
from imis_core.database.bulk import insert_returning
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.ledger.book import CASH, RECEIVABLE, post
from imis_core.security.caller import denied
from imis_core.values import Amount, Money, NotExact, to_minor

OVERRIDE = "contributions.override"
RECEIPT_MAX = 200  # characters


@frozen(kw_only=True)
class Record:
    coverage: str
    amount: Amount
    on: date | None = None
    receipt: str
    method: Literal["cash", "bank", "mobile", "funding"] = "cash"
    payer: str | None = None
    override_reason: str | None = None


@frozen(kw_only=True)
class Recorded:
    id: str
    balance: Money
    status: str
    effective_from: date | None


@frozen
class _Accepted:
    position: int
    coverage: int
    scheme: str
    minor: int
    currency: str
    on: date
    item: Record


@define
class _Account:
    """A policy with what has been paid for it after the items of the batch so far."""

    policy: Policy
    paid: Paid
    terms: PaymentTerms
    changed: bool = False

    @property
    def balance(self) -> int:
        return self.policy.due_minor - self.paid.minor


@define
class _Judgement:
    """What is decided of a batch: outcomes of refused items, what is to be written, the holds taken again."""

    outcomes: list[Any]
    accepted: list[_Accepted]
    accounts: Mapping[int, _Account]
    holds: Holds
    reheld: list[tuple[int, Hold]] = field(factory=list)  # (member row, hold)


@frozen
class _Late:
    """A member of a policy that is paid late: his or her days may have been given up meanwhile."""

    row: int
    person: int
    number: str


@command("contributions.record", input=Record, result=Recorded)
def record(context: Context, items: tuple[Record, ...]) -> list[Recorded | Refusal]:
    """Record a contribution: paid in full by the last payment date, the policy becomes active."""
    numbers = [context.ids.decode(NOUN, item.coverage) for item in items]
    policies = load_policies(context, [n for n in numbers if n is not None], lock=True)
    paid = paid_for(context, policies)
    terms = _payment_terms(context, policies.values())
    used = _used_receipts(context, items, {p.scheme for p in policies.values()})
    late = _late_members(context, items, numbers, policies)
    accounts = {n: _Account(p, paid.get(n, Paid()), terms[p.package_version]) for n, p in policies.items()}
    packages = {policies[n].package for n in late}
    people = {m.person for members in late.values() for m in members}
    holds = Holds.load(context, packages, people) if late else Holds()
    judgement = _judge(context, items, numbers, accounts, used, late, holds)
    written = _insert(context, judgement.accepted)
    if {(a.scheme, a.item.receipt) for a in judgement.accepted} - set(written):
        # A receipt that somebody else uses at the same moment shows only now: the door runs the whole batch again.
        raise lost_race("a receipt")
    _update_policies(context, [a.policy for a in accounts.values() if a.changed])
    judgement.holds.write_released(context)
    _hold_again(context, judgement.reheld)
    _post(context, judgement.accepted)
    return _outcomes(context, judgement, written)


def _payment_terms(context: Context, policies: Iterable[Policy]) -> dict[int, PaymentTerms]:
    versions = versions_by_id(context, {p.package_version for p in policies})
    terms = parsed_terms(context, versions.values())
    answer = {}
    for number, version in versions.items():
        payment_terms = context.app.type_of(version.scheme).payment_terms
        assert payment_terms is not None
        answer[number] = payment_terms(terms[number])
    return answer


def _used_receipts(context: Context, items: Sequence[Record], schemes: Iterable[str]) -> set[tuple[str, str]]:
    c = contributions.c
    receipts = sa.any_(sa.literal(sorted({i.receipt for i in items}), ARRAY(sa.Text)))
    wanted = sa.any_(sa.literal(sorted(schemes), ARRAY(sa.Text)))
    rows = context.execute(sa.select(c.scheme, c.receipt).where(c.scheme == wanted, c.receipt == receipts))
    return {(row.scheme, row.receipt) for row in rows}


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
    members = context.execute(
        sa.select(m.id, m.coverage, m.person, persons.c.number)
        .join_from(coverage_members, persons, persons.c.id == m.person)
        .where(m.coverage == sa.any_(sa.literal(sorted(wanted), ARRAY(sa.BigInteger))), context.scoped(persons))
        .order_by(persons.c.id)
        .with_for_update(key_share=True, of=persons)
    )
    found: dict[int, list[_Late]] = {number: [] for number in wanted}
    for row in members:
        found[row.coverage].append(_Late(row.id, row.person, row.number))
    return found


def _judge(
    context: Context,
    items: Sequence[Record],
    numbers: Sequence[int | None],
    accounts: Mapping[int, _Account],
    used: set[tuple[str, str]],
    late: Mapping[int, Sequence[_Late]],
    holds: Holds,
) -> _Judgement:
    """Judge the items in order, each after what those before it did."""
    judgement = _Judgement([None] * len(items), [], accounts, holds)
    for position, (item, number) in enumerate(zip(items, numbers, strict=True)):
        account = accounts.get(number) if number is not None else None
        if account is None:
            judgement.outcomes[position] = not_found("coverage", "coverage", item.coverage)
            continue
        on = item.on or context.today
        amount = _amount(context, item, account.policy.currency)
        refusal = (
            amount
            if isinstance(amount, Refusal)
            else _receipt_refusal(account, item, used) or _refusal(context, account, item, on, amount)
        )
        if refusal is None and account.policy.id in late:
            refusal = _taken_meanwhile(context, account.policy, on, late[account.policy.id], holds)
        if refusal is not None:
            judgement.outcomes[position] = refusal
            continue
        assert isinstance(amount, int)
        _pay(account, amount, on)
        if account.policy.effective_from is not None and account.policy.id in late:
            judgement.reheld += _take(account.policy, late[account.policy.id], holds)
        one = account.policy
        used.add((one.scheme, item.receipt))
        judgement.accepted.append(_Accepted(position, one.id, one.scheme, amount, one.currency, on, item))
        judgement.outcomes[position] = Recorded(
            id="", balance=Money(account.balance, one.currency),
            status=state_on(one.state, one.ends, context.today), effective_from=one.effective_from,
        )  # fmt: skip
    return judgement


def _amount(context: Context, item: Record, currency: str) -> int | Refusal:
    """The amount in minor units; `input.invalid` for nothing, more decimals than the currency, other wrong fields."""
    problems = []
    minor = 0
    try:
        minor = to_minor(item.amount, currency)
        if minor == 0:
            problems.append(Problem("amount", "range", "a contribution is more than 0"))
    except NotExact as error:
        problems.append(Problem("amount", "not_exact", str(error)))
    if not item.receipt.strip() or len(item.receipt) > RECEIPT_MAX:
        problems.append(Problem("receipt", "format", f"a receipt has 1 to {RECEIPT_MAX} characters"))
    if item.on is not None and item.on > context.today:
        problems.append(future(context.today))
    return invalid(*problems) if problems else minor


def _receipt_refusal(account: _Account, item: Record, used: set[tuple[str, str]]) -> Refusal | None:
    scheme = account.policy.scheme
    if (scheme, item.receipt) in used:
        message = f"the receipt {item.receipt!r} was recorded before in {scheme!r}; use the number of this payment"
        return Refusal("contributions.duplicate_receipt", message)
    return None


def _refusal(context: Context, account: _Account, item: Record, on: date, minor: int) -> Refusal | None:
    """Why a policy cannot take this contribution, if so."""
    one = account.policy
    if one.state == TERMINATED:
        return COVERAGES.refusal(f"policy {item.coverage}", TERMINATED, ACTIVE)
    if account.balance <= 0:
        return _overpaid(account, minor)
    if on > one.last_payment:
        if not item.override_reason:
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
    return _overpaid(account, minor) if minor > account.balance else None


def _overpaid(account: _Account, minor: int) -> Refusal:
    paid, left = Money(minor, account.policy.currency), Money(max(account.balance, 0), account.policy.currency)
    return Refusal("contributions.overpaid", f"{paid} is more than is left to pay ({left}); record at most that")


def _taken_meanwhile(context: Context, one: Policy, on: date, members: Sequence[_Late], holds: Holds) -> Refusal | None:
    """A policy that lapsed unpaid holds nobody; it cannot come back for a person who has another one since."""
    for member in members:
        hold = holds.conflict(one.package, member.person, one.starts, one.ends, on, own=one.id)
        if hold is not None:
            return already_enrolled(context, member.number, hold)
    return None


def _take(one: Policy, members: Sequence[_Late], holds: Holds) -> list[tuple[int, Hold]]:
    taken = []
    for member in members:
        hold = Hold(None, one.id, one.starts, one.ends, one.state, one.ends, one.last_payment)
        holds.take(one.package, member.person, hold)
        taken.append((member.row, hold))
    return taken


def _pay(account: _Account, minor: int, on: date) -> None:
    """Add a contribution. What is paid in full becomes active; what is paid in part becomes what the terms say."""
    account.paid = Paid(account.paid.minor + minor, account.paid.installments + 1)
    one = account.policy
    if one.effective_from is not None:
        return  # it is or was active already; a suspension stays until somebody lifts it
    state = ACTIVE if account.balance == 0 else account.terms.underpaid
    effective_from = max(on, one.starts) if state == ACTIVE else None
    if state != one.state:
        account.policy = evolve(one, state=state, effective_from=effective_from)
        account.changed = True


def _insert(context: Context, accepted: Sequence[_Accepted]) -> dict[tuple[str, str], int]:
    """Write contributions; their numbers by (scheme, receipt). Receipts taken meanwhile are left out."""
    rows = insert_returning(
        context.connection,
        contributions,
        {
            "scheme": [a.scheme for a in accepted],
            "coverage": [a.coverage for a in accepted],
            "amount_minor": [a.minor for a in accepted],
            "currency": [a.currency for a in accepted],
            "paid_on": [a.on for a in accepted],
            "receipt": [a.item.receipt for a in accepted],
            "method": [a.item.method for a in accepted],
            "payer": [a.item.payer for a in accepted],
            "override_reason": [a.item.override_reason for a in accepted],
            "audit": [context.audit] * len(accepted),
        },
        conflict="(scheme, receipt) DO NOTHING",
        returning="scheme, receipt, id",
    )
    return {(row[0], row[1]): row[2] for row in rows}


_UPDATE = sa.text("""
    UPDATE core.coverages AS c SET state = n.state, effective_from = n.effective_from
    FROM unnest(CAST(:id AS bigint[]), CAST(:state AS text[]), CAST(:effective_from AS date[]))
         AS n(id, state, effective_from)
    WHERE c.id = n.id
""")


def _update_policies(context: Context, changed: Sequence[Policy]) -> None:
    if changed:
        context.execute(
            _UPDATE,
            {
                "id": [p.id for p in changed],
                "state": [p.state for p in changed],
                "effective_from": [p.effective_from for p in changed],
            },
        )


_HOLD = sa.text("""
    UPDATE core.coverage_members AS m SET held = CAST(n.held AS daterange)
    FROM unnest(CAST(:id AS bigint[]), CAST(:held AS text[])) AS n(id, held) WHERE m.id = n.id
""")


def _hold_again(context: Context, reheld: Sequence[tuple[int, Hold]]) -> None:
    if reheld:
        context.execute(
            _HOLD, {"id": [row for row, _ in reheld], "held": [day_range(h.starts, h.ends) for _, h in reheld]}
        )


def _post(context: Context, accepted: Sequence[_Accepted]) -> None:
    sums: dict[str, int] = defaultdict(int)
    for one in accepted:
        sums[one.scheme] += one.minor
    for scheme, minor in sums.items():
        post(context, scheme, "contributions.record", {CASH: minor, RECEIVABLE: -minor})


def _outcomes(
    context: Context, judgement: _Judgement, written: Mapping[tuple[str, str], int]
) -> list[Recorded | Refusal]:
    """The outcomes with the ids of what was written."""
    numbers = [written[a.scheme, a.item.receipt] for a in judgement.accepted]
    identities = context.ids.encode_all("contributions", numbers)
    outcomes = list(judgement.outcomes)
    for one, identity in zip(judgement.accepted, identities, strict=True):
        outcomes[one.position] = evolve(outcomes[one.position], id=identity)
    return outcomes
