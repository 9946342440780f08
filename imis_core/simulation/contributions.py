"""Contributions under a proposed package: the policies that began in a period, quoted again with its terms.

Each policy is quoted as it was enrolled: on that day, with the members that it counts, as a renewal if it was one; the
attributes of its holder are today's. It posts and changes nothing. Source: health_insurance.md 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.benefit_packages.lookup import versions_by_id
from imis_core.context import Context
from imis_core.coverage.quoting import Candidate, QuoteCase, quotes_of
from imis_core.errors import Refusal
from imis_core.simulation.proposing import Proposal
from imis_core.values import Money

PART: Final = 20_000  # policies that are held in memory at once
RATIO_DECIMALS: Final = Decimal("0.0001")


@frozen(kw_only=True)
class Contributions:
    """Whole contributions, subsidised parts included. `break_even`: by what the contributions after would have to be
    multiplied to pay for the care after; `per_policy` and `per_person`: what each would then pay on average. They are
    null where nobody contributes."""

    policies: int
    persons: int
    before: Money
    after: Money
    difference: Money
    break_even: str | None
    per_policy: Money | None
    per_person: Money | None


_POLICIES: Final = sa.text(
    """
    SELECT c.id, c."group", coalesce(c."group", -c.person) AS holder, c.package_version, c.enrolled_on, c.value_minor,
           c.due_minor, r.ends AS previous_end, coalesce(g.attributes, p.attributes, '{}'::jsonb) AS attributes
    FROM core.coverages c LEFT JOIN core.coverages r ON r.id = c.renews
    LEFT JOIN core.groups g ON g.id = c."group" LEFT JOIN core.persons p ON p.id = c.person
    WHERE c.package_version = ANY(:versions) AND c.starts BETWEEN :starts AND :ends ORDER BY c.id
    """
)
_MEMBERS: Final = sa.text(
    """
    SELECT m.coverage, p.id, p.number, p.birth_date, p.death_date, p.attributes, (
        SELECT s.relationship FROM core.memberships s
        WHERE s."group" = c."group" AND s.person = m.person ORDER BY s.id DESC LIMIT 1) AS relationship
    FROM core.coverage_members m JOIN core.coverages c ON c.id = m.coverage JOIN core.persons p ON p.id = m.person
    WHERE m.coverage = ANY(:policies) ORDER BY m.coverage, m.ordinal
    """
)


@frozen
class Quoted:
    """All policies quoted again: totals, and by how much each holder's own part grows."""

    policies: int
    persons: int
    before_minor: int
    after_minor: int
    dues: dict[int, int]


def quote_again(context: Context, proposal: Proposal, starts: date, ends: date) -> Quoted | Refusal:
    """The policies that began in the period under the proposed terms, in parts."""
    if not proposal.in_force.has_coverages:
        return Quoted(0, 0, 0, 0, {})
    rows = context.execute(_POLICIES, {"versions": list(proposal.versions), "starts": starts, "ends": ends}).all()
    after, persons, dues = 0, 0, dict[int, int]()
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        cases = _cases(context, part)
        terms = dict.fromkeys({row.package_version for row in part}, proposal.terms)
        for row, case, quote in zip(part, cases, quotes_of(context, cases, terms), strict=True):
            if isinstance(quote, Refusal):
                return quote
            after += quote.value_minor
            persons += len(case.members)
            dues[row.holder] = dues.get(row.holder, 0) + quote.due_minor - row.due_minor
    return Quoted(len(rows), persons, sum(row.value_minor for row in rows), after, dues)


def _cases(context: Context, rows: Sequence[Any]) -> list[QuoteCase]:
    """Policies as they were enrolled."""
    members: dict[int, list[Candidate]] = {row.id: [] for row in rows}
    for row in context.execute(_MEMBERS, {"policies": list(members)}):
        members[row.coverage].append(
            Candidate(row.id, row.number, row.birth_date, row.death_date, row.attributes, row.relationship)
        )
    versions = versions_by_id(context, {row.package_version for row in rows})
    return [
        QuoteCase(
            version=versions[row.package_version], enrolled_on=row.enrolled_on, reference=row.enrolled_on,
            group=row.group, members=tuple(members[row.id]), attributes=row.attributes, previous_end=row.previous_end,
        )
        for row in rows
    ]  # fmt: skip


def break_even(quoted: Quoted, cost_minor: int, currency: str) -> Contributions:
    """Contributions before and after, and what they would have to be so that they pay for the care."""

    def share(count: int) -> Money | None:
        return None if count == 0 else Money((2 * cost_minor + count) // (2 * count), currency)

    factor = None
    if quoted.after_minor:
        exact = Decimal(cost_minor) / Decimal(quoted.after_minor)
        factor = str(exact.quantize(RATIO_DECIMALS, ROUND_HALF_UP))
    return Contributions(
        policies=quoted.policies, persons=quoted.persons, before=Money(quoted.before_minor, currency),
        after=Money(quoted.after_minor, currency), difference=Money(quoted.after_minor - quoted.before_minor, currency),
        break_even=factor, per_policy=share(quoted.policies), per_person=share(quoted.persons),
    )  # fmt: skip
