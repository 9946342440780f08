"""The contribution rates of a scheme on a day: which package has them, and what they make of declared wages.

The arithmetic is the scheme type's (`wage_rates`); this module finds the terms and asks once per type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from attrs import frozen

from imis_core.benefit_packages.lookup import Version, in_force, parsed_terms, versions_of_schemes
from imis_core.benefit_packages.schemes import WageCase, WageContribution
from imis_core.context import Context
from imis_core.errors import Refusal

NOTHING: Final = WageContribution(0, 0, 0)


@frozen
class Rates:
    """The terms that hold in a scheme on a day. `version` None: no package has contributions, nothing is owed."""

    scheme: str
    version: int | None
    terms: Any


@frozen
class Declared:
    """A declared wage that waits for its contribution."""

    rates: Rates
    class_: str | None
    wage_minor: int


def rates_on(context: Context, wanted: Iterable[tuple[str, date]]) -> dict[tuple[str, date], Rates | Refusal]:
    """The rates of each (scheme, day); two packages with contributions on one day are `employment.several_rates`."""
    asked = set(wanted)
    paying = {s for s, _ in asked if context.app.type_of(s).wage_rates is not None}
    versions = versions_of_schemes(context, paying) if paying else {}
    valid: dict[tuple[str, date], list[Version]] = {
        (scheme, day): [
            version for several in versions.get(scheme, {}).values() if (version := in_force(several, day)) is not None
        ]
        for scheme, day in asked
    }
    terms = parsed_terms(context, [v for found in valid.values() for v in found])
    return {key: _chosen(context, key, found, terms) for key, found in valid.items()}


def _chosen(
    context: Context, key: tuple[str, date], found: Sequence[Version], terms: Mapping[int, Any]
) -> Rates | Refusal:
    scheme, day = key
    has_rates = context.app.type_of(scheme).has_wage_rates
    with_rates = [version for version in found if has_rates(terms[version.id])]
    if not with_rates:
        return Rates(scheme, None, None)
    if len(with_rates) > 1:
        codes = ", ".join(sorted(version.code for version in with_rates))
        return Refusal(
            "employment.several_rates",
            f"the packages {codes} of {scheme!r} all have contribution terms on {day}; keep them in one package",
        )
    return Rates(scheme, with_rates[0].id, terms[with_rates[0].id])


def contributions_of(context: Context, declared: Sequence[Declared]) -> list[WageContribution]:
    """What is owed for each declared wage: one call of each scheme type for all of its wages."""
    answers = [NOTHING] * len(declared)
    by_type: dict[str, list[int]] = {}
    for position, one in enumerate(declared):
        if one.rates.version is not None:
            by_type.setdefault(one.rates.scheme, []).append(position)
    for scheme, positions in by_type.items():
        compute = context.app.type_of(scheme).wage_rates
        assert compute is not None
        currency = context.settings.currency_of(scheme)
        cases = [
            WageCase(declared[p].rates.terms, declared[p].class_, declared[p].wage_minor, currency) for p in positions
        ]
        for position, answer in zip(positions, compute(cases), strict=True):
            answers[position] = answer
    return answers
