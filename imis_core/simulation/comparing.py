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


class Compare:
    """The claims that the package covers, with what each costs before and after."""

    def __init__(
        self, past: Past, covers: Sequence[Sequence[Cover]], versions: Sequence[int], before: Valued, after: Valued,
        currency: str,
    ) -> None:  # fmt: skip
        wanted = set(versions)
        self._past, self._covers, self._currency, self._versions = past, covers, currency, wanted
        self._of_package = [any(cover.package_version in wanted for cover in found) for found in covers]
        self.chosen = [number for number, there in enumerate(self._of_package) if there]
        self.cost_before = _by_claim(past, before.payable)
        self.cost_after = _by_claim(past, after.payable)
        self._before, self._after = before, after

    def money(self, minor: int) -> Money:
        return Money(minor, self._currency)

    def all(self) -> Comparison:
        """The whole comparison."""
        rows = self._past.claims
        return Comparison(
            before=self.money(sum(self.cost_before[number] for number in self.chosen)),
            after=self.money(sum(self.cost_after[number] for number in self.chosen)),
            by_category=self._by(lambda number: rows[number].category),
            by_level=self._by(lambda number: rows[number].facility_level or "none"),
            by_month=self._by(lambda number: f"{rows[number].target_date:%Y-%m}"),
            by_age=self._by(lambda number: age_group(rows[number]), [_age_name(*ages) for ages in AGES]),
            by_sex=self._by(lambda number: rows[number].sex),
            rejections=self._rejections(),
            ceilings=self._ceilings(),
        )

    def _by(self, name: Callable[[int], str], order: Sequence[str] | None = None) -> tuple[Compared, ...]:
        claims: Counter[str] = Counter()
        before: Counter[str] = Counter()
        after: Counter[str] = Counter()
        for number in self.chosen:
            key = name(number)
            claims[key] += 1
            before[key] += self.cost_before[number]
            after[key] += self.cost_after[number]
        names = sorted(claims) if order is None else [key for key in order if key in claims]
        return tuple(
            Compared(
                name=key, claims=claims[key], before=self.money(before[key]), after=self.money(after[key]),
                difference=self.money(after[key] - before[key]),
            )
            for key in names
        )  # fmt: skip

    def _lines(self) -> Ints:
        """Which lines are of the claims compared."""
        return np.array(self._of_package, dtype=bool)[self._past.lines["claim"]]

    def _rejections(self) -> tuple[Refused, ...]:
        lines = self._lines()
        before = Counter(self._before.rejection[lines].tolist())
        after = Counter(self._after.rejection[lines].tolist())
        numbers = sorted((set(before) | set(after)) - {0})
        return tuple(Refused(reason=Rejection(n).label, before=before[n], after=after[n]) for n in numbers)

    def _ceilings(self) -> Ceilings:
        lines = self._lines()
        claim = self._past.lines["claim"]

        def policies(above: Ints) -> int:
            reached = set(claim[lines & (above > 0)].tolist())
            return len({self.family_cover(number) for number in reached})

        return Ceilings(
            policies_before=policies(self._before.above),
            policies_after=policies(self._after.above),
            above_before=self.money(int(self._before.above[lines].sum())),
            above_after=self.money(int(self._after.above[lines].sum())),
        )

    def family_cover(self, number: int) -> tuple[str, int]:
        """The patient's first cover of the package, by which a claim's family is known."""
        cover = next(cover for cover in self._covers[number] if cover.package_version in self._versions)
        return cover.kind, cover.id

    def families(self, context: Context, dues: Mapping[int, int] | None = None) -> Families:
        """Families better and worse off. `dues`: by how much the contribution of each holder grows."""
        change: Counter[Any] = Counter()
        holders = _holders(context, {self.family_cover(number) for number in self.chosen})
        for number in self.chosen:
            change[holders[self.family_cover(number)]] += self.cost_after[number] - self.cost_before[number]
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
    return [int(amount) for amount in total.tolist()]


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
