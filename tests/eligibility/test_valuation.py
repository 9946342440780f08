"""The arithmetic of valuation against a plain loop over fractions, from cents to the edge of 64 bits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imis_core.eligibility.valuation import NONE, LineColumns, value_lines

LARGEST = 2**63 - 1
WHOLE = 100 * 10**6
COLUMNS = ("limited_milli", "deducted_milli", "shared_minor", "above_ceiling_minor", "payable_minor")

small = st.integers(0, 5_000)
large = st.one_of(small, st.integers(0, 10**9), st.integers(2**40, 2**62), st.just(LARGEST))
shares = st.one_of(st.integers(0, 100).map(lambda p: p * 10**6), st.integers(0, WHOLE))


@st.composite
def cases(draw: st.DrawFn, amounts: st.SearchStrategy[int]) -> dict[str, list[int]]:
    """Columns of lines and pools in which quantity x price fits 64 bits, as the entry of claims sees to it."""
    deductibles, ceilings = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    count = draw(st.integers(0, 12))
    lines = []
    for _ in range(count):
        quantity = draw(st.one_of(st.integers(1, 9_999), amounts.map(lambda a: max(1, a))))
        price = min(draw(amounts), LARGEST // quantity)
        fixed = draw(st.one_of(st.just(NONE), amounts))
        lines.append(
            (quantity, price, fixed, draw(shares), draw(st.integers(NONE, deductibles - 1)),
             draw(st.integers(NONE, ceilings - 1)))
        )  # fmt: skip
    columns = [list(column) for column in zip(*lines, strict=True)] or [[] for _ in range(6)]
    names = ("quantity_thousandths", "unit_price_minor", "fixed_limit_minor", "share_micro", "deductible_pool",
             "ceiling_pool")  # fmt: skip
    limits = {
        "deductible_limit_milli": draw(st.lists(amounts, min_size=deductibles, max_size=deductibles)),
        "deductible_used_milli": draw(st.lists(amounts, min_size=deductibles, max_size=deductibles)),
        "ceiling_limit_minor": draw(st.lists(amounts, min_size=ceilings, max_size=ceilings)),
        "ceiling_used_minor": draw(st.lists(amounts, min_size=ceilings, max_size=ceilings)),
    }
    return dict(zip(names, columns, strict=True)) | limits


def plainly(case: dict[str, list[int]]) -> dict[str, list[int]]:
    """The same line by line, in fractions of a minor unit, rounded half up once."""

    def left(name: str, unit: int) -> list[Fraction]:
        suffix = "milli" if unit == 1000 else "minor"
        pairs = zip(case[f"{name}_limit_{suffix}"], case[f"{name}_used_{suffix}"], strict=True)
        return [Fraction(max(0, limit - used), unit) for limit, used in pairs]

    deductible, ceiling = left("deductible", 1000), left("ceiling", 1)
    found: dict[str, list[int]] = {name: [] for name in COLUMNS}
    for i, quantity in enumerate(case["quantity_thousandths"]):
        units, fixed = Fraction(quantity, 1000), case["fixed_limit_minor"][i]
        worth = units * case["unit_price_minor"][i]
        limited = worth if fixed == NONE else min(worth, units * fixed)
        deducted = Fraction(0)
        if (pool := case["deductible_pool"][i]) != NONE:
            deducted = min(deductible[pool], limited)
            deductible[pool] -= deducted
        shared = ((limited - deducted) * Fraction(case["share_micro"][i], WHOLE) + Fraction(1, 2)).__floor__()
        payable = shared
        if (pool := case["ceiling_pool"][i]) != NONE:
            payable = int(min(ceiling[pool], shared))
            ceiling[pool] -= payable
        values = (int(limited * 1000), int(deducted * 1000), shared, shared - payable, payable)
        for name, value in zip(COLUMNS, values, strict=True):
            found[name].append(value)
    return found


def valued(case: dict[str, list[int]]) -> dict[str, list[int]]:
    answer = value_lines(LineColumns(**{name: np.array(column, dtype=np.int64) for name, column in case.items()}))
    return {name: getattr(answer, name).tolist() for name in COLUMNS}


@settings(deadline=None, max_examples=300, print_blob=True)
@given(cases(small))
def test_columns_of_everyday_amounts_are_what_a_plain_loop_says(case: dict[str, list[int]]) -> None:
    """Limit, deductible, share, rounding and ceiling of each line, in order, as in 5.4: whole columns at once."""
    assert valued(case) == plainly(case)


@settings(deadline=None, max_examples=300, print_blob=True)
@given(cases(large))
def test_amounts_near_64_bits_are_exact_too(case: dict[str, list[int]]) -> None:
    """No product and no running sum wraps, however large the amounts of a line are."""
    assert valued(case) == plainly(case)


def line(**changes: Any) -> dict[str, list[int]]:
    one = {
        "quantity_thousandths": [1000], "unit_price_minor": [1], "fixed_limit_minor": [NONE], "share_micro": [WHOLE],
        "deductible_pool": [NONE], "ceiling_pool": [NONE], "deductible_limit_milli": [], "deductible_used_milli": [],
        "ceiling_limit_minor": [], "ceiling_used_minor": [],
    }  # fmt: skip
    return one | {name: [value] for name, value in changes.items()}


def test_a_half_is_rounded_up_and_less_is_not() -> None:
    """Half up to the minor unit, once, after the co-insurance: 0.5 is 1, 0.499 is 0."""
    assert valued(line(quantity_thousandths=500))["payable_minor"] == [1]
    assert valued(line(quantity_thousandths=499))["payable_minor"] == [0]
    assert valued(line(share_micro=WHOLE // 2))["payable_minor"] == [1]
    assert valued(line(unit_price_minor=3, share_micro=WHOLE // 2))["payable_minor"] == [2]


def test_the_largest_line_is_paid_to_the_last_unit() -> None:
    """The largest amount that fits 64 bits is exact, with a share of eight digits."""
    case = line(unit_price_minor=LARGEST // 1000, share_micro=99_999_999)
    assert valued(case) == plainly(case)
    assert valued(case)["payable_minor"] == [((LARGEST // 1000) * 99_999_999 + WHOLE // 2) // WHOLE]


def test_no_lines_have_no_amounts() -> None:
    """Empty columns in, empty columns out."""
    case = {name: [] for name in line()}
    assert valued(case) == {name: [] for name in COLUMNS}
