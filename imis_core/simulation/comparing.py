"""What a proposal changes: cost by kinds of claims and patients, rejections, ceilings, families better and worse off.

It compares columns that were computed before; it reads only who the families are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.coverage.covers import COVERAGE_KIND
from imis_core.database.numbers import Ints
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.rejections import Rejection
from imis_core.simulation.reading import Past
from imis_core.simulation.valuing import Valued
from imis_core.values import Money, full_years

AGES: Final = ((0, 4), (5, 17), (18, 39), (40, 59), (60, None))  # full years on the target date, both counted


@frozen(kw_only=True)
class Compared:
    """Cost of some claims under the package in force and under the proposal."""

    name: str
    claims: int
    before: Money
    after: Money
    difference: Money


@frozen(kw_only=True)
class Refused:
    """Lines that are refused for a reason, before and after."""

    reason: str
    before: int
    after: int


@frozen(kw_only=True)
class Ceilings:
    """Policies that reached a ceiling, and what lay above it."""

    policies_before: int
    policies_after: int
    above_before: Money
    above_after: Money


@frozen(kw_only=True)
class Families:
    """Families by what the scheme pays for them, less their contribution where contributions are simulated."""

    better: int
    worse: int
    same: int
    gain: Money  # of those who are better off, in all
    loss: Money  # of those who are worse off, in all


@frozen(kw_only=True)
class Comparison:
    before: Money
    after: Money
    by_category: tuple[Compared, ...]
    by_level: tuple[Compared, ...]
    by_month: tuple[Compared, ...]
    by_age: tuple[Compared, ...]
    by_sex: tuple[Compared, ...]
    rejections: tuple[Refused, ...]
    ceilings: Ceilings


GROUPS: Final[Mapping[str, Callable[[Any], str]]] = {
    "category": lambda row: row.category,
    "level": lambda row: row.facility_level or "none",
    "month": lambda row: f"{row.target_date:%Y-%m}",
    "age": lambda row: age_group(row),
    "sex": lambda row: row.sex,
}


class Compare:
    """The claims that the package covers, with what each costs before and after, summed up part by part.

    `states` are those of claims that are done: `actual_minor` is what they came to, `alike_minor` what the simulation
    makes of just those under the package in force.
    """

    def __init__(self, versions: Sequence[int], states: frozenset[int], currency: str) -> None:
        self._versions, self._states, self._currency = frozenset(versions), states, currency
        self.claims = self.lines = self.actual_minor = self.alike_minor = 0
        self._before = self._after = 0
        self._sums: dict[str, dict[str, list[int]]] = {group: {} for group in GROUPS}  # claims, before, after
        self._rejected: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        self._policies, self._above = [0, 0], [0, 0]
        self._change: Counter[Any] = Counter()  # by who holds the policy

    def money(self, minor: int) -> Money:
        return Money(minor, self._currency)

    def add(
        self, context: Context, past: Past, covers: Sequence[Sequence[Cover]], before: Valued, after: Valued
    ) -> None:
        """Sum up a part. No other part has claims of these policies."""
        of_package = [any(cover.package_version in self._versions for cover in found) for found in covers]
        chosen = [number for number, there in enumerate(of_package) if there]
        if not chosen:
            return
        claim = past.lines["claim"]
        lines = np.array(of_package, dtype=bool)[claim]
        cost = [_by_claim(past, valued.payable) for valued in (before, after)]
        actual = _by_claim(past, past.lines["payable"])
        policy = {number: self._policy(covers[number]) for number in chosen}
        holders = _holders(context, set(policy.values()))
        self.claims += len(chosen)
        self.lines += int(np.count_nonzero(lines))
        for number in chosen:
            row, was, becomes = past.claims[number], cost[0][number], cost[1][number]
            self._before += was
            self._after += becomes
            if row.state in self._states:
                self.actual_minor += actual[number]
                self.alike_minor += was
            for group, name_of in GROUPS.items():
                sums = self._sums[group].setdefault(name_of(row), [0, 0, 0])
                sums[0] += 1
                sums[1] += was
                sums[2] += becomes
            self._change[holders[policy[number]]] += becomes - was
        for side, valued in enumerate((before, after)):
            self._rejected[side].update(valued.rejection[lines].tolist())
            reached = set(claim[lines & (valued.above > 0)].tolist())
            self._policies[side] += len({policy[number] for number in reached})
            self._above[side] += int(valued.above[lines].sum())

    def _policy(self, covers: Sequence[Cover]) -> tuple[str, int]:
        """The patient's first cover of the package, by which a claim's family is known."""
        cover = next(cover for cover in covers if cover.package_version in self._versions)
        return cover.kind, cover.id

    def all(self) -> Comparison:
        """The whole comparison."""
        rejected = sorted((set(self._rejected[0]) | set(self._rejected[1])) - {0})
        return Comparison(
            before=self.money(self._before),
            after=self.money(self._after),
            by_category=self._by("category"),
            by_level=self._by("level"),
            by_month=self._by("month"),
            by_age=self._by("age", [_age_name(*ages) for ages in AGES]),
            by_sex=self._by("sex"),
            rejections=tuple(
                Refused(reason=Rejection(n).label, before=self._rejected[0][n], after=self._rejected[1][n])
                for n in rejected
            ),
            ceilings=Ceilings(
                policies_before=self._policies[0],
                policies_after=self._policies[1],
                above_before=self.money(self._above[0]),
                above_after=self.money(self._above[1]),
            ),
        )

    def _by(self, group: str, order: Sequence[str] | None = None) -> tuple[Compared, ...]:
        sums = self._sums[group]
        return tuple(
            Compared(
                name=name, claims=sums[name][0], before=self.money(sums[name][1]), after=self.money(sums[name][2]),
                difference=self.money(sums[name][2] - sums[name][1]),
            )
            for name in (sorted(sums) if order is None else order)
            if name in sums
        )  # fmt: skip

    def families(self, dues: Mapping[int, int] | None = None) -> Families:
        """Families better and worse off. `dues`: by how much the contribution of each holder grows."""
        change = Counter(self._change)
        for holder, more in (dues or {}).items():
            change[holder] -= more
        gains = [amount for amount in change.values() if amount > 0]
        losses = [-amount for amount in change.values() if amount < 0]
        return Families(
            better=len(gains), worse=len(losses), same=len(change) - len(gains) - len(losses),
            gain=self.money(sum(gains)), loss=self.money(sum(losses)),
        )  # fmt: skip


def _by_claim(past: Past, amounts: Ints) -> list[int]:
    total = np.zeros(len(past.claims), dtype=np.int64)
    np.add.at(total, past.lines["claim"], amounts)
    found: list[int] = total.tolist()
    return found


_HOLDERS: Final = sa.text('SELECT id, coalesce("group", -person) AS holder FROM core.coverages WHERE id = ANY(:ids)')


def _holders(context: Context, covers: set[tuple[str, int]]) -> dict[tuple[str, int], Any]:
    """Who holds each policy: a household's number, or a person's with its sign turned; other covers themselves."""
    ids = sorted(number for kind, number in covers if kind == COVERAGE_KIND)
    found = {row.id: row.holder for row in context.execute(_HOLDERS, {"ids": ids})} if ids else {}
    return {(kind, number): found[number] if kind == COVERAGE_KIND else (kind, number) for kind, number in covers}


def age_group(row: Any) -> str:
    """The group of ages that a patient is in on the target date."""
    years = full_years(row.birth_date, row.target_date)
    return next(_age_name(first, last) for first, last in AGES if last is None or years <= last)


def _age_name(first: int, last: int | None) -> str:
    return f"{first}+" if last is None else f"{first}-{last}"
