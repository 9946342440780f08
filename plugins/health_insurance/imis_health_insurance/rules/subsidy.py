"""The subsidised part of a contribution: by the category of the household, or by rules over households and members.

No database and no clock: what is true of a household and its members is in the case. Source: health_insurance.md 2,
contract-health.md 'Discount and subsidy'.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from attrs import frozen

from imis_core.api import Condition, EnrolmentCase, share_half_up
from imis_health_insurance.terms import HealthTerms, SubsidyRule

CATEGORY_ATTRIBUTE = "category"  # unless `subsidy_attribute` names another


@frozen
class Charges:
    """A contribution before discounts, in minor units: what is the household's as a whole, and each member's own."""

    common: int
    own: tuple[int, ...]  # of the counted members, in order

    @property
    def total(self) -> int:
        return self.common + sum(self.own)


def conditions(terms: HealthTerms) -> Sequence[Condition]:
    """What must be known of households and members before a contribution can be told."""
    rules = terms.subsidies.rules if terms.subsidies is not None else None
    return [Condition(rule.name, rule.of, rule.when) for rule in rules or ()]


def subsidised(
    case: EnrolmentCase, counted: Sequence[int], charges: Charges, value: int
) -> tuple[tuple[str, int], ...]:
    """Who owes what of the value (after the discount) for the household: (category, minor units), none of 0.

    The household's own part is rounded half up once; the rest is shared out by largest remainders.
    """
    terms: HealthTerms = case.terms
    if terms.subsidies is None or not charges.total:
        return ()
    if terms.subsidies.by_category is not None:
        category = _word(case.attributes.get(terms.subsidy_attribute or CATEGORY_ATTRIBUTE))
        percent = terms.subsidies.by_category.get(category)
        subsidy = 0 if percent is None else value - share_half_up(value, Decimal(100) - percent)
        return ((category, subsidy),) if subsidy else ()
    rules = terms.subsidies.rules or ()
    weights: dict[str, Fraction] = {}
    parts = [(charges.common, _first(rules, case.met, frozenset()))]
    parts += [
        (own, _first(rules, case.met, case.members[position].met))
        for own, position in zip(charges.own, counted, strict=True)
    ]
    for minor, rule in parts:
        if rule is not None:
            weights[rule.name] = weights.get(rule.name, Fraction(0)) + minor * Fraction(rule.percent) / 100
    exact = {name: value * weight / charges.total for name, weight in weights.items()}
    subsidy = value - _half_up(value - sum(exact.values(), Fraction(0)))
    return tuple((name, minor) for name, minor in _shared_out(subsidy, exact) if minor)


def _word(value: object) -> str:
    """An attribute as the word that a table of categories has for it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _first(rules: Sequence[SubsidyRule], household: frozenset[str], member: frozenset[str]) -> SubsidyRule | None:
    """The first rule that holds; a rule about members never holds for what is the household's as a whole."""
    return next((r for r in rules if r.name in (household if r.of == "household" else member)), None)


def _half_up(exact: Fraction) -> int:
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


def _shared_out(total: int, exact: dict[str, Fraction]) -> list[tuple[str, int]]:
    """Whole units that add up to the total; what is left after rounding down goes to the largest remainders."""
    floors = {name: share.numerator // share.denominator for name, share in exact.items()}
    left = total - sum(floors.values())
    order = sorted(exact, key=lambda name: floors[name] - exact[name])  # stable: equal remainders in order of rules
    extra = set(order[:left]) if left > 0 else set()
    return [(name, floor + (name in extra)) for name, floor in floors.items()]
