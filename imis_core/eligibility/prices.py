"""Dated prices of items at providers, read once for a whole batch: those of lists, else the catalogue's.

A bundle that is paid by its content costs what it holds: its own price counts for nothing (health_insurance.md 1).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.catalogue.bundles import FEE_FOR_SERVICE, Parts, parts_of
from imis_core.catalogue.lookup import ItemRow
from imis_core.context import Context
from imis_core.values import INT64_MAX, THOUSANDTHS


@frozen
class Prices:
    """Dated prices of some items at some providers, in memory. All amounts in minor units."""

    currency: str
    _lists: Mapping[int, Sequence[int]]  # provider -> its price lists, the first named first
    _versions: Mapping[int, tuple[Sequence[date], Sequence[int]]]  # list -> valid_from ascending, version
    _listed: Mapping[tuple[int, int], int | None]  # (version, item) -> price, None: the catalogue's
    _catalogue: Mapping[int, tuple[Sequence[date], Sequence[int]]]  # item -> valid_from ascending, price
    _content: Mapping[int, Parts] = field(factory=dict)  # of bundles that are paid by it

    def catalogue(self, item: int, on: date) -> int | None:
        """The catalogue's price of an item on a day; None if it has none in the currency."""
        content = self._content.get(item)
        if content is not None:
            return _sum((self._of_catalogue(part, on), thousandths) for part, thousandths in content.items())
        return self._of_catalogue(item, on)

    def at(self, provider: int, item: int, on: date) -> int | None:
        """The price at a provider on a day: the first of its lists that names the item; None if none does (2)."""
        content = self._content.get(item)
        if content is not None:
            return _sum((self._at(provider, part, on), thousandths) for part, thousandths in content.items())
        return self._at(provider, item, on)

    def _of_catalogue(self, item: int, on: date) -> int | None:
        return _latest(self._catalogue.get(item), on)

    def _at(self, provider: int, item: int, on: date) -> int | None:
        for price_list in self._lists.get(provider, ()):
            version = _latest(self._versions.get(price_list), on)
            if version is not None and (version, item) in self._listed:
                price = self._listed[version, item]
                return self._of_catalogue(item, on) if price is None else price
        return None


def _sum(parts: Iterable[tuple[int | None, int]]) -> int | None:
    """What parts (price, thousandths) cost together, half up to the minor unit; None if one has no price."""
    total = 0
    for price, thousandths in parts:
        if price is None:
            return None
        total += price * thousandths
    # More than can be kept is as good as the most: a line pays at most what was asked.
    return min((2 * total + THOUSANDTHS) // (2 * THOUSANDTHS), INT64_MAX)


def _latest(dated: tuple[Sequence[date], Sequence[int]] | None, on: date) -> int | None:
    if dated is None:
        return None
    position = bisect_right(dated[0], on)
    return dated[1][position - 1] if position else None


def _dated(values: Mapping[int, Mapping[date, int]]) -> dict[int, tuple[list[date], list[int]]]:
    """Days and values apart, both ascending by day, so that a day is found by bisection."""
    return {key: (list(of_key), list(of_key.values())) for key, of_key in values.items()}


# Lists of providers with their versions, the prices of those, and the catalogue's by day, in one go.
_PRICES: Final = sa.text(
    """
    WITH lists AS (
        SELECT p.provider, p.ordinal, p.price_list, v.valid_from, v.id AS version FROM core.provider_price_lists p
        JOIN core.price_lists l ON l.id = p.price_list AND l.currency = :currency
        JOIN core.price_list_versions v ON v.price_list = p.price_list
        WHERE p.provider = ANY(:providers))
    SELECT provider, ordinal, price_list, valid_from, version, NULL::bigint AS item, NULL::bigint AS price_minor
    FROM lists
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, price_list_version, item, price_minor FROM core.price_list_prices
    WHERE price_list_version IN (SELECT version FROM lists) AND item = ANY(:items)
    UNION ALL
    SELECT NULL, NULL, NULL, valid_from, NULL, item, price_minor FROM core.item_prices
    WHERE item = ANY(:items) AND currency = :currency
    ORDER BY provider, ordinal, item, valid_from
    """
)


def read_prices(context: Context, currency: str, providers: Iterable[int], items: Iterable[ItemRow]) -> Prices:
    """All dated prices of these items at these providers, in one statement; none for no items.

    One more where there are bundles that are paid by their content.
    """
    wanted = {item.id: item for item in items}
    content = parts_of(context, [number for number, item in wanted.items() if item.bundle == FEE_FOR_SERVICE])
    lists: dict[int, list[int]] = {}
    versions: dict[int, dict[date, int]] = {}
    listed: dict[tuple[int, int], int | None] = {}
    catalogue: dict[int, dict[date, int]] = {}
    numbers = {number for number in wanted if number not in content}.union(*content.values())
    asked = {"providers": sorted(set(providers)), "items": sorted(numbers), "currency": currency}
    rows: Iterable[Any] = context.execute(_PRICES, asked) if asked["items"] else ()
    for provider, _, price_list, valid_from, version, item, price_minor in rows:
        if item is None:
            of_provider = lists.setdefault(provider, [])
            if price_list not in of_provider:
                of_provider.append(price_list)
            versions.setdefault(price_list, {})[valid_from] = version
        elif version is None:
            catalogue.setdefault(item, {})[valid_from] = price_minor
        else:
            listed[version, item] = price_minor
    return Prices(currency, lists, _dated(versions), listed, _dated(catalogue), content)
