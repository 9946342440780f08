"""Queries of beneficiaries: one group, one person, and lists of both within the caller's scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.groups import GroupShown, MemberShown
from imis_core.beneficiaries.lookup import MemberRow, group_members, resolve_groups, resolve_persons
from imis_core.beneficiaries.masks import MASK, masked_attributes, masked_systems
from imis_core.beneficiaries.memberships import person_reference
from imis_core.beneficiaries.tables import groups, identifiers, memberships, persons
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Refusal, not_found
from imis_core.places.lookup import location_codes, places_below, resolve_locations
from imis_core.queries import Listing, query


@frozen(kw_only=True)
class ShowGroup:
    group: str


@query("beneficiaries.show_group", input=ShowGroup, result=GroupShown)
def show_group(context: Context, wanted: ShowGroup) -> GroupShown | Refusal:
    """A group with its current members; head, primary and alternate are numbers of persons."""
    group = resolve_groups(context, [wanted.group]).get(wanted.group)
    if group is None:
        return not_found("group", "group", wanted.group)
    members = group_members(context, [group.id])[group.id]
    return GroupShown(
        **_group_fields(context, group.id, members),
        code=group.code,
        kind=group.kind,
        status=group.status,
        location=location_codes(context, [group.place]).get(group.place or 0),
        poverty=group.poverty,
        confirmation_number=group.confirmation_number,
    )


@frozen(kw_only=True)
class ShowPerson:
    person: str | None = None
    number: str | None = None


@frozen
class IdentifierShown:
    system: str
    value: str


@frozen
class MembershipShown:
    """A current membership; `id` and `code` are the group's, null for a group that the caller may not see."""

    id: str | None
    code: str | None
    kind: str
    relationship: str
    recipient: str | None


@frozen(kw_only=True)
class PersonShown:
    """`status_on`: since when the status holds, null: since registration; `status_reason`: of it or of the death."""

    id: str
    number: str
    given_name: str | None
    family_name: str | None
    sex: str
    birth_date: date
    death_date: date | None
    status: str
    location: str | None
    location_id: str | None
    attributes: Mapping[str, Any]
    identifiers: tuple[IdentifierShown, ...]
    version: int
    status_on: date | None
    status_reason: str | None
    photo_on: date | None


@frozen(kw_only=True)
class PersonInFull(PersonShown):
    groups: tuple[MembershipShown, ...]


@query("beneficiaries.show_person", input=ShowPerson, result=PersonInFull)
def show_person(context: Context, wanted: ShowPerson) -> PersonInFull | Refusal:
    """A person with identifiers, attributes and groups; masked attributes need a permission of their own."""
    reference = person_reference(wanted)
    if isinstance(reference, Refusal):
        return reference
    found = resolve_persons(context, [reference]).get(reference)
    if found is None:
        return not_found("number" if wanted.person is None else "person", "person", reference)
    row = context.execute(sa.select(persons).where(persons.c.id == found.id, context.scoped(persons))).one()
    return PersonInFull(**_fields(context, [row])[0], groups=_groups_of(context, found.id))


def _groups_of(context: Context, person: int) -> tuple[MembershipShown, ...]:
    m, g = memberships.c, groups.c
    rows = context.execute(
        sa.select(m.kind, m.relationship, m.recipient, g.id, g.code)
        .join(groups, sa.and_(g.id == m.group, context.scoped(groups)), isouter=True)
        .where(m.person == person, m.left_on.is_(None), context.scoped(memberships))
        .order_by(m.id)
    )
    return tuple(
        MembershipShown(
            None if row.id is None else context.ids.encode("groups", row.id),
            row.code, row.kind, row.relationship, row.recipient,
        )
        for row in rows
    )  # fmt: skip


@frozen(kw_only=True)
class ListPersons:
    """`location`: that place and those below it; `name`: how the given or the family name begins.

    `identifier`: the number, or the value of an identifier; with `system` only an identifier of that system.
    """

    id: str | None = None
    location: str | None = None
    number: str | None = None
    identifier: str | None = None
    system: str | None = None
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    sex: str | None = None
    born_from: date | None = None
    born_to: date | None = None


@query("beneficiaries.list", input=ListPersons, result=PersonShown, listing=True)
def list_persons(context: Context, wanted: ListPersons) -> Listing | Refusal:
    """Persons by number."""
    statement = sa.select(persons).where(context.scoped(persons))
    if wanted.location is not None:
        place = resolve_locations(context, [wanted.location], within_scope=True).get(wanted.location)
        if place is None:
            return not_found("location", "location", wanted.location)
        below = list(places_below(context.connection, [place.id]))
        statement = statement.where(persons.c.place == any_of(below))
    statement = statement.where(*_named_so(wanted), *_of_whom(context, wanted))

    def build(rows: Sequence[sa.Row[Any]]) -> list[PersonShown]:
        return [PersonShown(**fields) for fields in _fields(context, rows)]

    sortable = {"birth_date": persons.c.birth_date, "registered_on": persons.c.registered_on}
    return Listing(statement, [persons.c.number], build, sortable)


def _named_so(wanted: ListPersons) -> list[sa.ColumnElement[bool]]:
    """The conditions on names: how each begins, in any case of letters."""
    begins = {
        name: [column.istartswith(beginning, autoescape=True) for column in columns]
        for name, columns in (
            ("name", (persons.c.given_name, persons.c.family_name)),
            ("given_name", (persons.c.given_name,)),
            ("family_name", (persons.c.family_name,)),
        )
        if (beginning := getattr(wanted, name)) is not None
    }
    return [sa.or_(*conditions) for conditions in begins.values()]


def _of_whom(context: Context, wanted: ListPersons) -> list[sa.ColumnElement[bool]]:
    """The conditions on who it is: id, number, identifier, sex and birth date."""
    found: list[sa.ColumnElement[bool]] = []
    if wanted.id is not None:
        found.append(_is(context, persons, wanted.id))
    if wanted.number is not None:
        found.append(persons.c.number == wanted.number)
    if wanted.identifier is not None or wanted.system is not None:
        known = sa.exists().where(identifiers.c.person == persons.c.id, context.scoped(identifiers))
        if wanted.identifier is not None:
            known = known.where(identifiers.c.value == wanted.identifier)
        if wanted.system is not None:
            known = known.where(identifiers.c.system == wanted.system)
        found.append(known if wanted.system is not None else sa.or_(known, persons.c.number == wanted.identifier))
    if wanted.sex is not None:
        found.append(persons.c.sex == wanted.sex)
    if wanted.born_from is not None:
        found.append(persons.c.birth_date >= wanted.born_from)
    if wanted.born_to is not None:
        found.append(persons.c.birth_date <= wanted.born_to)
    return found


def _is(context: Context, table: sa.Table, outside: str) -> sa.ColumnElement[bool]:
    """The row of an outside id; none for a text that is no id of the table's noun."""
    number = context.ids.decode(table.info["noun"], outside)
    return sa.false() if number is None else table.c.id == number


def _fields(context: Context, rows: Sequence[sa.Row[Any]]) -> list[dict[str, Any]]:
    """The fields of `PersonShown` for rows of persons; two statements for all."""
    codes = location_codes(context, {row.place for row in rows})
    places = _place_ids(context, rows)
    known = _identifiers(context, [row.id for row in rows])
    return [
        {
            "id": id_,
            "number": row.number,
            "given_name": row.given_name,
            "family_name": row.family_name,
            "sex": row.sex,
            "birth_date": row.birth_date,
            "death_date": row.death_date,
            "status": row.status,
            "location": None if row.place is None else codes[row.place],
            "location_id": places.get(row.place),
            "attributes": masked_attributes(context, row.attributes),
            "identifiers": tuple(known.get(row.id, ())),
            "version": row.version,
            "status_on": row.status_on,
            "status_reason": row.status_reason,
            "photo_on": row.photo_on,
        }
        for id_, row in zip(context.ids.encode_all("persons", [r.id for r in rows]), rows, strict=True)
    ]


def _place_ids(context: Context, rows: Sequence[Any]) -> dict[int | None, str]:
    """The outside ids of the rows' places."""
    places = sorted({row.place for row in rows if row.place is not None})
    return dict(zip(places, context.ids.encode_all("locations", places), strict=True))


def _identifiers(context: Context, ids: Sequence[int]) -> dict[int, list[IdentifierShown]]:
    """The identifiers of persons in order of entry; one statement."""
    rows = context.execute(
        sa.select(identifiers.c.person, identifiers.c.system, identifiers.c.value)
        .where(identifiers.c.person == any_of(ids), context.scoped(identifiers))
        .order_by(identifiers.c.id)
    )
    found: dict[int, list[IdentifierShown]] = {}
    masked = masked_systems(context)
    for row in rows:
        value = MASK if row.system in masked else row.value
        found.setdefault(row.person, []).append(IdentifierShown(row.system, value))
    return found


@frozen(kw_only=True)
class ListGroups:
    """`location`: that place and those below it; `person` (id or number): a current member."""

    id: str | None = None
    code: str | None = None
    kind: str | None = None
    status: str | None = None
    location: str | None = None
    person: str | None = None


@frozen(kw_only=True)
class ListedGroup(GroupShown):
    """A group as `show_group` tells it; `version` grows with every change of the group or its members."""

    location_id: str | None
    version: int


@query("beneficiaries.list_groups", input=ListGroups, result=ListedGroup, listing=True)
def list_groups(context: Context, wanted: ListGroups) -> Listing | Refusal:
    """Groups by code, with their current members."""
    g = groups.c
    changes = sa.select(sa.func.sum(memberships.c.version)).where(memberships.c.group == g.id).scalar_subquery()
    version = (g.version + sa.func.coalesce(changes, 0)).label("changes")
    statement = sa.select(g.id, g.code, g.kind, g.status, g.place, g.poverty, g.confirmation_number, version).where(
        context.scoped(groups)
    )
    if wanted.id is not None:
        statement = statement.where(_is(context, groups, wanted.id))
    for column in (g.code, g.kind, g.status):
        asked = getattr(wanted, column.name)
        if asked is not None:
            statement = statement.where(column == asked)
    if wanted.location is not None:
        place = resolve_locations(context, [wanted.location], within_scope=True).get(wanted.location)
        if place is None:
            return not_found("location", "location", wanted.location)
        below = list(places_below(context.connection, [place.id]))
        statement = statement.where(g.place == any_of(below))
    if wanted.person is not None:
        person = resolve_persons(context, [wanted.person]).get(wanted.person)
        if person is None:
            return not_found("person", "person", wanted.person)
        m = memberships.c
        statement = statement.where(
            sa.exists().where(m.group == g.id, m.person == person.id, m.left_on.is_(None), context.scoped(memberships))
        )
    return Listing(statement, [g.code], lambda rows: _listed_groups(context, rows))


def _listed_groups(context: Context, rows: Sequence[Any]) -> list[ListedGroup]:
    """Rows of groups as they are told; two statements for all."""
    codes = location_codes(context, [row.place for row in rows])
    places = _place_ids(context, rows)
    members = group_members(context, [row.id for row in rows])
    return [
        ListedGroup(
            **_group_fields(context, row.id, members[row.id]), code=row.code, kind=row.kind, status=row.status,
            location=codes.get(row.place), location_id=places.get(row.place), version=int(row.changes),
            poverty=row.poverty, confirmation_number=row.confirmation_number,
        )
        for row in rows
    ]  # fmt: skip


def _group_fields(context: Context, group: int, members: Sequence[MemberRow]) -> dict[str, Any]:
    """The fields of `GroupShown` that come from the members."""
    ids = context.ids.encode_all("persons", [m.person for m in members])
    return {
        "id": context.ids.encode("groups", group),
        "head": next((m.number for m in members if m.relationship == "head"), None),
        "primary": next((m.number for m in members if m.recipient == "primary"), None),
        "alternate": next((m.number for m in members if m.recipient == "alternate"), None),
        "members": tuple(
            MemberShown(id_, m.number, m.relationship, m.recipient) for id_, m in zip(ids, members, strict=True)
        ),
    }


QUERIES = (show_group, show_person, list_persons, list_groups)
