"""Members who join a household that has policies: the contribution is computed anew, the others stay covered.

Who joins is covered from the day on which what is due more is paid, and at once if nothing is. Those beyond the counted
members, and those whom another policy of the package covers, are neither charged nor covered.
Source: health_insurance.md 2, 'A member who joins later'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from imis_core.beneficiaries.joining import Joined, MemberEffect
from imis_core.beneficiaries.tables import groups
from imis_core.benefit_packages.lookup import Version, versions_by_id
from imis_core.benefit_packages.schemes import Quote
from imis_core.context import Context
from imis_core.coverage.accounts import Account, load_accounts, write_accounts
from imis_core.coverage.dues import Due, book_dues, subsidies_of
from imis_core.coverage.holds import Hold, Holds
from imis_core.coverage.lookup import COLUMNS, Policy, policy
from imis_core.coverage.quoting import Candidate, QuoteCase, quotes_of
from imis_core.coverage.standing import Joining
from imis_core.coverage.states import IDLE, TERMINATED
from imis_core.coverage.tables import coverage_dues, coverage_members, coverages
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.database.engine import set_scope
from imis_core.errors import ImisError, Refusal
from imis_core.security.caller import system_caller
from imis_core.values import add_months


@frozen
class _Row:
    """A late joiner's row to be written, with what is due more."""

    member: int
    policy: Policy
    person: int
    ordinal: int
    on: date
    hold: Hold
    due: Due


@define
class _Work:
    """Policies of households that somebody joins, as a batch leaves them. `members` are in order of registration."""

    accounts: dict[int, Account]
    members: dict[int, list[Candidate]]
    people: Mapping[int, Candidate]
    versions: Mapping[int, Version]
    ends_before: Mapping[int, date]  # of renewals: the end of the policy that they follow
    attributes: Mapping[int, Mapping[str, Any]]
    subsidies: dict[int, dict[str, int]]
    holds: Holds
    ordinals: dict[int, int]
    rows: list[_Row] = field(factory=list)


def joined(context: Context, joins: Sequence[Joined]) -> None:
    """Let new members of households join their policies. A constant number of statements; one for no policy.

    Several who join one household are taken one after the other.
    """
    policies = _policies(context, joins)
    if not policies:
        return
    work = _load(context, policies, joins)
    waiting = list(joins)
    while waiting:
        wave: list[Joined] = []
        later: list[Joined] = []
        seen: set[int] = set()
        for one in waiting:
            (later if one.group in seen else wave).append(one)
            seen.add(one.group)
        _join(context, work, wave)
        waiting = later
    _write(context, work)


def _policies(context: Context, joins: Sequence[Joined]) -> dict[int, Policy]:
    """The policies of the households that may still take a member, locked in the order of their keys."""
    rows = context.execute(
        sa.select(*COLUMNS)
        .where(
            coverages.c.group == any_of(j.group for j in joins),
            coverages.c.state != TERMINATED,
            coverages.c.ends >= min(j.on for j in joins),
            context.scoped(coverages),
        )
        .order_by(coverages.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: policy(row) for row in rows}


# The members of policies, in order; who is gone was in the household once.
_MEMBERS: Final = sa.text(
    """
    SELECT m.coverage, p.id, p.number, p.birth_date, p.death_date, p.attributes, (
        SELECT s.relationship FROM core.memberships s WHERE s."group" = c."group" AND s.person = m.person
        ORDER BY s.id DESC LIMIT 1) AS relationship, m.ordinal
    FROM core.coverage_members m JOIN core.coverages c ON c.id = m.coverage JOIN core.persons p ON p.id = m.person
    WHERE m.coverage = ANY(CAST(:ids AS bigint[])) ORDER BY m.coverage, m.ordinal
    """
)
_PEOPLE: Final = sa.text(
    "SELECT p.id, p.number, p.birth_date, p.death_date, p.attributes FROM core.persons p "
    "WHERE p.id = ANY(CAST(:ids AS bigint[]))"
)


def _load(context: Context, policies: Mapping[int, Policy], joins: Sequence[Joined]) -> _Work:
    accounts = load_accounts(context, policies)
    people_ids = {j.person for j in joins}
    # The contribution counts everybody whom the policy counts, also who lives where the caller does not see.
    set_scope(context.connection, system_caller())
    members: dict[int, list[Candidate]] = {number: [] for number in policies}
    rows: Iterable[Any] = context.execute(_MEMBERS, {"ids": sorted(policies)})
    ordinals = dict.fromkeys(policies, 0)
    for row in rows:
        if all(m.id != row.id for m in members[row.coverage]):
            members[row.coverage].append(Candidate(*row[1:7]))
        ordinals[row.coverage] = row.ordinal
    found: Iterable[Any] = context.execute(_PEOPLE, {"ids": sorted(people_ids)})
    people = {row.id: Candidate(*row) for row in found}
    renewed = sorted({p.renews for p in policies.values() if p.renews is not None})
    ends = {
        row.id: row.ends
        for row in context.execute(sa.select(coverages.c.id, coverages.c.ends).where(coverages.c.id == any_of(renewed)))
    }
    attributes = {
        row.id: row.attributes
        for row in context.execute(
            sa.select(groups.c.id, groups.c.attributes).where(groups.c.id == any_of(j.group for j in joins))
        )
    }
    set_scope(context.connection, context.caller)
    return _Work(
        accounts=accounts,
        members=members,
        people=people,
        versions=versions_by_id(context, {p.package_version for p in policies.values()}),
        ends_before={p.id: ends[p.renews] for p in policies.values() if p.renews is not None},
        attributes=attributes,
        subsidies=subsidies_of(context, policies),
        ordinals=ordinals,
        holds=Holds.load(context, {p.package for p in policies.values()}, people_ids),
    )


def _join(context: Context, work: _Work, joins: Sequence[Joined]) -> None:
    """Let persons join who all belong to different households."""
    asked: list[tuple[Account, Candidate, date]] = []
    cases: list[QuoteCase] = []
    for join in joins:
        person = work.people[join.person].as_member(join.relationship)
        for number, account in work.accounts.items():
            one = account.policy
            on = max(join.on, one.enrolled_on)
            if one.group != join.group or not _takes(one, on):
                continue
            if work.holds.conflict(one.package, person.id, max(on, one.starts), one.ends, on, own=one.id) is not None:
                continue
            asked.append((account, person, on))
            cases.append(
                QuoteCase(
                    version=work.versions[one.package_version],
                    enrolled_on=one.enrolled_on,
                    reference=on,
                    group=join.group,
                    members=tuple(
                        work.members[number]
                        if _place(work, number, person) is not None
                        else (*work.members[number], person)
                    ),
                    attributes=work.attributes[join.group],
                    previous_end=work.ends_before.get(number),
                )
            )
    numbers = take_ids(context.connection, coverage_members, len(asked))
    for (account, person, on), quote, row in zip(asked, quotes_of(context, cases), numbers, strict=True):
        if isinstance(quote, Refusal):
            raise ImisError(quote)  # the household's contribution is larger than can be kept: nobody joins
        place = _place(work, account.policy.id, person)
        if (len(work.members[account.policy.id]) if place is None else place) in quote.counted:
            _count(work, account, person, on, quote, row)


def _place(work: _Work, number: int, person: Candidate) -> int | None:
    """The place of a person whom the policy counted before: who comes back is not charged twice."""
    return next((i for i, m in enumerate(work.members[number]) if m.id == person.id), None)


def _takes(one: Policy, on: date) -> bool:
    """Whether a policy takes a member on a day: it has not ended, and was not left unpaid too long."""
    return one.ends >= on and not (one.state == IDLE and one.last_payment < on)


def _count(work: _Work, account: Account, person: Candidate, on: date, quote: Quote, member: int) -> None:
    """Count one more member: what is due more, until when, and from when he or she is covered."""
    one = account.policy
    before, now = work.subsidies.get(one.id, {}), dict(quote.subsidies)
    change = {name: now.get(name, 0) - before.get(name, 0) for name in {**before, **now}}
    due = Due(one.id, one.scheme, quote.value_minor - one.value_minor, change)
    last_payment = one.last_payment
    if due.due_minor > 0:
        last_payment = max(last_payment, add_months(on, account.terms.grace_payment_months))
    after = evolve(
        one, value_minor=quote.value_minor, subsidy_minor=quote.subsidy_minor, due_minor=quote.due_minor,
        last_payment=last_payment,
    )  # fmt: skip
    hold = Hold(None, one.id, max(on, one.starts), one.ends, one.state, one.ends, last_payment)
    work.holds.take(one.package, person.id, hold)
    account.join(Joining(member, on, due.due_minor), after)
    work.subsidies[one.id] = now
    if _place(work, one.id, person) is None:
        work.members[one.id].append(person)
    work.ordinals[one.id] += 1
    work.rows.append(_Row(member, one, person.id, work.ordinals[one.id], on, hold, due))


def _write(context: Context, work: _Work) -> None:
    work.holds.write_changed(context)
    rows = work.rows
    if not rows:
        return
    insert_rows(
        context.connection,
        coverage_members,
        {
            "id": [r.member for r in rows],
            "coverage": [r.policy.id for r in rows],
            "package": [r.policy.package for r in rows],
            "person": [r.person for r in rows],
            "ordinal": [r.ordinal for r in rows],
            "joined_on": [r.on for r in rows],
            "late": [True] * len(rows),
            "held": [r.hold.text for r in rows],
        },
    )
    insert_rows(
        context.connection,
        coverage_dues,
        {
            "coverage": [r.policy.id for r in rows],
            "member": [r.member for r in rows],
            "due_on": [r.on for r in rows],
            "value_minor": [r.due.value_minor for r in rows],
            "subsidy_minor": [r.due.subsidy_minor for r in rows],
            "due_minor": [r.due.due_minor for r in rows],
            "audit": [context.audit] * len(rows),
        },
    )
    write_accounts(context, work.accounts.values())
    book_dues(context, [r.due for r in rows], "coverage.join")


EFFECT: Final = MemberEffect("coverage", joined)
