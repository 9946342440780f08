"""Commands that change groups: who joins and leaves, who is head and recipient, and death."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Literal, Protocol, TypeVar

import sqlalchemy as sa
from attrs import evolve, frozen

from imis_core.beneficiaries.checking import BeneficiaryBatch, check_batch
from imis_core.beneficiaries.groups import (
    GroupShown,
    MemberShown,
    Snapshot,
    WorkGroup,
    Workshop,
    already_member,
    hidden_members,
)
from imis_core.beneficiaries.households import Member, Recipient, Relationship
from imis_core.beneficiaries.joining import Joined, after_joining
from imis_core.beneficiaries.lookup import PersonRow
from imis_core.beneficiaries.persons import (
    Identifier,
    NewPerson,
    PersonChecks,
    Places,
    Sex,
    Taken,
    assign,
    write_persons,
)
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found

I = TypeVar("I")  # noqa: E741 - the input of a command


# --- naming persons


class NamesPerson(Protocol):
    """An input that names a person by `person` (number or id) or by `number`."""

    @property
    def person(self) -> str | None: ...
    @property
    def number(self) -> str | None: ...


@frozen(kw_only=True)
class MemberInput:
    """A member of a group: an existing person (`person` or `number` alone) or a new one (with a person's fields)."""

    person: str | None = None
    number: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    sex: Sex | None = None
    birth_date: date | None = None
    location: str | None = None
    identifiers: tuple[Identifier, ...] = ()
    attributes: dict[str, Any] | None = None
    relationship: Relationship
    recipient: Recipient | None = None


def existing_reference(member: MemberInput, at: str) -> str | Refusal | None:
    """The reference of a member with only `person` or `number`; None for a new person; a refusal for a mixture."""
    described = (
        member.sex is not None
        or member.birth_date is not None
        or member.given_name is not None
        or member.family_name is not None
        or member.location is not None
        or bool(member.identifiers)
        or member.attributes is not None
    )
    if member.person is None:
        return None if described or member.number is None else member.number
    if described or member.number is not None:
        message = "a member who is named by `person` is there already; give no other field of a person"
        return invalid(Problem(f"{at}person", "existing", message))
    return member.person


def person_reference(item: NamesPerson) -> str | Refusal:
    """The one name of a person in an input."""
    if item.person is not None and item.number is not None:
        return invalid(Problem("number", "duplicate", "name the person by `person` or by `number`, not by both"))
    name = item.person if item.person is not None else item.number
    if name is None:
        return invalid(Problem("person", "required", "name the person by `person` or by `number`"))
    return name


def _path(item: NamesPerson) -> str:
    return "number" if item.person is None else "person"


def _day(context: Context, on: date | None) -> date | Refusal:
    if on is not None and on > context.today:
        return invalid(Problem("on", "future", f"{on} lies in the future; today is {context.today}"))
    return on or context.today


# --- joining


@frozen(kw_only=True)
class AddMember(MemberInput):
    """A member who joins a group; see `MemberInput`."""

    group: str
    on: date | None = None


@command("beneficiaries.add_member", input=AddMember, result=GroupShown)
def add_members(context: Context, items: tuple[AddMember, ...]) -> list[GroupShown | Refusal]:
    """Add an existing or a new person to a group; as head or recipient he or she replaces the old one."""
    references = [existing_reference(item, "") for item in items]
    shop = Workshop.load(context, {item.group for item in items}, {r for r in references if isinstance(r, str)})
    checks = PersonChecks(context, [item.number for item in items])
    places = Places(context, [item.location for item in items])
    joined = [shop.groups.get(item.group) for item in items]
    objections = _objections(context, joined)
    drafts: list[NewPerson | str | Refusal] = [
        objection or (_draft(item, group, checks, places) if reference is None else reference)
        for item, reference, group, objection in zip(items, references, joined, objections, strict=True)
    ]
    new_people = [d for d in drafts if isinstance(d, NewPerson)]
    taken = Taken(context, new_people)
    exhausted = assign(context, checks.rule, new_people)
    created: dict[str, PersonRow] = {}
    written: list[NewPerson] = []
    snapshots: list[Snapshot | Refusal] = []
    joins: list[Joined] = []
    for item, draft in zip(items, drafts, strict=True):
        group, day = shop.groups.get(item.group), _day(context, item.on)
        if group is None:
            snapshots.append(not_found("group", "group", item.group))
            continue
        refusal = day if isinstance(day, Refusal) else None
        refusal = refusal or _join_refusal(item, draft, group, shop, taken, created)
        if refusal is None and isinstance(draft, NewPerson):
            refusal = exhausted
        if refusal is not None or isinstance(draft, Refusal) or isinstance(day, Refusal):
            assert refusal is not None
            snapshots.append(refusal)
            continue
        if isinstance(draft, NewPerson):
            taken.take((draft,))
            written.append(draft)
            row = _person_row(draft)
            created[row.number] = row
        else:
            row = shop.persons.get(draft) or created[draft]
        group.household.join(row.id, row.number, row.birth_date, item.relationship, item.recipient, day)
        group.settle(day)
        shop.belongs[row.id, group.kind] = group.id
        joins.append(Joined(group.id, row.id, item.relationship, day))
        snapshots.append(Snapshot.of(group))
    write_persons(context, written)
    shop.write()
    after_joining(context, joins)
    return shop.show(snapshots)


def _objections(context: Context, joined: Sequence[WorkGroup | None]) -> list[Refusal | None]:
    """What the registry or a plugin has against each group that takes a member."""
    known = [group for group in joined if group is not None]
    kinds, places = tuple(group.kind for group in known), tuple(group.place for group in known)
    objections = iter(check_batch(context, BeneficiaryBatch("beneficiaries.add_member", kinds, places)))
    return [None if group is None else next(objections) for group in joined]


def _draft(item: AddMember, group: WorkGroup | None, checks: PersonChecks, places: Places) -> NewPerson | Refusal:
    """A new member, who lives where the group does unless told otherwise."""
    if group is not None and item.location is None:
        return checks.check(item, group.place)
    place = places.check("location", item.location)
    return place if isinstance(place, Refusal) else checks.check(item, place)


def _person_row(person: NewPerson) -> PersonRow:
    return PersonRow(person.id, person.number or "", person.sex, person.birth_date, None, "active", person.place)


def _join_refusal(
    item: AddMember, draft: NewPerson | str | Refusal, group: WorkGroup, shop: Workshop, taken: Taken,
    created: dict[str, PersonRow],
) -> Refusal | None:  # fmt: skip
    if isinstance(draft, Refusal):
        return draft
    if group.hidden_members:
        return hidden_members(group)
    if isinstance(draft, NewPerson):
        return taken.refusal([("", draft)])
    person = shop.persons.get(draft) or created.get(draft)
    if person is None:
        return not_found(_path(item), "person", draft)
    if person.death_date is not None:
        return Refusal("beneficiaries.wrong_state", f"person {person.number!r} died on {person.death_date}")
    if (person.id, group.kind) in shop.belongs:
        return already_member(_path(item), person.number, group.kind)
    return None


# --- changes of members


@frozen(kw_only=True)
class RemoveMember:
    group: str
    person: str | None = None
    number: str | None = None
    on: date | None = None
    reason: str | None = None


@frozen(kw_only=True)
class ChangeHead:
    group: str
    person: str | None = None
    number: str | None = None


@frozen(kw_only=True)
class SetRecipient:
    group: str
    person: str | None = None
    number: str | None = None
    recipient: Literal["primary", "alternate", "none"]


class _NamesMember(NamesPerson, Protocol):
    @property
    def group(self) -> str: ...


M = TypeVar("M", bound=_NamesMember)


@command("beneficiaries.remove_member", input=RemoveMember, result=GroupShown)
def remove_members(context: Context, items: tuple[RemoveMember, ...]) -> list[GroupShown | Refusal]:
    """Remove a member from a group; the day is his or her last day in it."""

    def leave(shop: Workshop, item: RemoveMember, group: WorkGroup, member: Member) -> Refusal | None:
        day = _day(context, item.on)
        if isinstance(day, Refusal):
            return day
        if day < member.joined_on:
            message = f"person {member.number!r} joined on {member.joined_on}; take that day or a later one"
            return invalid(Problem("on", "before_joining", message))
        group.household.leave(member, day, item.reason)
        shop.belongs.pop((member.person, group.kind), None)
        group.settle(day)
        return None

    return _change(context, items, leave)


@command("beneficiaries.change_head", input=ChangeHead, result=GroupShown)
def change_heads(context: Context, items: tuple[ChangeHead, ...]) -> list[GroupShown | Refusal]:
    """Make a member the head of the group; the old head's relationship becomes `other`."""

    def lead(_: Workshop, __: ChangeHead, group: WorkGroup, member: Member) -> None:
        group.household.make_head(member)

    return _change(context, items, lead)


@command("beneficiaries.set_recipient", input=SetRecipient, result=GroupShown)
def set_recipients(context: Context, items: tuple[SetRecipient, ...]) -> list[GroupShown | Refusal]:
    """Make a member the primary or alternate recipient of payments, or neither."""

    def receive(_: Workshop, item: SetRecipient, group: WorkGroup, member: Member) -> None:
        group.household.make_recipient(member, None if item.recipient == "none" else item.recipient)
        group.settle(context.today)

    return _change(context, items, receive)


def _change(
    context: Context, items: Sequence[M], change: Callable[[Workshop, M, WorkGroup, Member], Refusal | None]
) -> list[GroupShown | Refusal]:
    """Change a named member of a named group, item by item."""
    references = [person_reference(item) for item in items]
    shop = Workshop.load(context, {item.group for item in items}, {r for r in references if isinstance(r, str)})
    snapshots: list[Snapshot | Refusal] = []
    for item, reference in zip(items, references, strict=True):
        found = reference if isinstance(reference, Refusal) else _member(shop, item, reference)
        if isinstance(found, Refusal):
            snapshots.append(found)
            continue
        group, member = found
        refusal = change(shop, item, group, member)
        snapshots.append(Snapshot.of(group) if refusal is None else refusal)
    shop.write()
    return shop.show(snapshots)


def _member(shop: Workshop, item: _NamesMember, reference: str) -> tuple[WorkGroup, Member] | Refusal:
    group = shop.groups.get(item.group)
    if group is None:
        return not_found("group", "group", item.group)
    person = shop.persons.get(reference)
    if person is None:
        return not_found(_path(item), "person", reference)
    if group.hidden_members:
        return hidden_members(group)
    member = group.household.find(person.id)
    if member is None:
        message = f"person {person.number!r} is no member of group {group.code!r}; add him or her first"
        return Refusal("beneficiaries.not_a_member", message, (Problem(_path(item), "not_a_member", message),))
    return group, member


# --- death


@frozen(kw_only=True)
class RecordDeath:
    person: str | None = None
    number: str | None = None
    on: date | None = None
    reason: str | None = None


@frozen(kw_only=True)
class DeathRecorded:
    """The person, and the group that he or she left as `show_group` (null where there was none)."""

    person: str
    number: str
    death_date: date
    id: str | None = None
    code: str | None = None
    kind: str | None = None
    status: str | None = None
    location: str | None = None
    head: str | None = None
    primary: str | None = None
    alternate: str | None = None
    members: tuple[MemberShown, ...] = ()


@command("beneficiaries.record_death", input=RecordDeath, result=DeathRecorded)
def record_deaths(context: Context, items: tuple[RecordDeath, ...]) -> list[DeathRecorded | Refusal]:
    """Record a person's death; he or she leaves every group on that day."""
    references = [person_reference(item) for item in items]
    shop = Workshop.load(context, (), {r for r in references if isinstance(r, str)}, with_their_groups=True)
    dead: dict[int, PersonRow] = {}
    outcomes: list[tuple[PersonRow, Snapshot | None] | Refusal] = []
    for item, reference in zip(items, references, strict=True):
        day = _day(context, item.on)
        if isinstance(reference, Refusal) or isinstance(day, Refusal):
            outcomes.append(reference if isinstance(reference, Refusal) else day)  # type: ignore[arg-type]
            continue
        person = shop.persons.get(reference)
        refusal = not_found(_path(item), "person", reference) if person is None else None
        if person is not None:
            refusal = _death_refusal(dead.get(person.id, person), day, shop)
        if person is None or refusal is not None:
            assert refusal is not None
            outcomes.append(refusal)
            continue
        dead[person.id] = evolve(person, death_date=day)
        outcomes.append((dead[person.id], _leave_all(shop, person.id, day)))
    if dead:
        reasons = {row[0].id: item.reason for item, row in zip(items, outcomes, strict=True) if isinstance(row, tuple)}
        context.execute(
            _RECORD_DEATHS,
            {
                "ids": list(dead),
                "days": [p.death_date for p in dead.values()],
                "reasons": [reasons[number] for number in dead],
            },
        )
    shop.write()
    return _deaths_shown(context, shop, outcomes)


def _groups_of(shop: Workshop, person: int) -> list[int]:
    return [group for (member, _), group in shop.belongs.items() if member == person]


def _death_refusal(person: PersonRow, day: date, shop: Workshop) -> Refusal | None:
    if person.death_date is not None:
        return Refusal("beneficiaries.wrong_state", f"person {person.number!r} died on {person.death_date} already")
    if day < person.birth_date:
        message = f"person {person.number!r} was born on {person.birth_date}; a death lies on that day or later"
        return invalid(Problem("on", "before_birth", message))
    for number in _groups_of(shop, person.id):
        group = shop.by_id.get(number)
        if group is None:
            message = f"person {person.number!r} belongs to a group that you do not see; ask somebody who sees it"
            return Refusal("beneficiaries.hidden_members", message)
        if group.hidden_members:
            return hidden_members(group)
    return None


def _leave_all(shop: Workshop, person: int, day: date) -> Snapshot | None:
    """The first of the groups that the person left, as it stands then."""
    first: Snapshot | None = None
    for number in _groups_of(shop, person):
        group = shop.by_id[number]
        member = group.household.find(person)
        assert member is not None
        group.household.leave(member, day, "death")
        group.settle(day)
        shop.belongs.pop((person, group.kind))
        first = first or Snapshot.of(group)
    return first


def _deaths_shown(
    context: Context, shop: Workshop, outcomes: Sequence[tuple[PersonRow, Snapshot | None] | Refusal]
) -> list[DeathRecorded | Refusal]:
    done = [o for o in outcomes if not isinstance(o, Refusal)]
    ids = iter(context.ids.encode_all("persons", [person.id for person, _ in done]))
    groups = iter(shop.show([snapshot for _, snapshot in done if snapshot is not None]))
    shown: list[DeathRecorded | Refusal] = []
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            shown.append(outcome)
            continue
        person, snapshot = outcome
        group = next(groups) if snapshot is not None else None
        assert person.death_date is not None
        fields: dict[str, Any] = {} if not isinstance(group, GroupShown) else _fields(group)
        shown.append(DeathRecorded(person=next(ids), number=person.number, death_date=person.death_date, **fields))
    return shown


def _fields(group: GroupShown) -> dict[str, Any]:
    names = ("id", "code", "kind", "status", "location", "head", "primary", "alternate", "members")
    return {name: getattr(group, name) for name in names}


_RECORD_DEATHS = sa.text(
    "UPDATE core.persons p SET death_date = n.day, status_reason = coalesce(n.reason, p.status_reason) "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[]), CAST(:reasons AS text[])) AS n(id, day, reason) "
    "WHERE p.id = n.id"
)
