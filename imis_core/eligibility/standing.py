"""A person's policies as they stand on a day, and the reason why none of them covers him or her.

Source: health_insurance.md 3, contract-health.md 'Names, answers and arguments'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import PersonRow
from imis_core.beneficiaries.tables import persons
from imis_core.benefit_packages.tables import packages
from imis_core.context import Context
from imis_core.coverage.covers import own_effective_from, suspended
from imis_core.coverage.lookup import COLUMNS, Policy, policy
from imis_core.coverage.states import ACTIVE, EXPIRED, IDLE, SUSPENDED, TERMINATED, state_on
from imis_core.coverage.tables import coverage_members, coverages
from imis_core.database.arrays import any_of
from imis_core.places.lookup import ProviderRow

NOT_YET_EFFECTIVE: Final = "not_yet_effective"
NOT_CONTRACTED: Final = "provider_not_contracted"
NOT_ENROLLED: Final = "not_enrolled"


@frozen
class Standing:
    """A policy of the person as it stands on the day; `effective` is the person's own first day in it."""

    policy: Policy
    package: str  # its code
    status: str
    effective: date | None

    @property
    def last_day(self) -> date:
        """The last day of the policy's period: its end, or that of its termination."""
        ended = self.policy.terminated_on
        return self.policy.ends if ended is None else min(ended, self.policy.ends)


def standings_on(context: Context, person: PersonRow, schemes: Sequence[str], on: date) -> list[Standing]:
    """The person's policies as they stand on the day, in order of enrolment; without those terminated by then."""
    m = coverage_members.c
    rows = context.execute(
        # Who may see the person may see his or her policies: the scope is the person's.
        sa.select(
            *COLUMNS,
            packages.c.code.label("package_code"),
            own_effective_from().label("effective"),
            suspended(sa.literal(on, sa.Date)).label("paused"),
        )
        .join_from(coverage_members, coverages, coverages.c.id == m.coverage)
        .join(persons, persons.c.id == m.person)
        .join(packages, packages.c.id == coverages.c.package)
        .where(
            m.person == person.id,
            context.scoped(persons),
            coverages.c.scheme == any_of(schemes, sa.Text),
        )
        .order_by(coverages.c.id)
    )
    standings = []
    for row in rows:
        one = policy(row)
        if one.state == TERMINATED and (
            one.effective_from is None or one.terminated_on is None or one.terminated_on < on
        ):
            continue
        stored = one.state
        if one.effective_from is not None:
            stored = SUSPENDED if row.paused else ACTIVE  # as of the day, whatever it is now
            if row.effective is None:
                stored = IDLE  # a late joiner who is not paid for yet
        standings.append(Standing(one, row.package_code, state_on(stored, one.ends, on), row.effective))
    return standings


def reason_of(
    person: PersonRow, provider: ProviderRow | None, on: date, covered: bool, standings: Sequence[Standing]
) -> str | None:
    """The first reason that applies, in the contract's order; None: eligible."""
    if provider is not None and not provider.contracted(on):
        return NOT_CONTRACTED
    if not person.valid_on(on):
        return NOT_ENROLLED
    if covered:
        return None
    statuses = {
        NOT_YET_EFFECTIVE if s.status == ACTIVE and s.effective is not None and on < s.effective else s.status
        for s in standings
    }
    return next((r for r in (NOT_YET_EFFECTIVE, SUSPENDED, IDLE, EXPIRED) if r in statuses), NOT_ENROLLED)
