"""Rules of survivors' shares: who is entitled, how the full rate is divided, and how parts change over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imis_eii.rules.amounts import decimal_text, largest_remainder, rounded
from imis_eii.rules.survivors import (
    Running,
    Span,
    Survivor,
    amount_on,
    divide_lump,
    entitled,
    last_day,
    share_out,
    spans,
)
from imis_eii.terms import RelationshipTerms, SurvivorsTerms

from imis_core.api import Rate, parse

DIED = date(2024, 4, 10)
ESI = parse(
    {
        "rate": 90,
        "per": "day",
        "spouse": {"share": 60},
        "child": {"share": 40, "until_age": 25},
        "parent": {"share": 40},
    },
    SurvivorsTerms,
)
FEW = settings(max_examples=60, deadline=None)


def terms(**fields: object) -> SurvivorsTerms:
    return parse({"spouse": {"share": 60}, "child": {"share": 40}, "parent": {"share": 40}, **fields}, SurvivorsTerms)


@FEW
@given(st.integers(0, 10**12), st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_parts_add_up_and_lie_within_one_unit(total: int, weights: list[int]) -> None:
    """The largest remainder: parts sum to the total and none is a whole unit off its exact part."""
    parts = largest_remainder(total, [Fraction(w) for w in weights])
    whole = sum(weights)
    assert sum(parts) == (total if whole else 0)
    for part, weight in zip(parts, weights, strict=True):
        assert whole == 0 or abs(part - Fraction(total * weight, whole)) < 1


def test_ties_go_to_who_was_given_first() -> None:
    """Equal remainders: the unit left over goes to the first."""
    assert largest_remainder(100, [Fraction(1)] * 3) == [34, 33, 33]


@FEW
@given(st.fractions(0, 10**9))
def test_amounts_round_half_up(amount: Fraction) -> None:
    """Rounding agrees with the decimal module's half up."""
    doubled = amount * 2
    expected = (Decimal(doubled.numerator) / Decimal(doubled.denominator) / 2).quantize(Decimal(1), ROUND_HALF_UP)
    if doubled.denominator == 1 or abs(doubled - round(doubled)) > Fraction(1, 10**9):
        assert rounded(amount) == int(expected)


def test_a_widow_and_three_children_share_the_full_rate() -> None:
    """India ESI: 180 percent are cut to 100: 300.00 and three times 200.00 of 900.00 a day."""
    shared = share_out(ESI, 90000, ["spouse", "child", "child", "child"], "INR")
    assert shared.total == 90000
    assert [s.amount for s in shared.shares] == [30000, 20000, 20000, 20000]
    assert [decimal_text(s.percent, 2) for s in shared.shares] == ["33.33", "22.22", "22.22", "22.22"]


def test_bounds_of_a_relationship_apply_before_the_cut() -> None:
    """Tanzania: 40 percent within a minimum and a maximum, then all are cut to the total."""
    own = terms(spouse={"share": 40, "minimum": "5", "maximum": "6"}, child={"share": 40})
    assert [s.amount for s in share_out(own, 100000, ["spouse"], "TZS").shares] == [600]
    assert [s.amount for s in share_out(own, 1000, ["spouse"], "TZS").shares] == [500]
    assert [s.amount for s in share_out(own, 1000, ["spouse", "child", "child"], "TZS").shares] == [384, 308, 308]


RELATIONSHIPS = st.lists(st.sampled_from(["spouse", "child", "parent"]), min_size=1, max_size=6)


@FEW
@given(st.integers(0, 10**9), RELATIONSHIPS, st.integers(0, 200))
def test_shares_agree_with_plain_arithmetic(full_rate: int, names: list[str], total_max: int) -> None:
    """Below the limit each part is rounded by itself; above it the parts add up to the rounded limit."""
    own = terms(total_max=total_max)
    share = {"spouse": 60, "child": 40, "parent": 40}
    shared = share_out(own, full_rate, names, "USD")
    asked = sum(share[name] for name in names)
    if asked <= total_max:
        assert [s.amount for s in shared.shares] == [(full_rate * share[n] * 2 + 100) // 200 for n in names]
        assert [s.percent for s in shared.shares] == ([share[n] for n in names] if full_rate else [0] * len(names))
    else:
        assert shared.total == (full_rate * total_max * 2 + 100) // 200
        if full_rate:
            assert [s.percent for s in shared.shares] == [Fraction(share[n] * total_max, asked) for n in names]
    assert sum(s.amount for s in shared.shares) == shared.total or total_max == 0


def test_a_lump_sum_is_divided_wholly() -> None:
    """`age_factor`, `months`: all of it goes out in proportion to the shares, whatever they add up to."""
    shared = divide_lump(terms(), 100, ["spouse", "child"])
    assert [s.amount for s in shared.shares] == [60, 40]
    assert [s.amount for s in divide_lump(terms(), 100, ["child"]).shares] == [100]


def test_a_child_ends_the_day_before_a_birthday() -> None:
    """until_age of the relationship or of all; a student's age; never if disabled for life."""
    own = terms(until_age=18, student_until=21)
    born = date(2010, 6, 15)
    assert last_day(own, Survivor("child", born)) == date(2028, 6, 14)
    assert last_day(own, Survivor("child", born, student=True)) == date(2031, 6, 14)
    assert last_day(own, Survivor("child", born, disabled=True)) is None
    assert last_day(ESI, Survivor("child", born)) == date(2035, 6, 14)
    assert last_day(terms(disabled_for_life=False), Survivor("child", born, disabled=True)) == date(2028, 6, 14)
    assert last_day(own, Survivor("spouse", born)) is None
    assert last_day(own, Survivor("child", date(2008, 2, 29))) == date(2026, 2, 28)


def test_who_is_too_old_or_comes_after_others_is_not_entitled() -> None:
    """A parent only if there is neither spouse nor child that is entitled; nobody without a share."""
    own = terms(parent={"share": 40, "only_if_none": ["spouse", "child"]})
    parent, spouse = Survivor("parent", date(1950, 1, 1)), Survivor("spouse", date(1990, 1, 1))
    old, young = Survivor("child", date(2006, 4, 10)), Survivor("child", date(2006, 4, 11))
    assert entitled(own, DIED, [parent, spouse, old]) == [False, True, False]
    assert entitled(own, DIED, [parent, young]) == [False, True]
    assert entitled(own, DIED, [parent, old]) == [True, False]
    assert entitled(own, DIED, [Survivor("other", date(1990, 1, 1)), parent]) == [False, True]


@st.composite
def lives(draw: st.DrawFn) -> list[Running]:
    """Survivors from the day of death, some of whom end."""
    names = draw(RELATIONSHIPS)
    ends = [draw(st.none() | st.integers(0, 60)) for _ in names]
    return [Running(n, DIED, None if e is None else DIED + timedelta(days=e)) for n, e in zip(names, ends, strict=True)]


def plain_amount(
    own: SurvivorsTerms, rates: dict[date, int], running: Sequence[Running], who: int, on: date
) -> int | None:
    """The oracle: on each day, share the rate of the day among those who are there."""
    if not running[who].runs(on):
        return None
    rate = rates[max(day for day in rates if day <= on)]
    among = [i for i, r in enumerate(running) if r.runs(on)] if own.reshare else list(range(len(running)))
    shared = share_out(own, rate, [running[i].relationship for i in among], "USD")
    return shared.shares[among.index(who)].amount


@FEW
@given(lives(), st.integers(1, 10**6), st.integers(1, 40), st.booleans())
def test_every_day_is_worth_what_is_shared_on_it(
    running: list[Running], full_rate: int, raised_after: int, reshare: bool
) -> None:
    """The dated amounts say for each day what sharing on that day alone gives."""
    own = terms(reshare=reshare)
    rates = {DIED: full_rate, DIED + timedelta(days=raised_after): full_rate + full_rate // 10}
    rows = spans(own, rates, running, "USD")
    for who in range(len(running)):
        for offset in (0, raised_after - 1, raised_after, 30, 59, 60, 61, 100):
            on = DIED + timedelta(days=offset)
            assert amount_on(rows[who], on) == plain_amount(own, rates, running, who, on)
        assert all(row.ends is None or row.starts <= row.ends for row in rows[who])


def test_without_reshare_a_part_stays() -> None:
    """`reshare = false`: what one leaves is not given to the others."""
    running = [Running("spouse", DIED, None), Running("child", DIED, DIED), Running("child", DIED, None)]
    rows = spans(terms(reshare=False), {DIED: 1400}, running, "USD")
    assert rows[0] == [Span(DIED, None, 600)]
    assert rows[1] == [Span(DIED, DIED, 400)]


@pytest.mark.parametrize("relationship", ["spouse", "child", "orphan", "parent", "other"])
def test_terms_know_every_relationship(relationship: str) -> None:
    """Absent means not entitled."""
    assert SurvivorsTerms().of(relationship) is None
    assert terms(**{relationship: {"share": 5}}).of(relationship) == RelationshipTerms(share=Rate(Decimal(5)))
