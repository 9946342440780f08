"""The arithmetic of valuation against a plain loop over fractions, from cents to the edge of 64 bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from attrs import fields
from hypothesis import given, settings
from hypothesis import strategies as st

from imis_core.eligibility.valuation import NONE, Ints, LineColumns, Pool, ValuedColumns, value_lines

LARGEST = 2**63 - 1
WHOLE = 100 * 10**6
COLUMNS = tuple(a.name for a in fields(ValuedColumns))
POOLS = ("deductible", "copayment", "cap", "ceiling")
Case = dict[str, list[int]]

small = st.integers(0, 5_000)
large = st.one_of(small, st.integers(0, 10**9), st.integers(2**40, 2**62), st.just(LARGEST))
shares = st.one_of(st.integers(0, 100).map(lambda p: p * 10**6), st.integers(0, WHOLE))


@st.composite
def cases(draw: st.DrawFn, amounts: st.SearchStrategy[int]) -> Case:
    """Columns of lines and pools in which quantity x price fits 64 bits, as the entry of claims sees to it.

    Of each pool the counter of each line and its limit (of ceilings one that may change from line to line), and what is
    used of each counter.
    """
    case: Case = {name: [] for name in ("quantity", "price", "fixed", "share", "keep", "claimed")}
    count = draw(st.integers(0, 12))
    with_copayments = draw(st.booleans())
    for _ in range(count):
        quantity = draw(st.one_of(st.integers(1, 9_999), amounts.map(lambda a: max(1, a))))
        price = min(draw(amounts), LARGEST // quantity)
        case["quantity"].append(quantity)
        case["price"].append(price)
        case["fixed"].append(draw(st.one_of(st.just(NONE), amounts)))
        case["share"].append(draw(shares))
        case["keep"].append(draw(shares) if with_copayments else WHOLE)
        case["claimed"].append(draw(st.one_of(st.just(LARGEST), st.just(LARGEST), amounts)))
    for name in POOLS:
        counters = 0 if name == "copayment" and not with_copayments else draw(st.integers(0, 3))
        limits = draw(st.lists(amounts, min_size=counters, max_size=counters))
        of_line = [draw(st.integers(NONE, counters - 1)) for _ in range(count)]
        moving = name == "ceiling" and draw(st.booleans())
        case[name] = of_line
        case[f"{name}_limit"] = [draw(amounts) if moving else limits[c] if c != NONE else 0 for c in of_line]
        drawn = draw(st.lists(amounts, min_size=counters, max_size=counters))
        case[f"{name}_used"] = drawn if name in ("deductible", "ceiling") else [0] * counters
    return case


def plainly(case: Case) -> Case:
    """The same line by line, in fractions of a minor unit, rounded half up once."""
    units = {"deductible": 1000, "copayment": 1, "cap": 1, "ceiling": 1}
    used = {name: [Fraction(u, units[name]) for u in case[f"{name}_used"]] for name in POOLS}
    found: Case = {name: [] for name in COLUMNS}

    def take(name: str, line: int, wish: Fraction) -> Fraction | None:
        counter = case[name][line]
        if counter == NONE:
            return None
        left = max(Fraction(0), Fraction(case[f"{name}_limit"][line], units[name]) - used[name][counter])
        taken = min(left, wish)
        used[name][counter] += taken
        return taken

    for i, quantity in enumerate(case["quantity"]):
        units_given, fixed = Fraction(quantity, 1000), case["fixed"][i]
        worth = units_given * case["price"][i]
        limited = worth if fixed == NONE else min(worth, units_given * fixed)
        deducted = take("deductible", i, limited) or Fraction(0)
        exact = (limited - deducted) * Fraction(case["share"][i], WHOLE)
        coinsured = half_up(exact)
        exact *= Fraction(case["keep"][i], WHOLE)
        exact -= take("copayment", i, exact) or 0
        shared = min(half_up(exact), case["claimed"][i])
        taken = take("cap", i, Fraction(shared))
        within = shared if taken is None else int(taken)
        taken = take("ceiling", i, Fraction(within))
        payable = within if taken is None else int(taken)
        values = (
            int(limited * 1000), int(deducted * 1000), coinsured - shared, shared, shared - within, within - payable,
            payable,
        )  # fmt: skip
        for name, value in zip(COLUMNS, values, strict=True):
            found[name].append(value)
    return found


def half_up(amount: Fraction) -> int:
    return (amount + Fraction(1, 2)).__floor__()


def valued(case: Case) -> Case:
    def column(name: str) -> Ints:
        return np.array(case[name], dtype=np.int64)

    lines = (column(name) for name in ("quantity", "price", "fixed", "share", "keep", "claimed"))
    pools = (Pool(column(name), column(f"{name}_limit"), column(f"{name}_used")) for name in POOLS)
    answer = value_lines(LineColumns(*lines, *pools))  # type: ignore[arg-type]
    return {name: getattr(answer, name).tolist() for name in COLUMNS}


@settings(deadline=None, max_examples=300, print_blob=True)
@given(cases(small))
def test_columns_of_everyday_amounts_are_what_a_plain_loop_says(case: Case) -> None:
    """Limit, deductible, share, rounding and ceiling of each line, in order, as in 5.4: whole columns at once."""
    assert valued(case) == plainly(case)


@settings(deadline=None, max_examples=300, print_blob=True)
@given(cases(large))
def test_amounts_near_64_bits_are_exact_too(case: Case) -> None:
    """No product and no running sum wraps, however large the amounts of a line are."""
    assert valued(case) == plainly(case)


def line(**changes: int) -> Case:
    one = {"quantity": [1000], "price": [1], "fixed": [NONE], "share": [WHOLE], "keep": [WHOLE], "claimed": [LARGEST]}
    pools = {f"{name}{part}": [value] for name in POOLS for part, value in (("", NONE), ("_limit", 0))}
    return one | pools | {f"{name}_used": [] for name in POOLS} | {name: [value] for name, value in changes.items()}


def test_eight_digits_of_share_and_of_what_is_kept_are_exact() -> None:
    """Amounts of nothing as well: what they are divided by passes 64 bits, however small they are."""
    assert valued(line(share=33_333_333, keep=WHOLE - 1, claimed=0, price=0))["payable_minor"] == [0]
    fine = line(share=33_333_333, keep=66_666_667, price=1000)
    assert valued(fine) == plainly(fine)


def test_a_half_is_rounded_up_and_less_is_not() -> None:
    """Half up to the minor unit, once, after the co-insurance: 0.5 is 1, 0.499 is 0."""
    assert valued(line(quantity=500))["payable_minor"] == [1]
    assert valued(line(quantity=499))["payable_minor"] == [0]
    assert valued(line(share=WHOLE // 2))["payable_minor"] == [1]
    assert valued(line(price=3, share=WHOLE // 2))["payable_minor"] == [2]


def test_the_largest_line_is_paid_to_the_last_unit() -> None:
    """The largest amount that fits 64 bits is exact, with a share of eight digits."""
    case = line(price=LARGEST // 1000, share=99_999_999)
    assert valued(case) == plainly(case)
    assert valued(case)["payable_minor"] == [((LARGEST // 1000) * 99_999_999 + WHOLE // 2) // WHOLE]


def test_no_lines_have_no_amounts() -> None:
    """Empty columns in, empty columns out."""
    case: Case = {name: [] for name in line()}
    assert valued(case) == {name: [] for name in COLUMNS}


def test_a_copayment_of_an_amount_is_taken_once_from_the_lines_in_order() -> None:
    """From what is left of each line before it is rounded."""
    case = line(quantity=500, copayment=0, copayment_limit=2)
    two = {name: column * 2 for name, column in case.items()} | {"price": [3, 3], "copayment_used": [0]}
    # 1.5 and 1.5: the first takes 1.5 of the 2, the second 0.5, and 1 is left of it.
    assert valued(two)["payable_minor"] == [0, 1]
    assert valued(two)["copaid_minor"] == [2, 1]


def test_a_ceiling_that_grows_lets_later_lines_have_the_rest() -> None:
    """What was paid counts, not what was asked: 100 of 100, then 50 more when the ceiling is 150."""
    case = line(price=200, ceiling=0)
    two = {name: column * 2 for name, column in case.items()} | {"ceiling_limit": [100, 150], "ceiling_used": [0]}
    assert valued(two)["payable_minor"] == [100, 50]
