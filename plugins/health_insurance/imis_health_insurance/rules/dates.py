"""Dates of a policy: when it starts and ends, and until when its contribution may be paid.

No database and no clock. Source: health_insurance.md 2, contract-health.md 'Premium and dates'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from imis_core.api import add_months, day_before
from imis_health_insurance.terms import HealthTerms, cycle_date


def start_date(terms: HealthTerms, enrolled_on: date, previous_end: date | None) -> date:
    """The first day of a policy; of a renewal never before the day after the previous policy's end."""
    if previous_end is None:
        reference = add_months(enrolled_on, terms.administration_months)
        return _cycle_start(terms.cycles, reference, terms.grace_enrolment_months) if terms.cycles else reference
    earliest = previous_end + timedelta(days=1)
    if not terms.cycles:
        return max(earliest, enrolled_on)
    return max(earliest, _cycle_start(terms.cycles, enrolled_on, terms.grace_renewal_months))


def _cycle_start(cycles: Sequence[str], reference: date, grace_months: int) -> date:
    """The first cycle of the reference's year that is still open with its grace, else the first of the next year."""
    for cycle in cycles:
        start = cycle_date(reference.year, cycle)
        if reference < add_months(start, grace_months):
            return start
    return cycle_date(reference.year + 1, cycles[0])


def last_payment_date(terms: HealthTerms, enrolled_on: date, starts: date, previous_end: date | None) -> date:
    """The last day on which the contribution is in time; never before the enrolment date."""
    renewal = previous_end is not None
    if terms.cycles:
        grace = terms.grace_renewal_months if renewal else terms.grace_enrolment_months
        last = day_before(add_months(starts, grace))
    elif previous_end is not None:
        last = day_before(add_months(previous_end + timedelta(days=1), terms.grace_payment_months))
    else:
        last = day_before(add_months(enrolled_on, terms.grace_payment_months))
    return max(last, enrolled_on)
