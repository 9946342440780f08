"""The command `beneficiaries.change_person`: fields, number, identifiers and attributes of persons, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.attributes import CheckedAttributes, Unique, not_unique
from imis_core.beneficiaries.changing import (
    ChangedPerson,
    Changes,
    FullPerson,
    locked_persons,
    taken_by_others,
    write_changes,
)
from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.beneficiaries.persons import Identifier, Sex, number_taken, taken_numbers, write_unique
from imis_core.beneficiaries.tables import attribute_values, identifiers
from imis_core.beneficiaries.waves import in_waves
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.errors import Problem, Refusal, invalid, not_found


@frozen(kw_only=True)
class ChangePerson:
    """The person is named by `person` or by `number`; beside `person`, `number` is the new number.

    `identifiers`, where given, are all that the person has from now on.
    """

    person: str | None = None
    number: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    sex: Sex | None = None
    birth_date: date | None = None
    location: str | None = None
    identifiers: tuple[Identifier, ...] | None = None
    attributes: dict[str, Any] | None = None


@frozen
class PersonChanged:
    id: str
    number: str


@command("beneficiaries.change_person", input=ChangePerson, result=PersonChanged)
def change_persons(context: Context, items: tuple[ChangePerson, ...]) -> list[PersonChanged | Refusal]:
    """Change a person's fields; what is left out stays, and every version is kept with its date."""
    references = [item.person if item.person is not None else item.number for item in items]
    known = resolve_persons(context, {r for r in references if r is not None})
    touched = []
    for item, reference in zip(items, references, strict=True):
        person = known.get(reference or "")
        own = () if person is None else (person.id, person.number)
        touched.append({reference, item.number, *own} - {None})
    outcomes: list[FullPerson | Refusal] = [_UNNAMED] * len(items)
    for wave in in_waves(touched):
        answers = _change_wave(context, [(items[i], references[i]) for i in wave])
        for position, answer in zip(wave, answers, strict=True):
            outcomes[position] = answer
    ids = iter(context.ids.encode_all("persons", [o.id for o in outcomes if isinstance(o, FullPerson)]))
    return [o if isinstance(o, Refusal) else PersonChanged(next(ids), o.number) for o in outcomes]


_UNNAMED = invalid(Problem("person", "required", "name the person by `person` or by `number`"))


def _change_wave(context: Context, items: Sequence[tuple[ChangePerson, str | None]]) -> list[FullPerson | Refusal]:
    """Change persons of whom no two items name the same."""
    found = resolve_persons(context, {reference for _, reference in items if reference is not None})
    people = locked_persons(context, {row.id for row in found.values()})
    changes = Changes(context, [item for item, _ in items])
    drafts: list[ChangedPerson | Refusal] = []
    for item, reference in items:
        if reference is None:
            drafts.append(_UNNAMED)
            continue
        row = found.get(reference)
        person = None if row is None else people.get(row.id)
        if person is None:
            drafts.append(not_found("number" if item.person is None else "person", "person", reference))
            continue
        number = item.number if item.person is not None else None
        drafts.append(changes.apply(person, item, number=number, numbers=item.identifiers or ()))
    fine = [d for d in drafts if isinstance(d, ChangedPerson)]
    renumbered = [d.now.number for d in fine if d.now.number != d.before.number]
    numbers, values = taken_numbers(context, renumbered), taken_by_others(context, changes, fine)
    fresh: set[Unique] = set()
    for position, draft in enumerate(drafts):
        if not isinstance(draft, ChangedPerson):
            continue
        new_values = set(draft.attributes.unique) - changes.unique_of(draft.before)
        if draft.now.number != draft.before.number and draft.now.number in numbers:
            drafts[position] = number_taken("number", draft.now.number)
        elif draft.now.id in values or new_values & fresh:
            pair = values.get(draft.now.id) or sorted(new_values & fresh)[0]
            drafts[position] = invalid(not_unique("attributes", pair))
        else:
            fresh |= new_values
    fine = [d for d in drafts if isinstance(d, ChangedPerson)]
    write_changes(context, fine)
    _write_unique(context, changes, fine)
    given = [(d, i.identifiers) for d, (i, _) in zip(drafts, items, strict=True) if isinstance(d, ChangedPerson)]
    _write_identifiers(context, [(d.now.id, numbers) for d, numbers in given if numbers is not None])
    return [d if isinstance(d, Refusal) else d.now for d in drafts]


def _write_unique(context: Context, changes: Changes, changed: Sequence[ChangedPerson]) -> None:
    gone, new = [], []
    for change in changed:
        before, now = changes.unique_of(change.before), set(change.attributes.unique)
        gone += [(change.now.id, pair) for pair in sorted(before - now)]
        if now - before:
            new.append((change.now.id, CheckedAttributes("", tuple(sorted(now - before)))))
    if gone:
        table = attribute_values.c
        context.execute(
            sa.delete(attribute_values).where(
                table.of == "person",
                sa.tuple_(table.owner, table.attribute, table.value).in_([(key, *pair) for key, pair in gone]),
            )
        )
    write_unique(context, "person", new)


def _write_identifiers(context: Context, wanted: Sequence[tuple[int, tuple[Identifier, ...]]]) -> None:
    """Make these all identifiers of the persons; those that stay keep their rows."""
    if not wanted:
        return
    rows = list(dict.fromkeys((person, i.system, i.value) for person, given in wanted for i in given))
    i = identifiers.c
    stored = {
        (row.person, row.system, row.value): row.id
        for row in context.execute(
            sa.select(i.id, i.person, i.system, i.value).where(
                i.person == any_of([person for person, _ in wanted]),
                context.scoped(identifiers),
            )
        )
    }
    kept = set(rows)
    gone = [key for row, key in stored.items() if row not in kept]
    if gone:
        context.execute(sa.delete(identifiers).where(i.id == any_of(gone)))
    new = [row for row in rows if row not in stored]
    if new:
        insert_rows(
            context.connection,
            identifiers,
            {"person": [r[0] for r in new], "system": [r[1] for r in new], "value": [r[2] for r in new]},
        )
