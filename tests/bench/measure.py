"""How a case is measured: medians of runs on fresh clones, statements, WAL bytes, peak memory, beside its floor."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from attrs import define, field, frozen
from sqlalchemy.engine import make_url

from imis_core.application import Composition
from imis_core.clock import SetClock
from imis_core.database import embedded
from imis_core.database.server import ThrowAway
from imis_core.deployment import settings_from
from imis_core.migrations.runner import tables_of
from imis_core.opening import Playground
from imis_core.testing.app import TestApp
from tests.bench.floors import Written, copy_floor, mark, written_since

TODAY = date(2021, 6, 1)
DEPLOYMENT = {"name": "bench", "country": "XX", "currency": "USD"}
HEALTH = {
    "deployment": DEPLOYMENT,
    "plugins": {"enabled": ["health_insurance"]},
    "schemes": {"chf": {"type": "health_insurance"}},
}
CASH = {
    "deployment": DEPLOYMENT,
    "plugins": {"enabled": ["cash_transfer"]},
    "schemes": {"nafa": {"type": "cash_transfer"}},
}
Floor = Callable[[psycopg.Connection[tuple[int]], Written], float]


@define
class Bench:
    """A durable embedded server (synced commits, default settings) and databases on it."""

    ground: Playground
    admin_url: str
    settings: Mapping[str, Any]
    _count: int = field(default=0)

    def clone(self, template: str) -> str:
        self._count += 1
        name = f"{self.ground.prefix}_{self._count}"
        self.ground.databases.clone(template, name)
        return name

    @contextmanager
    def app(self, database: str, today: date = TODAY) -> Iterator[TestApp]:
        addresses = self.ground.databases.addresses(database)
        with self.ground.on(addresses, settings_from(self.settings, "bench"), SetClock(today), kind=TestApp) as app:
            assert isinstance(app, TestApp)
            yield app

    def superuser(self, database: str) -> psycopg.Connection[tuple[int]]:
        url = make_url(self.admin_url).set(database=database)
        return psycopg.connect(url.render_as_string(hide_password=False))

    def template(self) -> str:
        return self.ground.template(Composition(settings_from(self.settings, "bench")))

    def drop(self, database: str) -> None:
        self.ground.databases.drop(database)


@contextmanager
def bench(settings: Mapping[str, Any] = HEALTH) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="imis-bench-"))
    folder.chmod(0o755)
    lease = embedded.acquire(folder / "postgres")
    try:
        with closing(ThrowAway(lease.url(), "bench")) as databases:
            yield Bench(Playground(databases, "bench"), lease.url(), settings)
    finally:
        lease.release()
        embedded.remove(folder / "postgres")


@frozen
class Figure:
    """One figure: medians over the runs. `ratio` is floor / case: 1.0 would be as fast as the floor alone."""

    name: str
    floor: str
    items: int
    seconds: float
    floor_seconds: float
    rows: int
    statements: int
    wal_bytes: int
    peak_mb: int

    @property
    def ratio(self) -> float:
        return self.floor_seconds / self.seconds

    def line(self) -> str:
        return (
            f"| {self.name} | {self.items:,} | {self.seconds:.2f} s | {self.items / self.seconds:,.0f}/s "
            f"| {self.floor} {self.floor_seconds:.2f} s | **{self.ratio:.2f}** | {self.rows:,} | {self.statements:,} "
            f"| {self.statements / self.items:.4f} | {self.wal_bytes / self.items:,.0f} | {self.peak_mb} MB |"
        )


def compare(
    at: Bench, name: str, items: int, runs: int, prepared: str, case: Callable[[TestApp], Any],
    *, floor: Floor = copy_floor, called: str = "COPY", updated: frozenset[str] = frozenset(),
) -> Figure:  # fmt: skip
    """Run a case several times on clones of `prepared`, each beside its floor on another clone."""
    seconds, floors, wal, statements, rows = [], [], [], [], 0
    for _ in range(runs):
        database = at.clone(prepared)
        with at.app(database) as app, at.superuser(database) as watcher:
            app.database.roles  # noqa: B018 - the first look at the catalogue is not part of the case
            transaction = mark(watcher)
            lsn, counted, started = _lsn(watcher), app.database.statements, time.perf_counter()
            case(app)
            seconds.append(time.perf_counter() - started)
            statements.append(app.database.statements - counted)
            wal.append(_lsn(watcher) - lsn)
            tables = [t.fullname for m in app.plugins.manifests.values() for t in tables_of(m)]
            written = written_since(watcher, transaction, [t for t in tables if t not in UPDATED | updated])
        rows = written.rows
        beside = at.clone(prepared)
        with at.superuser(beside) as connection:
            floors.append(floor(connection, written))
        at.drop(database)
        at.drop(beside)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Figure(
        name, called, items, statistics.median(seconds), statistics.median(floors), rows,
        int(statistics.median(statements)), int(statistics.median(wal)), peak,
    )  # fmt: skip


# Rows of these may be older ones that a case changed in place, which a clone already holds.
UPDATED = frozenset({"core.users"})


def _lsn(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
    connection.commit()
    assert row is not None
    return row[0]
