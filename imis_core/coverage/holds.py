"""On which days a package is taken for a person: nobody has two policies of one package on the same day.

The exclusion constraint on `coverage_members.held` is the second wall; the caller locks the persons first, so that a
race becomes a clean refusal here. Source: contract-health.md, 'A person may hold policies of several packages'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Final

import sqlalchemy as sa
from attrs import define, field

from imis_core.beneficiaries.tables import memberships, persons
from imis_core.context import Context
from imis_core.coverage.lookup import load_policies
from imis_core.coverage.states import IDLE, TERMINATED
from imis_core.coverage.tables import coverage_members, coverages
from imis_core.database.arrays import any_of

EMPTY: Final = "empty"


def day_range(starts: date, ends: date) -> str:
    """The days from start to end, both counted, as PostgreSQL's range text."""
    return f"[{starts},{ends}]"


@define(eq=False)
class Hold:
    """The days that a policy holds for a person. `member` is the row that says so; None: not written yet.

    `ends` is the last day: of the policy, or the one on which the person died or left; `stored_ends` is the last day
    that the row has. `state` None stands for a policy that the caller may not see: it blocks.
    """

    member: int | None
    coverage: int
    starts: date
    ends: date
    state: str | None
    ends_policy: date
    last_payment: date
    stored_ends: date | None = None
    released: bool = False
    changed: bool = False

    def blocks(self, on: date) -> bool:
        """Whether the policy still stands in the way on a day: not one terminated, expired, or unpaid too long."""
        if self.state is None:
            return True
        return not (
            self.state == TERMINATED or self.ends_policy < on or (self.state == IDLE and self.last_payment < on)
        )

    @property
    def text(self) -> str:
        return EMPTY if self.released or self.ends < self.starts else day_range(self.starts, self.ends)


@define
class Holds:
    """The holds of persons on packages as they stand after the items of a batch so far."""

    _by_key: dict[tuple[int, int], list[Hold]] = field(factory=dict)

    @classmethod
    def load(cls, context: Context, package_ids: Iterable[int], person_ids: Iterable[int]) -> Holds:
        """The holds in the database, their policies locked. The persons must be locked already. Two statements."""
        m = coverage_members.c
        rows = context.execute(
            sa.select(
                m.id,
                m.coverage,
                m.package,
                m.person,
                sa.func.lower(m.held).label("lower"),
                sa.func.upper(m.held).label("upper"),
                sa.func.least(_LEFT, _DIED).label("gone"),
            )
            .join_from(coverage_members, coverages, coverages.c.id == m.coverage)
            .where(m.package == any_of(package_ids), m.person == any_of(person_ids), sa.not_(sa.func.isempty(m.held)))
            .order_by(m.id)
        ).all()
        policies = load_policies(context, {row.coverage for row in rows}, lock=True)
        holds = cls()
        for row in rows:
            one = policies.get(row.coverage)
            last = row.upper - timedelta(days=1)
            hold = Hold(
                row.id, row.coverage, row.lower, last if row.gone is None else min(last, row.gone),
                one.state if one else None, one.ends if one else last, one.last_payment if one else last, last,
            )  # fmt: skip
            holds._by_key.setdefault((row.package, row.person), []).append(hold)
        return holds

    def conflict(
        self, package: int, person: int, starts: date, ends: date, on: date, own: int | None = None
    ) -> Hold | None:
        """The policy that keeps a person from being covered by the package on these days, if any (`own` never does)."""
        return next(
            (h for h in self._overlapping(package, person, starts, ends) if h.coverage != own and h.blocks(on)), None
        )

    def take(self, package: int, person: int, hold: Hold) -> None:
        """Hold the days for a person; policies that no longer stand in the way give theirs up, and so does a row of
        this policy from before the person left and came back."""
        for other in self._by_key.get((package, person), ()):
            if other.released or other.starts > hold.ends or (other.stored_ends or other.ends) < hold.starts:
                continue
            # What ended before the new days begin gives up only what it no longer needs.
            other.released = other.released or not (other.ends < hold.starts)
            other.changed = True
        self._by_key.setdefault((package, person), []).append(hold)

    def write_changed(self, context: Context) -> None:
        """Write what lapsed policies, and those who left, hold no more; new rows are written after this."""
        holds = [h for holds in self._by_key.values() for h in holds if h.changed and h.member is not None]
        hold_again(context, [(h.member, h) for h in holds if h.member is not None])

    def _overlapping(self, package: int, person: int, starts: date, ends: date) -> list[Hold]:
        holds = self._by_key.get((package, person), ())
        return [h for h in holds if not h.released and h.starts <= ends and starts <= h.ends]


_HOLD: Final = sa.text("""
    UPDATE core.coverage_members AS m SET held = CAST(n.held AS daterange)
    FROM unnest(CAST(:id AS bigint[]), CAST(:held AS text[])) AS n(id, held) WHERE m.id = n.id
""")


def hold_again(context: Context, held: Sequence[tuple[int, Hold]]) -> None:
    """Let rows of members hold these days."""
    if held:
        context.execute(_HOLD, {"id": [row for row, _ in held], "held": [hold.text for _, hold in held]})


_LEFT: Final = (
    sa.select(sa.func.min(memberships.c.left_on))
    .where(
        memberships.c.group == coverages.c.group,
        memberships.c.person == coverage_members.c.person,
        memberships.c.left_on > coverage_members.c.joined_on,
    )
    .scalar_subquery()
)
_DIED: Final = sa.select(persons.c.death_date).where(persons.c.id == coverage_members.c.person).scalar_subquery()
