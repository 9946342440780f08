"""Finding policies for commands, queries and other rooms, and showing them. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import persons
from imis_core.benefit_packages.tables import packages
from imis_core.context import Context
from imis_core.coverage.paid import Paid, owed_minor, paid_for
from imis_core.coverage.states import state_on
from imis_core.coverage.tables import coverage_members, coverages
from imis_core.database.arrays import any_of
from imis_core.values import Money

NOUN: Final = "coverages"


@frozen(kw_only=True)
class Policy:
    """A policy's own row; amounts in minor units of `currency`."""

    id: int
    scheme: str
    package: int
    package_version: int
    group: int | None
    person: int | None
    renews: int | None
    state: str
    enrolled_on: date
    starts: date
    ends: date
    last_payment: date
    effective_from: date | None
    terminated_on: date | None
    currency: str
    value_minor: int
    subsidy_minor: int
    due_minor: int


@frozen(kw_only=True)
class Member:
    """A person whom a policy counts. `effective_from`: the first day of his or her own cover, null until paid."""

    id: str
    number: str
    effective_from: date | None = None


@frozen(kw_only=True)
class PolicyShown:
    """A policy as commands and queries tell it.

    `balance` is what the household still owes: due - paid, negative for a credit; when terminated, only what was
    refunded and not paid after all. `paid` has what came from the policy before, and not what went to the one after or
    is refunded.
    """

    id: str
    scheme: str
    package: str
    status: str
    starts: date
    ends: date
    value: Money
    subsidy: Money
    due: Money
    paid: Money
    balance: Money
    last_payment: date
    effective_from: date | None
    terminated_on: date | None
    members: tuple[Member, ...]


FIELDS: Final = tuple(name for name in Policy.__annotations__)
COLUMNS: Final = tuple(coverages.c[name] for name in FIELDS)


def policy(row: Any) -> Policy:
    """A policy from a row of `COLUMNS`."""
    return Policy(**{name: getattr(row, name) for name in FIELDS})


def load_policies(context: Context, ids: Iterable[int], *, lock: bool = False) -> dict[int, Policy]:
    """The policies that the caller may see, by primary key; locked in the order of their keys if they will change."""
    wanted = list(set(ids))
    if not wanted:
        return {}
    statement = (
        sa.select(*COLUMNS).where(coverages.c.id == any_of(wanted), context.scoped(coverages)).order_by(coverages.c.id)
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    return {row.id: policy(row) for row in context.execute(statement)}


def show_policies(context: Context, policies: Sequence[Policy]) -> list[PolicyShown]:
    """Policies as they are told outside, in order; three statements whatever their number."""
    ids = [p.id for p in policies]
    paid = paid_for(context, ids)
    members = _members(context, {p.id: p.effective_from for p in policies})
    codes = package_codes(context, {p.package for p in policies})
    outside = context.ids.encode_all(NOUN, ids)
    return [
        shown(one, identity, codes[one.package], members.get(one.id, ()), paid.get(one.id, Paid()).minor, context.today)
        for one, identity in zip(policies, outside, strict=True)
    ]


def shown(
    one: Policy, identity: str, package: str, members: Sequence[Member], paid_minor: int, today: date
) -> PolicyShown:
    """One policy as it is told outside."""

    def money(minor: int) -> Money:
        return Money(minor, one.currency)

    return PolicyShown(
        id=identity,
        scheme=one.scheme,
        package=package,
        status=state_on(one.state, one.ends, today),
        starts=one.starts,
        ends=one.ends,
        value=money(one.value_minor),
        subsidy=money(one.subsidy_minor),
        due=money(one.due_minor),
        paid=money(paid_minor),
        balance=money(owed_minor(one.state, one.due_minor, paid_minor)),
        last_payment=one.last_payment,
        effective_from=one.effective_from,
        terminated_on=one.terminated_on,
        members=tuple(members),
    )


def _members(context: Context, effective: Mapping[int, date | None]) -> dict[int, list[Member]]:
    """The members of policies, in order; `effective` has the policies' own first days."""
    ids = list(effective)
    if not ids:
        return {}
    m = coverage_members.c
    rows = context.execute(
        sa.select(m.coverage, persons.c.id, persons.c.number, m.late, m.effective_from)
        .join_from(coverage_members, persons, persons.c.id == m.person)
        .where(m.coverage == any_of(ids), context.scoped(persons))
        .order_by(m.coverage, m.ordinal)
    ).all()
    found: dict[int, list[Member]] = {}
    for row, identity in zip(rows, context.ids.encode_all("persons", [r.id for r in rows]), strict=True):
        first = row.effective_from if row.late else row.effective_from or effective[row.coverage]
        found.setdefault(row.coverage, []).append(Member(id=identity, number=row.number, effective_from=first))
    return found


def package_codes(context: Context, ids: Iterable[int]) -> dict[int, str]:
    """Codes of packages by primary key."""
    rows = context.execute(sa.select(packages.c.id, packages.c.code).where(packages.c.id == any_of(ids)))
    return {row.id: row.code for row in rows}
