"""The rules of package terms: what is read, what is refused with which reason, and what a line is paid by."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import attrs
import pytest
from imis_health_insurance.checks import FEATURES, NOT_YET, check_terms
from imis_health_insurance.terms import VISIT_TYPES, HealthTerms, ItemTerms, line_terms

from imis_core.api import InvalidInput, TermsCheck, parse

CODES = frozenset({"DRUG", "XRAY"})


def problems(terms: dict[str, Any], features: dict[str, bool] | None = None) -> set[tuple[str, str]]:
    """Path and reason of all that is wrong."""
    try:
        parsed = parse({"insurance_months": 12, **terms}, HealthTerms)
    except InvalidInput as error:
        return {(p.path, p.reason) for p in error.problems}
    check = TermsCheck("USD", {**FEATURES, **(features or {})}, CODES)
    return {(p.path, p.reason) for p in check_terms(parsed, check)}


def test_the_example_of_the_contract_is_read() -> None:
    """The contract's own example is right."""
    terms = {
        "max_members": 6, "grace_payment_months": 1, "premium_adult": "300",
        "ceiling": {"level": "policy", "general": "1000"},
        "items": {
            "DRUG": {"limit": "coinsurance", "percent": {"adult": 80, "child": 100}, "max_provisions": 12},
            "XRAY": {
                "limit": "fixed", "amount": "60",
                "visit_types": {"emergency": {"limit": "coinsurance", "percent": 100}},
            },
        },
    }  # fmt: skip
    assert problems(terms) == set()


# A right value for every field that is not computed yet.
SAMPLES: dict[str, Any] = {
    "relative": {"period": "month", "share": 10},
    "capitation": {"share": 10},
}  # fmt: skip


@pytest.mark.parametrize("field", sorted(NOT_YET))
def test_a_field_that_is_not_computed_yet_is_refused(field: str) -> None:
    """Never ignored: the reason is `not_yet`, at the field's path."""
    assert problems({field: SAMPLES[field]}) == {(field, "not_yet")}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"copayments": [{"name": "n"}]}, ("copayments.0", "required")),
        ({"copayments": [{"name": "n", "percent": 5, "amount": 1}]}, ("copayments.0", "required")),
        (
            {"copayments": [{"name": "n", "percent": 5, "when": "claim.kind = 'x'"}]},
            ("copayments.0.when", "expression"),
        ),
        ({"copayments": [{"name": "n", "percent": 5, "when": "age >"}]}, ("copayments.0.when", "expression")),
        ({"extra_member_ceiling": "5"}, ("extra_member_ceiling", "excluded")),
        ({"subsidies": {"poor": 101}}, ("subsidies.poor", "range")),
        ({"subsidies": [{"name": "a", "when": "age >", "percent": 5}]}, ("subsidies.0.when", "expression")),
        ({"subsidies": [{"name": "a", "when": "count(members) > 5", "percent": 5, "of": "member"}]},
         ("subsidies.0.when", "expression")),
        ({"subsidies": [{"name": "a", "when": "poor", "percent": 5}] * 2}, ("subsidies.1.name", "duplicate")),
        ({"subsidies": [{"name": "a", "when": "poor", "percent": 5}], "subsidy_attribute": "x"},
         ("subsidy_attribute", "excluded")),
        ({"max_visits": 10**12 + 1}, ("max_visits", "range")),
        ({"items": {"DRUG": {"max_provisions": {"child": -1}}}}, ("items.DRUG.max_provisions.child", "range")),
        ({"items": {"DRUG": {"waiting_months": 1201}}}, ("items.DRUG.waiting_months", "range")),
        ({"items": {"DRUG": {"price_origin": "relative"}}}, ("items.DRUG.price_origin", "not_yet")),
        ({"insurance_months": 0}, ("insurance_months", "range")),
        ({"insurance_months": 1201}, ("insurance_months", "range")),
        ({"max_members": 0}, ("max_members", "range")),
        ({"threshold_members": 0}, ("threshold_members", "range")),
        ({"max_installments": 0}, ("max_installments", "range")),
        ({"grace_payment_months": -1}, ("grace_payment_months", "range")),
        ({"renewal_discount": {"percent": 10, "months": -1}}, ("renewal_discount.months", "range")),
        ({"renewal_discount": {"months": 1}}, ("renewal_discount.percent", "required")),
        ({"enrolment_discount": {"percent": "100.1"}}, ("enrolment_discount.percent", "range")),
        ({"lump_sum": "1.001"}, ("lump_sum", "not_exact")),
        ({"lump_sum": "-1"}, ("lump_sum", "negative")),
        ({"lump_sum": 1.5}, ("lump_sum", "float")),
        ({"cycles": []}, ("cycles", "length")),
        ({"cycles": ["01-01", "02-01", "03-01", "04-01", "05-01"]}, ("cycles", "length")),
        ({"cycles": ["07-01", "01-01"]}, ("cycles", "order")),
        ({"cycles": ["01-01", "01-01"]}, ("cycles", "order")),
        ({"cycles": ["02-29"]}, ("cycles.0", "date")),
        ({"underpaid": "free"}, ("underpaid", "choice")),
        ({"deductible": {"general": "1"}}, ("deductible.level", "required")),
        ({"deductible": {"level": "person"}}, ("deductible", "required")),
        ({"ceiling": {"level": "policy", "general": "1", "outpatient": "2"}}, ("ceiling.outpatient", "excluded")),
        ({"ceiling": {"level": "policy", "inpatient": "0.001"}}, ("ceiling.inpatient", "not_exact")),
        ({"items": {"NONE": {}}}, ("items.NONE", "not_found")),
        ({"items": {"DRUG": {"limit": "fixed", "percent": 5}}}, ("items.DRUG.percent", "excluded")),
        ({"items": {"DRUG": {"amount": 5}}}, ("items.DRUG.amount", "excluded")),
        ({"items": {"DRUG": {"limit": "fixed", "amount": {"child": "0.01"}}, "X": {}}}, ("items.X", "not_found")),
        ({"items": {"XRAY": {"limit": "fixed", "amount": {"adult": "0.1", "child": "0.005"}}}},
         ("items.XRAY.amount.child", "not_exact")),
        ({"items": {"DRUG": {"percent": {"adult": 50, "old": 80}}}}, ("items.DRUG.percent.old", "unknown")),
        ({"items": {"DRUG": {"percent": {"child": 101}}}}, ("items.DRUG.percent.child", "range")),
        ({"items": {"DRUG": {"visit_types": {"home": {}}}}}, ("items.DRUG.visit_types.home", "unknown")),
        (
            {"items": {"DRUG": {"visit_types": {"referral": {"limit": "fixed", "percent": 5}}}}},
            ("items.DRUG.visit_types.referral.percent", "excluded"),
        ),
        ({"premium_adlut": 5}, ("premium_adlut", "unknown")),
        ({"relative": {"period": "month", "share": [1, 2]}}, ("relative.share", "length")),
        ({"subsidies": [{"name": "n", "percent": 5}]}, ("subsidies.0.when", "required")),
    ],
)  # fmt: skip
def test_wrong_terms_are_refused_with_their_path(terms: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each mistake is told once, where it is."""
    assert problems(terms) == {expected}


@pytest.mark.parametrize(
    ("feature", "terms", "path"),
    [
        ("capitation", {"capitation": {"share": 5}}, "capitation"),
        ("copayments", {"copayments": []}, "copayments"),
        ("relative_prices", {"relative": {"period": "year", "share": 5}}, "relative"),
        ("relative_prices", {"items": {"DRUG": {"price_origin": "relative"}}}, "items.DRUG.price_origin"),
    ],
)
def test_a_term_of_a_feature_that_is_off_is_refused(feature: str, terms: dict[str, Any], path: str) -> None:
    """The reason is the feature, not that something is missing."""
    assert problems(terms, {feature: False}) == {(path, "feature_off")}


def test_every_field_that_is_not_computed_yet_exists() -> None:
    """The tables of what is not computed name fields of the terms, each of them optional."""
    assert {a.name for a in attrs.fields(HealthTerms) if a.default is None} >= NOT_YET


def test_an_item_without_terms_is_covered_in_full() -> None:
    """`CODE = {}`: co-insurance of 100 % at the list price, for every visit and age."""
    item = parse({}, ItemTerms)
    lines = {line_terms(item, visit, adult) for visit in VISIT_TYPES for adult in (True, False)}
    assert {(line.price_origin, line.share, line.fixed_limit) for line in lines} == {("pricelist", Decimal(100), None)}


@pytest.mark.parametrize(
    ("visit", "adult", "share", "limit"),
    [
        ("other", True, "100", "60"),
        ("other", False, "100", "0"),  # the child's amount is not given: 0, which is unlimited
        ("referral", True, "30", None),
        ("referral", False, "100", None),
        ("emergency", True, "100", "0"),  # a fixed limit without amount is unlimited: it does not fall back to 60
    ],
)
def test_a_visit_type_replaces_limit_percent_and_amount_together(
    visit: str, adult: bool, share: str, limit: str | None
) -> None:
    """What a visit type does not say takes the default, not the item's own value."""
    item = parse(
        {
            "limit": "fixed", "amount": {"adult": "60"},
            "visit_types": {
                "referral": {"limit": "coinsurance", "percent": {"adult": 30}}, "emergency": {"limit": "fixed"},
            },
        },
        ItemTerms,
    )  # fmt: skip
    line = line_terms(item, visit, adult)
    assert (line.share, line.fixed_limit) == (Decimal(share), None if limit is None else Decimal(limit))
