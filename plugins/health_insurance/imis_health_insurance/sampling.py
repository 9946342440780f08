"""Claims that health insurance wants a medical reviewer to see: nobody lies in two hospitals at once.

It describes; the kernel joins the condition to its own and chooses (`imis_claim_sample_sql`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from imis_core.api import VOID_CLAIMS, ClaimSample, SampleRule, claim_current, claims
from imis_health_insurance.settings import HealthSettings

OVERLAPPING_STAYS: Final = "overlapping_stays"


def sample(asked: ClaimSample) -> Sequence[SampleRule]:
    """Stays that share a night with another stay of the patient at another facility, if the settings ask for it."""
    settings: HealthSettings = asked.context.app.plugin_settings["health_insurance"]
    if not settings.review_overlapping_stays:
        return ()
    one, other = asked.claims.c, claims.alias("other_stays")
    overlapping = (
        sa.exists()
        .where(
            other.c.person == one.person,
            other.c.provider != one.provider,
            # The day of leaving the one may be the day of coming to the other.
            other.c.from_date < one.to_date,
            one.from_date < other.c.to_date,
            other.c.from_date < other.c.to_date,
            claim_current.c.claim == other.c.id,
            claim_current.c.state.not_in(VOID_CLAIMS),
        )
        .correlate(asked.claims)
    )
    return (SampleRule(OVERLAPPING_STAYS, sa.and_(one.from_date < one.to_date, overlapping)),)
