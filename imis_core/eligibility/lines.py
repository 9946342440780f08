"""What judging a line needs from the database: prices, covers, terms and limits, each for a whole batch at once.

Eligibility and claims both ask here, so that what eligibility allows today, a claim of today gets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.benefit_packages.schemes import SchemeType
from imis_core.catalogue.lookup import ItemRow
from imis_core.context import Context
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.valuation import SHARE_WHOLE
from imis_core.values import INT64_MAX, full_years


def _numbers(values: Iterable[int]) -> sa.BindParameter[Any]:
    return sa.literal(sorted(set(values)), ARRAY(sa.BigInteger))


@frozen
class Prices:
    """Dated prices of some items at some providers, in memory. All amounts in minor units."""

    currency: str
    _lists: Mapping[int, Sequence[int]]  # provider -> its price lists, the first named first
    _versions: Mapping[int, tuple[Sequence[date], Sequence[int]]]  # list -> valid_from ascending, version
    _listed: Mapping[tuple[int, int], int | None]  # (version, item) -> price, None: the catalogue's
    _catalogue: Mapping[int, tuple[Sequence[date], Sequence[int]]]  # item -> valid_from ascending, price

    def catalogue(self, item: int, on: date) -> int | None:
        """The catalogue's price of an item on a day; None if it has none in the currency."""
        return _latest(self._catalogue.get(item), on)

    def at(self, provider: int, item: int, on: date) -> int | None:
        """The price at a provider on a day: the first of its lists that names the item; None if none does (2)."""
        for price_list in self._lists.get(provider, ()):
            version = _latest(self._versions.get(price_list), on)
            if version is not None and (version, item) in self._listed:
                price = self._listed[version, item]
                return self.catalogue(item, on) if price is None else price
        return None


def _latest(dated: tuple[Sequence[date], Sequence[int]] | None, on: date) -> int | None:
    if dated is None:
        return None
    position = bisect_right(dated[0], on)
    return dated[1][position - 1] if position else None


def _dated(values: Mapping[int, Mapping[date, int]]) -> dict[int, tuple[list[date], list[int]]]:
    """Days and values apart, both ascending by day, so that a day is found by bisection."""
    return {key: (list(of_key), list(of_key.values())) for key, of_key in values.items()}


_LISTS: Final = sa.text(
    """
    SELECT p.provider, p.price_list, v.valid_from, v.id FROM core.provider_price_lists p
    JOIN core.price_lists l ON l.id = p.price_list AND l.currency = :currency
    JOIN core.price_list_versions v ON v.price_list = p.price_list
    WHERE p.provider = ANY(:providers) ORDER BY p.provider, p.ordinal, v.valid_from
    """
)
# Prices of lists by version, and the catalogue's by day, in one go.
_PRICES: Final = sa.text(
    """
    SELECT price_list_version AS version, item, NULL::date AS valid_from, price_minor FROM core.price_list_prices
    WHERE price_list_version = ANY(:versions) AND item = ANY(:items)
    UNION ALL
    SELECT NULL, item, valid_from, price_minor FROM core.item_prices WHERE item = ANY(:items) AND currency = :currency
    ORDER BY version, item, valid_from
    """
)


def read_prices(context: Context, currency: str, providers: Iterable[int], items: Iterable[int]) -> Prices:
    """All dated prices of these items at these providers, in two statements."""
    lists: dict[int, list[int]] = {}
    versions: dict[int, dict[date, int]] = {}
    for row in context.execute(_LISTS, {"providers": sorted(set(providers)), "currency": currency}):
        of_provider = lists.setdefault(row.provider, [])
        if row.price_list not in of_provider:
            of_provider.append(row.price_list)
        versions.setdefault(row.price_list, {})[row.valid_from] = row.id
    listed: dict[tuple[int, int], int | None] = {}
    catalogue: dict[int, dict[date, int]] = {}
    numbers = [version for of_list in versions.values() for version in of_list.values()]
    for row in context.execute(_PRICES, {"versions": numbers, "items": sorted(set(items)), "currency": currency}):
        if row.version is None:
            catalogue.setdefault(row.item, {})[row.valid_from] = row.price_minor
        else:
            listed[row.version, row.item] = row.price_minor
    return Prices(currency, lists, _dated(versions), listed, _dated(catalogue))


@frozen
class Cover:
    """A person's cover on a day. `effective_from` is the first day of that person in it."""

    kind: str
    id: int
    package_version: int
    effective_from: date


def covers_on(
    context: Context, kind: SchemeType, scheme: str, asked: Sequence[tuple[int, date, int | None]]
) -> list[tuple[Cover, ...]]:
    """The covers of each (person, day, case) in a scheme, by the person's effective date; one statement for the batch.

    A case is what a claim names of the type's own (`ClaimCase`); None: nothing.
    """
    found: list[list[Cover]] = [[] for _ in asked]
    if kind.covers_sql is None or not asked:
        return [tuple(covers) for covers in found]
    cases = (
        sa.func.unnest(
            sa.literal([person for person, _, _ in asked], ARRAY(sa.BigInteger)),
            sa.literal([day for _, day, _ in asked], ARRAY(sa.Date)),
            sa.literal([case for _, _, case in asked], ARRAY(sa.BigInteger)),
        )
        .table_valued(
            sa.column("person", sa.BigInteger),
            sa.column("on_day", sa.Date),
            sa.column("of_case", sa.BigInteger),
            with_ordinality="position",
        )
        .render_derived(name="cases")
    )
    # Named as text, so that a type's select may use them at any depth: they are columns of the lateral join around it.
    on, case = sa.literal_column("cases.on_day", sa.Date()), sa.literal_column("cases.of_case", sa.BigInteger())
    of_type = kind.covers_sql(on, case)
    covers = of_type.where(
        of_type.selected_columns["person"] == cases.c.person, of_type.selected_columns["scheme"] == scheme
    ).lateral("covers")
    statement = (
        sa.select(
            cases.c.position, covers.c.cover_kind, covers.c.cover, covers.c.package_version, covers.c.effective_from
        )
        .select_from(cases.join(covers, sa.true()))
        .order_by(cases.c.position, covers.c.effective_from, covers.c.cover)
    )
    for row in context.execute(statement):
        cover = Cover(row.cover_kind, row.cover, row.package_version, row.effective_from)
        found[row.position - 1].append(cover)
    return [tuple(covers) for covers in found]


@frozen
class LineTerms:
    """What a package pays for an item: a fixed limit per unit (None: none), and the share in percent x 10**6."""

    price_origin: str
    fixed_limit_minor: int | None  # per unit; None: no fixed limit, 0: one that is unlimited
    share_micro: int


TermsKey = tuple[int, str, int, str, bool]  # package version, kind of cover, item, visit type, adult
LimitsKey = tuple[int, str]  # package version, kind of cover


def read_terms(
    context: Context, kind: SchemeType, versions: Iterable[int], items: Iterable[int]
) -> dict[TermsKey, LineTerms]:
    """The terms of these items in these package versions, in one statement."""
    versions, items = set(versions), set(items)
    if kind.line_terms_sql is None or not versions:
        return {}
    terms = kind.line_terms_sql().subquery("terms")
    rows = context.execute(
        sa.select(
            terms.c.package_version, terms.c.cover_kind, terms.c.item, terms.c.visit_type, terms.c.adult,
            terms.c.price_origin, terms.c.fixed_limit_minor, terms.c.share_micro,
        ).where(terms.c.package_version == sa.any_(_numbers(versions)), terms.c.item == sa.any_(_numbers(items)))
    )  # fmt: skip
    return {
        (row.package_version, row.cover_kind, row.item, row.visit_type, row.adult): LineTerms(
            row.price_origin, row.fixed_limit_minor, row.share_micro
        )
        for row in rows
    }


@frozen
class Limit:
    """A deductible or a ceiling: at which level it is counted, and its amounts by scope in minor units."""

    level: str
    general: int | None
    inpatient: int | None
    outpatient: int | None

    def scope(self, hospital: bool) -> tuple[str, int] | None:
        """The scope that a case uses and its amount: general if set, else in- or out-patient; None: no limit."""
        if self.general is not None:
            return "general", self.general
        amount = self.inpatient if hospital else self.outpatient
        return None if amount is None else ("inpatient" if hospital else "outpatient", amount)

    def scopes(self) -> dict[str, int]:
        """All scopes that are set."""
        named = {"general": self.general, "inpatient": self.inpatient, "outpatient": self.outpatient}
        return {name: amount for name, amount in named.items() if amount is not None}


HOSPITAL_LEVELS: Final = frozenset({"hospital"})


@frozen
class PackageLimits:
    """The limits of a package version. `hospital_by_facility`: a hospital case is one at a hospital, not a stay."""

    deductible: Limit | None
    ceiling: Limit | None
    hospital_by_facility: bool
    hospital_levels: frozenset[str] = HOSPITAL_LEVELS  # names of levels that are hospitals here

    def is_hospital_case(self, overnight: bool, facility_level: str | None) -> bool:
        return facility_level in self.hospital_levels if self.hospital_by_facility else overnight


NO_LIMITS: Final = PackageLimits(None, None, False)


def read_limits(context: Context, kind: SchemeType, versions: Iterable[int]) -> dict[LimitsKey, PackageLimits]:
    """The limits of these package versions for each kind of cover, in one statement."""
    wanted = set(versions)
    if kind.package_limits_sql is None or not wanted:
        return {}
    limits = kind.package_limits_sql().subquery("limits")
    levels = context.settings.deployment.facility_levels or {}
    hospitals = frozenset(name for name, level in levels.items() if level == "hospital") or HOSPITAL_LEVELS
    found = {}
    statement = sa.select(limits).where(limits.c.package_version == sa.any_(_numbers(wanted)))
    for row in context.execute(statement):
        found[row.package_version, row.cover_kind] = PackageLimits(
            _limit(row, "deductible"), _limit(row, "ceiling"), bool(row.hospital_by_facility), hospitals
        )
    return found


def _limit(row: Any, name: str) -> Limit | None:
    level = getattr(row, f"{name}_level")
    if level is None:
        return None
    return Limit(level, *(getattr(row, f"{name}_{scope}") for scope in ("general", "inpatient", "outpatient")))


def is_adult(born: date, on: date, adult_age: int) -> bool:
    return full_years(born, on) >= adult_age


def item_rejection(
    item: ItemRow, listed: int | None, facility_care: str, overnight: bool, sex: str, adult: bool
) -> Rejection | None:
    """Checks 2, 10 and 4 of a line, in this order (health_insurance.md 4)."""
    if listed is None:
        return Rejection.NOT_IN_PRICE_LIST
    inpatient_at_outpatient = facility_care == "outpatient" and (item.care_type == "inpatient" or overnight)
    if inpatient_at_outpatient or (facility_care == "inpatient" and item.care_type == "outpatient"):
        return Rejection.CARE_TYPE
    if (sex != "O" and sex not in item.sexes) or ("adult" if adult else "child") not in item.ages:
        return Rejection.PATIENT_CATEGORY
    return None


def paying_cover(
    covers: Sequence[Cover],
    terms: Mapping[TermsKey, LineTerms],
    item: int,
    visit_type: str,
    adult: bool,
    listed_minor: int | None = None,
    asked_minor: int | None = None,
) -> tuple[Cover, LineTerms] | None:
    """The cover that pays for an item, and its terms; None: no package covers it (3).

    If several packages cover it, the best share and the best fixed limit are compared at the unit price: of what is
    asked and of what is listed; one that is left out (nobody asks, as in a question about eligibility) is the other.
    Among equals the first by the person's effective date. Source: health_insurance.md 5.1.
    """
    found = []
    for cover in covers:
        of_item = terms.get((cover.package_version, cover.kind, item, visit_type, adult))
        if of_item is not None:
            found.append((cover, of_item))
    if len(found) <= 1:
        return found[0] if found else None
    shares = [one for one in found if one[1].fixed_limit_minor is None]
    limits = [one for one in found if one[1].fixed_limit_minor is not None]
    share = max(shares, key=lambda one: one[1].share_micro, default=None)
    limit = max(limits, key=lambda one: one[1].fixed_limit_minor or INT64_MAX, default=None)
    if share is None or limit is None:
        return share or limit
    if share[1].share_micro == SHARE_WHOLE:
        return share
    by_limit = unit_price(limit[1], listed_minor, asked_minor)
    by_share = unit_price(share[1], listed_minor, asked_minor)
    # What the patient pays of one unit, in minor units x 100 % x 10**6. A limit above the price leaves nothing.
    at_most = limit[1].fixed_limit_minor or INT64_MAX
    left_by_limit = max(0, by_limit - at_most) * SHARE_WHOLE
    left_by_share = by_share * (SHARE_WHOLE - share[1].share_micro)
    above = at_most > by_limit
    return limit if above or left_by_limit < left_by_share else share


def unit_price(terms: LineTerms, listed_minor: int | None, asked_minor: int | None) -> int:
    """The price of one unit: as asked if the terms say so, else the list's, at most what was asked.

    Source: health_insurance.md 5.4.
    """
    if terms.price_origin == "provider" and asked_minor is not None:
        return asked_minor
    return min((price for price in (listed_minor, asked_minor) if price is not None), default=0)
