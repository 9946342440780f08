"""Commands that register persons and groups; those that change groups are in `memberships.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from attrs import define, frozen

from imis_core.beneficiaries.attributes import AttributeRules, CheckedAttributes, not_unique, taken_values
from imis_core.beneficiaries.change_group import change_groups
from imis_core.beneficiaries.change_person import change_persons
from imis_core.beneficiaries.checking import BeneficiaryBatch, check_batch
from imis_core.beneficiaries.groups import WorkGroup, Workshop, already_member, taken_codes
from imis_core.beneficiaries.households import Household
from imis_core.beneficiaries.lookup import PersonRow
from imis_core.beneficiaries.memberships import (
    MemberInput,
    add_members,
    change_heads,
    existing_reference,
    record_deaths,
    remove_members,
    set_recipients,
)
from imis_core.beneficiaries.persons import (
    Identifier,
    NewPerson,
    PersonChecks,
    Places,
    Sex,
    Taken,
    assign,
    write_persons,
    write_unique,
)
from imis_core.beneficiaries.statuses import set_statuses
from imis_core.beneficiaries.tables import groups
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import problems_of_texts


@frozen(kw_only=True)
class RegisterPerson:
    number: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    sex: Sex
    birth_date: date
    location: str | None = None
    identifiers: tuple[Identifier, ...] = ()
    attributes: dict[str, Any] | None = None


@frozen
class PersonResult:
    id: str
    number: str


@command("beneficiaries.register_person", input=RegisterPerson, result=PersonResult)
def register_persons(context: Context, items: tuple[RegisterPerson, ...]) -> list[PersonResult | Refusal]:
    """Register a person; a number is made where none is given."""
    checks = PersonChecks(context, [item.number for item in items])
    places = Places(context, [item.location for item in items])
    outcomes: list[NewPerson | Refusal] = []
    for item in items:
        place = places.check("location", item.location)
        outcomes.append(place if isinstance(place, Refusal) else checks.check(item, place))
    taken = Taken(context, [o for o in outcomes if isinstance(o, NewPerson)])
    for position, person in enumerate(outcomes):
        if isinstance(person, NewPerson):
            refusal = taken.refusal([("", person)])
            if refusal is None:
                taken.take((person,))
            else:
                outcomes[position] = refusal
    people = [o for o in outcomes if isinstance(o, NewPerson)]
    exhausted = assign(context, checks.rule, people)
    if exhausted is not None:
        return [o if isinstance(o, Refusal) else exhausted for o in outcomes]
    write_persons(context, people)
    ids = iter(context.ids.encode_all("persons", [p.id for p in people]))
    return [o if isinstance(o, Refusal) else PersonResult(next(ids), o.number or "") for o in outcomes]


@frozen(kw_only=True)
class RegisterGroup:
    """`poverty`: confirmed poor, or confirmed not; `confirmation_number`: of that confirmation."""

    code: str | None = None
    kind: str = "household"
    location: str | None = None
    poverty: bool | None = None
    confirmation_number: str | None = None
    attributes: dict[str, Any] | None = None
    members: tuple[MemberInput, ...]


@frozen
class RegisteredMember:
    id: str
    number: str
    relationship: str


@frozen
class GroupResult:
    id: str
    code: str
    members: tuple[RegisteredMember, ...]


@define
class _NewGroup:
    """A group that passed the checks of form. `members`: new persons, or references to existing ones."""

    item: RegisterGroup
    place: int | None
    attributes: CheckedAttributes
    members: list[NewPerson | str]
    work: WorkGroup | None = None

    @property
    def people(self) -> list[tuple[str, NewPerson]]:
        return [(f"members.{i}.", m) for i, m in enumerate(self.members) if isinstance(m, NewPerson)]


@command("beneficiaries.register_group", input=RegisterGroup, result=GroupResult)
def register_groups(context: Context, items: tuple[RegisterGroup, ...]) -> list[GroupResult | Refusal]:
    """Register a group (a household) with its members, new persons and existing ones."""
    checks = PersonChecks(context, [member.number for item in items for member in item.members])
    attribute_rules = AttributeRules(context.settings.deployment.attributes, "group")
    names = [item.location for item in items] + [m.location for item in items for m in item.members]
    places = Places(context, names)
    outcomes = [_checked(item, checks, attribute_rules, places) for item in items]
    _ask(context, outcomes)
    _plan(context, checks, outcomes)
    return _results(context, outcomes)


def _ask(context: Context, outcomes: list[_NewGroup | Refusal]) -> None:
    """Refuse what the registry or a plugin objects to."""
    fine = [(position, o) for position, o in enumerate(outcomes) if isinstance(o, _NewGroup)]
    kinds, places = tuple(o.item.kind for _, o in fine), tuple(o.place for _, o in fine)
    objections = check_batch(context, BeneficiaryBatch("beneficiaries.register_group", kinds, places))
    for (position, _), objection in zip(fine, objections, strict=True):
        if objection is not None:
            outcomes[position] = objection


def _checked(
    item: RegisterGroup, checks: PersonChecks, attribute_rules: AttributeRules, places: Places
) -> _NewGroup | Refusal:
    """What one group says by itself, before anything else is known."""
    texts = {"code": item.code, "kind": item.kind, "confirmation_number": item.confirmation_number}
    problems = problems_of_texts(texts, {})
    if not item.members:
        problems.append(Problem("members", "required", "a group has at least one member"))
    attributes = attribute_rules.check("attributes", item.attributes, problems)
    if problems:
        return invalid(*problems)
    refusal = _named_twice(item.members)
    if refusal is not None:
        return refusal
    place = places.check("location", item.location)
    if isinstance(place, Refusal):
        return place
    members: list[NewPerson | str] = []
    for index, member in enumerate(item.members):
        at = f"members.{index}."
        reference = existing_reference(member, at)
        if isinstance(reference, str):
            members.append(reference)
            continue
        if reference is not None:
            return reference
        own = place if member.location is None else places.check(f"{at}location", member.location)
        person = own if isinstance(own, Refusal) else checks.check(member, own, at)
        if isinstance(person, Refusal):
            return person
        members.append(person)
    return _NewGroup(item, place, attributes, members)


def _named_twice(members: Sequence[MemberInput]) -> Refusal | None:
    """One head, one primary and one alternate at most (contract-kernel.md, registry)."""
    counts = (
        ("two_heads", "heads", [m.relationship == "head" for m in members]),
        ("two_primaries", "primary recipients", [m.recipient == "primary" for m in members]),
        ("two_alternates", "alternate recipients", [m.recipient == "alternate" for m in members]),
    )
    for code, what, marks in counts:
        if sum(marks) > 1:
            message = f"the group names {sum(marks)} {what}; name one at most"
            return Refusal(f"beneficiaries.{code}", message)
    return None


def _plan(context: Context, checks: PersonChecks, outcomes: list[_NewGroup | Refusal]) -> None:
    """Judge the groups one after the other against what is there, then write those that stand."""
    fine = [o for o in outcomes if isinstance(o, _NewGroup)]
    new_people = [person for group in fine for _, person in group.people]
    shop = Workshop.load(context, (), {m for group in fine for m in group.members if isinstance(m, str)})
    taken = Taken(context, new_people)
    codes = taken_codes(context, [g.item.code for g in fine if g.item.code is not None])
    values = taken_values(context, "group", (pair for g in fine for pair in g.attributes.unique))
    exhausted = assign(context, checks.rule, new_people)
    group_ids = _fresh_groups(context, fine, codes)
    created: dict[str, PersonRow] = {}
    accepted: list[_NewGroup] = []
    for position, group in enumerate(outcomes):
        if isinstance(group, Refusal):
            continue
        refusal = exhausted or _refusal(group, shop, taken, created, codes, values)
        if refusal is not None:
            outcomes[position] = refusal
            continue
        people = [person for _, person in group.people]
        taken.take(people)
        values |= set(group.attributes.unique)
        created |= {p.number: _row(p) for p in people if p.number is not None}
        number, code = group_ids[id(group)]
        codes.add(code)
        _establish(context, shop, group, number, code, created)
        accepted.append(group)
    write_persons(context, [person for group in accepted for _, person in group.people])
    shop.write()
    write_unique(context, "group", [(g.work.id, g.attributes) for g in accepted if g.work is not None])


def _row(person: NewPerson) -> PersonRow:
    """A person of this batch, for later items that name him or her by number."""
    return PersonRow(person.id, person.number or "", person.sex, person.birth_date, None, "active", person.place)


def _fresh_groups(context: Context, fine: Sequence[_NewGroup], codes: set[str]) -> dict[int, tuple[int, str]]:
    """A key for each group, and a code where none is given; a code that was given by hand is passed over."""
    given = {g.item.code for g in fine if g.item.code is not None}
    found: dict[int, tuple[int, str]] = {}
    waiting = list(fine)
    while waiting:
        numbers = take_ids(context.connection, groups, len(waiting))
        made = {id(g): g.item.code or f"G{number:08d}" for g, number in zip(waiting, numbers, strict=True)}
        generated = [made[id(g)] for g in waiting if g.item.code is None]
        occupied = (taken_codes(context, generated) | given | codes) if generated else set()
        rest = []
        for group, number in zip(waiting, numbers, strict=True):
            code = made[id(group)]
            if group.item.code is None and code in occupied:
                rest.append(group)
            else:
                found[id(group)] = (number, code)
        waiting = rest
    return found


def _refusal(
    group: _NewGroup, shop: Workshop, taken: Taken, created: dict[str, PersonRow],
    codes: set[str], values: set[tuple[str, str]],
) -> Refusal | None:  # fmt: skip
    """Why a group cannot be registered, given what is there and what the batch did before."""
    item = group.item
    if item.code is not None and item.code in codes:
        message = f"there is a group {item.code!r} already; choose another code"
        return Refusal("beneficiaries.duplicate_code", message, (Problem("code", "duplicate_code", message),))
    clash = next((pair for pair in group.attributes.unique if pair in values), None)
    if clash is not None:
        return invalid(not_unique("attributes", clash))
    seen: set[int] = set()
    for index, reference in enumerate(group.members):
        if not isinstance(reference, str):
            continue
        path = f"members.{index}.{'number' if item.members[index].person is None else 'person'}"
        person = shop.persons.get(reference) or created.get(reference)
        if person is None:
            return not_found(path, "person", reference)
        if person.death_date is not None:
            return Refusal("beneficiaries.wrong_state", f"person {person.number!r} died on {person.death_date}")
        if person.id in seen:
            return invalid(Problem(path, "duplicate", f"person {person.number!r} is named twice"))
        if (person.id, item.kind) in shop.belongs:
            return already_member(path, person.number, item.kind)
        seen.add(person.id)
    return taken.refusal(group.people)


def _establish(
    context: Context, shop: Workshop, group: _NewGroup, number: int, code: str, created: dict[str, PersonRow]
) -> None:
    """Form the group with its members, head and recipients."""
    item, today = group.item, context.today
    household = Household(context.settings.deployment.age_of_majority)
    for given, member in zip(item.members, group.members, strict=True):
        if isinstance(member, str):
            member_row = shop.persons.get(member) or created[member]
            key, name, born = member_row.id, member_row.number, member_row.birth_date
        else:
            key, name, born = member.id, member.number or "", member.birth_date
        household.join(key, name, born, given.relationship, given.recipient, today)
    group.work = WorkGroup(
        number, code, item.kind, "active", group.place, household, new=True, attributes=group.attributes.json,
        poverty=item.poverty, confirmation_number=item.confirmation_number,
    )  # fmt: skip
    group.work.settle(today)
    shop.add(group.work)


def _results(context: Context, outcomes: Sequence[_NewGroup | Refusal]) -> list[GroupResult | Refusal]:
    work = [o.work for o in outcomes if isinstance(o, _NewGroup) and o.work is not None]
    group_ids = iter(context.ids.encode_all("groups", [g.id for g in work]))
    person_ids = iter(context.ids.encode_all("persons", [m.person for g in work for m in g.household.members]))
    results: list[GroupResult | Refusal] = []
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            results.append(outcome)
            continue
        assert outcome.work is not None
        members = tuple(
            RegisteredMember(next(person_ids), m.number, m.relationship) for m in outcome.work.household.members
        )
        results.append(GroupResult(next(group_ids), outcome.work.code, members))
    return results


COMMANDS = (
    register_persons,
    register_groups,
    change_persons,
    change_groups,
    set_statuses,
    add_members,
    remove_members,
    change_heads,
    set_recipients,
    record_deaths,
)
