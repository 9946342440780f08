"""Rules of permanent disablement: degrees that combine, and four methods of pension or lump sum."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imis_eii.rules.amounts import rounded
from imis_eii.rules.permanent import (
    Assessed,
    Injured,
    NoFactor,
    assess,
    counted_degree,
    factor_of,
    months_begun,
    present_value,
    whole_months,
)
from imis_eii.terms import EiiTerms, PermanentTerms

from imis_core.api import parse

ACCIDENT = date(2024, 4, 10)
EC_FACTORS = {"25": "216.91", "30": "207.98", "35": "197.06"}


def judged(terms: dict[str, Any], counted: str, *, monthly: int = 1500000, combined: str = "", **more: Any) -> Assessed:
    whole = parse({"permanent": terms, **more.pop("whole", {})}, EiiTerms)
    injured = Injured(Fraction(monthly), Fraction(monthly, 30), date(1994, 1, 1), ACCIDENT, "INR")
    d = Fraction(counted)
    return assess(whole, injured, d, Fraction(combined or counted), ACCIDENT, more.get("children", 0),
                  more.get("attendance", False))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.fractions(0, 100), st.fractions(0, 100))
def test_degrees_never_pass_the_whole(degree: Fraction, earlier: Fraction) -> None:
    """Added up to 100, or counted on the capacity that is left: together never more than 100."""
    for combine in ("add", "remaining"):
        counted = counted_degree(combine, degree, earlier)
        assert 0 <= counted <= degree
        assert counted + earlier <= 100
    assert counted_degree("remaining", degree, Fraction(0)) == degree


def test_a_pension_from_a_degree_on_and_a_lump_sum_below() -> None:
    """Tanzania: to 30 percent a lump sum, above that the pension x degree."""
    terms = {"method": "degree_x_rate", "rate": 70, "pension_from_degree": 30, "months": 84}
    steps = (("monthly_wage", "15000.00"), ("months", "84"), ("counted_degree", "29"), ("lump_sum", "365400.00"))
    assert judged(terms, "29") == Assessed("lump_sum", 36540000, None, steps)
    pension = judged(terms, "30")
    assert (pension.kind, pension.amount, pension.per) == ("pension", 315000, "month")
    assert judged(terms, "10", combined="40").kind == "pension"


def test_bounds_come_before_supplements() -> None:
    """The pension within minimum and maximum of a month, then x children and attendance, rounded once."""
    terms = {
        "method": "degree_x_rate",
        "rate": 100,
        "child_supplement": 10,
        "max_children": 2,
        "constant_attendance": 25,
    }
    whole = {"maximum": "10000.01"}
    found = judged(terms, "100", children=5, attendance=True, whole=whole)
    assert found.amount == rounded(Fraction(1000001) * Fraction(145, 100))
    per_day = judged({**terms, "per": "day"}, "100", whole={"maximum": "300"})
    assert (per_day.amount, per_day.per) == (1000, "day")


def test_months_of_the_wage() -> None:
    """Kenya WIBA: 96 months for the whole, up to 60 x degree below."""
    terms = {"method": "months_x_degree", "months": 96, "months_partial": 60}
    assert judged(terms, "100").amount == 96 * 1500000
    assert judged(terms, "50").amount == 30 * 1500000
    assert judged({"method": "months_x_degree", "months": 96}, "50").amount == 48 * 1500000


def test_the_factor_of_an_age() -> None:
    """India EC: age 30, 60 percent x wage x 207.98 x degree; between keys the table or a line."""
    terms = {"method": "age_factor", "rate": 60, "factors": EC_FACTORS}
    assert judged(terms, "100").amount == rounded(Fraction("207.98") * 1500000 * Fraction(6, 10))
    permanent = parse(terms, PermanentTerms)
    assert factor_of(permanent, 16) == Fraction("216.91")
    assert factor_of(permanent, 80) == Fraction("197.06")
    with pytest.raises(NoFactor):
        factor_of(permanent, 31)
    linear = parse({**terms, "between": "linear"}, PermanentTerms)
    assert factor_of(linear, 32) == Fraction("207.98") + (Fraction("197.06") - Fraction("207.98")) * Fraction(2, 5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 12), st.integers(0, 8), st.integers(31, 36), st.booleans())
def test_present_value_agrees_with_the_sum_written_out(interest: int, growth: int, until: int, mortal: bool) -> None:
    """The lump is the sum over future months, each indexed, discounted and weighted with survival."""
    terms = {"method": "present_value", "rate": 80, "interest": interest, "indexation": growth, "until_age": until}
    alive = {str(age): str(1000 - 10 * (age - 30)) for age in range(30, 40)}
    permanent = parse({**terms, "mortality": alive} if mortal else terms, PermanentTerms)
    injured = Injured(Fraction(90001), Fraction(3000), date(1994, 1, 1), ACCIDENT, "INR")
    pension = Fraction(90001) * Fraction(80, 100) * Fraction(1, 2)
    months = whole_months(ACCIDENT, date(1994 + until, 1, 1))
    total = Fraction(0)
    for k in range(1, months + 1):
        year = (k - 1) // 12
        part = pension * Fraction(100 + growth, 100) ** year / Fraction(1200 + interest, 1200) ** k
        total += part * (Fraction(alive[str(30 + year)]) / Fraction(alive["30"]) if mortal else 1)
    assert present_value(permanent, injured, Fraction(1, 2), ACCIDENT)[0] == total


def test_months_between_days() -> None:
    """Whole months end on the same day of the month, or on a short month's last one."""
    assert whole_months(date(2024, 1, 31), date(2024, 2, 29)) == 1
    assert whole_months(date(2024, 1, 15), date(2024, 3, 14)) == 1
    assert whole_months(date(2024, 3, 1), date(2024, 1, 1)) == 0
    assert months_begun(date(2024, 2, 15), date(2024, 2, 15)) == 1
    assert months_begun(date(2024, 2, 15), date(2025, 5, 20)) == 16
