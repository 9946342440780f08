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
class LineColumns:
    """One element per line; all int64.

    `fixed_limit_minor` is per unit, -1 for none. `deductible_pool` and `ceiling_pool` number the counters that a line
    shares with others (-1: it has none); `*_limit` and `*_used` have one element per pool: deductibles in milli,
    ceilings in minor units.
    """

    quantity_thousandths: Ints
    unit_price_minor: Ints
    fixed_limit_minor: Ints
    share_micro: Ints
    deductible_pool: Ints
    ceiling_pool: Ints
    deductible_limit_milli: Ints
    deductible_used_milli: Ints
    ceiling_limit_minor: Ints
    ceiling_used_minor: Ints


@frozen
class ValuedColumns:
    """One element per line: after the fixed limit, what the deductible took, after co-insurance (rounded), paid."""

    limited_milli: Ints
    deducted_milli: Ints
    shared_minor: Ints
    above_ceiling_minor: Ints
    payable_minor: Ints


def value_lines(lines: LineColumns) -> ValuedColumns:
    """Value lines in their order. Amounts must fit 64 bits line by line (the entry checks see to it)."""
    return _value_columns(lines) if _is_bounded(lines) else _value_exactly(lines)


def _is_bounded(lines: LineColumns) -> bool:
    """Whether no product or running sum can pass 2**61; judged with Python integers, which cannot wrap."""
    count = len(lines.quantity_thousandths)
    if count == 0:
        return True
    price = max(_largest(lines.unit_price_minor), _largest(lines.fixed_limit_minor))
    amount = _largest(lines.quantity_thousandths) * price
    used = max(_largest(lines.deductible_used_milli), _largest(lines.ceiling_used_minor), 0)
    # In percent: the share of whole percentages needs two digits instead of eight.
    share = 100 if _whole_percent(lines.share_micro) else SHARE_WHOLE
    return amount * share < _SAFE and amount * count + used < _SAFE


def _largest(column: Ints) -> int:
    return int(column.max()) if len(column) else 0


def _whole_percent(share_micro: Ints) -> bool:
    return not bool(np.any(share_micro % 10**6))


def _value_columns(lines: LineColumns) -> ValuedColumns:
    quantity = lines.quantity_thousandths
    asked = quantity * lines.unit_price_minor
    limited = np.where(
        lines.fixed_limit_minor >= 0, np.minimum(asked, quantity * np.maximum(lines.fixed_limit_minor, 0)), asked
    )
    deducted = _taken(limited, lines.deductible_pool, lines.deductible_limit_milli, lines.deductible_used_milli)
    rest = limited - deducted
    if _whole_percent(lines.share_micro):
        share, whole = lines.share_micro // 10**6, 100
    else:
        share, whole = lines.share_micro, SHARE_WHOLE
    divisor = MILLI * whole
    shared = (2 * rest * share + divisor) // (2 * divisor)  # half up; nothing here is negative
    payable = np.where(
        lines.ceiling_pool >= 0,
        _taken(shared, lines.ceiling_pool, lines.ceiling_limit_minor, lines.ceiling_used_minor),
        shared,
    )
    return ValuedColumns(limited, deducted, shared, shared - payable, payable)


def _taken(amounts: Ints, pool: Ints, limit: Ints, used: Ints) -> Ints:
    """What each line takes from its pool: min(S, limit) - min(S - a, limit), S the running sum with what was used."""
    taken = np.zeros_like(amounts)
    inside = np.flatnonzero(pool >= 0)
    if len(inside) == 0:
        return taken
    order = inside[np.argsort(pool[inside], kind="stable")]
    of_pool, a = pool[order], amounts[order]
    running = np.cumsum(a)
    first = np.flatnonzero(np.r_[True, of_pool[1:] != of_pool[:-1]])
    before_segment = np.repeat(running[first] - a[first], np.diff(np.r_[first, len(order)]))
    total = running - before_segment + used[of_pool]
    bound = limit[of_pool]
    taken[order] = np.minimum(total, bound) - np.minimum(total - a, bound)
    return taken


def _value_exactly(lines: LineColumns) -> ValuedColumns:
    """The same with Python integers, line by line: for the few batches whose amounts could pass 64 bits on the way."""
    deductible_left = [
        max(0, int(limit) - int(used))
        for limit, used in zip(lines.deductible_limit_milli, lines.deductible_used_milli, strict=True)
    ]
    ceiling_left = [
        max(0, int(limit) - int(used))
        for limit, used in zip(lines.ceiling_limit_minor, lines.ceiling_used_minor, strict=True)
    ]
    rows = []
    for quantity, price, fixed, share, deductible, ceiling in _rows(lines):
        limited = quantity * price
        if fixed >= 0:
            limited = min(limited, quantity * fixed)
        deducted = 0
        if deductible >= 0:
            deducted = min(deductible_left[deductible], limited)
            deductible_left[deductible] -= deducted
        divisor = MILLI * SHARE_WHOLE
        shared = (2 * (limited - deducted) * share + divisor) // (2 * divisor)
        payable = shared
        if ceiling >= 0:
            payable = min(ceiling_left[ceiling], shared)
            ceiling_left[ceiling] -= payable
        rows.append((limited, deducted, shared, shared - payable, payable))
    columns = [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)]
    return ValuedColumns(*columns)


def _rows(lines: LineColumns) -> Any:
    return zip(
        *(
            column.tolist()
            for column in (
                lines.quantity_thousandths, lines.unit_price_minor, lines.fixed_limit_minor, lines.share_micro,
                lines.deductible_pool, lines.ceiling_pool,
            )
        ),
        strict=True,
    )  # fmt: skip
