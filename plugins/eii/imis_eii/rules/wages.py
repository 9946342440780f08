"""The wage before an accident: which months count, how they make one monthly and one daily wage.

Neither is rounded before use. Source: contract-eii.md, 'Wage'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from attrs import frozen

from imis_core.api import add_months, to_minor
from imis_eii.rules.amounts import minor_or_none, within
from imis_eii.terms import WageTerms

MONTH_DAYS = 30  # what a month is where days were declared: monthly = 30 x daily


@frozen
class MonthOfWage:
    """A declared month: wage in minor units, and the days that were declared with it."""

    month: date
    wage_minor: int
    days: int | None


@frozen
class ReferenceWage:
    """Monthly and daily wage in minor units, exact; `months` are those that count, after the ceiling."""

    monthly: Fraction
    daily: Fraction
    origin: str  # declared | agreed | minimum_wage
    months: tuple[MonthOfWage, ...]


def window(terms: WageTerms, accident: date) -> tuple[date, date]:
    """First day of the first month that counts, and first day of the month of the accident."""
    after = accident.replace(day=1)
    return add_months(after, -terms.window_months), after


def reference_wage(
    terms: WageTerms, declared: Sequence[MonthOfWage], agreed_minor: int | None, currency: str
) -> ReferenceWage | None:
    """The wage before the accident; None where neither a declared month nor an agreed wage is known.

    `declared` are the months of the window, `agreed_minor` the wage of the employment.
    """
    if terms.method == "minimum_wage":
        assert terms.minimum_wage is not None  # checked when the package was defined
        return _bounded(terms, Fraction(to_minor(terms.minimum_wage, currency)), "minimum_wage", (), currency)
    ceiling = minor_or_none(terms.ceiling, currency)
    cut = [m if ceiling is None else MonthOfWage(m.month, min(m.wage_minor, ceiling), m.days) for m in declared]
    by_days = terms.divisor.days is None
    months = _counted(terms, [m for m in cut if m.days] if by_days else cut)
    if months:
        wages = Fraction(sum(m.wage_minor for m in months))
        monthly = wages * MONTH_DAYS / sum(m.days or 0 for m in months) if by_days else wages / len(months)
        return _bounded(terms, monthly, "declared", months, currency)
    if agreed_minor is None:
        return None
    agreed = agreed_minor if ceiling is None else min(agreed_minor, ceiling)
    return _bounded(terms, Fraction(agreed), "agreed", (), currency)


def _counted(terms: WageTerms, months: Sequence[MonthOfWage]) -> tuple[MonthOfWage, ...]:
    if terms.method == "last":
        return (max(months, key=lambda m: m.month),) if months else ()
    if terms.method == "best_of":
        best = sorted(months, key=lambda m: (-m.wage_minor, m.month))[: terms.best]
        return tuple(sorted(best, key=lambda m: m.month))
    return tuple(months)


def _bounded(
    terms: WageTerms, monthly: Fraction, origin: str, months: tuple[MonthOfWage, ...], currency: str
) -> ReferenceWage:
    monthly = within(monthly, minor_or_none(terms.minimum, currency), minor_or_none(terms.maximum, currency))
    return ReferenceWage(monthly, monthly / (terms.divisor.days or MONTH_DAYS), origin, months)
