"""Persons and groups for other rooms: found by number, code or outside id within the caller's scope, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.errors import ImisError, refused
from imis_core.security.tables import lookups


@frozen
class PersonRow:
    """A person. `death_date` None: alive; `status` is `active` or `inactive`, since `status_on` (None: ever since).

    `place` is the location's key.
    """

    id: int
    number: str
    sex: str
    birth_date: date
    death_date: date | None
    status: str
    place: int | None
    status_on: date | None = None

    def valid_on(self, day: date) -> bool:
        """Whether the person was alive and not inactive on a day; what happened after it changes nothing."""
        inactive = self.status != "active" and (self.status_on is None or self.status_on <= day)
        return not inactive and (self.death_date is None or day <= self.death_date)


@frozen
class GroupRow:
    id: int
    code: str
    kind: str
    status: str
    place: int | None
    attributes: Mapping[str, Any]
    poverty: bool | None = None
    confirmation_number: str | None = None


@frozen
class MemberRow:
    """A current member of a group. `ordinal` gives the order of registration."""

    membership: int
    group: int
    person: int
    number: str
    sex: str
    birth_date: date
    death_date: date | None
    relationship: str
    recipient: str | None
    ordinal: int
    joined_on: date


def resolve_persons(context: Context, refs: Iterable[str], exact: bool = False) -> dict[str, PersonRow]:
    """The persons that are named by number or outside id and that the caller may see; others are left out.

    Who was merged into another person is that other one, whichever of the two numbers is named.
    `exact`: a caller with contracted providers also finds any person by exact number; each such find is logged and
    widens the scope of this transaction by that person.
    """
    wanted = set(refs)
    found = _persons(context, wanted)
    if exact and context.caller.providers and not context.caller.everywhere:
        missing = sorted(wanted - set(found))
        if missing:
            found |= _look_up(context, missing)
    return found


def _persons(context: Context, wanted: Iterable[str]) -> dict[str, PersonRow]:
    table = persons.c
    columns = (
        table.id,
        table.number,
        table.sex,
        table.birth_date,
        table.death_date,
        table.status,
        table.place,
        table.status_on,
    )
    rows = context.named(persons, wanted, *columns, table.merged_into, by="number")
    found = {name: _person(row) for name, row in rows if row.merged_into is None}
    merged = {name: row.merged_into for name, row in rows if row.merged_into is not None}
    if merged:
        kept = context.execute(
            sa.select(*columns).where(
                table.id == any_of(merged.values()),
                context.scoped(persons),
            )
        )
        by_key = {row.id: _person(row) for row in kept}
        found |= {name: by_key[key] for name, key in merged.items() if key in by_key}
    return found


def _person(row: Any) -> PersonRow:
    return PersonRow(row.id, row.number, row.sex, row.birth_date, row.death_date, row.status, row.place, row.status_on)


def _look_up(context: Context, numbers: list[str]) -> dict[str, PersonRow]:
    """Persons outside the caller's scope by exact number, each find logged. Raises `lookups.too_many`.

    Finds are counted in the log, so over all processes; tries, found or not, by each process.
    """
    limit = context.settings.security.lookups_per_hour
    wait = context.app.lookups.take(context.caller.user, len(numbers))
    if wait is not None:
        raise _too_many(limit, wait)
    rows = context.execute(
        _FIND, {"numbers": numbers, "user": context.caller.user, "since": context.now - _LOOKUP_WINDOW}
    ).all()
    ids = [row.key for row in rows if row.key is not None]
    if limit and rows[0].used + len(ids) > limit:
        first = rows[0].first or context.now
        raise _too_many(limit, max(1, int((first + _LOOKUP_WINDOW - context.now).total_seconds())))
    if not ids:
        return {}
    context.look_up(ids)
    insert_rows(
        context.connection,
        lookups,
        {
            "at": [context.now] * len(ids),
            "user": [context.caller.user] * len(ids),
            "person": ids,
            "command": [context.command] * len(ids),
        },
    )
    found = _persons(context, set(numbers))
    context.logged.update(found)
    return found


_LOOKUP_WINDOW: Final = timedelta(hours=1)
_FIND: Final = sa.text(
    """
    SELECT used.used, used.first, found.key
    FROM (SELECT count(*) AS used, min(at) AS first FROM core.lookups WHERE "user" = :user AND at > :since) used
    LEFT JOIN (
        SELECT DISTINCT key FROM core.find_persons(CAST(:numbers AS text[])) f
        CROSS JOIN unnest(ARRAY[f.id, coalesce(f.merged_into, f.id)]) AS key
    ) found ON true ORDER BY found.key
    """
)


def _too_many(limit: int, wait: int) -> ImisError:
    message = f"you looked up more than {limit} persons by number within an hour; go on in {wait} seconds"
    return refused("lookups.too_many", message, retry_after=wait)


def merged_persons(name: str = "merged") -> sa.Subquery:
    """Who turned out to be somebody else: `id`, and `merged_into`, who was kept (of several in a row, the last one).

    To be joined to a statement over many persons: they are few, and an index has them all. It carries no scope.
    """
    select = sa.select(persons.c.id, persons.c.merged_into).where(persons.c.merged_into.is_not(None))
    return select.subquery(name)


def resolve_groups(context: Context, refs: Iterable[str], *, lock: bool = False) -> dict[str, GroupRow]:
    """The groups that are named by code or outside id and that the caller may see; others are left out.

    `lock`: in the order of their keys, against other changes.
    """
    table = groups.c
    columns = (
        table.id,
        table.code,
        table.kind,
        table.status,
        table.place,
        table.attributes,
        table.poverty,
        table.confirmation_number,
    )
    return {name: GroupRow(*row) for name, row in context.named(groups, refs, *columns, lock=lock)}


def group_members(context: Context, group_ids: Iterable[int]) -> dict[int, tuple[MemberRow, ...]]:
    """The current members of each group in order of registration, as far as the caller may see them."""
    wanted = sorted(set(group_ids))
    found: dict[int, list[MemberRow]] = {group: [] for group in wanted}
    if not wanted:
        return {}
    m, p = memberships.c, persons.c
    rows: Iterable[Any] = context.execute(
        sa.select(
            m.id, m.group, m.person, p.number, p.sex, p.birth_date, p.death_date,
            m.relationship, m.recipient, m.ordinal, m.joined_on,
        )
        .join(persons, p.id == m.person)
        .where(
            m.group == any_of(wanted),
            m.left_on.is_(None),
            context.scoped(memberships),
            context.scoped(persons),
        )
        .order_by(m.group, m.ordinal)
    )  # fmt: skip
    for row in rows:
        found[row.group].append(MemberRow(*row))
    return {group: tuple(members) for group, members in found.items()}
