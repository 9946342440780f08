"""The rules by which what is known of persons is changed, by hand or by a merge, and the writing of it.

What is left out stays as it is. Versions and their dates are kept by the table's triggers. Who belongs to which group
is changed elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Protocol

import sqlalchemy as sa
from attrs import evolve, frozen
from psycopg import errors as pg

from imis_core.beneficiaries.attributes import CheckedAttributes, Unique, taken_values
from imis_core.beneficiaries.persons import (
    Identifier,
    PersonChecks,
    Places,
    Sex,
)
from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import array_literal
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal, invalid


@frozen(kw_only=True)
class PersonValues:
    """Fields of a person to be changed; what is left out stays. An attribute that is given as null is taken away."""

    given_name: str | None = None
    family_name: str | None = None
    sex: Sex | None = None
    birth_date: date | None = None
    location: str | None = None
    attributes: dict[str, Any] | None = None


class ChangedFields(Protocol):
    """What `PersonValues` and `ChangePerson` have in common."""

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
    def attributes(self) -> Mapping[str, Any] | None: ...


@frozen(kw_only=True)
class FullPerson:
    """A person's row, locked. `merged_into`: the person who was kept; `unique` are values that no other may have."""

    id: int
    number: str
    given_name: str | None
    family_name: str | None
    sex: str
    birth_date: date
    death_date: date | None
    status: str
    place: int | None
    attributes: Mapping[str, Any]
    merged_into: int | None


@frozen
class ChangedPerson:
    """A person as he or she is to be: `before` as stored, `now` with the changes, attributes as JSON and their
    unique values."""

    before: FullPerson
    now: FullPerson
    attributes: CheckedAttributes


@frozen(kw_only=True)
class _Draft:
    """A changed person in the form in which the checks of a new one read it."""

    number: str | None
    given_name: str | None
    family_name: str | None
    sex: Any
    birth_date: date | None
    location: str | None
    identifiers: tuple[Identifier, ...]
    attributes: Mapping[str, Any] | None


class Changes:
    """The rules for changes of persons, prepared once per batch."""

    def __init__(self, context: Context, wanted: Sequence[ChangedFields]) -> None:
        self._checks = PersonChecks(context, [getattr(item, "number", None) for item in wanted])
        self._places = Places(context, [item.location for item in wanted])
        declared = context.settings.deployment.attributes or {}
        self._unique = {name for name, rule in declared.items() if rule.unique and rule.of == "person"}

    def unique_of(self, person: FullPerson) -> set[Unique]:
        return {(name, str(person.attributes[name])) for name in self._unique if name in person.attributes}

    def apply(
        self, person: FullPerson, item: ChangedFields, at: str = "", *, number: str | None = None,
        numbers: tuple[Identifier, ...] = (),
    ) -> ChangedPerson | Refusal:  # fmt: skip
        """The person with the changes, or why not; `at` is put before the paths. Asks nothing of the database."""
        attributes = dict(person.attributes)
        for name, value in (item.attributes or {}).items():
            attributes[name] = value
        attributes = {name: value for name, value in attributes.items() if value is not None}
        given = {
            name: getattr(item, name)
            for name in ("given_name", "family_name", "sex", "birth_date")
            if getattr(item, name) is not None
        }
        now = evolve(person, **given)
        draft = _Draft(
            number=number, given_name=now.given_name, family_name=now.family_name, sex=now.sex,
            birth_date=now.birth_date, location=None, identifiers=numbers, attributes=attributes,
        )  # fmt: skip
        problems, checked = self._checks.problems(draft, at)
        # What is not changed is not judged: it may be older than today's rules.
        changed = {*given, *(("attributes",) if item.attributes is not None else ()), "identifiers"}
        problems = [p for p in problems if p.path.removeprefix(at).partition(".")[0] in changed]
        if person.death_date is not None and now.birth_date > person.death_date:
            message = f"the person died on {person.death_date}; a birth lies on that day or before"
            problems.append(Problem(f"{at}birth_date", "after_death", message))
        if problems:
            return invalid(*problems)
        if number is not None and number != person.number:
            refusal = self._checks.numbers.refusal(f"{at}number", number)
            if refusal is not None:
                return refusal
            now = evolve(now, number=number)
        if item.location is not None:
            place = self._places.check(f"{at}location", item.location)
            if isinstance(place, Refusal):
                return place
            now = evolve(now, place=place)
        now = evolve(now, given_name=now.given_name or None, family_name=now.family_name or None)
        if item.attributes is None:
            return ChangedPerson(person, now, CheckedAttributes("", tuple(sorted(self.unique_of(person)))))
        return ChangedPerson(person, evolve(now, attributes=attributes), checked)


def locked_persons(context: Context, ids: Iterable[int]) -> dict[int, FullPerson]:
    """Persons by key as they are now, locked in the order of their keys; those outside the scope are left out."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    p = persons.c
    rows = context.execute(
        sa.select(
            p.id, p.number, p.given_name, p.family_name, p.sex, p.birth_date, p.death_date, p.status, p.place,
            p.attributes, p.merged_into,
        )
        .where(p.id == any_of(wanted), context.scoped(persons))
        .order_by(p.id)
        .with_for_update()
    ).mappings()  # fmt: skip
    return {row["id"]: FullPerson(**row) for row in rows}


def taken_by_others(context: Context, changes: Changes, changed: Sequence[ChangedPerson]) -> dict[int, Unique]:
    """The first unique value of each changed person (by key) that somebody else has already."""
    fresh = {c.now.id: set(c.attributes.unique) - changes.unique_of(c.before) for c in changed}
    taken = taken_values(context, "person", (pair for pairs in fresh.values() for pair in pairs))
    return {key: sorted(pairs & taken)[0] for key, pairs in fresh.items() if pairs & taken}


def write_changes(context: Context, changed: Sequence[ChangedPerson]) -> None:
    """Write changed persons in one statement. Raises `lost_race` if a number was taken meanwhile."""
    if not changed:
        return
    rows = [c.now for c in changed]
    columns: dict[str, list[Any]] = {
        "ids": [r.id for r in rows],
        "numbers": [r.number for r in rows],
        "given": [r.given_name for r in rows],
        "family": [r.family_name for r in rows],
        "sexes": [r.sex for r in rows],
        "births": [r.birth_date for r in rows],
        "places": [r.place for r in rows],
        "attributes": [c.attributes.json or None for c in changed],
    }
    try:
        context.execute(_CHANGE, {name: array_literal(values) for name, values in columns.items()})
    except sa.exc.IntegrityError as error:
        if isinstance(error.orig, pg.UniqueViolation):
            raise lost_race("a person's number") from None
        raise


_CHANGE = sa.text(
    """
    UPDATE core.persons p SET number = n.number, given_name = n.given, family_name = n.family, sex = n.sex,
        birth_date = n.born, place = n.place, attributes = coalesce(CAST(n.attributes AS jsonb), p.attributes)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS text[]), CAST(:given AS text[]), CAST(:family AS text[]),
        CAST(:sexes AS text[]), CAST(:births AS date[]), CAST(:places AS bigint[]), CAST(:attributes AS text[]))
        AS n(id, number, given, family, sex, born, place, attributes)
    WHERE p.id = n.id
    """
)
