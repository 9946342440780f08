"""The package of the real data: what a country would write for such claims. No amount is taken from the data.

The file's items have only the kinds of a hospital's bill; what a claim is counted as (consultation, hospitalisation,
antenatal, surgery) is read from their names, and how often they may be given from their kind.
"""

from __future__ import annotations

from typing import Any, Final

PACKAGE: Final = {"code": "FAMILY", "name": "Family package", "valid_from": "2010-01-01"}
# Categories of services by words of their names; the first that is found.
CATEGORIES: Final = (
    ("antenatal", ("prenatal", "antenatal")),
    ("hospitalisation", ("admission", "inpatient", "hospice")),
    ("surgery", ("excision", "implant", "resection", "ectomy", "surgery", "bypass", "catheter ablation")),
    ("consultation", ("visit", "encounter", "assessment", "check up", "examination", "consultation")),
)
FREQUENCY_DAYS: Final = {"immunization": 60, "medication": 30, "procedure": 21}
SHARES: Final = {"encounter": 100, "procedure": 80, "immunization": 100, "medication": 70}  # percent
LIMITS: Final[dict[str, Any]] = {
    "insurance_months": 12,
    "grace_payment_months": 1,
    "threshold_members": 4,
    "premium_adult": "300",
    "premium_child": "150",
    "max_consultations": 12,
    "max_hospitalisations": 2,
    "deductible": {"level": "treatment", "general": "25"},
    "ceiling": {"level": "policy", "general": "20000"},
    "extra_member_ceiling": "2000",
    "max_policy_ceiling": "26000",
    "category_caps": {"hospitalisation": "8000"},
    "copayments": [
        {"name": "small children", "when": "age < 5", "percent": 0},
        {"name": "hospital without referral", "percent": 10,
         "when": "facility.level = 'hospital' and not claim.referred and claim.visit_type != 'emergency'"},
    ],
}  # fmt: skip


def category_of(item: dict[str, Any]) -> str:
    """What a claim with this service is counted as; the file's own category where nothing tells."""
    name = item["name"].lower()
    if item["kind"] != "service":
        return str(item["category"])
    return next((category for category, words in CATEGORIES if any(w in name for w in words)), str(item["category"]))


def catalogue_item(item: dict[str, Any]) -> dict[str, Any]:
    """The item of the file with what the catalogue adds to it."""
    wanted = {name: item[name] for name in ("code", "name", "kind", "price")}
    return {**wanted, "category": category_of(item), "frequency_days": FREQUENCY_DAYS.get(item["category"])}


def item_terms(item: dict[str, Any]) -> dict[str, Any]:
    """What the package pays for an item of the file."""
    terms: dict[str, Any] = {"percent": SHARES[item["category"]]}
    match item["category"]:
        case "immunization":
            terms |= {"max_provisions": 3, "ceiling_exclusion": "both"}
        case "medication":
            terms |= {"max_provisions": {"adult": 12, "child": 6}}
        case "procedure":
            terms |= {"max_provisions": 8, "waiting_months": {"adult": 2, "child": 0}}
    return terms


def terms_of(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The terms of the package for these items of the file."""
    return {**LIMITS, "items": {item["code"]: item_terms(item) for item in items}}
