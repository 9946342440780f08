"""Permanent disablement: degrees that combine, and pension or lump sum by four methods.

Source: contract-eii.md, `eii.assess`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final

from attrs import frozen

from imis_core.api import Money, add_months, full_years, to_minor
from imis_eii.rules.amounts import minor_or_none, percent, plain_text, rounded, within
from imis_eii.rules.survivors import birthday
from imis_eii.rules.wages import MONTH_DAYS
from imis_eii.terms import EiiTerms, PermanentTerms

WHOLE: Final = Fraction(100)  # percent of capacity


@frozen
class Injured:
    """What an assessment looks at: exact wages in minor units, and the person's birth and accident."""

    monthly: Fraction
    daily: Fraction
    born: date
    accident: date
    currency: str


@frozen
class Assessed:
    """A pension (`per` month or day) or a lump sum, in minor units, with the steps that led to it."""

    kind: str  # pension | lump_sum
    amount: int
    per: str | None
    steps: tuple[tuple[str, str], ...]


class NoFactor(LookupError):
    """The table has no factor for an age between its keys, and the terms refuse to interpolate."""


def counted_degree(combine: str, degree: Fraction, earlier: Fraction) -> Fraction:
    """How much of a degree counts after what earlier accidents took: up to 100, or of the remaining capacity."""
    if combine == "remaining":
        return degree * (WHOLE - earlier) / WHOLE
    return min(degree, WHOLE - earlier)


def factor_of(permanent: PermanentTerms, age: int) -> Fraction:
    """The factor for an age: the first key's below it, the last key's above it. Raises `NoFactor` between keys."""
    assert permanent.factors is not None
    table = sorted((int(key), Fraction(value)) for key, value in permanent.factors.items())
    if age <= table[0][0]:
        return table[0][1]
    if age >= table[-1][0]:
        return table[-1][1]
    below = max(row for row in table if row[0] <= age)
    if below[0] == age:
        return below[1]
    if permanent.between == "refuse":
        raise NoFactor(f"the table has no factor for the age {age}")
    above = min(row for row in table if row[0] > age)
    return below[1] + (above[1] - below[1]) * (age - below[0]) / (above[0] - below[0])


def assess(
    terms: EiiTerms, injured: Injured, counted: Fraction, combined: Fraction, starts: date, children: int,
    attendance: bool,
) -> Assessed:  # fmt: skip
    """Pension or lump sum for a counted degree (percent) from a day on; `combined` is with earlier accidents."""
    permanent = terms.permanent
    assert permanent is not None
    part = counted / WHOLE
    if permanent.method == "months_x_degree":
        months = permanent.months if counted == WHOLE or permanent.months_partial is None else permanent.months_partial
        return _months(terms, injured, months or 0, part)
    if permanent.method == "age_factor":
        age = full_years(injured.born, injured.accident)
        factor = factor_of(permanent, age)
        amount = percent(permanent.rate) * injured.monthly * factor * part
        steps = [("rate", str(permanent.rate)), ("age", str(age)), ("factor", plain_text(factor))]
        return _lump(terms, injured, amount, [_wage(injured), *steps, _degree(part)])
    if permanent.method == "present_value":
        amount, steps = present_value(permanent, injured, part, starts)
        return _lump(terms, injured, amount, [_wage(injured), ("rate", str(permanent.rate)), _degree(part), *steps])
    if combined >= Fraction(permanent.pension_from_degree):
        return _pension(terms, permanent, injured, part, children, attendance)
    return _months(terms, injured, permanent.months or 0, part)


def _months(terms: EiiTerms, injured: Injured, months: int, part: Fraction) -> Assessed:
    """Months of the wage x degree."""
    return _lump(terms, injured, months * injured.monthly * part, [_wage(injured), ("months", str(months)),
                                                                  _degree(part)])  # fmt: skip


def _lump(terms: EiiTerms, injured: Injured, amount: Fraction, steps: Sequence[tuple[str, str]]) -> Assessed:
    minor, deducted = after_offsets(terms, rounded(amount), injured.currency)
    lump = ("lump_sum", _money(rounded(amount), injured))
    return Assessed("lump_sum", minor, None, (*steps, lump, *deducted))


def after_offsets(terms: EiiTerms, lump: int, currency: str) -> tuple[int, list[tuple[str, str]]]:
    """A lump sum less the other lump sums that the terms deduct from it, never below 0; and what each one took."""
    steps = []
    for offset in terms.offset or ():
        taken = min(lump, to_minor(offset.amount, currency))
        lump -= taken
        steps.append((offset.name, str(Money(-taken, currency))))
    return lump, steps


def _money(amount: int | Fraction, injured: Injured) -> str:
    return str(Money(rounded(Fraction(amount)), injured.currency))


def _wage(injured: Injured, per: str = "month") -> tuple[str, str]:
    """The wage as a step."""
    if per == "day":
        return "daily_wage", _money(injured.daily, injured)
    return "monthly_wage", _money(injured.monthly, injured)


def _degree(part: Fraction) -> tuple[str, str]:
    """The degree that counts as a step, in percent."""
    return "counted_degree", plain_text(part * WHOLE)


def _pension(
    terms: EiiTerms, permanent: PermanentTerms, injured: Injured, part: Fraction, children: int, attendance: bool
) -> Assessed:
    """W x rate x d, within the bounds of a month, plus supplements; rounded once."""
    days = MONTH_DAYS if permanent.per == "day" else 1  # the terms bound a month
    base = (injured.daily if permanent.per == "day" else injured.monthly) * percent(permanent.rate) * part
    low, high = minor_or_none(terms.minimum, injured.currency), minor_or_none(terms.maximum, injured.currency)
    bounded = within(base * days, low, high) / days
    counted = children if permanent.max_children is None else min(children, permanent.max_children)
    supplement = percent(permanent.child_supplement) * counted
    if attendance:
        supplement += percent(permanent.constant_attendance)
    amount = rounded(bounded * (1 + supplement))
    steps = [_wage(injured, permanent.per), ("rate", str(permanent.rate)), _degree(part),
             ("base", _money(base, injured))]  # fmt: skip
    if bounded != base:
        steps.append(("bounded", _money(bounded, injured)))
    if supplement:
        steps.append(("supplement", plain_text(supplement * WHOLE)))
    return Assessed("pension", amount, permanent.per, tuple(steps))


def present_value(
    permanent: PermanentTerms, injured: Injured, part: Fraction, starts: date
) -> tuple[Fraction, list[tuple[str, str]]]:
    """The pension's future months, indexed each year, discounted by a twelfth of the interest, while alive.

    With the steps: the month's pension, the number of months, the age. Raises `NoFactor` if the table lacks an age.
    """
    assert permanent.until_age is not None
    pension = injured.monthly * percent(permanent.rate) * part
    age = full_years(injured.born, starts)
    months = whole_months(starts, birthday(injured.born, permanent.until_age))
    growth = 1 + percent(permanent.indexation)
    discount = 1 + percent(permanent.interest or Decimal(0)) / 12
    alive = _alive(permanent.mortality, age, (months - 1) // 12 + 1)
    total = Fraction(0)
    for year, share in enumerate(alive):
        first, last = 12 * year + 1, min(12 * year + 12, months)
        total += pension * growth**year * share * _annuity(discount, first, last)
    return total, [("pension", _money(pension, injured)), ("months", str(months)), ("age", str(age))]


def _annuity(discount: Fraction, first: int, last: int) -> Fraction:
    """The sum of 1 / discount^k for k from first to last."""
    if discount == 1:
        return Fraction(last - first + 1)
    count = last - first + 1
    return (discount**count - 1) / ((discount - 1) * discount**last)


def _alive(mortality: Mapping[str, Decimal] | None, age: int, years: int) -> list[Fraction]:
    """For each year from an age on, the part that lives: l(age + year) / l(age); above the table nobody.

    Raises `NoFactor` for a year that the table leaves out.
    """
    if years <= 0:
        return []
    if mortality is None:
        return [Fraction(1)] * years
    table = {int(key): Fraction(value) for key, value in mortality.items()}
    last = max(table)
    for lived in range(age, min(age + years, last + 1) if age <= last else age + 1):
        if lived not in table:
            raise NoFactor(f"the mortality table has no row for the age {lived}")
    return [table.get(age + year, Fraction(0)) / table[age] for year in range(years)]


def whole_months(starts: date, end: date) -> int:
    """Whole months from one day to another, at least 0."""
    months = (end.year - starts.year) * 12 + end.month - starts.month
    if months > 0 and add_months(starts, months) > end:
        months -= 1
    return max(months, 0)


def months_begun(starts: date, on: date) -> int:
    """Months since `starts` that have begun by a day, the one of that day included."""
    return 0 if on < starts else whole_months(starts, on) + 1
