"""Writes packages into the plugin's tables and gives the kernel the selects over them. It judges nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import (
    COVERAGE_KIND,
    Context,
    FlatPackage,
    coverage_covers_sql,
    insert_rows,
    package_currencies,
    resolve_items,
    to_minor,
)
from imis_health_insurance.tables import CAPPED, item_terms, package_limits
from imis_health_insurance.terms import COUNTS, VISIT_TYPES, ByAge, HealthTerms, LevelAmounts, line_terms

MICRO: Final = 10**6


def store_package(context: Context, packages: Sequence[tuple[int, HealthTerms]]) -> None:
    """Flatten parsed terms into the plugin's tables, many versions at once; rows of a replaced version go."""
    versions = [version for version, _ in packages]
    wanted = sa.any_(sa.literal(versions, ARRAY(sa.BigInteger)))
    for table in (item_terms, package_limits):
        context.execute(sa.delete(table).where(table.c.package_version == wanted))
    currencies = package_currencies(context, versions)
    limits = [_limits(version, terms, currencies[version]) for version, terms in packages]
    columns = [c.name for c in package_limits.columns]
    insert_rows(context.connection, package_limits, {c: [row[c] for row in limits] for c in columns})
    codes = sorted({code for _, terms in packages for code in terms.items})
    item_ids = {code: item.id for code, item in resolve_items(context, codes).items()}
    lines = [row for version, terms in packages for row in _lines(version, terms, currencies[version], item_ids)]
    if lines:
        columns = [c.name for c in item_terms.columns]
        insert_rows(context.connection, item_terms, dict(zip(columns, zip(*lines, strict=True), strict=True)))


def flat_package(terms: HealthTerms, currency: str, item_ids: Mapping[str, int]) -> FlatPackage:
    """Terms as the rows that the selects below would give for them."""
    names = [column.name for column in item_terms.columns]
    cover = {"cover_kind": COVERAGE_KIND}
    items = [cover | dict(zip(names, row, strict=True)) for row in _lines(0, terms, currency, item_ids)]
    return FlatPackage(items, cover | _limits(0, terms, currency))


def _limits(version: int, terms: HealthTerms, currency: str) -> dict[str, Any]:
    return {
        "package_version": version,
        **_level("deductible", terms.deductible, currency),
        **_level("ceiling", terms.ceiling, currency),
        "hospital_by_facility": terms.ceiling_interpretation == "facility",
        **{f"max_{category}": getattr(terms, field) for category, field in COUNTS.items()},
        **{f"cap_{category}": _minor(getattr(terms.category_caps, category, None), currency) for category in CAPPED},
        "extra_member_ceiling": _minor(terms.extra_member_ceiling, currency),
        "max_policy_ceiling": _minor(terms.max_policy_ceiling, currency),
        "threshold_members": terms.threshold_members,
        "copayments": _copayments(terms, currency),
    }


def _copayments(terms: HealthTerms, currency: str) -> str | None:
    """Co-payments as the kernel reads them, in JSON; None: there are none."""
    found = [
        {
            "name": one.name,
            "condition": None if one.when is None else one.when.text,
            "percent_micro": None if one.percent is None else int(one.percent * MICRO),
            "amount_minor": _minor(one.amount, currency),
        }
        for one in terms.copayments or ()
    ]
    return json.dumps(found) if found else None


def _minor(amount: Decimal | None, currency: str) -> int | None:
    return None if amount is None else to_minor(amount, currency)


def _level(name: str, amounts: LevelAmounts | None, currency: str) -> dict[str, Any]:
    return {
        f"{name}_level": amounts.level if amounts else None,
        f"{name}_general": _minor(amounts.general, currency) if amounts else None,
        f"{name}_inpatient": _minor(amounts.inpatient, currency) if amounts else None,
        f"{name}_outpatient": _minor(amounts.outpatient, currency) if amounts else None,
    }


def _lines(version: int, terms: HealthTerms, currency: str, item_ids: Mapping[str, int]) -> list[tuple[Any, ...]]:
    """Rows in the order of the columns of `item_terms`."""
    rows = []
    for code, item in terms.items.items():
        for visit_type in VISIT_TYPES:
            for adult in (True, False):
                line = line_terms(item, visit_type, adult)
                share = int(line.share * MICRO)  # exact: a percentage has at most six decimals
                rows.append(
                    (
                        version, item_ids[code], visit_type, adult, line.price_origin,
                        _minor(line.fixed_limit, currency), share, _of(item.waiting_months, adult) or 0,
                        _of(item.max_provisions, adult), _of(item.ceiling_exclusion, adult),
                    )
                )  # fmt: skip
    return rows


def _of(by_age: ByAge[Any] | None, adult: bool) -> Any:
    return None if by_age is None else by_age.of(adult)


def covers_sql(on: sa.ColumnElement[date], case: sa.ColumnElement[int]) -> sa.Select[Any]:
    """Who is covered on a day: the policies of the kernel's coverage room. A claim names no case here."""
    return coverage_covers_sql(on)


def line_terms_sql() -> sa.Select[Any]:
    """What package versions pay for items; keyed by package_version, cover_kind, item, visit_type, adult."""
    return sa.select(sa.literal(COVERAGE_KIND, sa.Text).label("cover_kind"), item_terms)


def package_limits_sql() -> sa.Select[Any]:
    """Deductibles, ceilings, counts and caps of package versions; keyed by package_version, cover_kind."""
    return sa.select(sa.literal(COVERAGE_KIND, sa.Text).label("cover_kind"), package_limits)
