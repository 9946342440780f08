"""Who is covered on a day, as one select over policies, their members, and the dates of persons and memberships.

The end of a cover by death or by leaving the group is computed here and copied nowhere. Source: health_insurance.md 2.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import sqlalchemy as sa

from imis_core.beneficiaries.tables import memberships, persons
from imis_core.coverage.tables import coverage_members, coverage_suspensions, coverages

COVERAGE_KIND: Final = "coverage"


def coverage_covers_sql(on: sa.ColumnElement[date]) -> sa.Select[Any]:
    """The covers that policies give on the day `on`, a literal or a column of the statement that joins this laterally.

    Columns `cover_kind`, `cover` (the policy), `scheme`, `person`, `package_version`, `effective_from` (of the person
    in this policy), `effective_to` (the policy's last day), `waits` (whether waiting periods hold: a new policy, or who
    joined late). A policy that has ended since still covers its days. Who asks restricts it to persons and schemes.
    """
    effective = own_effective_from()
    return (
        sa.select(
            sa.literal(COVERAGE_KIND, sa.Text).label("cover_kind"),
            coverages.c.id.label("cover"),
            coverages.c.scheme,
            coverage_members.c.person,
            coverages.c.package_version,
            effective.label("effective_from"),
            sa.func.least(coverages.c.ends, coverages.c.terminated_on).label("effective_to"),
            sa.or_(coverages.c.renews.is_(None), coverage_members.c.late).label("waits"),
        )
        .select_from(coverage_members)
        .join(coverages, coverages.c.id == coverage_members.c.coverage)
        .join(persons, persons.c.id == coverage_members.c.person)
        .where(
            coverages.c.effective_from <= on,
            effective <= on,
            on <= coverages.c.ends,
            sa.or_(coverages.c.terminated_on.is_(None), on <= coverages.c.terminated_on),
            member_stands(on),
            sa.not_(suspended(on)),
        )
    )


def own_effective_from() -> sa.ColumnElement[date]:
    """The first day of a member's own cover, null until it is paid; late joiners never have the policy's.

    To be used beside `coverages` and `coverage_members`.
    """
    m = coverage_members.c
    return sa.case((m.late, m.effective_from), else_=sa.func.coalesce(m.effective_from, coverages.c.effective_from))


def member_stands(on: sa.ColumnElement[date]) -> sa.ColumnElement[bool]:
    """Whether a member is alive and in the group on a day; the day of death or leaving itself is still covered.

    To be used beside `coverages`, `coverage_members` and `persons`. Who left before and came back was counted anew, so
    only leavings after the day of joining matter.
    """
    left = (
        sa.select(sa.literal(1))
        .select_from(memberships)
        .where(
            memberships.c.group == coverages.c.group,
            memberships.c.person == coverage_members.c.person,
            memberships.c.left_on > coverage_members.c.joined_on,
            memberships.c.left_on < on,
        )
        .correlate_except(memberships)
    )
    return sa.and_(sa.or_(persons.c.death_date.is_(None), on <= persons.c.death_date), sa.not_(sa.exists(left)))


def suspended(on: sa.ColumnElement[date]) -> sa.ColumnElement[bool]:
    """Whether the policy is suspended on a day; to be used beside `coverages`."""
    pause = coverage_suspensions
    within = (
        sa.select(sa.literal(1))
        .select_from(pause)
        .where(
            pause.c.coverage == coverages.c.id,
            pause.c.suspended_on <= on,
            sa.or_(pause.c.resumed_on.is_(None), on < pause.c.resumed_on),
        )
        .correlate_except(pause)
    )
    return sa.exists(within)
