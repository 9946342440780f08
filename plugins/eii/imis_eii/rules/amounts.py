"""Exact amounts: fractions of minor units, rounded once where a rule says so, and divided without losing a unit.

Source: contract-kernel.md, 'Conventions' (half up, once); contract-eii.md (largest remainder).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor

from imis_core.api import to_minor

HALF = Fraction(1, 2)
SHOWN_PLACES = 6  # of a factor or a percentage in a step


def rounded(amount: Fraction) -> int:
    """Half up to the whole unit; amounts here are never negative."""
    return floor(amount + HALF)


def percent(rate: Decimal) -> Fraction:
    """A percentage as a factor: 90 -> 9/10."""
    return Fraction(rate) / 100


def minor_or_none(amount: Decimal | None, currency: str) -> int | None:
    """An amount of the terms in minor units; None where the terms give none."""
    return None if amount is None else to_minor(amount, currency)


def within(amount: Fraction, minimum: int | None, maximum: int | None) -> Fraction:
    """At least `minimum`, then at most `maximum`, both in minor units."""
    if minimum is not None:
        amount = max(amount, Fraction(minimum))
    return amount if maximum is None else min(amount, Fraction(maximum))


def largest_remainder(total: int, weights: Sequence[Fraction]) -> list[int]:
    """`total` divided in proportion to the weights: the parts are whole and add up to it exactly.

    Units left over go to the largest remainders, ties to who stands first. No weight at all: nobody gets anything.
    """
    whole = sum(weights, Fraction(0))
    if whole == 0:
        return [0] * len(weights)
    exact = [total * weight / whole for weight in weights]
    parts = [floor(part) for part in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for position in by_remainder[: total - sum(parts)]:
        parts[position] += 1
    return parts


def plain_text(value: Fraction) -> str:
    """A fraction as it is shown in a step: a decimal without needless zeros, rounded after six places."""
    text = decimal_text(value, SHOWN_PLACES)
    return text.rstrip("0").rstrip(".")


def decimal_text(value: Fraction, places: int) -> str:
    """A fraction as a decimal with that many places, half up: 100/3 -> '33.33'."""
    scaled = rounded(value * 10**places)
    if places == 0:
        return str(scaled)
    digits = str(scaled).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"
