"""Rules of the wage before an accident, of temporary benefit, and of contributions."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from imis_eii.rules.amounts import rounded
from imis_eii.rules.contributions import contributions
from imis_eii.rules.temporary import certified_days, daily_benefit, days_of
from imis_eii.rules.wages import MonthOfWage, ReferenceWage, reference_wage, window
from imis_eii.terms import EiiTerms, TemporaryTerms, WageTerms

from imis_core.api import WageCase, WageContribution, parse

ACCIDENT = date(2024, 4, 10)
FEW = settings(max_examples=60, deadline=None)


def wage(
    terms: dict[str, Any], months: list[tuple[int, int | None]], agreed: int | None = None
) -> ReferenceWage | None:
    declared = [MonthOfWage(date(2023, 4 + i, 1), minor, days) for i, (minor, days) in enumerate(months)]
    return reference_wage(parse(terms, WageTerms), declared, agreed, "PHP")


def test_the_window_ends_before_the_month_of_the_accident() -> None:
    """Twelve calendar months before April 2024: from April 2023."""
    assert window(parse({}, WageTerms), ACCIDENT) == (date(2023, 4, 1), date(2024, 4, 1))


def test_the_six_best_of_twelve_months() -> None:
    """Philippines: daily credit = six best months / 180, neither rounded."""
    months = [(1000000 + 10001 * i, None) for i in range(8)]
    found = wage({"method": "best_of", "best": 6, "divisor": 30}, months)
    assert found is not None
    best = sorted((m for m, _ in months), reverse=True)[:6]
    assert found.daily == Fraction(sum(best), 180)
    assert len(found.months) == 6


def test_mean_last_and_minimum_wage() -> None:
    """Only declared months count; each is cut to the ceiling before, the result is bounded after."""
    months: list[tuple[int, int | None]] = [(10000, None), (30001, None)]
    mean = wage({"divisor": 26}, months)
    assert mean is not None
    assert (mean.monthly, mean.daily) == (Fraction(40001, 2), Fraction(40001, 52))
    cut = wage({"ceiling": "200"}, months)
    assert cut is not None
    assert cut.monthly == 15000
    last = wage({"method": "last"}, months)
    assert last is not None
    assert last.monthly == 30001
    least = wage({"method": "minimum_wage", "minimum_wage": "50"}, [])
    assert least is not None
    assert (least.monthly, least.origin) == (5000, "minimum_wage")
    bounded = wage({"minimum": "250"}, months)
    assert bounded is not None
    assert bounded.monthly == 25000


def test_declared_days_make_the_daily_wage() -> None:
    """divisor = "days": sum of wages / sum of days, and a month is thirty of them."""
    found = wage({"divisor": "days"}, [(10000, 20), (20000, 25), (99999, None)])
    assert found is not None
    assert found.daily == Fraction(30000, 45)
    assert found.monthly == 20000


def test_without_declared_months_the_agreed_wage_holds() -> None:
    """It is bounded the same way; nobody knows a wage: none."""
    found = wage({"ceiling": "150"}, [], agreed=20000)
    assert found is not None
    assert (found.monthly, found.origin) == (15000, "agreed")
    assert wage({}, []) is None


@FEW
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), max_size=8), st.integers(0, 60), st.booleans())
def test_each_day_is_certified_once(spans: list[tuple[int, int]], until: int, counts_accident: bool) -> None:
    """The count agrees with a set of days, however certificates overlap."""
    certificates = [
        (ACCIDENT + timedelta(days=first), ACCIDENT + timedelta(days=first + length)) for first, length in spans
    ]
    last = ACCIDENT + timedelta(days=until)
    days = {
        first + timedelta(days=i) for first, end in certificates for i in range((end - first).days + 1)
        if first + timedelta(days=i) <= last
    }  # fmt: skip
    if not counts_accident:
        days.discard(ACCIDENT)
    assert certified_days(certificates, ACCIDENT, counts_accident, last) == len(days)


def days(terms: dict[str, Any], certified: int, extended: bool = False) -> tuple[int, int]:
    found = days_of(parse({"rate": 90, **terms}, TemporaryTerms), certified, extended)
    return found.waiting, found.payable


def test_waiting_days_and_maximum() -> None:
    """Waiting days come first and never use up the maximum; a long absence pays them after all."""
    assert days({"waiting_days": 3}, 2) == (2, 0)
    assert days({"waiting_days": 3, "maximum_days": 10}, 12) == (3, 9)
    assert days({"waiting_days": 3, "maximum_days": 10}, 20) == (3, 10)
    assert days({"waiting_days": 3, "waiting_paid_if_longer_than": 14}, 14) == (3, 11)
    assert days({"waiting_days": 3, "waiting_paid_if_longer_than": 14}, 15) == (0, 15)
    assert days({"minimum_days": 4}, 3) == (0, 0)
    assert days({"maximum_days": 10, "extension_days": 5}, 20, extended=True) == (0, 15)


def test_the_benefit_of_a_day_lies_within_its_bounds() -> None:
    """Philippines: 90 percent of the daily credit, 10 to 200 a day; not rounded before it is multiplied."""
    terms = parse({"rate": 90, "minimum": "10", "maximum": "200"}, TemporaryTerms)
    assert daily_benefit(terms, Fraction(100000, 7), "PHP") == Fraction(90000, 7)
    assert daily_benefit(terms, Fraction(10**6), "PHP") == 20000
    assert daily_benefit(terms, Fraction(1), "PHP") == 1000


def owed(terms: dict[str, Any], wage_minor: int, class_: str | None = None) -> WageContribution:
    whole = parse({"contribution": terms}, EiiTerms)
    return contributions([WageCase(whole, class_, wage_minor, "INR")])[0]


def test_contributions_by_class_ceiling_and_band() -> None:
    """India: 0.75 and 3.25 percent up to 21,000; a class may pay otherwise; fixed amounts go by the wage."""
    esi = {"employee": "0.75", "employer": "3.25", "ceiling": "21000", "by_class": {"MINE": {"employer": 5}}}
    assert owed(esi, 2500000) == WageContribution(15750, 68250, 0)
    assert owed(esi, 2500000, "MINE") == WageContribution(15750, 105000, 0)
    assert owed(esi, 2500000, "FARM") == owed(esi, 2500000)
    fixed = {"fixed": [{"up_to": "15000", "employer": "10"}, {"employer": "30"}]}
    assert owed(fixed, 1500000) == WageContribution(0, 1000, 0)
    assert owed(fixed, 1500001) == WageContribution(0, 3000, 0)


@FEW
@given(st.integers(0, 10**9), st.decimals(0, 100, places=3), st.integers(0, 10**9))
def test_contributions_agree_with_plain_arithmetic(wage_minor: int, percent: Decimal, ceiling: int) -> None:
    """Each part is the percentage of the cut wage, rounded half up."""
    found = owed({"employer": str(percent), "ceiling": str(Decimal(ceiling) / 100)}, wage_minor)
    exact = Fraction(min(wage_minor, ceiling)) * Fraction(percent) / 100
    assert found == WageContribution(0, rounded(exact), 0)
    assert abs(found.employer_minor - exact) <= Fraction(1, 2)
