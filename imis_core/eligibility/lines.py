"""What is judged of one line without looking at any other: the stateless checks, the paying cover, the unit price.

Eligibility and claims both ask here, so that what eligibility allows today, a claim of today gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TypeVar

from imis_core.catalogue.lookup import ItemRow
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.terms import LineTerms, TermsKey
from imis_core.eligibility.valuation import SHARE_WHOLE
from imis_core.values import INT64_MAX, full_years


def category_of(items: Iterable[ItemRow], overnight: bool) -> str:
    """The category of a claim: surgery, delivery, antenatal if a service of that kind is there, in this order.

    Else overnight or a hospitalisation service is a hospitalisation, a consultation one, and all else a visit; from all
    lines entered. Source: health_insurance.md 4.
    """
    services = {item.category for item in items if item.kind == "service"}
    for category in ("surgery", "delivery", "antenatal"):
        if category in services:
            return category
    if overnight or "hospitalisation" in services:
        return "hospitalisation"
    return "consultation" if "consultation" in services else "visit"


def is_adult(born: date, on: date, adult_age: int) -> bool:
    return full_years(born, on) >= adult_age


def item_rejection(
    item: ItemRow, listed: int | None, facility_care: str, overnight: bool, sex: str, adult: bool
) -> Rejection | None:
    """Checks 2, 10 and 4 of a line, in this order (health_insurance.md 4)."""
    if listed is None:
        return Rejection.NOT_IN_PRICE_LIST
    inpatient_at_outpatient = facility_care == "outpatient" and (item.care_type == "inpatient" or overnight)
    if inpatient_at_outpatient or (facility_care == "inpatient" and item.care_type == "outpatient"):
        return Rejection.CARE_TYPE
    if (sex != "O" and sex not in item.sexes) or ("adult" if adult else "child") not in item.ages:
        return Rejection.PATIENT_CATEGORY
    return None


Candidate = tuple[Cover, LineTerms]  # a cover that pays for an item, and what it pays


def covering(
    covers: Sequence[Cover], terms: Mapping[TermsKey, LineTerms], item: int, visit_type: str, adult: bool
) -> list[Candidate]:
    """The covers whose packages cover an item, by the person's effective date; none: `not_covered` (3)."""
    found = []
    for cover in covers:
        of_item = terms.get((cover.package_version, cover.kind, item, visit_type, adult))
        if of_item is not None:
            found.append((cover, of_item))
    return found


Who = TypeVar("Who")


def paying_cover(
    found: Sequence[tuple[Who, LineTerms]],
    listed_minor: int | None,
    asked_minor: int | None,
    reviewed_minor: int | None = None,
) -> tuple[Who, LineTerms]:
    """Of the covers that let a line pass the one that pays, and its terms.

    The best share and the best fixed limit are compared at the unit price: of what is asked and of what is listed; one
    that is left out (nobody asks, as in a question about eligibility) is the other. A reviewer's price goes before
    both. Among equals the first by the person's effective date. Source: health_insurance.md 5.1, 5.4.
    """
    if len(found) == 1:
        return found[0]
    shares = [one for one in found if one[1].fixed_limit_minor is None]
    limits = [one for one in found if one[1].fixed_limit_minor is not None]
    share = max(shares, key=lambda one: one[1].share_micro, default=None)
    limit = max(limits, key=lambda one: one[1].fixed_limit_minor or INT64_MAX, default=None)
    if share is None or limit is None:
        alone = share or limit
        assert alone is not None, "nobody asks for the best of none"
        return alone
    if share[1].share_micro == SHARE_WHOLE:
        return share
    by_limit = unit_price(limit[1], listed_minor, asked_minor, reviewed_minor)
    by_share = unit_price(share[1], listed_minor, asked_minor, reviewed_minor)
    # What the patient pays of one unit, in minor units x 100 % x 10**6. A limit above the price leaves nothing.
    at_most = limit[1].fixed_limit_minor or INT64_MAX
    left_by_limit = max(0, by_limit - at_most) * SHARE_WHOLE
    left_by_share = by_share * (SHARE_WHOLE - share[1].share_micro)
    above = at_most > by_limit
    return limit if above or left_by_limit < left_by_share else share


def unit_price(
    terms: LineTerms, listed_minor: int | None, asked_minor: int | None, reviewed_minor: int | None = None
) -> int:
    """The price of one unit: the reviewer's, else what is asked if the terms say so, else the list's, at most as asked.

    Source: health_insurance.md 5.4.
    """
    if reviewed_minor is not None:
        return reviewed_minor
    if terms.price_origin == "provider" and asked_minor is not None:
        return asked_minor
    return min((price for price in (listed_minor, asked_minor) if price is not None), default=0)
