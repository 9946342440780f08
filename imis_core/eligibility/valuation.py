"""The arithmetic of valuation: columns of lines in, columns of amounts out. No database, no rules of a country.

Lines come in the order in which they use up deductibles and ceilings. Amounts before rounding are thousandths of a
minor unit ("milli"), because quantities have three decimals. The columns are numpy int64 where every product and sum
is bounded below 2**63, and exact Python integers where not; both give the same answer.
Source: health_insurance.md 5, steps 2 to 6.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MILLI: Final = 1000
SHARE_WHOLE: Final = 100 * 10**6  # share_micro of 100 %
NONE: Final = -1  # no fixed limit; no pool
_SAFE: Final = 2**61  # twice a product, and a running sum with what was used, stay below 2**63


@frozen
class Pool:
    """Counters that lines share.

    `of_line` numbers the counter of each line (-1: none); `limit` has one element per line, alike within a counter but
    for ceilings that grow with the members covered on the day; `used` has one element per counter: taken before.
    """

    of_line: Ints
    limit: Ints
    used: Ints


@frozen
class LineColumns:
    """One element per line; all int64.

    `fixed_limit_minor` is per unit, -1 for none. `keep_micro` is what a co-payment in percent leaves to the scheme.
    `claimed_minor`: a line never pays more. The deductible is in milli, the other pools in minor units.
    """

    quantity_thousandths: Ints
    unit_price_minor: Ints
    fixed_limit_minor: Ints
    share_micro: Ints
    keep_micro: Ints
    claimed_minor: Ints
    deductible: Pool
    copayment: Pool
    cap: Pool
    ceiling: Pool


@frozen
class ValuedColumns:
    """One element per line, in the order of the steps.

    After the fixed limit; what the deductible took; what the co-payment took (of amounts as they are shown, rounded);
    after it, rounded; what the category cap cut; what lies above the ceiling; what is paid.
    """

    limited_milli: Ints
    deducted_milli: Ints
    copaid_minor: Ints
    shared_minor: Ints
    capped_minor: Ints
    above_ceiling_minor: Ints
    payable_minor: Ints


def value_lines(lines: LineColumns) -> ValuedColumns:
    """Value lines in their order. Amounts must fit 64 bits line by line (the entry checks see to it)."""
    return _value_columns(lines) if _is_bounded(lines) else _value_exactly(lines)


def _scales(lines: LineColumns) -> tuple[Ints, int, Ints, int]:
    """Share and what is kept, each with its whole: whole percentages need two digits instead of eight."""
    share, whole = _in_percent(lines.share_micro)
    if not len(lines.keep_micro) or bool(np.all(lines.keep_micro == SHARE_WHOLE)):
        return share, whole, np.ones_like(share), 1
    return share, whole, *_in_percent(lines.keep_micro)


def _in_percent(micro: Ints) -> tuple[Ints, int]:
    return (micro, SHARE_WHOLE) if bool(np.any(micro % 10**6)) else (micro // 10**6, 100)


def _is_bounded(lines: LineColumns) -> bool:
    """Whether no product or running sum can pass 2**61; judged with numbers that cannot wrap."""
    count = len(lines.quantity_thousandths)
    if count == 0:
        return True
    product = lines.quantity_thousandths.astype(np.float64) * lines.unit_price_minor
    amount = int(float(product.max()) * 1.000001) + 1  # a float is exact to 16 digits
    used = max(_largest(lines.deductible.used), _largest(lines.ceiling.used), 0)
    _, whole, _, kept_whole = _scales(lines)
    scaled = amount * whole * kept_whole
    if bool(np.any(lines.copayment.of_line >= 0)):
        scaled *= count  # its running sums are of amounts before rounding
    # What amounts are divided by is large by itself where share and what is kept both have eight digits.
    return max(scaled, MILLI * whole * kept_whole) < _SAFE and amount * count + used < _SAFE


def _largest(column: Ints) -> int:
    return int(column.max()) if len(column) else 0


def _value_columns(lines: LineColumns) -> ValuedColumns:
    fixed, price = lines.fixed_limit_minor, lines.unit_price_minor
    limited = lines.quantity_thousandths * np.where(fixed >= 0, np.minimum(price, fixed), price)
    deducted = _taken(limited, lines.deductible)
    share, whole, keep, kept_whole = _scales(lines)
    divisor = MILLI * whole
    exact = (limited - deducted) * share
    coinsured = _half_up(exact, divisor)
    exact, divisor = exact * keep, divisor * kept_whole
    copaid = lines.copayment
    if bool(np.any(copaid.of_line >= 0)):
        # More than all lines together is as good as any amount, and does not pass 64 bits.
        most = int(exact.sum()) // divisor + 1
        scaled = Pool(copaid.of_line, np.minimum(copaid.limit, most) * divisor, copaid.used)
        exact = exact - _taken(exact, scaled)
    shared = np.minimum(_half_up(exact, divisor), lines.claimed_minor)
    within = np.where(lines.cap.of_line >= 0, _taken(shared, lines.cap), shared)
    payable = np.where(lines.ceiling.of_line >= 0, _taken(within, lines.ceiling), within)
    return ValuedColumns(limited, deducted, coinsured - shared, shared, shared - within, within - payable, payable)


def _half_up(amount: Ints, divisor: int) -> Ints:
    return (2 * amount + divisor) // (2 * divisor)  # nothing here is negative


def _taken(amounts: Ints, pool: Pool) -> Ints:
    """What each line takes: min(S, limit) - min(S - a, limit), S the running sum of its counter with what was used."""
    taken = np.zeros_like(amounts)
    inside = np.flatnonzero(pool.of_line >= 0)
    if len(inside) == 0:
        return taken
    order = inside[np.argsort(pool.of_line[inside], kind="stable")]
    counter, a, bound = pool.of_line[order], amounts[order], pool.limit[order]
    running = np.cumsum(a)
    begins = np.r_[True, counter[1:] != counter[:-1]]
    first = np.flatnonzero(begins)
    before_segment = np.repeat(running[first] - a[first], np.diff(np.r_[first, len(order)]))
    total = running - before_segment + pool.used[counter]
    taken[order] = np.minimum(total, bound) - np.minimum(total - a, bound)
    moved = ~begins[1:] & (bound[1:] != bound[:-1])
    for number in np.unique(counter[1:][moved]).tolist():
        _walk(amounts, pool, order[counter == number], taken)
    return taken


def _walk(amounts: Ints, pool: Pool, positions: Ints, taken: Ints) -> None:
    """The lines of a counter whose limit changes between them, one after the other."""
    used = int(pool.used[pool.of_line[positions[0]]])
    for position in positions.tolist():
        taken[position] = min(int(amounts[position]), max(0, int(pool.limit[position]) - used))
        used += int(taken[position])


class _Left:
    """A pool in exact numbers: what lines take from it, one after the other. `unit` scales its limit."""

    def __init__(self, pool: Pool, unit: int = 1) -> None:
        self._of_line, self._limit, self._unit = pool.of_line.tolist(), pool.limit.tolist(), unit
        self._used = [used * unit for used in pool.used.tolist()]

    def take(self, line: int, amount: int) -> int | None:
        """What a line takes; None if it has no counter."""
        counter = self._of_line[line]
        if counter < 0:
            return None
        taken: int = min(amount, max(0, self._limit[line] * self._unit - self._used[counter]))
        self._used[counter] += taken
        return taken


def _value_exactly(lines: LineColumns) -> ValuedColumns:
    """The same with Python integers, line by line: for the few batches whose amounts could pass 64 bits on the way."""
    divisor = MILLI * SHARE_WHOLE * SHARE_WHOLE
    deductible, cap, ceiling = _Left(lines.deductible), _Left(lines.cap), _Left(lines.ceiling)
    copayment = _Left(lines.copayment, divisor)
    rows = []
    for line, (quantity, price, fixed, share, keep, claimed) in enumerate(_rows(lines)):
        limited = quantity * (min(price, fixed) if fixed >= 0 else price)
        deducted = deductible.take(line, limited) or 0
        exact = (limited - deducted) * share
        coinsured = (2 * exact * SHARE_WHOLE + divisor) // (2 * divisor)
        exact *= keep
        exact -= copayment.take(line, exact) or 0
        shared = min((2 * exact + divisor) // (2 * divisor), claimed)
        taken = cap.take(line, shared)
        within = shared if taken is None else taken
        taken = ceiling.take(line, within)
        payable = within if taken is None else taken
        rows.append((limited, deducted, coinsured - shared, shared, shared - within, within - payable, payable))
    return ValuedColumns(*(np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)))


def _rows(lines: LineColumns) -> Any:
    columns = (
        lines.quantity_thousandths, lines.unit_price_minor, lines.fixed_limit_minor, lines.share_micro,
        lines.keep_micro, lines.claimed_minor,
    )  # fmt: skip
    return zip(*(column.tolist() for column in columns), strict=True)
