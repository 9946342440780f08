"""What is wrong with terms that types cannot say, and what of them is not computed yet: refused, never ignored.

Source: contract-health.md, 'Terms of a package'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import attrs

from imis_core.api import Problem, TermsCheck, expression_problems, number_problems, suggestion
from imis_health_insurance.rules.subsidy import CATEGORY_ATTRIBUTE
from imis_health_insurance.terms import CYCLES_MAX, VISIT_TYPES, HealthTerms, ItemTerms, LevelAmounts, VisitLimit

# Features of a scheme with their defaults, and the fields that belong to them.
FEATURES: Final[Mapping[str, bool]] = {"capitation": True, "copayments": True, "relative_prices": True}
FEATURE_OF: Final[Mapping[str, str]] = {
    "capitation": "capitation",
    "copayments": "copayments",
    "relative": "relative_prices",
}
NOT_YET: Final = frozenset({
    "relative", "capitation",
})  # fmt: skip


def item_codes(terms: HealthTerms) -> frozenset[str]:
    """Codes of the catalogue's items that the terms name."""
    return frozenset(terms.items)


def check_terms(terms: HealthTerms, check: TermsCheck) -> Sequence[Problem]:
    """What types cannot say: ranges, exact amounts, what excludes each other, known items, what is not computed."""
    return [
        *number_problems(terms, check.currency),
        *_unavailable(terms, check.features),
        *_cycles(terms.cycles),
        *_subsidies(terms, check),
        *_level("deductible", terms.deductible),
        *_level("ceiling", terms.ceiling),
        *_policy_ceiling(terms),
        *_copayments(terms, check),
        *(p.at(f"items.{code}") for code, item in terms.items.items() for p in _item(code, item, check)),
    ]


def _unavailable(terms: HealthTerms, features: Mapping[str, bool]) -> Iterator[Problem]:
    for attribute in attrs.fields(HealthTerms):
        name = attribute.name
        if name not in NOT_YET or getattr(terms, name) is None:
            continue
        feature = FEATURE_OF.get(name)
        yield _feature_off(name, feature) if feature and not features[feature] else _not_yet(name)


def _not_yet(name: str) -> Problem:
    return Problem(name, "not_yet", f"{name} is not computed yet; leave it out")


def _feature_off(name: str, feature: str) -> Problem:
    return Problem(name, "feature_off", f"the scheme's feature {feature!r} is off; leave this out or switch it on")


def _cycles(cycles: tuple[str, ...] | None) -> Iterator[Problem]:
    if cycles is None:
        return
    if not 1 <= len(cycles) <= CYCLES_MAX:
        yield Problem("cycles", "length", f"expected 1 to {CYCLES_MAX} days of the year, found {len(cycles)}")
    if list(cycles) != sorted(set(cycles)):
        yield Problem("cycles", "order", "expected days of the year in ascending order, none twice")


def _subsidies(terms: HealthTerms, check: TermsCheck) -> Iterator[Problem]:
    """Conditions that can be read, rules that are told apart, an attribute that groups or persons have."""
    rules = terms.subsidies.rules if terms.subsidies else None
    names = [rule.name for rule in rules or ()]
    for index, rule in enumerate(rules or ()):
        if rule.name in names[:index]:
            yield Problem(f"subsidies.{index}.name", "duplicate", f"the rule {rule.name!r} is named twice")
        unit: Literal["household", "person"] = "household" if rule.of == "household" else "person"
        for message in expression_problems(rule.when.expression, unit, check.attributes, "bool"):
            yield Problem(f"subsidies.{index}.when", "expression", message)
    named = terms.subsidy_attribute
    if rules is not None and named is not None:
        message = "it names the attribute of a table of categories; leave it out beside a list of rules"
        yield Problem("subsidy_attribute", "excluded", message)
    elif terms.subsidies is not None and rules is None and check.attributes is not None:
        attribute = named or CATEGORY_ATTRIBUTE
        if attribute not in check.attributes:
            hint = suggestion(attribute, check.attributes)
            message = f"there is no attribute {attribute!r}{hint}; declare it, or name another"
            yield Problem("subsidy_attribute", "unknown", message)


def _level(name: str, amounts: LevelAmounts | None) -> Iterator[Problem]:
    if amounts is None:
        return
    by_case = [case for case in ("inpatient", "outpatient") if getattr(amounts, case) is not None]
    if amounts.general is not None:
        for case in by_case:
            yield Problem(f"{name}.{case}", "excluded", f"`general` excludes {case!r}; give one or the other")
    elif not by_case:
        yield Problem(name, "required", "give `general`, or `inpatient` and `outpatient`")


def _policy_ceiling(terms: HealthTerms) -> Iterator[Problem]:
    if terms.ceiling is not None and terms.ceiling.level == "policy":
        return
    for name in ("extra_member_ceiling", "max_policy_ceiling"):
        if getattr(terms, name) is not None:
            yield Problem(name, "excluded", f'{name} goes with a ceiling of level "policy" only')


def _copayments(terms: HealthTerms, check: TermsCheck) -> Iterator[Problem]:
    if terms.copayments is None:
        return
    if not check.features["copayments"]:
        yield _feature_off("copayments", "copayments")
        return
    for index, one in enumerate(terms.copayments):
        path = f"copayments.{index}"
        if (one.percent is None) == (one.amount is None):
            yield Problem(path, "required", "give `percent` or `amount`, one of them")
        if one.when is not None:
            for message in expression_problems(one.when.expression, "patient", check.attributes, "bool"):
                yield Problem(f"{path}.when", "expression", message)


def _item(code: str, item: ItemTerms, check: TermsCheck) -> Iterator[Problem]:
    if code not in check.item_codes:
        yield Problem("", "not_found", f"the catalogue has no item {code!r}; define it first")
    if item.price_origin == "relative":
        if not check.features["relative_prices"]:
            yield _feature_off("price_origin", "relative_prices")
        else:
            yield Problem("price_origin", "not_yet", 'price_origin = "relative" is not computed yet')
    yield from _limit(item)
    for visit in VISIT_TYPES:
        limit = getattr(item.visit_types, visit) if item.visit_types else None
        if limit is not None:
            yield from (p.at(f"visit_types.{visit}") for p in _limit(limit))


def _limit(limit: ItemTerms | VisitLimit) -> Iterator[Problem]:
    if limit.limit == "fixed" and limit.percent is not None:
        yield Problem("percent", "excluded", 'percent goes with limit = "coinsurance" only; give `amount`')
    if limit.limit == "coinsurance" and limit.amount is not None:
        yield Problem("amount", "excluded", 'amount goes with limit = "fixed" only; give `percent`')
