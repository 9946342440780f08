"""Registering persons: what is checked of each, fresh keys and numbers, and writing a whole batch at once.

A batch is planned in memory against what is there and then written. A concurrent twin that takes a number in between
makes the door run the command again (`lost_race`); the second run sees the twin and refuses cleanly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, Literal, Protocol

import sqlalchemy as sa
from attrs import define, frozen

from imis_core.beneficiaries.attributes import EMPTY, AttributeRules, CheckedAttributes, not_unique, taken_values
from imis_core.beneficiaries.numbers import NumberChecks, NumberRule, NumbersExhausted
from imis_core.beneficiaries.tables import attribute_values, identifiers, persons
from imis_core.context import Context
from imis_core.database.bulk import insert_returning, insert_rows, take_ids
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import name_problem, problems_of_texts
from imis_core.places.lookup import LocationRow, resolve_locations

EARLIEST_BIRTH: Final = date(1880, 1, 1)
Sex = Literal["F", "M", "O"]


@frozen(kw_only=True)
class Identifier:
    """A number that another system gave: `system` says which one."""

    system: str
    value: str


class PersonFields(Protocol):
    """The fields of a person as commands take them (flat)."""

    @property
    def number(self) -> str | None: ...
    @property
    def given_name(self) -> str | None: ...
    @property
    def family_name(self) -> str | None: ...
    @property
    def sex(self) -> Any: ...
    @property
    def birth_date(self) -> date | None: ...
    @property
    def location(self) -> str | None: ...
    @property
    def identifiers(self) -> tuple[Identifier, ...]: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...


@define
class NewPerson:
    """A person who passed the checks. `id` and `number` are given before writing."""

    number: str | None
    given_name: str | None
    family_name: str | None
    sex: str
    birth_date: date
    place: int | None
    identifiers: tuple[Identifier, ...]
    attributes: CheckedAttributes
    id: int = 0


class Places:
    """The locations that a batch names, and whether the caller may register there."""

    def __init__(self, context: Context, names: Iterable[str | None]) -> None:
        wanted = {name for name in names if name is not None}
        self._known: dict[str, LocationRow] = resolve_locations(context, wanted, within_scope=True)
        self._everywhere = context.caller.everywhere

    def check(self, path: str, name: str | None) -> int | Refusal | None:
        """The key of a place to register in, or why not; None (no place) is for callers who see everything."""
        if name is None:
            if self._everywhere:
                return None
            message = "you see certain places only; name the location, one of these or below"
            return invalid(Problem(path, "required", message))
        place = self._known.get(name)
        if place is None:
            return not_found(path, "location", name)
        if place.closed_on is not None:
            message = f"location {name!r} is closed since {place.closed_on}; name the location that follows it"
            return Refusal("locations.closed", message, (Problem(path, "closed", message),))
        return place.id


class PersonChecks:
    """The rules for new persons, prepared once per batch; `numbers` are all that it gives."""

    def __init__(self, context: Context, numbers: Iterable[str | None]) -> None:
        deployment = context.settings.deployment
        self._today = context.today
        self._names_required = deployment.person_names == "required"
        self.rule = NumberRule(deployment.person_number)
        self.numbers = NumberChecks(context, numbers)
        self._attributes = AttributeRules(deployment.attributes, "person")

    def check(self, fields: PersonFields, place: int | None, at: str = "") -> NewPerson | Refusal:
        """A new person, or why not; `at` is put before the paths (`members.0.`)."""
        problems, attributes = self.problems(fields, at)
        if problems:
            return invalid(*problems)
        if fields.number is not None:
            refusal = self.numbers.refusal(f"{at}number", fields.number)
            if refusal is not None:
                return refusal
        assert fields.birth_date is not None
        given, family = fields.given_name or None, fields.family_name or None
        return NewPerson(
            fields.number, given, family, fields.sex, fields.birth_date, place, fields.identifiers, attributes
        )

    def problems(self, fields: PersonFields, at: str = "") -> tuple[list[Problem], CheckedAttributes]:
        """All that is wrong with a person's fields but the number, and the attributes as they are stored."""
        problems: list[Problem] = []
        for name, value in (("given_name", fields.given_name), ("family_name", fields.family_name)):
            if not value and self._names_required:
                problems.append(_required(at + name))
            elif value and (problem := name_problem(at + name, value)) is not None:
                problems.append(problem)
        if fields.sex is None:
            problems.append(_required(f"{at}sex"))
        born = fields.birth_date
        if born is None:
            problems.append(_required(f"{at}birth_date"))
        elif born > self._today:
            problems.append(Problem(f"{at}birth_date", "future", f"{born} lies in the future; today is {self._today}"))
        elif born < EARLIEST_BIRTH:
            problems.append(Problem(f"{at}birth_date", "range", f"{born} is before {EARLIEST_BIRTH}; mend the year"))
        for index, identifier in enumerate(fields.identifiers):
            path = f"{at}identifiers.{index}"
            problems += problems_of_texts({f"{path}.system": identifier.system}, {f"{path}.value": identifier.value})
        return problems, self._attributes.check(f"{at}attributes", fields.attributes, problems)


def _required(path: str) -> Problem:
    return Problem(path, "required", "this field is required")


def number_taken(path: str, number: str) -> Refusal:
    message = f"the number {number!r} belongs to another person; leave it out to have one made"
    return Refusal("beneficiaries.number_taken", message, (Problem(path, "number_taken", message),))


class Taken:
    """Numbers and unique attribute values that are no longer free: in the database, or earlier in the batch."""

    def __init__(self, context: Context, people: Sequence[NewPerson]) -> None:
        self._numbers = taken_numbers(context, [p.number for p in people if p.number is not None])
        self._values = taken_values(context, "person", (pair for p in people for pair in p.attributes.unique))

    def refusal(self, people: Sequence[tuple[str, NewPerson]]) -> Refusal | None:
        """Why one of these persons (with the path before their fields) cannot be registered now, or together."""
        numbers: set[str] = set()
        values: set[tuple[str, str]] = set()
        for at, person in people:
            if person.number is not None:
                if person.number in self._numbers or person.number in numbers:
                    return number_taken(f"{at}number", person.number)
                numbers.add(person.number)
            for pair in person.attributes.unique:
                if pair in self._values or pair in values:
                    return invalid(not_unique(f"{at}attributes", pair))
                values.add(pair)
        return None

    def take(self, people: Iterable[NewPerson]) -> None:
        for person in people:
            if person.number is not None:
                self._numbers.add(person.number)
            self._values.update(person.attributes.unique)


def taken_numbers(context: Context, numbers: Sequence[str]) -> set[str]:
    """Which numbers some person has, whoever may see that person (codes are unique in the deployment)."""
    if not numbers:
        return set()
    rows = context.execute(
        sa.text("SELECT number FROM core.find_persons(CAST(:numbers AS text[]))"), {"numbers": list(numbers)}
    )
    return {row.number for row in rows}


def assign(context: Context, rule: NumberRule, people: Sequence[NewPerson]) -> Refusal | None:
    """Give every person a primary key, and a number where none was given.

    Numbers are made of the keys; one that somebody was given by hand is passed over. A refusal
    (`beneficiaries.numbers_exhausted`) when the rule's length has no room left.
    """
    given = {person.number for person in people if person.number is not None}
    waiting = list(people)
    while waiting:
        for person, key in zip(waiting, take_ids(context.connection, persons, len(waiting)), strict=True):
            person.id = key
        without = [person for person in waiting if person.number is None]
        try:
            made = [rule.generate(person.id) for person in without]
        except NumbersExhausted:
            message = "all numbers of the configured length are used up; raise [deployment.person_number] length"
            return Refusal("beneficiaries.numbers_exhausted", message)
        occupied = taken_numbers(context, made) | given if made else given
        waiting = []
        for person, number in zip(without, made, strict=True):
            if number in occupied:
                waiting.append(person)
            else:
                person.number = number
    return None


def write_persons(context: Context, people: Sequence[NewPerson]) -> None:
    """Insert persons with identifiers and unique values. Raises `lost_race` if a number was taken meanwhile."""
    if not people:
        return
    connection = context.connection
    count = len(people)
    written = insert_returning(
        connection,
        persons,
        {
            "id": [p.id for p in people],
            "number": [p.number for p in people],
            "given_name": [p.given_name for p in people],
            "family_name": [p.family_name for p in people],
            "sex": [p.sex for p in people],
            "birth_date": [p.birth_date for p in people],
            "status": ["active"] * count,
            "place": [p.place for p in people],
            "registered_on": [context.today] * count,
            "attributes": [p.attributes.json for p in people],
        },
        conflict="(number) DO NOTHING",
        returning="id",
    )
    if len(written) != count:
        raise lost_race("a person's number")
    named = [(p.id, i) for p in people for i in p.identifiers]
    if named:
        insert_rows(
            connection,
            identifiers,
            {
                "person": [person for person, _ in named],
                "system": [identifier.system for _, identifier in named],
                "value": [identifier.value for _, identifier in named],
            },
        )
    write_unique(context, "person", [(p.id, p.attributes) for p in people if p.attributes is not EMPTY])


def write_unique(
    context: Context, of: Literal["person", "group"], owners: Sequence[tuple[int, CheckedAttributes]]
) -> None:
    """Keep the unique values of new owners. Raises `lost_race` if one was taken meanwhile."""
    rows = [(owner, pair) for owner, attributes in owners for pair in attributes.unique]
    if not rows:
        return
    written = insert_returning(
        context.connection,
        attribute_values,
        {
            "of": [of] * len(rows),
            "attribute": [pair[0] for _, pair in rows],
            "value": [pair[1] for _, pair in rows],
            "owner": [owner for owner, _ in rows],
        },
        conflict="DO NOTHING",
        returning="owner",
    )
    if len(written) != len(rows):
        raise lost_race("a unique attribute")
