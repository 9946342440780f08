"""What the explanation of a claim needs beside `claims.show`: price lists, packages, shares and limits of its lines.

Read for one claim in a constant number of statements. It writes no sentence.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.claims.inputs import ShownClaim
from imis_core.claims.verdicts import COVER_KIND, LINES_IN_FORCE, MEMBERS, PACKAGE_VERSION, REVIEWED_PRICE
from imis_core.context import Context
from imis_core.eligibility.terms import NO_LIMITS, Limit, PackageLimits, read_rules
from imis_core.values import Money

MICRO: Final = 10**6


@frozen(kw_only=True)
class LineFacts:
    """Of one line; None where nothing applies. `share` in percent; limits are (level, amount) of the case's scope."""

    price_list: str | None
    list_from: date
    listed: Money | None
    reviewed_price: bool
    frequency_days: int | None
    package: str | None = None
    version_from: date | None = None
    price_origin: str | None = None
    share: Decimal | None = None
    fixed_limit: Money | None = None
    deductible: tuple[str, Money] | None = None
    ceiling: tuple[str, Money] | None = None
    cap: Money | None = None


_LINES: Final = sa.text(
    f"""
    SELECT k.line, l.item, i.frequency_days, k.list_price_minor, {REVIEWED_PRICE} AS reviewed_price_minor,
           {COVER_KIND} AS cover_kind, {PACKAGE_VERSION} AS package_version,
           g.code AS package, w.valid_from AS version_from, c.currency, c.adult,
           c.visit_type, c.facility_level, c.from_date <> c.to_date AS overnight, c.target_date,
           {MEMBERS} AS members, list.code AS list_code, list.valid_from AS list_from
    FROM {LINES_IN_FORCE} JOIN core.claims c ON c.id = k.claim
    JOIN core.claim_lines l ON l.claim = k.claim AND l.line = k.line JOIN core.items i ON i.id = l.item
    LEFT JOIN core.package_versions w ON w.id = {PACKAGE_VERSION} LEFT JOIN core.packages g ON g.id = w.package
    LEFT JOIN LATERAL (
        SELECT p.code, d.valid_from FROM core.provider_price_lists f
        JOIN core.price_lists p ON p.id = f.price_list AND p.currency = c.currency
        CROSS JOIN LATERAL (
            SELECT v.id, v.valid_from FROM core.price_list_versions v
            WHERE v.price_list = p.id AND v.valid_from <= c.target_date ORDER BY v.valid_from DESC LIMIT 1) d
        JOIN core.price_list_prices e ON e.price_list_version = d.id AND e.item = l.item
        WHERE f.provider = c.provider ORDER BY f.ordinal LIMIT 1) list ON i.bundle IS DISTINCT FROM 'fee_for_service'
    WHERE k.claim = :claim ORDER BY k.line
    """
)


def line_facts(context: Context, claim: ShownClaim) -> dict[int, LineFacts]:
    """The facts of each line of a claim that the caller sees, by the line's number."""
    rows = context.execute(_LINES, {"claim": context.ids.decode("claims", claim.id)}).all()
    kind = context.app.type_of(claim.scheme)
    versions = {row.package_version for row in rows if row.package_version is not None}
    terms, limits = read_rules(context, kind, versions, {row.item for row in rows})
    found = {}
    for row in rows:
        of_item = terms.get((row.package_version, row.cover_kind, row.item, row.visit_type, row.adult))
        package = limits.get((row.package_version, row.cover_kind), NO_LIMITS)
        fixed = None if of_item is None else of_item.fixed_limit_minor
        found[row.line] = LineFacts(
            price_list=row.list_code,
            list_from=row.list_from or row.target_date,
            listed=_money(row.list_price_minor, row.currency),
            reviewed_price=row.reviewed_price_minor is not None,
            frequency_days=row.frequency_days,
            package=row.package,
            version_from=row.version_from,
            price_origin=None if of_item is None else of_item.price_origin,
            share=None if of_item is None or fixed is not None else Decimal(of_item.share_micro) / MICRO,
            fixed_limit=_money(fixed or None, row.currency),
            deductible=_limit(row, package, package.deductible),
            ceiling=_limit(row, package, package.ceiling),
            cap=_money(package.caps.get(claim.category), row.currency),
        )
    return found


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)


def _limit(row: Any, package: PackageLimits, limit: Limit | None) -> tuple[str, Money] | None:
    """Level and amount of the scope that the case draws on."""
    scope = None if limit is None else limit.scope(package.is_hospital_case(row.overnight, row.facility_level))
    if limit is None or scope is None:
        return None
    amount = scope[1]
    if limit is package.ceiling and row.members is not None:
        amount = package.ceiling_of(amount, row.members)  # it grows with the members covered on the day
    return limit.level, Money(amount, row.currency)
