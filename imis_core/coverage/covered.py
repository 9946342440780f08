"""Persons under policies, each with the days of the own cover: one select that listings and cards stand on."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.benefit_packages.tables import packages
from imis_core.coverage.covers import own_effective_from
from imis_core.coverage.tables import coverage_members, coverages

_LEFT: Final = (
    sa.select(sa.func.min(memberships.c.left_on))
    .where(
        memberships.c.group == coverages.c.group,
        memberships.c.person == coverage_members.c.person,
        memberships.c.left_on > coverage_members.c.joined_on,
    )
    .scalar_subquery()
)
# `effective_from` is null until the policy is paid; `effective_to` is the last day: of the policy, or of the person's
# part in it. Whoever asks adds the scope of `coverages` and `persons`.
COVERED: Final = (
    sa.select(
        coverage_members.c.id,
        coverage_members.c.person,
        own_effective_from().label("effective_from"),
        sa.func.least(coverages.c.ends, coverages.c.terminated_on, persons.c.death_date, _LEFT).label("effective_to"),
        (coverage_members.c.version + coverages.c.version).label("changes"),
        coverages.c.id.label("policy"),
        coverages.c.scheme,
        coverages.c.state,
        coverages.c.starts,
        coverages.c.ends,
        coverages.c.group,
        packages.c.code.label("package_code"),
        persons.c.number,
        groups.c.code.label("group_code"),
    )
    .join_from(coverage_members, coverages, coverages.c.id == coverage_members.c.coverage)
    .join(packages, packages.c.id == coverages.c.package)
    .join(persons, persons.c.id == coverage_members.c.person)
    .outerjoin(groups, groups.c.id == coverages.c.group)
)
