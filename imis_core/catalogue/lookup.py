"""Items, price lists and diagnoses for other rooms: found by code or outside id, in one statement for a whole batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.catalogue.tables import diagnoses, items, price_lists
from imis_core.context import Context, Naming


@frozen
class ItemRow:
    """An item of the catalogue. `max_quantity_thousandths` None: no maximum per line.

    `frequency_days` None: as often as wanted; `bundle`: flat | fee_for_service, what it holds is in `bundles.parts_of`.
    """

    id: int
    code: str
    name: str
    kind: str
    category: str | None
    care_type: str
    max_quantity_thousandths: int | None
    sexes: tuple[str, ...]
    ages: tuple[str, ...]
    frequency_days: int | None = None
    bundle: str | None = None


@frozen
class DiagnosisRow:
    id: int
    code: str
    name: str


@frozen
class PriceListRow:
    id: int
    code: str
    currency: str


def resolve_items(context: Context, names: Iterable[str]) -> dict[str, ItemRow]:
    """The items that are named by code or outside id; unknown names are left out."""
    return {name: _item(row) for name, row in context.named(items, names)}


def _item(row: Any) -> ItemRow:
    return ItemRow(
        row.id, row.code, row.name, row.kind, row.category, row.care_type, row.max_quantity_thousandths,
        tuple(row.sexes), tuple(row.ages), row.frequency_days, row.bundle,
    )  # fmt: skip


_ITEM: Final = (
    "id", "code", "name", "kind", "category", "care_type", "max_quantity_thousandths", "sexes", "ages",
    "frequency_days", "bundle",
)  # fmt: skip
_DIAGNOSIS: Final = ("id", "code", "name")


def resolve_items_and_diagnoses(
    context: Context, names: Iterable[str], codes: Iterable[str]
) -> tuple[dict[str, ItemRow], dict[str, DiagnosisRow]]:
    """What a claim names of the catalogue, items and diagnoses, in one statement; unknown names are left out."""
    of_items, of_diagnoses = Naming.of(context, items, names), Naming.of(context, diagnoses, codes)
    nothing = [sa.null() for _ in _ITEM[len(_DIAGNOSIS) :]]
    statement = sa.union_all(
        of_items.select(sa.true().label("is_item"), *(items.c[name] for name in _ITEM)),
        of_diagnoses.select(sa.false(), *(diagnoses.c[name] for name in _DIAGNOSIS), *nothing),
    )
    rows = context.execute(statement).all()
    return (
        {name: _item(row) for name, row in of_items.found([row for row in rows if row.is_item])},
        {
            name: DiagnosisRow(row.id, row.code, row.name)
            for name, row in of_diagnoses.found([row for row in rows if not row.is_item])
        },
    )


def resolve_diagnoses(context: Context, names: Iterable[str]) -> dict[str, DiagnosisRow]:
    """The diagnoses that are named by code or outside id; unknown names are left out."""
    return {name: DiagnosisRow(row.id, row.code, row.name) for name, row in context.named(diagnoses, names)}


def resolve_price_lists(context: Context, names: Iterable[str]) -> dict[str, PriceListRow]:
    """The price lists that are named by code or outside id; unknown names are left out."""
    return {name: PriceListRow(row.id, row.code, row.currency) for name, row in context.named(price_lists, names)}
