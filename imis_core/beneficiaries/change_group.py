"""The command `beneficiaries.change_group`: place, attributes and what is confirmed of a group's poverty, in batches.

Members, head and recipients are changed by commands of their own (`memberships.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from attrs import define, frozen

from imis_core.beneficiaries.attributes import EMPTY, AttributeRules, CheckedAttributes, not_unique, taken_values
from imis_core.beneficiaries.lookup import resolve_groups
from imis_core.beneficiaries.persons import Places, write_unique
from imis_core.beneficiaries.tables import attribute_values, groups
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import array_literal
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import problems_of_texts


@frozen(kw_only=True)
class ChangeGroup:
    """What is left out stays; of `attributes` those that are named change, a null takes one away."""

    group: str
    location: str | None = None
    poverty: bool | None = None
    confirmation_number: str | None = None
    attributes: dict[str, Any] | None = None


@frozen
class GroupChanged:
    id: str
    code: str


@define
class _Group:
    """A group as a batch leaves it. `unique`: values that no other group may have."""

    id: int
    code: str
    place: int | None
    poverty: bool | None
    confirmation_number: str | None
    attributes: Mapping[str, Any]
    unique: frozenset[tuple[str, str]]
    stored_unique: frozenset[tuple[str, str]]
    changed: bool = False


@command("beneficiaries.change_group", input=ChangeGroup, result=GroupChanged)
def change_groups(context: Context, items: tuple[ChangeGroup, ...]) -> list[GroupChanged | Refusal]:
    """Change what is known of a group: its place, attributes, poverty and the number of its confirmation."""
    found = resolve_groups(context, {item.group for item in items})
    work = _locked(context, {row.id for row in found.values()})
    rules = AttributeRules(context.settings.deployment.attributes, "group")
    places = Places(context, [item.location for item in items])
    taken: set[tuple[str, str]] | None = None
    outcomes: list[_Group | Refusal] = []
    for item in items:
        row = found.get(item.group)
        group = None if row is None else work.get(row.id)
        if group is None:
            outcomes.append(not_found("group", "group", item.group))
            continue
        problems = problems_of_texts({"confirmation_number": item.confirmation_number}, {})
        checked = _attributes(group, item, rules, problems)
        place = None if item.location is None else places.check("location", item.location)
        if problems:
            outcomes.append(invalid(*problems))
            continue
        if isinstance(place, Refusal):
            outcomes.append(place)
            continue
        fresh = frozenset(() if checked is None else checked.unique) - group.unique
        if fresh:
            # What other groups have is asked once, for all that the batch may want.
            taken = _taken(context, items) if taken is None else taken
            clash = sorted((fresh & taken) - group.stored_unique)
            if clash:
                outcomes.append(invalid(not_unique("attributes", clash[0])))
                continue
            taken |= fresh
        _apply(group, item, place, checked)
        outcomes.append(group)
    _write(context, [group for group in work.values() if group.changed])
    ids = iter(context.ids.encode_all("groups", [o.id for o in outcomes if isinstance(o, _Group)]))
    return [o if isinstance(o, Refusal) else GroupChanged(next(ids), o.code) for o in outcomes]


def _locked(context: Context, ids: set[int]) -> dict[int, _Group]:
    declared = context.settings.deployment.attributes or {}
    names = {name for name, rule in declared.items() if rule.unique and rule.of == "group"}
    g = groups.c
    rows = context.execute(
        sa.select(g.id, g.code, g.place, g.poverty, g.confirmation_number, g.attributes)
        .where(g.id == any_of(ids), context.scoped(groups))
        .order_by(g.id)
        .with_for_update()
    )
    found = {}
    for row in rows:
        unique = frozenset((name, str(row.attributes[name])) for name in names if name in row.attributes)
        found[row.id] = _Group(
            row.id, row.code, row.place, row.poverty, row.confirmation_number, row.attributes, unique, unique
        )
    return found


def _attributes(
    group: _Group, item: ChangeGroup, rules: AttributeRules, problems: list[Problem]
) -> CheckedAttributes | None:
    """All attributes as they would be stored; None where the item names none."""
    if item.attributes is None:
        return None
    merged = {**group.attributes, **item.attributes}
    return rules.check("attributes", {name: v for name, v in merged.items() if v is not None}, problems)


def _taken(context: Context, items: Sequence[ChangeGroup]) -> set[tuple[str, str]]:
    wanted = {(name, str(value)) for item in items for name, value in (item.attributes or {}).items()}
    return taken_values(context, "group", wanted)


def _apply(group: _Group, item: ChangeGroup, place: int | None, checked: CheckedAttributes | None) -> None:
    group.changed = True
    if item.location is not None:
        group.place = place
    if item.poverty is not None:
        group.poverty = item.poverty
    if item.confirmation_number is not None:
        group.confirmation_number = item.confirmation_number
    if checked is not None:
        group.attributes = {} if checked is EMPTY else msgspec.json.decode(checked.json)
        group.unique = frozenset(checked.unique)


_CHANGE = sa.text(
    """
    UPDATE core.groups g SET place = n.place, poverty = n.poverty, confirmation_number = n.confirmation,
        attributes = CAST(n.attributes AS jsonb)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:places AS bigint[]), CAST(:poverty AS boolean[]),
                CAST(:confirmations AS text[]), CAST(:attributes AS text[]))
         AS n(id, place, poverty, confirmation, attributes)
    WHERE g.id = n.id
    """
)


def _write(context: Context, changed: Sequence[_Group]) -> None:
    if not changed:
        return
    columns: dict[str, list[Any]] = {
        "ids": [g.id for g in changed],
        "places": [g.place for g in changed],
        "poverty": [g.poverty for g in changed],
        "confirmations": [g.confirmation_number for g in changed],
        "attributes": [msgspec.json.encode(g.attributes).decode() for g in changed],
    }
    context.execute(_CHANGE, {name: array_literal(values) for name, values in columns.items()})
    gone = [(g.id, *pair) for g in changed for pair in sorted(g.stored_unique - g.unique)]
    if gone:
        t = attribute_values.c
        context.execute(
            sa.delete(attribute_values).where(t.of == "group", sa.tuple_(t.owner, t.attribute, t.value).in_(gone))
        )
    new = [(g.id, CheckedAttributes("", tuple(sorted(g.unique - g.stored_unique)))) for g in changed]
    write_unique(context, "group", new)
