"""Contributions from a month's wage: percentages by party and class, or fixed amounts by bands of wages.

Source: contract-eii.md, 'contribution': each part rounded per person, the wage cut to the ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from imis_core.api import WageCase, WageContribution, to_minor
from imis_eii.rules.amounts import minor_or_none, percent, rounded
from imis_eii.terms import ContributionTerms, EiiTerms

PARTIES = ("employee", "employer", "state")


def has_contributions(terms: EiiTerms) -> bool:
    """Whether a package has contribution terms."""
    return terms.contribution is not None


def contributions(cases: Sequence[WageCase]) -> list[WageContribution]:
    """What is owed for each declared wage; nothing under terms without contributions."""
    return [
        WageContribution(0, 0, 0)
        if case.terms.contribution is None
        else contribution(case.terms.contribution, case.class_, case.wage_minor, case.currency)
        for case in cases
    ]


def contribution(terms: ContributionTerms, class_: str | None, wage_minor: int, currency: str) -> WageContribution:
    """One wage's contribution. A wage above every fixed band has the percentages."""
    ceiling = minor_or_none(terms.ceiling, currency)
    wage = wage_minor if ceiling is None else min(wage_minor, ceiling)
    for band in terms.fixed or ():
        if band.up_to is None or wage <= to_minor(band.up_to, currency):
            return WageContribution(*(to_minor(getattr(band, party), currency) for party in PARTIES))
    return WageContribution(*(rounded(wage * factor) for factor in _factors(_Rates(terms), class_)))


class _Rates:
    """Terms by identity: parsed terms are kept by the application, so that the same object comes again and again."""

    def __init__(self, terms: ContributionTerms) -> None:
        self.terms = terms

    def __hash__(self) -> int:
        return id(self.terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rates) and self.terms is other.terms


@lru_cache(maxsize=256)
def _factors(rates: _Rates, class_: str | None) -> tuple[Fraction, ...]:
    own = rates.terms.by_class.get(class_) if class_ is not None else None
    found = []
    for party in PARTIES:
        special = None if own is None else getattr(own, party)
        found.append(percent(getattr(rates.terms, party) if special is None else special))
    return tuple(found)
