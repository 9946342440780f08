"""People who ask not to be selected: kept for good, and asked by every selection.

A group's exclusion holds for the group, a person's for the person: a household with a member who excluded himself or
herself can still be selected as a household, and members of an excluded household as persons.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_groups, resolve_persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_returning
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.registry.tables import exclusions


@frozen(kw_only=True)
class SelfExclude:
    """A group, or a person named by `person` (id or number) or by `number`."""

    group: str | None = None
    person: str | None = None
    number: str | None = None
    reason: str | None = None


@frozen(kw_only=True)
class SelfExcluded:
    """`group` is a code, `person` a number; `since` the day on which it was asked first."""

    status: str
    group: str | None
    person: str | None
    since: date


@command("registry.self_exclude", input=SelfExclude, result=SelfExcluded)
def self_exclude(context: Context, items: tuple[SelfExclude, ...]) -> list[SelfExcluded | Refusal]:
    """Keep that a group or a person never wants to be selected; asking again changes nothing."""
    groups = resolve_groups(context, {item.group for item in items if item.group is not None})
    people = resolve_persons(context, {name for item in items for name in (item.person, item.number) if name})
    outcomes: list[SelfExcluded | Refusal] = []
    wanted: dict[tuple[int | None, int | None], str | None] = {}
    holders: dict[int, tuple[int | None, int | None]] = {}
    for position, item in enumerate(items):
        named = [name for name in ("group", "person", "number") if getattr(item, name) is not None]
        group, person = groups.get(item.group or ""), people.get(item.person or item.number or "")
        if len(named) != 1:
            outcomes.append(invalid(Problem("group", "required", "name one of group, person and number")))
        elif group is None and person is None:
            what = "group" if item.group is not None else "person"
            outcomes.append(not_found(named[0], what, getattr(item, named[0])))
        else:
            holder = (None if group is None else group.id, None if person is None else person.id)
            holders[position] = holder
            wanted.setdefault(holder, item.reason)
            outcomes.append(
                SelfExcluded(
                    status="self_excluded", group=None if group is None else group.code,
                    person=None if person is None else person.number, since=context.today,
                )
            )  # fmt: skip
    since = _write(context, wanted)
    for position, holder in holders.items():
        outcome = outcomes[position]
        assert isinstance(outcome, SelfExcluded)
        outcomes[position] = SelfExcluded(
            status=outcome.status, group=outcome.group, person=outcome.person, since=since[holder]
        )
    return outcomes


def _write(
    context: Context, wanted: dict[tuple[int | None, int | None], str | None]
) -> dict[tuple[int | None, int | None], date]:
    """Keep the new ones; the day of each, old and new."""
    holders = list(wanted)
    if not holders:
        return {}
    insert_returning(
        context.connection,
        exclusions,
        {
            "group": [group for group, _ in holders],
            "person": [person for _, person in holders],
            "reason": [wanted[holder] for holder in holders],
            "excluded_on": [context.today] * len(holders),
            "audit": [context.audit] * len(holders),
        },
        conflict="DO NOTHING",
    )
    e = exclusions.c
    rows = context.execute(
        sa.select(e.group, e.person, e.excluded_on).where(
            sa.or_(
                e.group.in_([group for group, _ in holders if group is not None]),
                e.person.in_([person for _, person in holders if person is not None]),
            ),
            context.scoped(exclusions),
        )
    )
    return {(row.group, row.person): row.excluded_on for row in rows}


def self_excluded_groups_sql() -> sa.Select[Any]:
    """The keys of groups that asked never to be selected: one column `group`."""
    return sa.select(exclusions.c.group).where(exclusions.c.group.is_not(None))


def self_excluded_persons_sql() -> sa.Select[Any]:
    """The keys of persons who asked never to be selected: one column `person`."""
    return sa.select(exclusions.c.person).where(exclusions.c.person.is_not(None))


COMMANDS = (self_exclude,)
