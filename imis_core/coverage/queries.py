"""Queries of coverage: one policy, lists of policies, and lists of the covers that they give to single persons."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_groups, resolve_persons
from imis_core.beneficiaries.tables import persons
from imis_core.benefit_packages.tables import package_versions, packages
from imis_core.context import Context
from imis_core.coverage.covered import COVERED
from imis_core.coverage.enrolment import coverage_type
from imis_core.coverage.lookup import COLUMNS, NOUN, PolicyShown, load_policies, policy, show_policies
from imis_core.coverage.refund_queries import QUERIES as REFUND_QUERIES
from imis_core.coverage.states import state_on
from imis_core.coverage.tables import coverage_members, coverage_reminders, coverages
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query


@frozen(kw_only=True)
class ShowCoverage:
    coverage: str


@query("coverage.show", input=ShowCoverage, result=PolicyShown)
def show_coverage(context: Context, asked: ShowCoverage) -> PolicyShown | Refusal:
    """Show a policy with its members, and what is paid and owed."""
    number = context.ids.decode(NOUN, asked.coverage)
    found = load_policies(context, [] if number is None else [number])
    if number not in found:
        return not_found("coverage", "coverage", asked.coverage)
    return show_policies(context, [found[number]])[0]


@frozen(kw_only=True)
class ListCoverages:
    scheme: str | None = None
    group: str | None = None
    person: str | None = None
    number: str | None = None


@query("coverage.list", input=ListCoverages, result=PolicyShown, listing=True)
def list_coverages(context: Context, asked: ListCoverages) -> Listing | Refusal:
    """List policies in order of enrolment: of a scheme, of a group, or those that cover a person."""
    select = sa.select(*COLUMNS).where(context.scoped(coverages))
    if asked.scheme is not None:
        kind = coverage_type(context, asked.scheme)
        if isinstance(kind, Refusal):
            return kind
        select = select.where(coverages.c.scheme == asked.scheme)
    if asked.group is not None:
        group = resolve_groups(context, {asked.group}).get(asked.group)
        if group is None:
            return not_found("group", "group", asked.group)
        select = select.where(coverages.c.group == group.id)
    for path in ("person", "number"):
        name = getattr(asked, path)
        if name is None:
            continue
        person = resolve_persons(context, {name}).get(name)
        if person is None:
            return not_found(path, "person", name)
        member = sa.exists().where(
            coverage_members.c.coverage == coverages.c.id, coverage_members.c.person == person.id
        )
        select = select.where(member)

    def build(rows: Sequence[Any]) -> list[PolicyShown]:
        return show_policies(context, [policy(row) for row in rows])

    return Listing(select, (coverages.c.id,), build, {"starts": coverages.c.starts, "ends": coverages.c.ends})


@frozen(kw_only=True)
class ListCovered:
    """`person` by id or number; `group` by id or code."""

    id: str | None = None
    coverage: str | None = None
    scheme: str | None = None
    group: str | None = None
    person: str | None = None


@frozen(kw_only=True)
class CoveredPerson:
    """One person's cover under a policy; `coverage` is the policy's id.

    `effective_from` is absent until the policy is paid; `effective_to` is the last day: of the policy, or of this
    person's part in it if death, leaving or termination comes first. `status` is the policy's, `expired` after
    `effective_to`. `version` grows with every change.
    """

    id: str
    coverage: str
    scheme: str
    package: str
    status: str
    starts: date
    ends: date
    effective_from: date | None
    effective_to: date
    number: str
    person_id: str
    group: str | None
    group_id: str | None
    version: int


@query("coverage.list_covered", input=ListCovered, result=CoveredPerson, listing=True, permission="coverage.list")
def list_covered(context: Context, asked: ListCovered) -> Listing | Refusal:
    """List the persons of policies, each with the days of the own cover, in order of enrolment."""
    m = coverage_members.c
    select = COVERED.where(context.scoped(coverages), context.scoped(persons))
    for noun, column, outside in (("coverage_members", m.id, asked.id), (NOUN, coverages.c.id, asked.coverage)):
        if outside is not None:
            number = context.ids.decode(noun, outside)
            select = select.where(sa.false() if number is None else column == number)
    if asked.scheme is not None:
        select = select.where(coverages.c.scheme == asked.scheme)
    if asked.group is not None:
        group = resolve_groups(context, {asked.group}).get(asked.group)
        if group is None:
            return not_found("group", "group", asked.group)
        select = select.where(coverages.c.group == group.id)
    if asked.person is not None:
        person = resolve_persons(context, {asked.person}).get(asked.person)
        if person is None:
            return not_found("person", "person", asked.person)
        select = select.where(m.person == person.id)
    return Listing(select, (m.id,), lambda rows: _covered(context, rows))


def _covered(context: Context, rows: Sequence[Any]) -> list[CoveredPerson]:
    held = sorted({row.group for row in rows if row.group is not None})
    of_groups = dict(zip(held, context.ids.encode_all("groups", held), strict=True))
    return [
        CoveredPerson(
            id=identity, coverage=policy_id, scheme=row.scheme, package=row.package_code, starts=row.starts,
            status=state_on(row.state, row.effective_to, context.today), ends=row.ends,
            effective_from=row.effective_from, effective_to=row.effective_to, number=row.number, person_id=person,
            group=row.group_code, group_id=of_groups.get(row.group),
            version=row.changes + int(context.today > row.effective_to),  # its end changes it too
        )
        for row, identity, policy_id, person in zip(
            rows,
            context.ids.encode_all("coverage_members", [row.id for row in rows]),
            context.ids.encode_all(NOUN, [row.policy for row in rows]),
            context.ids.encode_all("persons", [row.person for row in rows]),
            strict=True,
        )
    ]  # fmt: skip


@frozen(kw_only=True)
class ListReminders:
    coverage: str | None = None
    scheme: str | None = None
    kind: Literal["renewal", "photo", "expiry"] | None = None


@frozen(kw_only=True)
class ReminderShown:
    """What a holder was told. `package`, `starts`: to what and from when a renewal is offered; `number`: of the person
    whose photo is old; `notification`: the message's id, null where there was nobody to tell."""

    coverage: str
    kind: str
    told_on: date
    package: str | None
    starts: date | None
    number: str | None
    notification: str | None


@query("coverage.reminders", input=ListReminders, result=ReminderShown, listing=True, permission="coverage.list")
def list_reminders(context: Context, asked: ListReminders) -> Listing:
    """Offers of renewal, warnings of old photos and news of policies that ended, in the order of telling."""
    r = coverage_reminders.c
    select = (
        sa.select(
            r.id, r.coverage, r.kind, r.told_on, r.notification, coverages.c.ends, packages.c.code.label("package"),
            persons.c.number,
        )
        .join_from(coverage_reminders, coverages, coverages.c.id == r.coverage)
        .outerjoin(package_versions, package_versions.c.id == r.package_version)
        .outerjoin(packages, packages.c.id == package_versions.c.package)
        .outerjoin(persons, sa.and_(persons.c.id == r.person, context.scoped(persons)))
        .where(context.scoped(coverages))
    )  # fmt: skip
    if asked.coverage is not None:
        number = context.ids.decode(NOUN, asked.coverage)
        select = select.where(sa.false() if number is None else r.coverage == number)
    if asked.scheme is not None:
        select = select.where(coverages.c.scheme == asked.scheme)
    if asked.kind is not None:
        select = select.where(r.kind == asked.kind)

    def build(rows: Sequence[Any]) -> list[ReminderShown]:
        told = [row.notification for row in rows if row.notification is not None]
        messages = dict(zip(told, context.ids.encode_all("notifications", told), strict=True))
        return [
            ReminderShown(
                coverage=identity, kind=row.kind, told_on=row.told_on, package=row.package,
                starts=row.ends + timedelta(days=1) if row.package is not None else None, number=row.number,
                notification=messages.get(row.notification),
            )
            for identity, row in zip(context.ids.encode_all(NOUN, [row.coverage for row in rows]), rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (r.id,), build)


QUERIES = (show_coverage, list_coverages, list_covered, list_reminders, *REFUND_QUERIES)
