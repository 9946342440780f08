"""The sizes of the cases; each runs in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench import cases, costs, simulating
from tests.bench import families as insured
from tests.bench import payees as of_payees
from tests.bench import payroll as payrolls
from tests.bench.measure import CASH, Figure, bench


def persons(small: bool, runs: int) -> list[Figure]:
    with bench() as at:
        return [cases.import_persons(at, 5_000 if small else 50_000, runs)]


def claims(small: bool, runs: int) -> list[Figure]:
    with bench() as at:
        return [cases.claims(at, 2_000 if small else 20_000, 500 if small else 5_000, runs)]


def families(small: bool, runs: int) -> list[Figure]:
    with bench() as at:
        return [insured.families(at, 2_000 if small else 20_000, runs)]


def family_statements(small: bool, runs: int) -> list[str]:
    with bench() as at:
        return insured.statements(at)


def statements(small: bool, runs: int) -> list[str]:
    with bench() as at:
        return [
            *cases.statements_per_batch(at, 200),
            *cases.statements_per_batch(at, 200, older=10_000 if small else 1_000_000),
        ]


def scale(count: int, older: int) -> list[str]:
    with bench() as at:
        return cases.scale(at, count, older)


def simulation(lines: int) -> list[str]:
    with bench() as at:
        return simulating.simulate(at, lines)


def shares(small: bool, runs: int) -> list[str]:
    with bench() as at:
        return costs.shares(at, 500 if small else 5_000)


def delays(small: bool, runs: int) -> str:
    with bench() as at:
        return costs.delays(at, 3 if small else 10)


def payroll(small: bool, runs: int) -> list[Figure]:
    with bench(CASH) as at:
        return payrolls.generate(at, 5_000 if small else 100_000, runs)


def payroll_statements(small: bool, runs: int) -> list[str]:
    with bench(CASH) as at:
        return payrolls.statements(at)


def payees(count: int) -> list[str]:
    with bench(CASH) as at, tempfile.TemporaryDirectory() as folder:
        return of_payees.payees(at, count, Path(folder))
