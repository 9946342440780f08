"""Queries of beneficiaries: one group, one person, and lists of persons within the caller's scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.beneficiaries.groups import GroupShown, MemberShown
from imis_core.beneficiaries.lookup import group_members, resolve_groups, resolve_persons
from imis_core.beneficiaries.memberships import person_reference
from imis_core.beneficiaries.tables import groups, identifiers, memberships, persons
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.places.lookup import location_codes, places_below, resolve_locations
from imis_core.queries import Listing, query

UNMASK: Final = "beneficiaries.unmask"  # the permission to see masked attributes
MASK: Final = "***"


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
    ids = context.ids.encode_all("persons", [m.person for m in members])
    return GroupShown(
        id=context.ids.encode("groups", group.id),
        code=group.code,
        kind=group.kind,
        status=group.status,
        location=location_codes(context, [group.place]).get(group.place or 0),
        head=next((m.number for m in members if m.relationship == "head"), None),
        primary=next((m.number for m in members if m.recipient == "primary"), None),
        alternate=next((m.number for m in members if m.recipient == "alternate"), None),
        members=tuple(
            MemberShown(id_, m.number, m.relationship, m.recipient) for id_, m in zip(ids, members, strict=True)
        ),
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
    id: str
    number: str
    given_name: str | None
    family_name: str | None
    sex: str
    birth_date: date
    death_date: date | None
    status: str
    location: str | None
    attributes: Mapping[str, Any]


@frozen(kw_only=True)
class PersonInFull(PersonShown):
    identifiers: tuple[IdentifierShown, ...]
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
    numbers = context.execute(
        sa.select(identifiers.c.system, identifiers.c.value)
        .where(identifiers.c.person == found.id, context.scoped(identifiers))
        .order_by(identifiers.c.id)
    )
    return PersonInFull(
        **_fields(context, [row])[0],
        identifiers=tuple(IdentifierShown(n.system, n.value) for n in numbers),
        groups=_groups_of(context, found.id),
    )


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
    """`location`: that place and those below it; `name`: how the given or the family name begins."""

    location: str | None = None
    number: str | None = None
    name: str | None = None


@query("beneficiaries.list", input=ListPersons, result=PersonShown, listing=True)
def list_persons(context: Context, wanted: ListPersons) -> Listing | Refusal:
    """Persons by number."""
    statement = sa.select(persons).where(context.scoped(persons))
    if wanted.location is not None:
        place = resolve_locations(context, [wanted.location], within_scope=True).get(wanted.location)
        if place is None:
            return not_found("location", "location", wanted.location)
        below = list(places_below(context.connection, [place.id]))
        statement = statement.where(persons.c.place == sa.any_(sa.literal(below, ARRAY(sa.BigInteger))))
    if wanted.number is not None:
        statement = statement.where(persons.c.number == wanted.number)
    if wanted.name is not None:
        statement = statement.where(
            sa.or_(
                persons.c.given_name.istartswith(wanted.name, autoescape=True),
                persons.c.family_name.istartswith(wanted.name, autoescape=True),
            )
        )

    def build(rows: Sequence[sa.Row[Any]]) -> list[PersonShown]:
        return [PersonShown(**fields) for fields in _fields(context, rows)]

    sortable = {"birth_date": persons.c.birth_date, "registered_on": persons.c.registered_on}
    return Listing(statement, [persons.c.number], build, sortable)


def _fields(context: Context, rows: Sequence[sa.Row[Any]]) -> list[dict[str, Any]]:
    """The fields of `PersonShown` for rows of persons."""
    codes = location_codes(context, {row.place for row in rows})
    masked = _masked(context)
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
            "attributes": {name: MASK if name in masked else value for name, value in row.attributes.items()},
        }
        for id_, row in zip(context.ids.encode_all("persons", [r.id for r in rows]), rows, strict=True)
    ]


def _masked(context: Context) -> frozenset[str]:
    """Names of attributes that this caller sees masked."""
    if context.caller.may(UNMASK):
        return frozenset()
    declared = context.settings.deployment.attributes or {}
    return frozenset(name for name, rule in declared.items() if rule.masked and rule.of == "person")


QUERIES = (show_group, show_person, list_persons)
