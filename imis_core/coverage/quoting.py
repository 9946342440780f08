"""Quotes for policies: their possible members, what is true of them, and the scheme type's answer for a whole batch.

Source: health_insurance.md 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.benefit_packages.lookup import Version, parsed_terms
from imis_core.benefit_packages.schemes import Enrollee, EnrolmentCase, PaymentTerms, Quote
from imis_core.context import Context
from imis_core.coverage.conditions import Asked, conditions_met
from imis_core.database.arrays import any_of
from imis_core.errors import Refusal


@frozen
class Candidate:
    """A person whom a policy may count."""

    id: int
    number: str
    born: date
    died: date | None
    attributes: Mapping[str, Any]
    relationship: str | None = None
    seen: bool = True  # by the caller; who is not is counted and covered like the others, and not named in answers

    def as_member(self, relationship: str) -> Candidate:
        """The person as a member of a household."""
        return Candidate(self.id, self.number, self.born, self.died, self.attributes, relationship, self.seen)


@frozen(kw_only=True)
class QuoteCase:
    """A policy to be quoted: members in order of registration, the holder's attributes.

    `enrolled_on` decides ages and dates, `reference` is the day on which conditions are asked.
    """

    version: Version
    enrolled_on: date
    reference: date
    group: int | None
    members: tuple[Candidate, ...]
    attributes: Mapping[str, Any]
    previous_end: date | None = None


def quotes_of(
    context: Context, cases: Sequence[QuoteCase], proposed: Mapping[int, Any] | None = None
) -> list[Quote | Refusal]:
    """A quote or a refusal for each case, in order; each scheme type is asked once for all of its cases.

    `proposed`: terms to quote by instead of the versions' own, by version.
    """
    if not cases:
        return []
    terms = parsed_terms(context, [case.version for case in cases]) if proposed is None else proposed
    kinds = [context.app.type_of(case.version.scheme) for case in cases]
    met = conditions_met(
        context,
        [
            Asked(
                case.version.id, case.reference, case.group, tuple(m.id for m in case.members),
                kind.enrolment_conditions(terms[case.version.id]),
            )
            for case, kind in zip(cases, kinds, strict=True)
        ],
    )  # fmt: skip
    quotes: list[Any] = [None] * len(cases)
    by_kind: dict[str, list[int]] = defaultdict(list)
    for index, kind in enumerate(kinds):
        by_kind[kind.name].append(index)
    for indexes in by_kind.values():
        enrolment = kinds[indexes[0]].enrolment
        assert enrolment is not None
        asked = [
            EnrolmentCase(
                terms=terms[cases[i].version.id],
                currency=cases[i].version.currency,
                adult_age=context.settings.deployment.age_of_majority,
                enrolled_on=cases[i].enrolled_on,
                members=tuple(
                    Enrollee(m.born, m.relationship, met[i].members.get(m.id, frozenset())) for m in cases[i].members
                ),
                previous_end=cases[i].previous_end,
                attributes=cases[i].attributes,
                met=met[i].household,
            )
            for i in indexes
        ]
        for index, answer in zip(indexes, enrolment(asked), strict=True):
            quotes[index] = answer
    return quotes


def lock_groups(context: Context, ids: Iterable[int]) -> dict[int, Mapping[str, Any]]:
    """The attributes of groups by key, locked in the order of their keys against other changes."""
    if not (wanted := set(ids)):
        return {}
    rows = context.execute(
        sa.select(groups.c.id, groups.c.attributes)
        .where(groups.c.id == any_of(wanted), context.scoped(groups))
        .order_by(groups.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: row.attributes for row in rows}


def possible_members(
    context: Context, group_ids: Iterable[int], person_ids: Iterable[int]
) -> tuple[dict[int, list[Any]], dict[int, Candidate]]:
    """Memberships by group in order of registration, ended ones too; and their persons, and these others, locked.

    Ended memberships too, since enrolment may be of an earlier day. What a policy counts does not depend on who asks:
    members who live where the caller does not see are among them. Persons are locked in the order of their keys.
    """
    seen = context.scoped(persons)  # of the caller, before everything is in sight
    with context.seeing_all():
        listed = _memberships_of(context, group_ids)
        wanted = {*person_ids, *(row.person for rows in listed.values() for row in rows)}
        return listed, _lock_persons(context, wanted, seen)


def _memberships_of(context: Context, group_ids: Iterable[int]) -> dict[int, list[Any]]:
    m = memberships.c
    rows = context.execute(
        sa.select(m.group, m.person, m.relationship, m.joined_on, m.left_on)
        .where(m.group == any_of(group_ids))
        .order_by(m.group, m.ordinal, m.id)
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.group].append(row)
    return found


def _lock_persons(context: Context, ids: Iterable[int], seen: sa.ColumnElement[bool]) -> dict[int, Candidate]:
    p = persons.c
    rows: Iterable[Any] = context.execute(
        sa.select(p.id, p.number, p.birth_date, p.death_date, p.attributes, seen.label("seen"))
        .where(p.id == any_of(ids))
        .order_by(p.id)
        .with_for_update(key_share=True)
    )
    return {r[0]: Candidate(r[0], r[1], r[2], r[3], r[4], seen=r[5]) for r in rows}


def payment_terms(context: Context, versions: Iterable[Version]) -> dict[int, PaymentTerms]:
    """How package versions take contributions, by version."""
    wanted = {version.id: version for version in versions}
    terms = parsed_terms(context, wanted.values())
    answer = {}
    for number, version in wanted.items():
        of_kind = context.app.type_of(version.scheme).payment_terms
        assert of_kind is not None
        answer[number] = of_kind(terms[number])
    return answer
