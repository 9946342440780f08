"""Exact arithmetic, against oracles that share none of its code."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.testing.app import TestApp
from imis_core.values import (
    INT64_MAX,
    NotExact,
    add_months,
    full_years,
    minor_text,
    round_half_up,
    share_half_up,
    thousandths_text,
    to_minor,
    to_thousandths,
)

CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])
MINORS = st.integers(-INT64_MAX, INT64_MAX)
DAYS = st.dates(date(1900, 1, 1), date(2100, 12, 31))


@given(MINORS, CURRENCIES)
def test_minor_units_survive_the_way_out_and_in(minor: int, currency: str) -> None:
    """What `minor_text` writes, `to_minor` reads back, in currencies of 0, 2 and 3 decimals."""
    assert to_minor(Decimal(minor_text(minor, currency)), currency) == minor


@pytest.mark.parametrize(("minor", "currency", "text"), [(5, "USD", "0.05"), (-5, "KWD", "-0.005"), (7, "JPY", "7")])
def test_minor_units_are_written_with_the_currencys_decimals(minor: int, currency: str, text: str) -> None:
    """Amounts below one unit keep their zeros and their sign."""
    assert minor_text(minor, currency) == text


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("0.5", "JPY"), ("0.001", "USD"), ("0.0001", "KWD"), ("1.000000000000000000000000000001", "USD"),
        (str(INT64_MAX), "USD"), ("1E+999999", "USD"), ("1E-999999", "USD"),
    ],
)  # fmt: skip
def test_what_minor_units_cannot_hold_is_refused(amount: str, currency: str) -> None:
    """More decimals than the currency, or more than 64 bits, is never rounded away."""
    with pytest.raises(NotExact):
        to_minor(Decimal(amount), currency)


@given(st.integers(-(10**15), 10**15))
def test_quantities_survive_the_way_out_and_in(thousandths: int) -> None:
    """What `thousandths_text` writes, `to_thousandths` reads back."""
    assert to_thousandths(Decimal(thousandths_text(thousandths))) == thousandths


@given(MINORS, st.decimals(0, 100, places=6))
def test_a_share_is_rounded_half_up_exactly(minor: int, percent: Decimal) -> None:
    """A share is the exact fraction, rounded half away from zero, for every 64-bit amount."""
    exact = abs(Fraction(minor) * Fraction(percent) / 100)
    wanted = floor(exact + Fraction(1, 2))
    assert share_half_up(minor, percent) == (wanted if minor >= 0 else -wanted)


@given(st.decimals(-(10**40), 10**40, places=3))
def test_rounding_is_half_up_for_numbers_of_any_length(value: Decimal) -> None:
    """Halves go away from zero, beyond the 28 digits of Decimal's own arithmetic too."""
    wanted = floor(abs(Fraction(value)) + Fraction(1, 2))
    assert round_half_up(value) == (wanted if value >= 0 else -wanted)


@given(DAYS, st.integers(0, 600))
def test_months_are_added_on_the_calendar(day: date, months: int) -> None:
    """The same day n months later, or that month's last day where it has no such day."""
    year, month = day.year, day.month
    for _ in range(months):
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    assert add_months(day, months) == date(year, month, min(day.day, monthrange(year, month)[1]))


def test_a_period_beyond_the_calendar_ends_with_it() -> None:
    """There is no year 10000; what would lie there is the calendar's last day."""
    assert add_months(date(9999, 6, 1), 12) == date.max


def test_full_years_are_those_of_postgresql(app: TestApp) -> None:
    """Age in full years is `age()`'s, with 29 February turning older on 1 March."""
    born = [date(2000, 2, 29), date(2001, 2, 28), date(1999, 12, 31), date(2000, 1, 1)]
    cases = [(b, date(2019, 12, 1) + timedelta(days=n)) for b in born for n in range(0, 500)]
    rows = app.rows(
        "SELECT b, d, extract(year FROM age(d, b))::int AS years "
        "FROM unnest(CAST(:born AS date[]), CAST(:days AS date[])) AS c(b, d)",
        born=[b for b, _ in cases],
        days=[d for _, d in cases],
    )
    assert len(rows) == 2000
    assert [(r["b"], r["d"]) for r in rows if full_years(r["b"], r["d"]) != r["years"]] == []
