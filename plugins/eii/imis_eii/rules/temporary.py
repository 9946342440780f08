"""Temporary disablement: which certified days are paid, and how much. Source: contract-eii.md, `eii.pay_temporary`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from fractions import Fraction

from attrs import frozen

from imis_eii.rules.amounts import minor_or_none, percent, rounded, within
from imis_eii.terms import TemporaryTerms


@frozen
class Days:
    """Certified days so far, how many of them wait unpaid, and how many are payable in all."""

    certified: int
    waiting: int
    payable: int


def certified_days(spans: Iterable[tuple[date, date]], accident: date, counts_accident: bool, until: date) -> int:
    """Distinct certified days up to `until`, the accident's day left out where the terms say so."""
    total = 0
    reached = 0  # ordinal of the last day that was counted
    for first, last in sorted(spans):
        begin = max(first.toordinal(), reached + 1)
        end = min(last, until).toordinal()
        if end >= begin:
            total += end - begin + 1
            if not counts_accident and begin <= accident.toordinal() <= end:
                total -= 1
        reached = max(reached, end)
    return total


def days_of(terms: TemporaryTerms, certified: int, extended: bool) -> Days:
    """Waiting and payable days. The waiting days never use up the maximum, unless they are paid after all."""
    longer = terms.waiting_paid_if_longer_than
    waiting = 0 if longer is not None and certified > longer else min(terms.waiting_days, certified)
    payable = 0 if certified < terms.minimum_days else certified - waiting
    if terms.maximum_days is not None:
        payable = min(payable, terms.maximum_days + (terms.extension_days if extended else 0))
    return Days(certified, waiting, payable)


def daily_benefit(terms: TemporaryTerms, daily: Fraction, currency: str) -> Fraction:
    """Daily wage x rate, within minimum and maximum of a day; not rounded before it is multiplied."""
    benefit = daily * percent(terms.rate)
    return within(benefit, minor_or_none(terms.minimum, currency), minor_or_none(terms.maximum, currency))


def period_amount(benefit: Fraction, days: int) -> int:
    """The amount of a period: rounded once."""
    return rounded(benefit * days)
