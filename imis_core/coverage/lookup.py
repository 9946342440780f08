"""Finding policies for commands, queries and other rooms, and showing them. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.beneficiaries.tables import persons
from imis_core.benefit_packages.tables import packages
from imis_core.context import Context
from imis_core.coverage.states import TERMINATED, state_on
from imis_core.coverage.tables import contributions, coverage_members, coverages
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
    """A person whom a policy counts."""

    id: str
    number: str


@frozen(kw_only=True)
class PolicyShown:
    """A policy as commands and queries tell it. `balance` is what the household still owes; none when terminated."""

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


@frozen
class Paid:
    """What has been paid for a policy: the sum in minor units, and in how many parts."""

    minor: int = 0
    installments: int = 0


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
        sa.select(*COLUMNS).where(coverages.c.id == _any(wanted), context.scoped(coverages)).order_by(coverages.c.id)
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    return {row.id: policy(row) for row in context.execute(statement)}


def paid_for(context: Context, ids: Iterable[int]) -> dict[int, Paid]:
    """What has been paid, by policy; a policy without contributions is left out."""
    wanted = list(ids)
    if not wanted:
        return {}
    c = contributions.c
    rows: Iterable[Any] = context.execute(
        sa.select(c.coverage, sa.cast(sa.func.sum(c.amount_minor), sa.BigInteger), sa.func.count())
        .where(c.coverage == _any(wanted))
        .group_by(c.coverage)
    )
    return {row[0]: Paid(row[1], row[2]) for row in rows}


def show_policies(context: Context, policies: Sequence[Policy]) -> list[PolicyShown]:
    """Policies as they are told outside, in order; three statements whatever their number."""
    ids = [p.id for p in policies]
    paid = paid_for(context, ids)
    members = _members(context, ids)
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
        balance=money(0 if one.state == TERMINATED else one.due_minor - paid_minor),
        last_payment=one.last_payment,
        effective_from=one.effective_from,
        terminated_on=one.terminated_on,
        members=tuple(members),
    )


def _members(context: Context, ids: Sequence[int]) -> dict[int, list[Member]]:
    if not ids:
        return {}
    m = coverage_members.c
    rows = context.execute(
        sa.select(m.coverage, persons.c.id, persons.c.number)
        .join_from(coverage_members, persons, persons.c.id == m.person)
        .where(m.coverage == _any(ids), context.scoped(persons))
        .order_by(m.coverage, m.ordinal)
    ).all()
    found: dict[int, list[Member]] = {}
    for row, identity in zip(rows, context.ids.encode_all("persons", [r.id for r in rows]), strict=True):
        found.setdefault(row.coverage, []).append(Member(id=identity, number=row.number))
    return found


def package_codes(context: Context, ids: Iterable[int]) -> dict[int, str]:
    """Codes of packages by primary key."""
    rows = context.execute(sa.select(packages.c.id, packages.c.code).where(packages.c.id == _any(list(ids))))
    return {row.id: row.code for row in rows}


def _any(ids: Sequence[int]) -> Any:
    return sa.any_(sa.literal(list(ids), ARRAY(sa.BigInteger)))
