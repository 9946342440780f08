"""Commands on locations: add, rename, merge and split in the dated tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import take_ids
from imis_core.database.tables import CORE
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import problems_of_texts
from imis_core.places.lookup import LocationRow
from imis_core.places.tables import locations
from imis_core.places.tree import Place, Tree, too_early

CareType = Literal["inpatient", "outpatient", "both"]

# Places know price lists by code and id only; the catalogue is not imported.
_price_lists = sa.table("price_lists", sa.column("id"), sa.column("code"), schema=CORE)


@frozen(kw_only=True)
class AddLocation:
    code: str
    name: str
    level: str
    parent: str | None = None


@frozen(kw_only=True)
class RenameLocation:
    location: str
    name: str
    on: date


@frozen(kw_only=True)
class MergeLocations:
    from_: tuple[str, ...]
    into: str
    on: date


@frozen(kw_only=True)
class NewPart:
    code: str
    name: str
    level: str | None = None


@frozen(kw_only=True)
class SplitLocation:
    location: str
    into: tuple[NewPart, ...]
    on: date


@frozen
class LocationResult:
    id: str
    code: str


@frozen
class MergeResult:
    id: str
    code: str
    merged: tuple[LocationResult, ...]


@frozen
class SplitResult:
    id: str
    code: str
    into: tuple[LocationResult, ...]


@command("locations.add", input=AddLocation, result=LocationResult)
def add_locations(context: Context, items: tuple[AddLocation, ...]) -> list[LocationResult | Refusal]:
    """Add a location to the tree, below its parent if it has one; it is there from the beginning of time."""
    named = [item.code for item in items] + [item.parent for item in items if item.parent is not None]
    tree = Tree.load(context, named)
    numbers = iter(take_ids(context.connection, locations, len(items)))
    outcomes: list[Place | Refusal] = []
    for item in items:
        problems = problems_of_texts({"code": item.code, "level": item.level}, {"name": item.name})
        parent = tree.find(item.parent) if item.parent is not None else None
        if problems:
            outcomes.append(invalid(*problems))
        elif item.parent is not None and parent is None:
            outcomes.append(not_found("parent", "location", item.parent))
        elif parent is not None and parent.closed_on is not None:
            outcomes.append(closed_refusal("parent", parent))
        elif item.code in tree.names:
            outcomes.append(_location_taken(item.code))
        else:
            above = None if parent is None else parent.id
            outcomes.append(tree.add(next(numbers), item.code, item.name, item.level, above, None))
    tree.write()
    return _location_results(context, outcomes)


@command("locations.rename", input=RenameLocation, result=LocationResult)
def rename_locations(context: Context, items: tuple[RenameLocation, ...]) -> list[LocationResult | Refusal]:
    """Give a location another name from a day on; before that day it keeps the name it had."""
    tree = Tree.load(context, [item.location for item in items])
    outcomes: list[Place | Refusal] = []
    for item in items:
        place = tree.find(item.location)
        problems = problems_of_texts({}, {"name": item.name}) + future_problems(context, item.on)
        if problems:
            outcomes.append(invalid(*problems))
        elif place is None:
            outcomes.append(not_found("location", "location", item.location))
        elif too_early(place, item.on):
            outcomes.append(_too_early(place))
        else:
            tree.change(place, item.on, name=item.name)
            outcomes.append(place)
    tree.write()
    return _location_results(context, outcomes)


@command("locations.merge", input=MergeLocations, result=MergeResult)
def merge_locations(context: Context, items: tuple[MergeLocations, ...]) -> list[MergeResult | Refusal]:
    """Merge locations into another one: from that day they are closed and hang below it."""
    tree = Tree.load(context, [name for item in items for name in (*item.from_, item.into)])
    outcomes: list[MergeResult | Refusal] = []
    for item in items:
        into = tree.find(item.into)
        merged = [tree.find(name) for name in item.from_]
        refusal = _merge_refusal(context, tree, item, into, merged)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        assert into is not None
        for place in merged:
            assert place is not None
            tree.change(place, item.on, parent=into.id)
            tree.close(place, item.on)
        outcomes.append(MergeResult(*_named(context, into), tuple(_result(context, p) for p in merged if p)))
    tree.write()
    return outcomes


def _merge_refusal(
    context: Context, tree: Tree, item: MergeLocations, into: Place | None, merged: Sequence[Place | None]
) -> Refusal | None:
    problems = future_problems(context, item.on)
    if not item.from_:
        problems.append(Problem("from", "required", "name at least one location to merge"))
    if problems:
        return invalid(*problems)
    if into is None:
        return not_found("into", "location", item.into)
    if into.closed_on is not None:
        return closed_refusal("into", into)
    above = tree.above(into)
    seen: set[int] = set()
    for index, (name, place) in enumerate(zip(item.from_, merged, strict=True)):
        path = f"from.{index}"
        if place is None:
            return not_found(path, "location", name)
        if place.id in seen:
            return invalid(Problem(path, "duplicate", f"{name!r} is named twice"))
        if place.id in above:
            message = f"{into.code!r} is {place.code!r} or lies below it; a location cannot hang below itself"
            return invalid(Problem(path, "below_itself", message))
        if place.closed_on is not None:
            return closed_refusal(path, place)
        if too_early(place, item.on):
            return _too_early(place)
        seen.add(place.id)
    return None


@command("locations.split", input=SplitLocation, result=SplitResult)
def split_locations(context: Context, items: tuple[SplitLocation, ...]) -> list[SplitResult | Refusal]:
    """Split a location into new ones: it becomes their parent and takes no new entries from that day on."""
    tree = Tree.load(context, [name for item in items for name in (item.location, *(p.code for p in item.into))])
    numbers = iter(take_ids(context.connection, locations, sum(len(item.into) for item in items)))
    outcomes: list[SplitResult | Refusal] = []
    for item in items:
        place = tree.find(item.location)
        refusal = _split_refusal(context, tree, item, place)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        assert place is not None
        parts = [
            tree.add(next(numbers), part.code, part.name, part.level or place.level, place.id, item.on)
            for part in item.into
        ]
        tree.close(place, item.on)
        outcomes.append(SplitResult(*_named(context, place), tuple(_result(context, part) for part in parts)))
    tree.write()
    return outcomes


def _split_refusal(context: Context, tree: Tree, item: SplitLocation, place: Place | None) -> Refusal | None:
    problems = future_problems(context, item.on)
    if not item.into:
        problems.append(Problem("into", "required", "name at least one new location"))
    seen: set[str] = set()
    for index, part in enumerate(item.into):
        at = f"into.{index}"
        problems += problems_of_texts({f"{at}.code": part.code, f"{at}.level": part.level}, {f"{at}.name": part.name})
        if part.code in seen:
            problems.append(Problem(f"{at}.code", "duplicate", f"the code {part.code!r} is given twice"))
        seen.add(part.code)
    if problems:
        return invalid(*problems)
    if place is None:
        return not_found("location", "location", item.location)
    if place.closed_on is not None:
        return closed_refusal("location", place)
    if too_early(place, item.on):
        return _too_early(place)
    taken = next((part.code for part in item.into if part.code in tree.names), None)
    return None if taken is None else _location_taken(taken)


def future_problems(context: Context, on: date) -> list[Problem]:
    """What is wrong with a business date: it is never after the clock's day (contract.md, conventions)."""
    if on > context.today:
        return [Problem("on", "future", f"{on} lies in the future; today is {context.today}")]
    return []


def _location_taken(code: str) -> Refusal:
    return Refusal("locations.duplicate_code", f"there is a location {code!r} already; choose another code")


def closed_refusal(path: str, place: Place | LocationRow) -> Refusal:
    """`locations.closed`: nothing new is entered at a place that was merged or split away."""
    message = f"location {place.code!r} is closed since {place.closed_on}; name the location that follows it"
    return Refusal("locations.closed", message, (Problem(path, "closed", message),))


def _too_early(place: Place) -> Refusal:
    message = f"location {place.code!r} changed on {place.period.starts}; take that day or a later one"
    return Refusal("locations.later_change", message, (Problem("on", "later_change", message),))


def _named(context: Context, place: Place) -> tuple[str, str]:
    return context.ids.encode("locations", place.id), place.code


def _result(context: Context, place: Place) -> LocationResult:
    return LocationResult(*_named(context, place))


def _location_results(context: Context, outcomes: Iterable[Place | Refusal]) -> list[LocationResult | Refusal]:
    return [o if isinstance(o, Refusal) else _result(context, o) for o in outcomes]


COMMANDS = (add_locations, rename_locations, merge_locations, split_locations)
