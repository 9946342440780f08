"""Premium of a policy, as pure functions over whole minor units and plain dates.

No database and no clock: everything that counts is in the case. Source: health_insurance.md 2, contract-health.md
'Premium and dates'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from attrs import frozen

from imis_core.api import (
    INT64_MAX,
    EnrolmentCase,
    PaymentTerms,
    Quote,
    Refusal,
    add_months,
    day_before,
    full_years,
    share_half_up,
    to_minor,
)
from imis_health_insurance.rules.dates import last_payment_date, start_date
from imis_health_insurance.rules.subsidy import Charges, subsidised
from imis_health_insurance.terms import HealthTerms

OTHER_RELATIONSHIP = "other"


def enrolment(cases: Sequence[EnrolmentCase]) -> list[Quote | Refusal]:
    """A quote for each case, in order; a refusal where the contribution is too large to be kept."""
    return [quote(case) for case in cases]


def quote(case: EnrolmentCase) -> Quote | Refusal:
    """Dates and contribution of one policy; the contribution in minor units of the case's currency."""
    terms: HealthTerms = case.terms
    starts = start_date(terms, case.enrolled_on, case.previous_end)
    counted = tuple(range(len(case.members)))[: terms.max_members]
    charges = _charges(case, counted)
    value = _discounted(case, starts, charges.total)
    if value > INT64_MAX:
        return Refusal("coverage.contribution_too_large", "the contribution is larger than can be kept; mend the terms")
    return Quote(
        starts=starts,
        ends=day_before(add_months(starts, terms.insurance_months)),
        last_payment=last_payment_date(terms, case.enrolled_on, starts, case.previous_end),
        counted=counted,
        value_minor=value,
        subsidies=subsidised(case, counted, charges, value),
    )


def payment_terms(terms: HealthTerms) -> PaymentTerms:
    """How policies of a package take contributions."""
    return PaymentTerms(
        terms.max_installments, terms.underpaid, terms.grace_payment_months, terms.overpayment == "credit",
        terms.conversion_package,
    )  # fmt: skip


@frozen
class _Prices:
    lump_sum: int
    adult: int
    child: int
    registration_lump_sum: int
    registration_fee: int
    assembly_lump_sum: int
    assembly_fee: int


def _prices(terms: HealthTerms, currency: str) -> _Prices:
    return _Prices(
        to_minor(terms.lump_sum, currency),
        to_minor(terms.premium_adult, currency),
        to_minor(terms.premium_child, currency),
        to_minor(terms.registration_lump_sum, currency),
        to_minor(terms.registration_fee, currency),
        to_minor(terms.assembly_lump_sum, currency),
        to_minor(terms.assembly_fee, currency),
    )


def _charges(case: EnrolmentCase, counted: Sequence[int]) -> Charges:
    """Contribution, assembly and registration before any discount; adults come under the threshold before children."""
    prices = _prices(case.terms, case.currency)
    members = [case.members[position] for position in counted]
    adult = {p: full_years(m.born, case.enrolled_on) >= case.adult_age for p, m in enumerate(members)}
    sharing = [p for p, m in enumerate(members) if prices.lump_sum and m.relationship != OTHER_RELATIONSHIP]
    sharing.sort(key=lambda p: not adult[p])
    covered = set(sharing[: case.terms.threshold_members])
    fees = [(prices.assembly_lump_sum, prices.assembly_fee)]
    if case.previous_end is None:
        fees.append((prices.registration_lump_sum, prices.registration_fee))
    common = prices.lump_sum + sum(lump_sum for lump_sum, _ in fees)
    each = sum(fee for lump_sum, fee in fees if not lump_sum)
    own = (0 if p in covered else prices.adult if adult[p] else prices.child for p in adult)
    return Charges(common, tuple(premium + each for premium in own))


def _discounted(case: EnrolmentCase, starts: date, total: int) -> int:
    """The total after the discount for early enrolment or renewal, rounded half up once."""
    terms: HealthTerms = case.terms
    if case.previous_end is not None:
        discount, anchor = terms.renewal_discount, case.previous_end + timedelta(days=1)
    else:
        discount, anchor = (terms.enrolment_discount if terms.cycles else None), starts
    if discount is None or case.enrolled_on > add_months(anchor, -discount.months):
        return total
    return share_half_up(total, Decimal(100) - discount.percent)
