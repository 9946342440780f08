"""A payroll of very many payees from its generation to the provider's answer, each step beside its floor.

The payees are persons, made in the database; everything that is measured goes through the doors.
"""

from __future__ import annotations

import base64
import csv
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from imis_core.migrations.runner import tables_of
from imis_core.testing.app import TestApp
from tests.bench.cases import places
from tests.bench.floors import insert_floor, mark, written_since
from tests.bench.measure import UPDATED, Bench
from tests.bench.payroll import APPROVER, MAKER, NAMED

HEAD: Final = (
    "| step | payees | time | rate | floor (INSERT..SELECT) | floor / case | statements | memory before + most more |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)
Case = Callable[[TestApp], None]
FAILED: Final = 20  # every so many payments fails
# What is changed in place: the floor is that of the rows that are added.
CHANGED: Final = frozenset({
    "core.payrolls", "core.entitlement_current", "core.budgets", "core.order_current", "core.payment_providers",
})  # fmt: skip
_TERMS: Final = {
    "unit": "person", "amount": {"base": "100", "conditions": [{"name": "old", "when": "age >= 60", "amount": "20"}]},
    "deductions": [{"name": "card", "amount": "5"}],
}  # fmt: skip
_PERSONS: Final = """
    INSERT INTO core.persons (number, given_name, family_name, sex, birth_date, status, place, registered_on,
                              attributes)
    SELECT lpad(n::text, 9, '0'), 'Given' || n %% 997, 'Family' || n %% 1999,
           CASE n %% 2 WHEN 0 THEN 'F' ELSE 'M' END, date '1940-01-01' + (n %% 29000)::int, 'active',
           (SELECT min(id) FROM core.locations WHERE level = 'village') + n %% 100, date '2020-01-01', '{}'
    FROM generate_series(1, %(count)s) AS n
"""
_RECIPIENTS: Final = """
    INSERT INTO core.recipients (scheme, person, payment_provider, account, active)
    SELECT '', p.id, b.id, 'DE' || lpad(p.id::text, 20, '0'), true
    FROM core.persons p CROSS JOIN core.payment_providers b
"""


def payees(at: Bench, count: int, folder: Path) -> list[str]:
    """A table of the steps."""
    database = at.clone(at.template())
    with at.app(database) as app:
        places(app)
        package = {"scheme": "nafa", "code": "CCT", "name": "CCT", "valid_from": "2020-01-01", "terms": _TERMS}
        app.do("benefit_packages.define", package)
        app.do("cycles.open", {"scheme": "nafa", "code": "C1", "starts": "2021-06-01", "ends": "2021-06-30"})
        app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "bank_file"})
        app.do("payments.set_bank", {"provider": "BANK", "debtor": "Fund", "account": "DE89370400440532013000"})
    with at.superuser(database) as connection:
        connection.execute(_PERSONS, {"count": count})
        connection.execute(_RECIPIENTS)
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")
    with at.app(database) as app:
        selection = app.do("targeting.enrol", NAMED, as_=MAKER)
        assert app.do("targeting.approve", {"enrolment": selection["id"]}, as_=APPROVER)["enrolled"] == count
    report = folder / "report.csv"

    def payroll(app: TestApp) -> dict[str, Any]:
        (only,) = app.do("payroll.list", {"scheme": "nafa"})
        return {"payroll": only["id"]}

    def generate(app: TestApp) -> None:
        made = app.do("payroll.generate", {**NAMED, "cycle": "C1"}, as_=MAKER)
        assert made["beneficiaries"] == count

    def approve(app: TestApp) -> None:
        assert app.do("payroll.approve", payroll(app), as_=APPROVER)["by_state"] == {"approved": count}

    def submit(app: TestApp) -> None:
        assert app.do("payments.submit", payroll(app))["submitted"] == count

    def bank_files(app: TestApp) -> None:
        made = app.do("payments.bank_files", {**payroll(app), "orders_max": min(count, 1_000_000)})
        assert sum(file["orders"] for file in made["files"]) == count

    lines = [_step(at, database, "payroll generated", count, generate, frozenset())]
    for name, case in (
        ("payroll approved: orders, budget, ledger", approve),
        ("orders submitted", submit),
        ("bank file", bank_files),
    ):
        lines.append(_step(at, database, name, count, case))

    def answer(app: TestApp) -> None:
        _report(app, report)

    def reconciled(app: TestApp) -> None:
        content = base64.b64encode(report.read_bytes()).decode()
        counted = app.do("payments.reconcile_file", {"provider": "BANK", "name": report.name, "content": content})
        assert counted["matched"] == count, counted

    lines.append(_step(at, database, "provider's file reconciled", count, reconciled, before=answer))
    at.drop(database)
    return lines


def _report(app: TestApp, path: Path) -> None:
    """What the provider answers: one in twenty failed."""
    rows = app.rows("SELECT id, amount_minor FROM core.orders ORDER BY id")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order", "status", "amount", "reference", "reason"])
        names = app.ids.encode_all("orders", [row["id"] for row in rows])
        for n, (row, name) in enumerate(zip(rows, names, strict=True)):
            amount = f"{row['amount_minor'] // 100}.{row['amount_minor'] % 100:02d}"
            failed = n % FAILED == 0
            writer.writerow(
                [name, "failed" if failed else "paid", amount, f"B{n}", "no such account" if failed else ""]
            )


def _step(
    at: Bench,
    database: str,
    name: str,
    count: int,
    case: Case,
    changed: frozenset[str] = CHANGED,
    before: Case | None = None,
) -> str:
    """One step on the database, and its floor on a clone that stands where the step began."""
    beside = at.clone(database)
    with at.app(database) as app, at.superuser(database) as watcher:
        app.database.roles  # noqa: B018 - the first look at the catalogue is not part of the step
        if before is not None:
            before(app)
        transaction, statements = mark(watcher), app.database.statements
        with _peak() as peak:
            started = time.perf_counter()
            case(app)
            seconds = time.perf_counter() - started
        statements = app.database.statements - statements
        tables = [t.fullname for m in app.plugins.manifests.values() for t in tables_of(m)]
        written = written_since(watcher, transaction, [t for t in tables if t not in UPDATED | changed])
    with at.superuser(beside) as connection:
        floor = insert_floor(connection, written)
    at.drop(beside)
    line = (
        f"| {name} | {count:,} | {seconds:.1f} s | {count / seconds:,.0f}/s | {floor:.1f} s "
        f"| **{floor / seconds:.2f}** | {statements:,} | {peak[1]:,} MB + {peak[0] - peak[1]:,} MB |"
    )
    print(line, flush=True)
    return line


@contextmanager
def _peak() -> Iterator[list[int]]:
    """The most memory of this process in the block, looked at often, and that at its begin; in MB."""
    stop, process = threading.Event(), psutil.Process()
    begun = process.memory_info().rss // 2**20
    found = [begun, begun]

    def look() -> None:
        while not stop.wait(0.02):
            found[0] = max(found[0], process.memory_info().rss // 2**20)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
