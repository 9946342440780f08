"""Policies as accounts: what is due and paid, and the standing that follows; loaded, computed and written as a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, evolve, field

from imis_core.benefit_packages.lookup import versions_by_id
from imis_core.benefit_packages.schemes import PaymentTerms
from imis_core.context import Context
from imis_core.coverage.lookup import Policy
from imis_core.coverage.paid import Paid, given_up_minor, owed_minor, paid_for
from imis_core.coverage.quoting import payment_terms
from imis_core.coverage.standing import Joining, Payment, standing_of
from imis_core.coverage.states import COVERAGES, SUSPENDED, TERMINATED
from imis_core.coverage.tables import coverage_dues, coverage_members, coverage_suspensions
from imis_core.database.arrays import any_of


@define
class Account:
    """A policy after the items of a batch so far. `covered`: the first day of late joiners by their row.

    `paused`: somebody suspended it and nobody resumed it yet.
    """

    policy: Policy
    terms: PaymentTerms
    paid: Paid = field(factory=Paid)
    joinings: tuple[Joining, ...] = ()
    covered: dict[int, date | None] = field(factory=dict)
    paused: bool = False
    changed: bool = False
    changed_members: set[int] = field(factory=set)

    @property
    def balance(self) -> int:
        """What was not paid of what is due, in minor units; negative: a credit."""
        return self.policy.due_minor - self.paid.minor

    @property
    def not_covered(self) -> int:
        """What is due for late joiners who are not covered yet, in minor units."""
        return sum(joining.due_minor for joining in self.joinings if self.covered[joining.member] is None)

    @property
    def given_up(self) -> int:
        """What of it nobody owes, because the policy was terminated."""
        one = self.policy
        return given_up_minor(one.due_minor, self.paid.minor) if one.state == TERMINATED else 0

    @property
    def owed(self) -> int:
        """What the household owes, in minor units; negative: a credit."""
        return owed_minor(self.policy.state, self.policy.due_minor, self.paid.minor)

    def pay(self, payment: Payment) -> None:
        """Add a contribution."""
        self.paid = self.paid.with_(payment)
        self.settle()

    def join(self, joining: Joining, policy: Policy) -> None:
        """Add a member who joined; `policy` has the new amounts and the new last day of payment."""
        self.joinings = (*self.joinings, joining)
        self.covered[joining.member] = None
        self.policy, self.changed = policy, True
        self.settle()

    def settle(self) -> None:
        """Compute state and first days anew. What was terminated stays so."""
        one = self.policy
        standing = standing_of(
            one.enrolled_on, one.starts, one.due_minor - sum(j.due_minor for j in self.joinings),
            self.joinings, self.paid.payments, self.terms.underpaid,
        )  # fmt: skip
        state = standing.state
        if self.paused and standing.effective_from is not None:
            state = SUSPENDED
        if one.state == TERMINATED:
            state = TERMINATED
        if (state, standing.effective_from) != (one.state, one.effective_from):
            if state != one.state:
                assert COVERAGES.allows(one.state, state), f"{one.state} never becomes {state}"
            self.policy, self.changed = evolve(one, state=state, effective_from=standing.effective_from), True
        for member, before in self.covered.items():
            now = standing.members.get(member)
            if now != before:
                self.covered[member] = now
                self.changed_members.add(member)


def load_accounts(context: Context, policies: Mapping[int, Policy]) -> dict[int, Account]:
    """Accounts of policies that are locked. A constant number of statements."""
    if not policies:
        return {}
    terms = payment_terms(context, versions_by_id(context, {p.package_version for p in policies.values()}).values())
    paid = paid_for(context, policies)
    accounts = {n: Account(p, terms[p.package_version], paid.get(n, Paid())) for n, p in policies.items()}
    wanted = any_of(policies)
    d, m, s = coverage_dues.c, coverage_members.c, coverage_suspensions.c
    rows: Iterable[Any] = context.execute(
        sa.select(d.coverage, d.member, d.due_on, d.due_minor, m.effective_from)
        .join(coverage_members, m.id == d.member)
        .where(d.coverage == wanted)
        .order_by(d.coverage, d.id)
    )
    for coverage, member, on, minor, effective_from in rows:
        account = accounts[coverage]
        account.joinings = (*account.joinings, Joining(member, on, minor))
        account.covered[member] = effective_from
    for row in context.execute(sa.select(s.coverage).where(s.coverage == wanted, s.resumed_on.is_(None))):
        accounts[row.coverage].paused = True
    return accounts


def settle_again(context: Context, accounts: Mapping[int, Account], touched: Iterable[int]) -> None:
    """Let the policies stand by their payments as they are in the database now, and write what that changes."""
    chosen = sorted(touched)
    paid = paid_for(context, chosen)
    for number in chosen:
        accounts[number].paid = paid.get(number, Paid())
        accounts[number].settle()
    write_accounts(context, [accounts[number] for number in chosen])


def given_up(accounts: Iterable[Account], before: Mapping[int, int]) -> Counter[str]:
    """What is given up of terminated policies more than `before` (`Account.given_up` by policy), by scheme."""
    more: Counter[str] = Counter()
    for account in accounts:
        more[account.policy.scheme] += account.given_up - before[account.policy.id]
    return more


_POLICIES: Final = sa.text("""
    UPDATE core.coverages AS c SET state = n.state, effective_from = n.effective_from, last_payment = n.last_payment,
        value_minor = n.value_minor, subsidy_minor = n.subsidy_minor, due_minor = n.due_minor
    FROM unnest(CAST(:id AS bigint[]), CAST(:state AS text[]), CAST(:effective_from AS date[]),
                CAST(:last_payment AS date[]), CAST(:value_minor AS bigint[]), CAST(:subsidy_minor AS bigint[]),
                CAST(:due_minor AS bigint[]))
         AS n(id, state, effective_from, last_payment, value_minor, subsidy_minor, due_minor)
    WHERE c.id = n.id
""")
_MEMBERS: Final = sa.text("""
    UPDATE core.coverage_members AS m SET effective_from = n.effective_from
    FROM unnest(CAST(:id AS bigint[]), CAST(:effective_from AS date[])) AS n(id, effective_from) WHERE m.id = n.id
""")
_WRITTEN: Final = ("id", "state", "effective_from", "last_payment", "value_minor", "subsidy_minor", "due_minor")


def write_accounts(context: Context, accounts: Iterable[Account]) -> None:
    """Write what changed: at most two statements. Rows of late joiners must be there."""
    kept = list(accounts)
    changed = [account.policy for account in kept if account.changed]
    if changed:
        context.execute(_POLICIES, {name: [getattr(p, name) for p in changed] for name in _WRITTEN})
    members = [(member, a.covered[member]) for a in kept for member in sorted(a.changed_members)]
    if members:
        context.execute(_MEMBERS, {"id": [row[0] for row in members], "effective_from": [row[1] for row in members]})
