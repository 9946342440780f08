"""Queries of the catalogue: items and diagnoses, and the prices of a list on a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.catalogue.lookup import resolve_price_lists
from imis_core.catalogue.tables import (
    diagnoses,
    item_bundle_parts,
    item_prices,
    items,
    price_list_prices,
    price_list_versions,
)
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query
from imis_core.values import Money, thousandths_text


@frozen(kw_only=True)
class ListItems:
    """`code`, `name`: how they begin; `on`: the day of the price, by default today."""

    kind: Literal["service", "product"] | None = None
    category: str | None = None
    code: str | None = None
    name: str | None = None
    on: date | None = None


@frozen
class BundleShown:
    """What a service that is a bundle stands for: item code -> how much of it."""

    kind: str
    content: dict[str, str]


@frozen
class ItemShown:
    """`price` is null on days before the item's first price."""

    id: str
    code: str
    name: str
    kind: str
    category: str | None
    care_type: str
    max_quantity: str | None
    sexes: tuple[str, ...]
    ages: tuple[str, ...]
    price: Money | None
    currency: str | None
    frequency_days: int | None
    bundle: BundleShown | None


@frozen(kw_only=True)
class ListPrices:
    price_list: str
    on: date | None = None


@frozen
class PriceShown:
    """`origin` tells whose price it is; `price` is null where the catalogue has none on that day."""

    item: str
    name: str
    price: Money | None
    currency: str | None
    origin: Literal["list", "catalogue"]


@frozen(kw_only=True)
class ListDiagnoses:
    """`code`, `name`: how they begin."""

    code: str | None = None
    name: str | None = None


@frozen
class DiagnosisShown:
    id: str
    code: str
    name: str


def _price_of_day(on: date) -> sa.FromClause:
    """The catalogue's price of an item of the enclosing statement on a day."""
    return (
        sa.select(item_prices.c.price_minor, item_prices.c.currency)
        .where(item_prices.c.item == items.c.id, item_prices.c.valid_from <= on)
        .order_by(item_prices.c.valid_from.desc())
        .limit(1)
        .lateral("price_of_day")
    )


@query("catalogue.items", input=ListItems, result=ItemShown, listing=True)
def list_items(context: Context, wanted: ListItems) -> Listing:
    """Items in order of definition, with the catalogue's price of a day."""
    price = _price_of_day(wanted.on or context.today)
    statement = sa.select(items, price.c.price_minor, price.c.currency).join(price, sa.true(), isouter=True)
    if wanted.kind is not None:
        statement = statement.where(items.c.kind == wanted.kind)
    if wanted.category is not None:
        statement = statement.where(items.c.category == wanted.category)
    if wanted.code is not None:
        statement = statement.where(items.c.code.startswith(wanted.code, autoescape=True))
    if wanted.name is not None:
        statement = statement.where(items.c.name.istartswith(wanted.name, autoescape=True))

    def build(rows: Sequence[sa.Row[Any]]) -> list[ItemShown]:
        bundles = _content(context, [row.id for row in rows if row.bundle is not None])
        return [
            ItemShown(
                id_, row.code, row.name, row.kind, row.category, row.care_type,
                None if row.max_quantity_thousandths is None else thousandths_text(row.max_quantity_thousandths),
                tuple(row.sexes), tuple(row.ages),
                None if row.price_minor is None else Money(row.price_minor, row.currency), row.currency,
                row.frequency_days,
                None if row.bundle is None else BundleShown(row.bundle, bundles.get(row.id, {})),
            )
            for id_, row in zip(context.ids.encode_all("items", [r.id for r in rows]), rows, strict=True)
        ]  # fmt: skip

    return Listing(statement, [items.c.id], build, {"code": items.c.code, "name": items.c.name, "kind": items.c.kind})


def _content(context: Context, bundles: Sequence[int]) -> dict[int, dict[str, str]]:
    """What bundles hold by item code, in the order in which items were defined; one statement, none for no bundle."""
    if not bundles:
        return {}
    t = item_bundle_parts.c
    rows = context.execute(
        sa.select(t.item, items.c.code, t.quantity_thousandths)
        .join(items, items.c.id == t.part)
        .where(t.item == any_of(bundles))
        .order_by(t.item, t.part)
    )
    found: dict[int, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row.item, {})[row.code] = thousandths_text(row.quantity_thousandths)
    return found


@query("catalogue.prices", input=ListPrices, result=PriceShown, listing=True)
def list_prices(context: Context, wanted: ListPrices) -> Listing | Refusal:
    """What a price list pays on a day, by item code."""
    on = wanted.on or context.today
    price_list = resolve_price_lists(context, [wanted.price_list]).get(wanted.price_list)
    if price_list is None:
        return not_found("price_list", "price list", wanted.price_list)
    version = (
        sa.select(price_list_versions.c.id)
        .where(price_list_versions.c.price_list == price_list.id, price_list_versions.c.valid_from <= on)
        .order_by(price_list_versions.c.valid_from.desc())
        .limit(1)
        .scalar_subquery()
    )
    catalogue = _price_of_day(on)
    statement = (
        sa.select(
            items.c.code, items.c.name, price_list_prices.c.price_minor,
            catalogue.c.price_minor.label("catalogue_minor"), catalogue.c.currency.label("catalogue_currency"),
        )
        .select_from(price_list_prices)
        .join(items, items.c.id == price_list_prices.c.item)
        .join(catalogue, sa.true(), isouter=True)
        .where(price_list_prices.c.price_list_version == version)
    )  # fmt: skip

    def build(rows: Sequence[sa.Row[Any]]) -> list[PriceShown]:
        return [_price_shown(row, price_list.currency) for row in rows]

    return Listing(statement, [items.c.code], build)


def _price_shown(row: sa.Row[Any], currency: str) -> PriceShown:
    if row.price_minor is not None:
        return PriceShown(row.code, row.name, Money(row.price_minor, currency), currency, "list")
    price = None if row.catalogue_minor is None else Money(row.catalogue_minor, row.catalogue_currency)
    return PriceShown(row.code, row.name, price, row.catalogue_currency, "catalogue")


@query("catalogue.diagnoses", input=ListDiagnoses, result=DiagnosisShown, listing=True)
def list_diagnoses(context: Context, wanted: ListDiagnoses) -> Listing:
    """Diagnoses in the order in which they were added."""
    statement = sa.select(diagnoses)
    if wanted.code is not None:
        statement = statement.where(diagnoses.c.code.startswith(wanted.code, autoescape=True))
    if wanted.name is not None:
        statement = statement.where(diagnoses.c.name.istartswith(wanted.name, autoescape=True))

    def build(rows: Sequence[sa.Row[Any]]) -> list[DiagnosisShown]:
        ids = context.ids.encode_all("diagnoses", [row.id for row in rows])
        return [DiagnosisShown(id_, row.code, row.name) for id_, row in zip(ids, rows, strict=True)]

    return Listing(statement, [diagnoses.c.id], build, {"code": diagnoses.c.code, "name": diagnoses.c.name})


QUERIES = (list_items, list_prices, list_diagnoses)
