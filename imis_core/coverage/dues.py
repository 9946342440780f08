"""What becomes due, or is due no longer: posted to the ledger, with the parts that others owe kept by category.

Source: contract.md, 'Ledger accounts of every scheme'; contract-health.md, 'Subsidies'.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.coverage.tables import coverage_subsidies
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.ledger.book import INCOME, RECEIVABLE, SUBSIDIES, post


@frozen
class Due:
    """What a policy's value grows by, and its subsidies by category; in minor units, negative if it shrinks."""

    coverage: int
    scheme: str
    value_minor: int
    subsidies: Mapping[str, int]

    @property
    def subsidy_minor(self) -> int:
        return sum(self.subsidies.values())

    @property
    def due_minor(self) -> int:
        return self.value_minor - self.subsidy_minor


def book_dues(context: Context, dues: Sequence[Due], purpose: str) -> None:
    """One entry per scheme, the subsidies of each policy, and what each category owes in all."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: {RECEIVABLE: 0, SUBSIDIES: 0, INCOME: 0})
    for one in dues:
        amounts = sums[one.scheme]
        amounts[RECEIVABLE] += one.due_minor
        amounts[SUBSIDIES] += one.subsidy_minor
        amounts[INCOME] -= one.value_minor
    for scheme, amounts in sums.items():
        post(context, scheme, purpose, amounts)
    rows = [(d.coverage, d.scheme, category, minor) for d in dues for category, minor in d.subsidies.items() if minor]
    if not rows:
        return
    insert_rows(
        context.connection,
        coverage_subsidies,
        {
            "coverage": [row[0] for row in rows],
            "category": [row[2] for row in rows],
            "amount_minor": [row[3] for row in rows],
            "audit": [context.audit] * len(rows),
        },
    )
    owed: Counter[tuple[str, str]] = Counter()
    for _, scheme, category, minor in rows:
        owed[scheme, category] += minor
    ordered = sorted(owed)  # one order for all, so that two commands never wait for each other
    context.execute(
        _OWED,
        {
            "schemes": [scheme for scheme, _ in ordered],
            "categories": [category for _, category in ordered],
            "amounts": [owed[key] for key in ordered],
        },
    )


_OWED: Final = sa.text(
    """
    INSERT INTO core.subsidy_accounts AS a (scheme, category, owed_minor, settled_minor)
    SELECT n.scheme, n.category, n.minor, 0
    FROM unnest(CAST(:schemes AS text[]), CAST(:categories AS text[]), CAST(:amounts AS bigint[]))
         AS n(scheme, category, minor)
    ON CONFLICT (scheme, category) DO UPDATE SET owed_minor = a.owed_minor + excluded.owed_minor
    """
)


def subsidies_of(context: Context, ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """The subsidies of policies by category; one without any is left out. One statement."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    s = coverage_subsidies.c
    rows: Iterable[Any] = context.execute(
        sa.select(s.coverage, s.category, sa.cast(sa.func.sum(s.amount_minor), sa.BigInteger))
        .where(s.coverage == any_of(wanted))
        .group_by(s.coverage, s.category)
        .order_by(s.coverage, s.category)
    )
    found: dict[int, dict[str, int]] = {}
    for coverage, category, minor in rows:
        found.setdefault(coverage, {})[category] = minor
    return found
