"""On which days a package is taken for a person: nobody has two policies of one package on the same day.

The exclusion constraint on `coverage_members.held` is the second wall; the caller locks the persons first, so that a
race becomes a clean refusal here. Source: contract-health.md, 'A person may hold policies of several packages'.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.context import Context
from imis_core.coverage.lookup import load_policies
from imis_core.coverage.states import IDLE, TERMINATED
from imis_core.coverage.tables import coverage_members

EMPTY: Final = "empty"


def day_range(starts: date, ends: date) -> str:
    """The days from start to end, both counted, as PostgreSQL's range text."""
    return f"[{starts},{ends}]"


@define(eq=False)
class Hold:
    """The days that a policy holds for a person. `member` is the row that says so; None: not written yet.

    `state` None stands for a policy that the caller may not see: it blocks.
    """

    member: int | None
    coverage: int
    starts: date
    ends: date
    state: str | None
    ends_policy: date
    last_payment: date
    released: bool = False

    def blocks(self, on: date) -> bool:
        """Whether the policy still stands in the way on a day: not one terminated, expired, or unpaid too long."""
        if self.state is None:
            return True
        return not (
            self.state == TERMINATED or self.ends_policy < on or (self.state == IDLE and self.last_payment < on)
        )

    @property
    def text(self) -> str:
        return EMPTY if self.released else day_range(self.starts, self.ends)


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
            )
            .where(m.package == _any(package_ids), m.person == _any(person_ids), sa.not_(sa.func.isempty(m.held)))
            .order_by(m.id)
        ).all()
        policies = load_policies(context, {row.coverage for row in rows}, lock=True)
        holds = cls()
        for row in rows:
            one = policies.get(row.coverage)
            last = row.upper - timedelta(days=1)
            hold = Hold(
                row.id, row.coverage, row.lower, last,
                one.state if one else None, one.ends if one else last, one.last_payment if one else last,
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
        """Hold the days for a person; policies that no longer stand in the way give theirs up."""
        for other in self._overlapping(package, person, hold.starts, hold.ends):
            if other.coverage != hold.coverage:
                other.released = True
        self._by_key.setdefault((package, person), []).append(hold)

    def write_released(self, context: Context) -> None:
        """Write that lapsed policies hold nothing any more; new rows are written by the caller, after this."""
        members = [h.member for holds in self._by_key.values() for h in holds if h.released and h.member is not None]
        if members:
            context.execute(
                sa.update(coverage_members)
                .where(coverage_members.c.id == _any(members))
                .values(held=sa.text("'empty'"))
            )

    def _overlapping(self, package: int, person: int, starts: date, ends: date) -> list[Hold]:
        holds = self._by_key.get((package, person), ())
        return [h for h in holds if not h.released and h.starts <= ends and starts <= h.ends]


def _any(ids: Iterable[int]) -> Any:
    return sa.any_(sa.literal(sorted(set(ids)), ARRAY(sa.BigInteger)))
