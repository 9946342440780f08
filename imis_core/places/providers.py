"""Commands on providers: register, change and close facilities and other contracted providers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from attrs import define, evolve, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, take_ids
from imis_core.database.tables import CORE
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.naming import problems_of_texts
from imis_core.places.catchments import Catchment, CatchmentPlace, problems_of, resolved, write_catchments
from imis_core.places.commands import closed_refusal, future_problems
from imis_core.places.lookup import LocationRow, resolve_locations, resolve_providers
from imis_core.places.tables import provider_price_lists, providers

CareType = Literal["inpatient", "outpatient", "both"]

# Places know price lists by code and id only; the catalogue is not imported.
_price_lists = sa.table("price_lists", sa.column("id"), sa.column("code"), schema=CORE)


@frozen(kw_only=True)
class Contract:
    from_: date
    to: date | None = None


@frozen(kw_only=True)
class RegisterProvider:
    """`level`: dispensary, health_centre, hospital, or one of `[deployment.facility_levels]`; `legal_form`: charity,
    district, government, private, or a word of the deployment's own."""

    code: str
    name: str
    kind: str = "health_facility"
    level: str | None = None
    sub_level: str | None = None
    legal_form: str | None = None
    care_type: CareType = "both"
    location: str | None = None
    price_lists: tuple[str, ...] = ()
    contract: Contract | None = None
    catchment: tuple[CatchmentPlace, ...] = ()


@frozen(kw_only=True)
class ChangeProvider:
    """Fields that are absent stay as they are; a contract, a catchment or a list of price lists replaces the whole
    one."""

    provider: str
    name: str | None = None
    kind: str | None = None
    level: str | None = None
    sub_level: str | None = None
    legal_form: str | None = None
    care_type: CareType | None = None
    location: str | None = None
    price_lists: tuple[str, ...] | None = None
    contract: Contract | None = None
    catchment: tuple[CatchmentPlace, ...] | None = None


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
    sub_level: str | None
    legal_form: str | None
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
    levels: Mapping[str, str] | None

    @classmethod
    def of(cls, context: Context, items: Sequence[RegisterProvider | ChangeProvider]) -> _References:
        named = {item.location for item in items if item.location is not None}
        named |= {p.location for item in items for p in item.catchment or ()}
        places = resolve_locations(context, named, within_scope=True)
        levels = context.settings.deployment.facility_levels
        codes = sorted({code for item in items for code in item.price_lists or ()})
        if not codes:
            return cls(places, {}, levels)
        rows = context.execute(
            sa.select(_price_lists.c.id, _price_lists.c.code).where(_price_lists.c.code == any_of(codes, sa.Text))
        )
        return cls(places, {row.code: row.id for row in rows}, levels)

    def refusal(self, item: RegisterProvider | ChangeProvider, problems: list[Problem]) -> Refusal | None:
        """What is wrong with the parts that registering and changing share."""
        contract = item.contract
        if contract is not None and contract.to is not None and contract.to < contract.from_:
            problems.append(Problem("contract.to", "before_from", f"{contract.to} is before {contract.from_}"))
        listed = item.price_lists or ()
        for index, code in enumerate(listed):
            if code in listed[:index]:
                problems.append(Problem(f"price_lists.{index}", "duplicate", f"{code!r} is named twice"))
        if item.level is not None and self.levels is not None and item.level not in self.levels:
            message = f"there is no level {item.level!r} here{suggestion(item.level, self.levels)}; "
            message += "name one of [deployment.facility_levels], or add it there"
            problems.append(Problem("level", "unknown", message))
        problems += problems_of(item.catchment or ())
        if problems:
            return invalid(*problems)
        if item.location is not None:
            place = self.locations.get(item.location)
            if place is None:
                return not_found("location", "location", item.location)
            if place.closed_on is not None:
                return closed_refusal("location", place)
        unknown = next(((i, code) for i, code in enumerate(listed) if code not in self.price_lists), None)
        if unknown is not None:
            return not_found(f"price_lists.{unknown[0]}", "price list", unknown[1])
        catchment = resolved(item.catchment or (), self.locations)
        return catchment if isinstance(catchment, Refusal) else None

    def catchment(self, places: Sequence[CatchmentPlace]) -> Catchment:
        """The catchment of an item that was not refused."""
        found = resolved(places, self.locations)
        assert not isinstance(found, Refusal)
        return found

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
    catchments: dict[int, Catchment] = {}
    for item in items:
        texts = {"code": item.code, **_classified(item)}
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
            next(numbers), item.code, item.name, item.kind, item.level, item.sub_level, item.legal_form,
            item.care_type, references.place(item.location),
            contract.from_ if contract else None, contract.to if contract else None,
        )  # fmt: skip
        lists[provider.id] = tuple(references.price_lists[code] for code in item.price_lists)
        if item.catchment:
            catchments[provider.id] = references.catchment(item.catchment)
        outcomes.append(provider)
    _write(context, [o for o in outcomes if isinstance(o, _Provider)], lists)
    write_catchments(context, catchments)
    return _provider_results(context, outcomes)


@command("providers.change", input=ChangeProvider, result=ProviderResult)
def change_providers(context: Context, items: tuple[ChangeProvider, ...]) -> list[ProviderResult | Refusal]:
    """Change what is known of a provider; its code stays."""
    stored = _own(context, _load(context, [item.provider for item in items]))
    now = dict(stored)
    references = _References.of(context, items)
    outcomes: list[_Provider | Refusal] = []
    lists: dict[int, tuple[int, ...]] = {}
    catchments: dict[int, Catchment] = {}
    for item in items:
        provider = now.get(item.provider)
        refusal = references.refusal(item, problems_of_texts(_classified(item), {"name": item.name}))
        if refusal is None and provider is None:
            refusal = not_found("provider", "provider", item.provider)
        if refusal is not None or provider is None:
            assert refusal is not None
            outcomes.append(refusal)
            continue
        given: dict[str, Any] = {
            name: getattr(item, name)
            for name in ("name", "kind", "level", "sub_level", "legal_form", "care_type")
            if getattr(item, name) is not None
        }
        if item.location is not None:
            given["location"] = references.place(item.location)
        if item.contract is not None:
            given |= {"contract_from": item.contract.from_, "contract_to": item.contract.to}
        if item.price_lists is not None:
            lists[provider.id] = tuple(references.price_lists[code] for code in item.price_lists)
        if item.catchment is not None:
            catchments[provider.id] = references.catchment(item.catchment)
        _replace(context, now, evolve(provider, **given))
        outcomes.append(now[item.provider])
    _write(context, _changed(stored, now), lists)
    write_catchments(context, catchments)
    return _provider_results(context, outcomes)


@command("providers.close", input=CloseProvider, result=ProviderResult)
def close_providers(context: Context, items: tuple[CloseProvider, ...]) -> list[ProviderResult | Refusal]:
    """Close a provider from a day on."""
    stored = _own(context, _load(context, [item.provider for item in items]))
    now = dict(stored)
    outcomes: list[_Provider | Refusal] = []
    for item in items:
        provider = now.get(item.provider)
        problems = future_problems(context, item.on)
        if problems:
            outcomes.append(invalid(*problems))
        elif provider is None:
            outcomes.append(not_found("provider", "provider", item.provider))
        elif provider.closed_on is not None:
            message = f"provider {provider.code!r} is closed since {provider.closed_on}"
            outcomes.append(Refusal("providers.wrong_state", message))
        else:
            _replace(context, now, evolve(provider, closed_on=item.on))
            outcomes.append(now[item.provider])
    _write(context, _changed(stored, now), {})
    return _provider_results(context, outcomes)


def _classified(item: RegisterProvider | ChangeProvider) -> dict[str, str | None]:
    """The short words that say what a provider is."""
    return {"kind": item.kind, "level": item.level, "sub_level": item.sub_level, "legal_form": item.legal_form}


def _load(context: Context, names: Iterable[str]) -> dict[str, _Provider]:
    """The named providers by every name they were given; no other command changes providers meanwhile."""
    context.execute(sa.text("LOCK TABLE core.providers IN SHARE ROW EXCLUSIVE MODE"))
    return {
        name: _Provider(
            row.id, row.code, row.name, row.kind, row.level, row.sub_level, row.legal_form, row.care_type, row.location,
            row.contract_from, row.contract_to, row.closed_on,
        )
        for name, row in resolve_providers(context, names).items()
    }  # fmt: skip


def _own(context: Context, found: dict[str, _Provider]) -> dict[str, _Provider]:
    """Those that the caller may change: everybody knows the facilities, only who answers for one changes it."""
    caller = context.caller
    if caller.everywhere:
        return found
    return {
        name: provider
        for name, provider in found.items()
        if provider.id in caller.providers or provider.location in caller.places
    }


def _replace(context: Context, now: dict[str, _Provider], provider: _Provider) -> None:
    """One provider may be named by code and by id in a batch; both names see the change."""
    for name in (provider.code, context.ids.encode("providers", provider.id)):
        if name in now and now[name].id == provider.id:
            now[name] = provider


def _changed(stored: dict[str, _Provider], now: dict[str, _Provider]) -> list[_Provider]:
    return list({p.id: p for name, p in now.items() if p != stored[name]}.values())


_FIELDS = (
    "code", "name", "kind", "level", "sub_level", "legal_form", "care_type", "location", "contract_from",
    "contract_to", "closed_on",
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
    context.execute(sa.delete(provider_price_lists).where(provider_price_lists.c.provider == any_of(lists)))
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


COMMANDS = (register_providers, change_providers, close_providers)
