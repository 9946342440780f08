"""Queries of coverage: one policy, and lists of policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_groups, resolve_persons
from imis_core.context import Context
from imis_core.coverage.enrolment import coverage_type
from imis_core.coverage.lookup import COLUMNS, NOUN, PolicyShown, load_policies, policy, show_policies
from imis_core.coverage.tables import coverage_members, coverages
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


QUERIES = (show_coverage, list_coverages)
