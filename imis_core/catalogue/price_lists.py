"""Price lists: complete versions, each valid from its day until the next one. What a version was used for decides
whether its content may still be replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import sqlalchemy as sa
from attrs import define, frozen

from imis_core.catalogue.lookup import ItemRow, resolve_items
from imis_core.catalogue.tables import price_list_prices, price_list_versions, price_lists
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, insert_rows, take_ids
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.naming import problems_of_texts
from imis_core.parsing import InvalidInput, parse
from imis_core.values import MINOR_UNITS, Amount, NotExact, to_minor

CATALOGUE_PRICE = "catalogue"  # the word that stands for the catalogue's price of the day
Content = Mapping[int, int | None]  # item -> price in minor units; None: the catalogue's


@frozen(kw_only=True)
class DefinePriceList:
    """`prices`: item code -> an amount as text, or the word "catalogue"."""

    code: str
    valid_from: date
    prices: dict[str, object]
    currency: str | None = None


@frozen
class PriceListResult:
    """`items`: how many items this version lists."""

    id: str
    code: str
    valid_from: date
    items: int


@define
class _List:
    """A price list as a batch finds and leaves it."""

    id: int
    code: str
    currency: str
    new: bool


@define
class _Version:
    """A version as a batch leaves it. `used`: the stored content may no longer be replaced."""

    id: int
    price_list: int
    valid_from: date
    digest: str
    content: Content | None  # None: as stored
    stored_digest: str | None
    used: bool


@command("catalogue.define_price_list", input=DefinePriceList, result=PriceListResult)
def define_price_lists(context: Context, batch: tuple[DefinePriceList, ...]) -> list[PriceListResult | Refusal]:
    """Define a price list from a day on, completely; items that it does not name are not listed."""
    context.execute(sa.text("LOCK TABLE core.price_lists, core.price_list_versions IN SHARE ROW EXCLUSIVE MODE"))
    known_items = resolve_items(context, {code for item in batch for code in item.prices})
    lists = _load_lists(context, batch)
    versions = _load_versions(context, lists, batch)
    fresh_lists = iter(take_ids(context.connection, price_lists, len({i.code for i in batch} - set(lists))))
    fresh_versions = iter(take_ids(context.connection, price_list_versions, len(batch)))
    outcomes: list[tuple[_List, DefinePriceList] | Refusal] = []
    for item in batch:
        price_list = lists.get(item.code)
        content = _content(context, item, price_list, known_items)
        if isinstance(content, Refusal):
            outcomes.append(content)
            continue
        currency, prices = content
        digest = _digest(currency, prices)
        version = None if price_list is None else versions.get((price_list.id, item.valid_from))
        if version is not None and version.digest != digest and version.used:
            outcomes.append(_in_use(item))
            continue
        if price_list is None:
            price_list = lists[item.code] = _List(next(fresh_lists), item.code, currency, new=True)
        if version is None:
            version = _Version(next(fresh_versions), price_list.id, item.valid_from, digest, prices, None, used=False)
            versions[price_list.id, item.valid_from] = version
        elif version.digest != digest:
            version.digest, version.content = digest, prices
        outcomes.append((price_list, item))
    _write(context, [p for p in lists.values() if p.new], [v for v in versions.values() if v.digest != v.stored_digest])
    ids = iter(context.ids.encode_all("price_lists", [o[0].id for o in outcomes if not isinstance(o, Refusal)]))
    return [
        o if isinstance(o, Refusal) else PriceListResult(next(ids), o[1].code, o[1].valid_from, len(o[1].prices))
        for o in outcomes
    ]


def _content(
    context: Context, item: DefinePriceList, price_list: _List | None, known: Mapping[str, ItemRow]
) -> tuple[str, dict[int, int | None]] | Refusal:
    """Currency and prices by item, or all that is wrong with them."""
    problems = problems_of_texts({"code": item.code}, {})
    currency = item.currency or (price_list.currency if price_list else context.settings.deployment.currency)
    if price_list is not None and currency != price_list.currency:
        message = f"price list {item.code!r} is in {price_list.currency}; take another code for prices in {currency}"
        problems.append(Problem("currency", "other_currency", message))
    if currency not in MINOR_UNITS:
        message = f"there is no currency {currency!r}{suggestion(currency, MINOR_UNITS)}"
        return invalid(*problems, Problem("currency", "unknown", message))
    prices: dict[int, int | None] = {}
    unknown = []
    for code, value in item.prices.items():
        row = known.get(code)
        if row is None:
            unknown.append(code)
            continue
        if row.id in prices:
            problems.append(Problem(f"prices.{code}", "duplicate", f"item {row.code!r} is named twice"))
        prices[row.id] = _price(code, value, currency, problems)
    if problems:
        return invalid(*problems)
    if unknown:
        listed = tuple(Problem(f"prices.{code}", "not_found", f"no item {code!r}") for code in unknown)
        return Refusal("not_found", f"there is no item {unknown[0]!r}; define it with catalogue.define_item", listed)
    return currency, prices


def _price(code: str, value: object, currency: str, problems: list[Problem]) -> int | None:
    if value == CATALOGUE_PRICE:
        return None
    path = f"prices.{code}"
    try:
        amount: Decimal = parse(value, Amount)
    except InvalidInput as error:
        problems += [problem.at(path) for problem in error.problems]
        return 0
    return read_price(path, amount, currency, problems)


def read_price(path: str, price: Decimal, currency: str, problems: list[Problem]) -> int:
    """A price in minor units of a known currency; what is wrong with either goes to `problems` (and 0 comes back)."""
    if currency not in MINOR_UNITS:
        message = f"there is no currency {currency!r}{suggestion(currency, MINOR_UNITS)}"
        problems.append(Problem("currency", "unknown", message))
        return 0
    try:
        return to_minor(price, currency)
    except NotExact as error:
        problems.append(Problem(path, "not_exact", str(error)))
        return 0


def _digest(currency: str, prices: Content) -> str:
    text = ";".join(f"{item}={price}" for item, price in sorted(prices.items(), key=lambda pair: pair[0]))
    return hashlib.sha256(f"{currency}|{text}".encode()).hexdigest()


def _in_use(item: DefinePriceList) -> Refusal:
    return Refusal(
        "catalogue.in_use",
        f"claims were checked with price list {item.code!r} as it is valid from {item.valid_from}; "
        "define the new prices with a later valid_from",
    )


def _load_lists(context: Context, batch: Sequence[DefinePriceList]) -> dict[str, _List]:
    codes = sorted({item.code for item in batch})
    rows = context.execute(sa.select(price_lists).where(price_lists.c.code == any_of(codes, sa.Text)))
    return {row.code: _List(row.id, row.code, row.currency, new=False) for row in rows}


# A claim of a day on or after the version's first day, at a facility with the list. Who does not see every claim cannot
# tell that there is none, so that a version is then taken as used.
_VERSIONS = sa.text(
    """
    SELECT v.id, v.price_list, v.valid_from, v.digest, :limited OR EXISTS (
        SELECT FROM core.provider_price_lists l JOIN core.claims c ON c.provider = l.provider
        WHERE l.price_list = v.price_list AND c.target_date >= v.valid_from) AS used
    FROM unnest(CAST(:lists AS bigint[]), CAST(:days AS date[])) AS w(price_list, valid_from)
    JOIN core.price_list_versions v ON v.price_list = w.price_list AND v.valid_from = w.valid_from
    """
)


def _load_versions(
    context: Context, lists: Mapping[str, _List], batch: Sequence[DefinePriceList]
) -> dict[tuple[int, date], _Version]:
    pairs = sorted({(lists[item.code].id, item.valid_from) for item in batch if item.code in lists})
    if not pairs:
        return {}
    rows = context.execute(
        _VERSIONS,
        {"lists": [p[0] for p in pairs], "days": [p[1] for p in pairs], "limited": not context.caller.everywhere},
    )
    return {
        (row.price_list, row.valid_from): _Version(
            row.id, row.price_list, row.valid_from, row.digest, None, row.digest, row.used
        )
        for row in rows
    }


def _write(context: Context, lists: list[_List], versions: list[_Version]) -> None:
    connection = context.connection
    insert_rows(
        connection,
        price_lists,
        {"id": [p.id for p in lists], "code": [p.code for p in lists], "currency": [p.currency for p in lists]},
    )
    replaced = [v.id for v in versions if v.stored_digest is not None]
    if replaced:
        context.execute(sa.delete(price_list_prices).where(price_list_prices.c.price_list_version == any_of(replaced)))
    insert_returning(
        connection,
        price_list_versions,
        {
            "id": [v.id for v in versions],
            "price_list": [v.price_list for v in versions],
            "valid_from": [v.valid_from for v in versions],
            "digest": [v.digest for v in versions],
        },
        conflict="(id) DO UPDATE SET digest = excluded.digest",
    )
    rows = [(v.id, item, price) for v in versions for item, price in (v.content or {}).items()]
    insert_rows(
        connection,
        price_list_prices,
        {
            "price_list_version": [row[0] for row in rows],
            "item": [row[1] for row in rows],
            "price_minor": [row[2] for row in rows],
        },
    )
