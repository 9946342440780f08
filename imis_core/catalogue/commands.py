"""Commands of the catalogue: items with dated prices, diagnoses. Price lists are in `price_lists.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import define, field, frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.catalogue.bundles import Bundle, Parts, bundles_that_hold, parts_of, read_parts, write_parts
from imis_core.catalogue.lookup import resolve_items
from imis_core.catalogue.price_lists import define_price_lists, read_price
from imis_core.catalogue.tables import diagnoses, item_prices, items
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, take_ids
from imis_core.errors import Problem, Refusal, invalid
from imis_core.naming import problems_of_texts
from imis_core.values import Amount, NotExact, Quantity, to_thousandths

# The day that stands for "from the beginning" in dated prices.
BEGINNING: Final = date.min
FREQUENCY_DAYS_MAX: Final = 36_500  # a hundred years; more leaves the calendar


@frozen(kw_only=True)
class DefineItem:
    """`frequency_days`: a person gets it again only after so many days; `bundle`: a service that stands for others.

    `category` of a service: surgery, delivery, antenatal, hospitalisation, consultation, visit or other decide the
    category of a claim; any other word is a classification of the deployment's own and counts as other.
    """

    code: str
    name: str
    kind: Literal["service", "product"]
    category: str | None = None
    care_type: Literal["inpatient", "outpatient", "both"] = "both"
    price: Amount
    currency: str | None = None
    valid_from: date | None = None
    frequency_days: int | None = None
    max_quantity: Quantity | None = None
    sexes: tuple[Literal["F", "M", "O"], ...] = ("F", "M")
    ages: tuple[Literal["adult", "child"], ...] = ("adult", "child")
    bundle: Bundle | None = None


@frozen(kw_only=True)
class AddDiagnosis:
    code: str
    name: str


@frozen
class CatalogueResult:
    id: str
    code: str


@frozen
class _Item:
    """An item as it is stored."""

    code: str
    name: str
    kind: str
    category: str | None
    care_type: str
    frequency_days: int | None
    max_quantity_thousandths: int | None
    sexes: tuple[str, ...]
    ages: tuple[str, ...]
    bundle: str | None


_FIELDS: Final = (
    "code", "name", "kind", "category", "care_type", "frequency_days", "max_quantity_thousandths", "sexes", "ages",
    "bundle",
)  # fmt: skip


@command("catalogue.define_item", input=DefineItem, result=CatalogueResult)
def define_items(context: Context, batch: tuple[DefineItem, ...]) -> list[CatalogueResult | Refusal]:
    """Define a service or product, or define it anew; with `valid_from` the price holds from that day on."""
    context.execute(sa.text("LOCK TABLE core.items IN SHARE ROW EXCLUSIVE MODE"))
    ids, stored, stored_prices = _stored(context, [item.code for item in batch])
    wanted = dict(stored)
    prices = dict(stored_prices)
    content = _Content.load(context, batch, ids, stored)
    numbers = iter(take_ids(context.connection, items, len({item.code for item in batch} - set(ids))))
    outcomes: list[str | Refusal] = []
    for item in batch:
        currency = item.currency or context.settings.deployment.currency
        read = _read(item, currency, content)
        if isinstance(read, Refusal):
            outcomes.append(read)
            continue
        row, price_minor, parts = read
        if item.code not in ids:
            ids[item.code] = next(numbers)
        wanted[item.code] = row
        content.keep(ids[item.code], row, parts)
        prices[ids[item.code], item.valid_from or BEGINNING] = (price_minor, currency)
        outcomes.append(item.code)
    _write_items(context, ids, [row for code, row in wanted.items() if stored.get(code) != row])
    write_parts(context, content.changed)
    _write_prices(context, {key: price for key, price in prices.items() if stored_prices.get(key) != price})
    return _results(context, "items", outcomes, ids)


def _stored(
    context: Context, codes: Sequence[str]
) -> tuple[dict[str, int], dict[str, _Item], dict[tuple[int, date], tuple[int, str]]]:
    """What the catalogue has of these codes: ids, items, dated prices."""
    named = sa.literal(sorted(set(codes)), ARRAY(sa.Text))
    rows = context.execute(sa.select(items).where(items.c.code == sa.any_(named))).all()
    ids = {row.code: row.id for row in rows}
    stored = {
        row.code: _Item(
            row.code, row.name, row.kind, row.category, row.care_type, row.frequency_days,
            row.max_quantity_thousandths, tuple(row.sexes), tuple(row.ages), row.bundle,
        )
        for row in rows
    }  # fmt: skip
    dated = context.execute(sa.select(item_prices).where(item_prices.c.item == any_of(ids.values())))
    return ids, stored, {(row.item, row.valid_from): (row.price_minor, row.currency) for row in dated}


@define
class _Content:
    """What bundles hold as a batch finds and leaves it. `held`: the bundle that holds an item, by its key."""

    ids: dict[str, int]
    bundles: dict[str, str | None]
    stored: dict[int, Parts]
    held: dict[int, str]
    changed: dict[int, Parts] = field(factory=dict)

    @classmethod
    def load(
        cls, context: Context, batch: Sequence[DefineItem], ids: Mapping[str, int], stored: Mapping[str, _Item]
    ) -> _Content:
        named = {name for item in batch if item.bundle is not None for name in item.bundle.content} - set(ids)
        known = resolve_items(context, named) if named else {}
        bundles = {code: row.bundle for code, row in stored.items()}
        bundles |= {row.code: row.bundle for row in known.values()}
        changing = [ids[i.code] for i in batch if i.code in ids]
        return cls(
            {**ids, **{row.code: row.id for row in known.values()}}, bundles, parts_of(context, changing),
            bundles_that_hold(context, [ids[i.code] for i in batch if i.bundle is not None and i.code in ids]),
        )  # fmt: skip

    def read(self, item: DefineItem, problems: list[Problem]) -> Parts:
        if item.bundle is None:
            return {}
        if item.kind != "service":
            problems.append(Problem("bundle", "kind", "only a service may be a bundle"))
        holder = self.held.get(self.ids.get(item.code, 0))
        if holder is not None:
            problems.append(
                Problem("bundle", "nested", f"the bundle {holder!r} holds this item; it cannot be one itself")
            )
        return read_parts(item.code, item.bundle, self.ids, self.bundles, problems)

    def keep(self, number: int, row: _Item, parts: Parts) -> None:
        self.ids[row.code], self.bundles[row.code] = number, row.bundle
        self.held |= dict.fromkeys(parts, row.code)
        if self.stored.get(number, {}) != parts or number in self.changed:
            self.changed[number] = parts


def _read(item: DefineItem, currency: str, content: _Content) -> tuple[_Item, int, Parts] | Refusal:
    """An input as a row, its price in minor units and what it holds, or all that is wrong with it."""
    problems = problems_of_texts({"code": item.code, "category": item.category}, {"name": item.name})
    if item.frequency_days is not None and not 0 <= item.frequency_days <= FREQUENCY_DAYS_MAX:
        message = f"expected 0 to {FREQUENCY_DAYS_MAX} days, found {item.frequency_days}"
        problems.append(Problem("frequency_days", "range", message))
    for path, values in (("sexes", item.sexes), ("ages", item.ages)):
        if not values:
            problems.append(Problem(path, "required", "name at least one, or leave the field out for all"))
        elif len(set(values)) != len(values):
            problems.append(Problem(path, "duplicate", "a value is named twice"))
    quantity = _quantity(item.max_quantity, problems)
    price_minor = read_price("price", item.price, currency, problems)
    parts = content.read(item, problems)
    if problems:
        return invalid(*problems)
    row = _Item(
        item.code, item.name, item.kind, item.category, item.care_type, item.frequency_days, quantity,
        tuple(item.sexes), tuple(item.ages), item.bundle.kind if item.bundle else None,
    )  # fmt: skip
    return row, price_minor, parts


def _quantity(quantity: Decimal | None, problems: list[Problem]) -> int | None:
    if quantity is None:
        return None
    if quantity <= 0:
        problems.append(Problem("max_quantity", "range", f"expected more than 0, found {quantity}"))
        return None
    try:
        return to_thousandths(quantity)
    except NotExact as error:
        problems.append(Problem("max_quantity", "not_exact", str(error)))
        return None


def _write_items(context: Context, ids: dict[str, int], rows: list[_Item]) -> None:
    changes = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _FIELDS}
    insert_returning(
        context.connection,
        items,
        {"id": [ids[row.code] for row in rows], **columns},
        conflict=f"(id) DO UPDATE SET {changes}",
    )


def _write_prices(context: Context, prices: dict[tuple[int, date], tuple[int, str]]) -> None:
    insert_returning(
        context.connection,
        item_prices,
        {
            "item": [item for item, _ in prices],
            "valid_from": [valid_from for _, valid_from in prices],
            "price_minor": [price for price, _ in prices.values()],
            "currency": [currency for _, currency in prices.values()],
        },
        conflict="(item, valid_from) DO UPDATE SET price_minor = excluded.price_minor, currency = excluded.currency",
    )


@command("catalogue.add_diagnosis", input=AddDiagnosis, result=CatalogueResult)
def add_diagnoses(context: Context, batch: tuple[AddDiagnosis, ...]) -> list[CatalogueResult | Refusal]:
    """Add a diagnosis; the same code again changes its name."""
    context.execute(sa.text("LOCK TABLE core.diagnoses IN SHARE ROW EXCLUSIVE MODE"))
    codes = sorted({item.code for item in batch})
    rows = context.execute(sa.select(diagnoses).where(diagnoses.c.code == any_of(codes, sa.Text))).all()
    ids = {row.code: row.id for row in rows}
    stored = {row.code: row.name for row in rows}
    names = dict(stored)
    numbers = iter(take_ids(context.connection, diagnoses, len(codes) - len(ids)))
    outcomes: list[str | Refusal] = []
    for item in batch:
        problems = problems_of_texts({"code": item.code}, {"name": item.name})
        if problems:
            outcomes.append(invalid(*problems))
            continue
        if item.code not in ids:
            ids[item.code] = next(numbers)
        names[item.code] = item.name
        outcomes.append(item.code)
    changed = [code for code, name in names.items() if stored.get(code) != name]
    insert_returning(
        context.connection,
        diagnoses,
        {"id": [ids[code] for code in changed], "code": changed, "name": [names[code] for code in changed]},
        conflict="(id) DO UPDATE SET name = excluded.name",
    )
    return _results(context, "diagnoses", outcomes, ids)


def _results(
    context: Context, noun: str, outcomes: list[str | Refusal], ids: dict[str, int]
) -> list[CatalogueResult | Refusal]:
    outside = iter(context.ids.encode_all(noun, [ids[o] for o in outcomes if isinstance(o, str)]))
    return [o if isinstance(o, Refusal) else CatalogueResult(next(outside), o) for o in outcomes]


COMMANDS = (define_items, define_price_lists, add_diagnoses)
