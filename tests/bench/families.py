"""Families of four with their cover and contribution: registered, enrolled and paid in batches."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from imis_core.testing.app import TestApp
from tests.bench.cases import BATCH, enrol, insure, pay, places, register
from tests.bench.measure import Bench, Figure, compare

PACKAGE: Final = {
    "scheme": "chf", "code": "B", "name": "B", "valid_from": "2019-01-01",
    "terms": {
        "insurance_months": 12, "max_members": 6, "grace_payment_months": 1, "premium_adult": "10",
        "premium_child": "5", "registration_lump_sum": "3", "max_installments": 2,
        "subsidies": {"poor": 75, "marginalised": 50},
    },
}  # fmt: skip


def families(at: Bench, count: int, runs: int) -> Figure:
    """`register_group`, `coverage.enrol` and `contributions.record` of each family, a thousand a batch."""
    prepared = _prepared(at)

    def case(app: TestApp) -> None:
        for start in range(0, count, BATCH):
            insure(app, start, min(start + BATCH, count))

    return compare(at, f"families of 4 with cover and contribution, batches of {BATCH:,}", count, runs, prepared, case)


def statements(at: Bench) -> list[str]:
    """Statements of registering, enrolling and paying for batches of different sizes."""
    lines = []
    for size in (1, 100, BATCH):
        prepared = _prepared(at)
        with at.app(prepared) as app:
            insure(app, 0, 1)  # terms are parsed once
            steps = [app.database.statements]
            groups = register(app, 1, 1 + size)
            steps.append(app.database.statements)
            enrolled = enrol(app, groups)
            steps.append(app.database.statements)
            pay(app, groups, enrolled)
            steps.append(app.database.statements)
            counts = [after - before for before, after in pairwise(steps)]
            lines.append(f"| {size:,} | {' | '.join(str(count) for count in counts)} |")
        at.drop(prepared)
    return lines


def _prepared(at: Bench) -> str:
    prepared = at.clone(at.template())
    with at.app(prepared) as app:
        places(app)
        app.do("benefit_packages.define", PACKAGE)
    return prepared
