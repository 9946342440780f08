"""What the audit, the outbox and the log of reads cost: the same work with and without them, in turn.

The switch is here alone: it puts functions that do nothing in the place of those that write, for the length of a run.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from imis_core import commands, queries
from imis_core.clock import SetClock
from imis_core.context import Context
from imis_core.deployment import settings_from
from imis_core.events import write_events
from imis_core.hookspecs import hookimpl
from imis_core.jobs_worker import Worker
from imis_core.plugins import Manifest
from imis_core.testing.app import TestApp
from tests.bench import cases
from tests.bench.measure import DEPLOYMENT, TODAY, Bench

HEAD: Final = "| what | of | with | without | share |\n| --- | --- | --- | --- | --- |"
ROUNDS: Final = 5
SINGLE: Final = 40  # single-row commands of a round
EVENTS_PER_SECOND: Final = 500


@contextmanager
def without(module: ModuleType, name: str) -> Iterator[None]:
    """A bench's own switch: the module's function does nothing meanwhile."""
    kept = getattr(module, name)
    setattr(module, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(module, name, kept)


def _share(called: str, of: str, work: Callable[[], Any], module: ModuleType, name: str) -> str:
    """The medians of the same work with and without, in turn, and what share of the whole is the difference."""
    work()
    with_it, without_it = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        with_it.append(time.perf_counter() - started)
        with without(module, name):
            started = time.perf_counter()
            work()
            without_it.append(time.perf_counter() - started)
    on, off = statistics.median(with_it), statistics.median(without_it)
    return f"| {called} | {of} | {on * 1000:.1f} ms | {off * 1000:.1f} ms | {max(0.0, (on - off) / on):.1%} |"


def shares(at: Bench, batch: int) -> list[str]:
    """Audit, outbox and log of reads, of single-row commands and queries and of set-based ones."""
    prepared = at.clone(at.template())
    with at.app(prepared) as app:
        cases.insured_families(app, 40)
        numbers = iter(range(10**9))
        claims: list[str] = []

        def person() -> dict[str, Any]:
            n = next(numbers)
            return {"number": f"A{n}", "given_name": "G", "family_name": "F", "sex": "F", "birth_date": "1990-01-01",
                    "location": f"V{n % 100:03d}"}  # fmt: skip

        def single() -> None:
            for _ in range(SINGLE):
                app.do("beneficiaries.register_person", person())

        def set_based() -> None:
            app.do_all("beneficiaries.register_person", [person() for _ in range(batch)])

        def shown() -> None:
            for n in range(SINGLE):
                app.do("beneficiaries.show_person", {"number": f"A{n}"})

        def listed() -> None:
            app.do("beneficiaries.list")

        def submitted(count: int) -> list[str]:
            inputs = cases.claim_inputs(count, 40, f"B{next(numbers)}-")
            app.do_all("claims.submit", inputs)
            return [one["code"] for one in inputs]

        def processed(count: int) -> Callable[[], None]:
            def work() -> None:
                if len(claims) < count:
                    claims.extend(submitted(count * (2 * ROUNDS + 1)))
                app.do("claims.process", {"scheme": "chf", "claims": [claims.pop() for _ in range(count)]})

            return work

        return [
            _share("audit", f"{SINGLE} persons, one by one", single, commands, "write_entry"),
            _share("audit", f"{batch:,} persons at once", set_based, commands, "write_entry"),
            _share("outbox", "one claim valuated", processed(1), commands, "write_events"),
            _share("outbox", "1,000 claims valuated at once", processed(1000), commands, "write_events"),
            _share("log of reads", f"{SINGLE} persons shown, one by one", shown, queries, "log_reads"),
            _share("log of reads", "all persons listed", listed, queries, "log_reads"),
        ]


def delays(at: Bench, seconds: float) -> str:
    """The delay from commit to delivery of 500 events a second, by a worker as it is deployed."""
    heard: dict[int, float] = {}

    @hookimpl
    def imis_plugin() -> Manifest:
        return Manifest(name="ear", version="1", kernel=">=0")

    @hookimpl
    def imis_on_claims_valuated(context: Context, event: Any) -> None:
        heard[event.claims] = time.perf_counter()

    ear = ModuleType("ear")
    for function in (imis_plugin, imis_on_claims_valuated):
        setattr(ear, function.__name__, function)
    extra = {"ear": ear}
    settings = settings_from({"deployment": DEPLOYMENT, "plugins": {"enabled": ["ear"]}, "schemes": {}}, "bench")
    addresses = at.ground.databases.addresses(at.clone(at.ground.template(settings, extra)))
    with at.ground.on(addresses, settings, SetClock(TODAY), extra, kind=TestApp) as app:
        worker = Worker(app)
        worker.start()
        told = _produce(app, seconds)
        limit = time.perf_counter() + 30
        while len(heard) < len(told) and time.perf_counter() < limit:
            threading.Event().wait(0.05)
        worker.stop()
    waits = sorted(heard[n] - at_ for n, at_ in told.items() if n in heard)
    rate = len(told) / seconds
    return (
        f"{len(told):,} events at {rate:,.0f}/s: {len(waits):,} delivered; from commit to delivery p50 "
        f"{waits[len(waits) // 2] * 1000:.0f} ms, p99 {waits[int(len(waits) * 0.99)] * 1000:.0f} ms, "
        f"longest {waits[-1] * 1000:.0f} ms"
    )


def _produce(app: Any, seconds: float) -> dict[int, float]:
    """Events in transactions of five, at an even pace; when each was committed."""
    told: dict[int, float] = {}
    started, number = time.perf_counter(), 0
    while (now := time.perf_counter()) - started < seconds:
        if number >= (now - started) * EVENTS_PER_SECOND:
            time.sleep(0.001)
            continue
        fresh = range(number, number + 5)
        with app.database.command(app.system) as (connection, audit):
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "bench")
            for n in fresh:
                context.emit("claims_valuated", f"key{n % 7}", {"scheme": "s", "audit": 0, "claims": n})
            write_events(context)
        committed = time.perf_counter()
        told.update(dict.fromkeys(fresh, committed))
        number += 5
    return told
