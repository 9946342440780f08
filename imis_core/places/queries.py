"""Queries of places: the tree as it was on a day, and the providers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.tables import CORE
from imis_core.errors import Refusal, not_found
from imis_core.places.catchments import CatchmentShown, catchments_of
from imis_core.places.lookup import location_codes, places_below, resolve_locations
from imis_core.places.tables import location_periods, locations, provider_price_lists, providers
from imis_core.queries import Listing, query

_price_lists = sa.table("price_lists", sa.column("id"), sa.column("code"), schema=CORE)


@frozen(kw_only=True)
class ListLocations:
    """`parent`: only those directly below it on that day; `name`: how it begins; `on`: by default today."""

    id: str | None = None
    code: str | None = None
    parent: str | None = None
    level: str | None = None
    name: str | None = None
    on: date | None = None


@frozen
class LocationShown:
    id: str
    code: str
    name: str
    level: str
    parent: str | None
    closed_on: date | None
    parent_id: str | None
    version: int


@query("locations.list", input=ListLocations, result=LocationShown, listing=True)
def list_locations(context: Context, wanted: ListLocations) -> Listing | Refusal:
    """Locations in the order in which they were added, with the names and parents they had on a day."""
    on = wanted.on or context.today
    period = location_periods.c
    statement = sa.select(
        locations.c.id, locations.c.code, period.name, locations.c.level, period.parent, locations.c.closed_on,
        locations.c.version,
    ).join(location_periods, sa.and_(period.location == locations.c.id, period.valid.contains(on)))  # fmt: skip
    statement = statement.where(*_named(context, locations, wanted.id, wanted.code))
    if wanted.parent is not None:
        parent = resolve_locations(context, [wanted.parent]).get(wanted.parent)
        if parent is None:
            return not_found("parent", "location", wanted.parent)
        statement = statement.where(period.parent == parent.id)
    if wanted.level is not None:
        statement = statement.where(locations.c.level == wanted.level)
    if wanted.name is not None:
        statement = statement.where(period.name.istartswith(wanted.name, autoescape=True))

    def build(rows: Sequence[sa.Row[Any]]) -> list[LocationShown]:
        ids = context.ids.encode_all("locations", [row.id for row in rows])
        codes = location_codes(context, [row.parent for row in rows])
        parents = _location_ids(context, [row.parent for row in rows])
        return [
            LocationShown(
                id_, row.code, row.name, row.level, codes.get(row.parent), row.closed_on, parents.get(row.parent),
                row.version,
            )
            for id_, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    sortable = {"code": locations.c.code, "name": period.name, "level": locations.c.level}
    return Listing(statement, [locations.c.id], build, sortable)


def _named(context: Context, table: sa.Table, outside: str | None, code: str | None) -> list[sa.ColumnElement[bool]]:
    """The conditions of the filters `id` and `code`; what is no id of the table's noun is nobody's."""
    found: list[sa.ColumnElement[bool]] = []
    if outside is not None:
        number = context.ids.decode(table.info["noun"], outside)
        found.append(sa.false() if number is None else table.c.id == number)
    if code is not None:
        found.append(table.c.code == code)
    return found


def _location_ids(context: Context, numbers: Iterable[int | None]) -> dict[int | None, str]:
    wanted = sorted({number for number in numbers if number is not None})
    return dict(zip(wanted, context.ids.encode_all("locations", wanted), strict=True))


@frozen(kw_only=True)
class ListProviders:
    """`location`: that place and those below it; `name`: how it begins."""

    id: str | None = None
    code: str | None = None
    location: str | None = None
    kind: str | None = None
    level: str | None = None
    name: str | None = None


@frozen(kw_only=True)
class ShowProvider:
    provider: str


@frozen
class ContractShown:
    from_: date
    to: date | None


@frozen
class ProviderShown:
    id: str
    code: str
    name: str
    kind: str
    level: str | None
    care_type: str
    location: str | None
    price_lists: tuple[str, ...]
    contract: ContractShown | None
    closed_on: date | None
    location_id: str | None
    version: int
    sub_level: str | None
    legal_form: str | None
    status: Literal["active", "closed"]
    catchment: tuple[CatchmentShown, ...]


@query("providers.list", input=ListProviders, result=ProviderShown, listing=True)
def list_providers(context: Context, wanted: ListProviders) -> Listing | Refusal:
    """Providers in the order of registration."""
    statement = sa.select(providers).where(*_named(context, providers, wanted.id, wanted.code))
    if wanted.location is not None:
        place = resolve_locations(context, [wanted.location]).get(wanted.location)
        if place is None:
            return not_found("location", "location", wanted.location)
        below = list(places_below(context.connection, [place.id]))
        statement = statement.where(providers.c.location == any_of(below))
    if wanted.kind is not None:
        statement = statement.where(providers.c.kind == wanted.kind)
    if wanted.level is not None:
        statement = statement.where(providers.c.level == wanted.level)
    if wanted.name is not None:
        statement = statement.where(providers.c.name.istartswith(wanted.name, autoescape=True))
    sortable = {"code": providers.c.code, "name": providers.c.name}
    return Listing(statement, [providers.c.id], lambda rows: _shown(context, rows), sortable)


@query("providers.show", input=ShowProvider, result=ProviderShown)
def show_provider(context: Context, wanted: ShowProvider) -> ProviderShown | Refusal:
    """One provider, by code or id."""
    found = dict(context.named(providers, [wanted.provider])).get(wanted.provider)
    if found is None:
        return not_found("provider", "provider", wanted.provider)
    return _shown(context, [found])[0]


def _shown(context: Context, rows: Sequence[Any]) -> list[ProviderShown]:
    numbers = [row.id for row in rows]
    codes = location_codes(context, [row.location for row in rows])
    places = _location_ids(context, [row.location for row in rows])
    catchments = catchments_of(context, numbers)
    lists: dict[int, list[str]] = {}
    for row in context.execute(
        sa.select(provider_price_lists.c.provider, _price_lists.c.code)
        .join(_price_lists, _price_lists.c.id == provider_price_lists.c.price_list)
        .where(provider_price_lists.c.provider == any_of(numbers))
        .order_by(provider_price_lists.c.provider, provider_price_lists.c.ordinal)
    ):
        lists.setdefault(row.provider, []).append(row.code)
    return [
        ProviderShown(
            id_, row.code, row.name, row.kind, row.level, row.care_type, codes.get(row.location),
            tuple(lists.get(row.id, ())),
            None if row.contract_from is None else ContractShown(row.contract_from, row.contract_to), row.closed_on,
            places.get(row.location), row.version, row.sub_level, row.legal_form,
            "active" if row.closed_on is None or context.today < row.closed_on else "closed",
            catchments.get(row.id, ()),
        )
        for id_, row in zip(context.ids.encode_all("providers", numbers), rows, strict=True)
    ]  # fmt: skip


QUERIES = (list_locations, list_providers, show_provider)
