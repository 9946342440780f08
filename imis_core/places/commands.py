"""Commands of places: the tree of locations through time, and providers with their contracts and price lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from attrs import define, evolve, frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_returning, take_ids
from imis_core.database.tables import CORE
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import problems_of_texts
from imis_core.places.lookup import LocationRow, resolve_locations, resolve_providers
from imis_core.places.tables import locations, provider_price_lists, providers
from imis_core.places.tree import Place, Tree, too_early

CareType = Literal["inpatient", "outpatient", "both"]

# Places know price lists by code and id only; the catalogue is not imported.
_price_lists = sa.table("price_lists", sa.column("id"), sa.column("code"), schema=CORE)


# --- locations


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
            outcomes.append(_closed("parent", parent))
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
        problems = problems_of_texts({}, {"name": item.name}) + _future(context, item.on)
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
    problems = _future(context, item.on)
    if not item.from_:
        problems.append(Problem("from", "required", "name at least one location to merge"))
    if problems:
        return invalid(*problems)
    if into is None:
        return not_found("into", "location", item.into)
    if into.closed_on is not None:
        return _closed("into", into)
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
            return _closed(path, place)
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
    problems = _future(context, item.on)
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
        return _closed("location", place)
    if too_early(place, item.on):
        return _too_early(place)
    taken = next((part.code for part in item.into if part.code in tree.names), None)
    return None if taken is None else _location_taken(taken)


def _future(context: Context, on: date) -> list[Problem]:
    if on > context.today:
        return [Problem("on", "future", f"{on} lies in the future; today is {context.today}")]
    return []


def _location_taken(code: str) -> Refusal:
    return Refusal("locations.duplicate_code", f"there is a location {code!r} already; choose another code")


def _closed(path: str, place: Place | LocationRow) -> Refusal:
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


# --- providers


@frozen(kw_only=True)
class Contract:
    from_: date
    to: date | None = None


@frozen(kw_only=True)
class RegisterProvider:
    code: str
    name: str
    kind: str = "health_facility"
    level: str | None = None
    care_type: CareType = "both"
    location: str | None = None
    price_lists: tuple[str, ...] = ()
    contract: Contract | None = None


@frozen(kw_only=True)
class ChangeProvider:
    """Fields that are absent stay as they are; a contract or a list of price lists replaces the whole one."""

    provider: str
    name: str | None = None
    kind: str | None = None
    level: str | None = None
    care_type: CareType | None = None
    location: str | None = None
    price_lists: tuple[str, ...] | None = None
    contract: Contract | None = None


@frozen(kw_only=True)
class CloseProvider:
    provider: str
    on: date


@frozen
class ProviderResult:
    id: str
    code: str


@frozen
class _Provider:
    """A provider as a batch leaves it."""

    id: int
    code: str
    name: str
    kind: str
    level: str | None
    care_type: str
    location: int | None
    contract_from: date | None
    contract_to: date | None
    closed_on: date | None = None


@define
class _References:
    """What the items of a batch name: locations, price lists by code."""

    locations: dict[str, LocationRow]
    price_lists: dict[str, int]

    @classmethod
    def of(cls, context: Context, items: Sequence[RegisterProvider | ChangeProvider]) -> _References:
        places = resolve_locations(context, {item.location for item in items if item.location is not None})
        codes = sorted({code for item in items for code in item.price_lists or ()})
        if not codes:
            return cls(places, {})
        rows = context.execute(
            sa.select(_price_lists.c.id, _price_lists.c.code).where(
                _price_lists.c.code == sa.any_(sa.literal(codes, ARRAY(sa.Text)))
            )
        )
        return cls(places, {row.code: row.id for row in rows})

    def refusal(self, item: RegisterProvider | ChangeProvider, problems: list[Problem]) -> Refusal | None:
        """What is wrong with the parts that registering and changing share."""
        contract = item.contract
        if contract is not None and contract.to is not None and contract.to < contract.from_:
            problems.append(Problem("contract.to", "before_from", f"{contract.to} is before {contract.from_}"))
        listed = item.price_lists or ()
        for index, code in enumerate(listed):
            if code in listed[:index]:
                problems.append(Problem(f"price_lists.{index}", "duplicate", f"{code!r} is named twice"))
        if problems:
            return invalid(*problems)
        if item.location is not None:
            place = self.locations.get(item.location)
            if place is None:
                return not_found("location", "location", item.location)
            if place.closed_on is not None:
                return _closed("location", place)
        unknown = next(((i, code) for i, code in enumerate(listed) if code not in self.price_lists), None)
        if unknown is not None:
            return not_found(f"price_lists.{unknown[0]}", "price list", unknown[1])
        return None

    def place(self, name: str | None) -> int | None:
        return None if name is None else self.locations[name].id


@command("providers.register", input=RegisterProvider, result=ProviderResult)
def register_providers(context: Context, items: tuple[RegisterProvider, ...]) -> list[ProviderResult | Refusal]:
    """Register a provider with its place, price lists (the first named goes before) and contract."""
    taken = {p.code for p in _load(context, [item.code for item in items]).values()}
    references = _References.of(context, items)
    numbers = iter(take_ids(context.connection, providers, len(items)))
    outcomes: list[_Provider | Refusal] = []
    lists: dict[int, tuple[int, ...]] = {}
    for item in items:
        texts = {"code": item.code, "kind": item.kind, "level": item.level}
        refusal = references.refusal(item, problems_of_texts(texts, {"name": item.name}))
        if refusal is None and item.code in taken:
            message = f"there is a provider {item.code!r} already; choose another code"
            refusal = Refusal("providers.duplicate_code", message)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        taken.add(item.code)
        contract = item.contract
        provider = _Provider(
            next(numbers), item.code, item.name, item.kind, item.level, item.care_type, references.place(item.location),
            contract.from_ if contract else None, contract.to if contract else None,
        )  # fmt: skip
        lists[provider.id] = tuple(references.price_lists[code] for code in item.price_lists)
        outcomes.append(provider)
    _write(context, [o for o in outcomes if isinstance(o, _Provider)], lists)
    return _provider_results(context, outcomes)


@command("providers.change", input=ChangeProvider, result=ProviderResult)
def change_providers(context: Context, items: tuple[ChangeProvider, ...]) -> list[ProviderResult | Refusal]:
    """Change what is known of a provider; its code stays."""
    stored = _load(context, [item.provider for item in items])
    now = dict(stored)
    references = _References.of(context, items)
    outcomes: list[_Provider | Refusal] = []
    lists: dict[int, tuple[int, ...]] = {}
    for item in items:
        provider = now.get(item.provider)
        texts = {"kind": item.kind, "level": item.level}
        refusal = references.refusal(item, problems_of_texts(texts, {"name": item.name}))
        if refusal is None and provider is None:
            refusal = not_found("provider", "provider", item.provider)
        if refusal is not None or provider is None:
            assert refusal is not None
            outcomes.append(refusal)
            continue
        given: dict[str, Any] = {
            name: getattr(item, name)
            for name in ("name", "kind", "level", "care_type")
            if getattr(item, name) is not None
        }
        if item.location is not None:
            given["location"] = references.place(item.location)
        if item.contract is not None:
            given |= {"contract_from": item.contract.from_, "contract_to": item.contract.to}
        if item.price_lists is not None:
            lists[provider.id] = tuple(references.price_lists[code] for code in item.price_lists)
        _replace(now, evolve(provider, **given))
        outcomes.append(now[item.provider])
    _write(context, _changed(stored, now), lists)
    return _provider_results(context, outcomes)


@command("providers.close", input=CloseProvider, result=ProviderResult)
def close_providers(context: Context, items: tuple[CloseProvider, ...]) -> list[ProviderResult | Refusal]:
    """Close a provider from a day on."""
    stored = _load(context, [item.provider for item in items])
    now = dict(stored)
    outcomes: list[_Provider | Refusal] = []
    for item in items:
        provider = now.get(item.provider)
        problems = _future(context, item.on)
        if problems:
            outcomes.append(invalid(*problems))
        elif provider is None:
            outcomes.append(not_found("provider", "provider", item.provider))
        elif provider.closed_on is not None:
            message = f"provider {provider.code!r} is closed since {provider.closed_on}"
            outcomes.append(Refusal("providers.wrong_state", message))
        else:
            _replace(now, evolve(provider, closed_on=item.on))
            outcomes.append(now[item.provider])
    _write(context, _changed(stored, now), {})
    return _provider_results(context, outcomes)


def _load(context: Context, names: Iterable[str]) -> dict[str, _Provider]:
    """The named providers by every name they were given; no other command changes providers meanwhile."""
    context.execute(sa.text("LOCK TABLE core.providers IN SHARE ROW EXCLUSIVE MODE"))
    return {
        name: _Provider(
            row.id, row.code, row.name, row.kind, row.level, row.care_type, row.location,
            row.contract_from, row.contract_to, row.closed_on,
        )
        for name, row in resolve_providers(context, names).items()
    }  # fmt: skip


def _replace(now: dict[str, _Provider], provider: _Provider) -> None:
    """One provider may be named in two ways in a batch; every name sees the change."""
    for name, other in now.items():
        if other.id == provider.id:
            now[name] = provider


def _changed(stored: dict[str, _Provider], now: dict[str, _Provider]) -> list[_Provider]:
    return list({p.id: p for name, p in now.items() if p != stored[name]}.values())


_FIELDS = (
    "code", "name", "kind", "level", "care_type", "location", "contract_from", "contract_to", "closed_on",
)  # fmt: skip


def _write(context: Context, rows: list[_Provider], lists: dict[int, tuple[int, ...]]) -> None:
    changes = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS)
    insert_returning(
        context.connection,
        providers,
        {name: [getattr(row, name) for row in rows] for name in ("id", *_FIELDS)},
        conflict=f"(id) DO UPDATE SET {changes}",
    )
    if not lists:
        return
    context.execute(
        sa.delete(provider_price_lists).where(
            provider_price_lists.c.provider == sa.any_(sa.literal(sorted(lists), ARRAY(sa.BigInteger)))
        )
    )
    triples = [(provider, price_list, i) for provider, ids in lists.items() for i, price_list in enumerate(ids)]
    insert_returning(
        context.connection,
        provider_price_lists,
        {
            "provider": [t[0] for t in triples],
            "price_list": [t[1] for t in triples],
            "ordinal": [t[2] for t in triples],
        },
    )


def _provider_results(context: Context, outcomes: list[_Provider | Refusal]) -> list[ProviderResult | Refusal]:
    ids = iter(context.ids.encode_all("providers", [o.id for o in outcomes if isinstance(o, _Provider)]))
    return [o if isinstance(o, Refusal) else ProviderResult(next(ids), o.code) for o in outcomes]


COMMANDS = (
    add_locations,
    rename_locations,
    merge_locations,
    split_locations,
    register_providers,
    change_providers,
    close_providers,
)
