"""Which conditions of their terms households and members meet: asked once per package version and day, as one select.

The conditions are the scheme type's (`enrolment_conditions`); the expressions are compiled by the room `criteria`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.benefit_packages.schemes import Condition
from imis_core.context import Context
from imis_core.criteria.compiling import HOUSEHOLD_KIND, Criteria
from imis_core.database.arrays import any_of

NONE: frozenset[str] = frozenset()


@frozen
class Asked:
    """Whom conditions are asked about: the household (None: that of the one person), and the members."""

    version: int
    on: date
    group: int | None
    members: tuple[int, ...]
    conditions: Sequence[Condition] = field(eq=False)


@frozen
class Met:
    """Names of the conditions that a household meets, and each of its members."""

    household: frozenset[str] = NONE
    members: Mapping[int, frozenset[str]] = field(factory=dict)


def conditions_met(context: Context, asked: Sequence[Asked]) -> list[Met]:
    """What each meets, in order; at most two statements per package version and day that have conditions.

    Whoever asks, the whole household is looked at, also who lives where the caller does not see.
    """
    with_any = [one for one in asked if one.conditions]
    if not with_any:
        return [Met()] * len(asked)
    with context.seeing_all():
        return _met(context, asked, with_any)


def _met(context: Context, asked: Sequence[Asked], with_any: Sequence[Asked]) -> list[Met]:
    own = _households(context, {p for one in with_any if one.group is None for p in one.members})
    by_terms: dict[tuple[int, date], list[Asked]] = {}
    for one in with_any:
        by_terms.setdefault((one.version, one.on), []).append(one)
    households: dict[tuple[int, date, int], frozenset[str]] = {}
    members: dict[tuple[int, date, int], frozenset[str]] = {}
    for (version, on), cases in by_terms.items():
        conditions = cases[0].conditions
        groups_asked = {g for one in cases if (g := _household(one, own)) is not None}
        for number, names in _ask(context, conditions, "household", on, groups_asked).items():
            households[version, on, number] = names
        for number, names in _ask(context, conditions, "member", on, {p for one in cases for p in one.members}).items():
            members[version, on, number] = names
    return [
        Met(
            households.get((one.version, one.on, _household(one, own) or 0), NONE),
            {p: members.get((one.version, one.on, p), NONE) for p in one.members},
        )
        for one in asked
    ]


def _household(one: Asked, own: Mapping[int, int]) -> int | None:
    return one.group if one.group is not None else own.get(one.members[0])


def _households(context: Context, people: Iterable[int]) -> dict[int, int]:
    """The household of each person who is enrolled alone, if he or she has one."""
    wanted = sorted(set(people))
    if not wanted:
        return {}
    m = memberships.c
    rows = context.execute(
        sa.select(m.person, m.group).where(
            m.person == any_of(wanted), m.kind == HOUSEHOLD_KIND, m.left_on.is_(None), context.scoped(memberships)
        )
    )
    return {row.person: row.group for row in rows}


def _ask(
    context: Context, conditions: Sequence[Condition], of: Literal["household", "member"], on: date, keys: set[int]
) -> dict[int, frozenset[str]]:
    """The names that each household or person meets. One statement, none where there is nothing to ask."""
    wanted = [c for c in conditions if c.of == of]
    if not wanted or not keys:
        return {}
    only: Any = sa.literal(sorted(keys), ARRAY(sa.BigInteger)) if of == "household" else None
    criteria = Criteria(context, "household" if of == "household" else "person", sa.literal(on, sa.Date), only=only)
    columns = [criteria.condition(c.criterion.expression).label(f"c{i}") for i, c in enumerate(wanted)]
    table = groups if of == "household" else persons
    rows = context.execute(
        sa.select(table.c.id, *columns)
        .select_from(criteria.from_clause())
        .where(table.c.id == any_of(keys), context.scoped(table))
    )
    names = [c.name for c in wanted]
    return {row[0]: frozenset(name for name, met in zip(names, tuple(row)[1:], strict=True) if met) for row in rows}
