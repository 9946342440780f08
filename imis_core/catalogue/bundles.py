"""Bundles: services that stand for others, paid at one price (flat) or by what they hold (fee for service).

What a claim of a bundle may name is the claims room's business, what it costs that of `eligibility.prices`.
Source: health_insurance.md 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.catalogue.tables import item_bundle_parts
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.errors import Problem
from imis_core.values import NotExact, Quantity, to_thousandths

FEE_FOR_SERVICE: Final = "fee_for_service"
Parts = dict[int, int]  # item -> how much of it, in thousandths


@frozen(kw_only=True)
class Bundle:
    """`content`: item code -> how much of it one bundle holds."""

    kind: Literal["flat", "fee_for_service"]
    content: dict[str, Quantity]


def read_parts(
    code: str, bundle: Bundle, ids: Mapping[str, int], bundles: Mapping[str, str | None], problems: list[Problem]
) -> Parts:
    """What a bundle holds; what is wrong with it goes to `problems`.

    `ids` are the items that are known by code so far, `bundles` which of them are bundles and of which kind.
    """
    parts: Parts = {}
    if not bundle.content:
        problems.append(Problem("bundle.content", "required", "name at least one item that the bundle holds"))
    for name, quantity in bundle.content.items():
        path = f"bundle.content.{name}"
        if name == code:
            problems.append(Problem(path, "cycle", "a bundle cannot hold itself"))
        elif name not in ids:
            problems.append(Problem(path, "not_found", f"no item {name!r}; define it before the bundle"))
        elif bundles.get(name) is not None:
            problems.append(Problem(path, "nested", f"{name!r} is a bundle itself; name what it holds"))
        elif quantity <= 0:
            problems.append(Problem(path, "range", f"expected more than 0, found {quantity}"))
        else:
            try:
                parts[ids[name]] = to_thousandths(quantity)
            except NotExact as error:
                problems.append(Problem(path, "not_exact", str(error)))
    return parts


def parts_of(context: Context, item_ids: Iterable[int]) -> dict[int, Parts]:
    """What bundles hold, by item; what is no bundle is left out. One statement."""
    wanted = sorted(set(item_ids))
    if not wanted:
        return {}
    t = item_bundle_parts.c
    found: dict[int, Parts] = {}
    rows = context.execute(
        sa.select(t.item, t.part, t.quantity_thousandths).where(t.item == any_of(wanted)).order_by(t.item, t.part)
    )
    for row in rows:
        found.setdefault(row.item, {})[row.part] = row.quantity_thousandths
    return found


def bundles_that_hold(context: Context, item_ids: Sequence[int]) -> dict[int, str]:
    """A bundle's code for each of these items that some bundle holds. One statement."""
    if not item_ids:
        return {}
    rows = context.execute(_HELD, {"ids": sorted(set(item_ids))})
    return {row.part: row.code for row in rows}


_HELD = sa.text(
    "SELECT DISTINCT ON (b.part) b.part, i.code FROM core.item_bundle_parts b JOIN core.items i ON i.id = b.item "
    "WHERE b.part = ANY(CAST(:ids AS bigint[])) ORDER BY b.part, i.code"
)


def write_parts(context: Context, changed: Mapping[int, Parts]) -> None:
    """Make these all that the bundles hold; an item that is no bundle any more holds nothing."""
    if not changed:
        return
    t = item_bundle_parts.c
    context.execute(sa.delete(item_bundle_parts).where(t.item == any_of(changed)))
    rows = [(item, part, quantity) for item, parts in changed.items() for part, quantity in parts.items()]
    if rows:
        insert_rows(
            context.connection,
            item_bundle_parts,
            {
                "item": [row[0] for row in rows],
                "part": [row[1] for row in rows],
                "quantity_thousandths": [row[2] for row in rows],
            },
        )
