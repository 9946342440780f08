"""The outbox: at least once, in order of the key, retried by the clock, parked, and nobody stops anybody else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core import events
from imis_core.claims.events import ClaimsValuated
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError
from imis_core.events import ATTEMPTS, FIRST_PAUSE, deliver_due
from imis_core.testing.app import TestApp


@frozen(kw_only=True)
class Tell:
    scheme: str
    claims: object = 1


@command("probe.tell", input=Tell, result=Tell)
def tell(context: Context, items: tuple[Tell, ...]) -> list[Tell]:
    """Emit an event for each item."""
    for item in items:
        payload = {"scheme": item.scheme, "audit": context.audit, "claims": item.claims}
        context.emit("claims_valuated", item.scheme, payload)
    if any(item.scheme == "fail" for item in items):
        raise RuntimeError("after the event")
    return list(items)


class Listener:
    """What a subscriber heard, and what it should do: `failing` raises, `breaking` leaves a broken transaction."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.failing: set[str] = set()
        self.breaking: set[str] = set()
        self.telling: set[str] = set()

    def __call__(self, context: Context, event: ClaimsValuated) -> None:
        self.heard.append((event.scheme, event.claims))
        write(context, f"{id(self)}-{event.scheme}-{event.claims}-{len(self.heard)}")
        if event.scheme in self.breaking:
            with pytest.raises(sa.exc.DBAPIError):
                context.execute(sa.text("SELECT 1 / 0"))
        if event.scheme in self.failing:
            raise RuntimeError("the subscriber is ill\x00")
        if event.scheme in self.telling:
            context.emit("claims_valuated", "echo", {"scheme": "echo", "audit": 0, "claims": 0})


def write(context: Context, name: str) -> None:
    context.execute(sa.text("INSERT INTO core.schedules VALUES (:n, :d)"), {"n": name, "d": context.today})


@pytest.fixture
def listeners() -> dict[str, Listener]:
    return {"one": Listener(), "two": Listener()}


@pytest.fixture
def site(
    make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType], listeners: dict[str, Listener]
) -> TestApp:
    def subscriber(name: str) -> ModuleType:
        def imis_on_claims_valuated(context: Context, event: ClaimsValuated) -> None:
            listeners[name](context, event)

        return make_plugin(name, hooks={"imis_on_claims_valuated": imis_on_claims_valuated})

    probe = make_plugin("probe", nouns={"probe": 1001}, commands=(tell,))
    extra = {"probe": probe, "one": subscriber("one"), "two": subscriber("two")}
    return make_app(extra=extra, plugins=list(extra))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "imis_core.events")


class Later:
    """A clock that goes on by seconds."""

    def __init__(self, start: datetime) -> None:
        self.instant = start

    def now(self) -> datetime:
        return self.instant

    def today(self) -> date:
        return self.instant.date()


def ticking(app: TestApp) -> Later:
    clock = Later(app.clock.now())
    app.clock = clock  # type: ignore[assignment]
    return clock


def states(app: TestApp) -> dict[tuple[str, str], tuple[str, int]]:
    rows = app.rows("SELECT e.key, d.* FROM core.deliveries d JOIN core.events e ON e.id = d.event")
    return {(r["key"], r["subscriber"]): (r["state"], r["attempts"]) for r in rows}


def test_each_subscriber_gets_each_event_once(site: TestApp, listeners: dict[str, Listener]) -> None:
    """After the commit, one delivery for each subscriber; when it is done it does not come again."""
    site.do_all("probe.tell", [{"scheme": "a"}, {"scheme": "b", "claims": 2}])
    assert listeners["one"].heard == []
    assert deliver_due(site) == 4
    assert deliver_due(site) == 0
    for listener in listeners.values():
        assert listener.heard == [("a", 1), ("b", 2)]
    assert set(states(site).values()) == {("done", 1)}


def test_what_is_rolled_back_is_not_told(site: TestApp) -> None:
    """An event exists exactly if its command committed."""
    with pytest.raises(RuntimeError):
        site.do("probe.tell", {"scheme": "fail"})
    assert site.rows("SELECT * FROM core.events") == []


def test_nothing_is_written_if_nobody_listens(
    make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]
) -> None:
    """Without a subscriber there is neither event nor delivery."""
    app = make_app(extra={"probe": make_plugin("probe", nouns={"probe": 1001}, commands=(tell,))}, plugins=["probe"])
    app.do("probe.tell", {"scheme": "a"})
    assert app.rows("SELECT * FROM core.events") == []


def test_a_failing_subscriber_is_retried_with_growing_pauses_and_parked(
    site: TestApp, listeners: dict[str, Listener]
) -> None:
    """Each pause doubles, by the application's clock; at the limit it is parked with its error; others are served."""
    clock = ticking(site)
    listeners["one"].failing.add("a")
    site.do("probe.tell", {"scheme": "a"})
    for attempt in range(1, ATTEMPTS + 1):
        assert deliver_due(site) == (2 if attempt == 1 else 1)
        assert states(site)["a", "one"] == ("pending" if attempt < ATTEMPTS else "parked", attempt)
        pause = FIRST_PAUSE * 2 ** (attempt - 1)
        clock.instant += pause - timedelta(seconds=1)
        assert deliver_due(site) == 0
        clock.instant += timedelta(seconds=1)
    assert deliver_due(site) == 0
    assert states(site)["a", "two"] == ("done", 1)
    (row,) = site.rows("SELECT error FROM core.deliveries WHERE subscriber = 'one'")
    assert row["error"] == "plugin 'one' failed in imis_on_claims_valuated: RuntimeError: the subscriber is ill"


def test_the_order_of_a_key_is_kept(site: TestApp, listeners: dict[str, Listener]) -> None:
    """A later event of a key waits for an earlier one's retry; other keys go ahead."""
    clock = ticking(site)
    one = listeners["one"]
    one.failing.add("a")
    site.do_all(
        "probe.tell", [{"scheme": "a", "claims": 1}, {"scheme": "a", "claims": 2}, {"scheme": "b", "claims": 3}]
    )
    deliver_due(site)
    assert committed(site, one) == [("b", 3)]
    one.failing.clear()
    clock.instant += FIRST_PAUSE
    deliver_due(site)
    assert committed(site, one) == [("b", 3), ("a", 1), ("a", 2)]


def committed(site: TestApp, listener: Listener) -> list[tuple[str, int]]:
    """What a subscriber heard in transactions that were kept, in order."""
    written = [row["job"].split("-") for row in site.rows("SELECT job FROM core.schedules")]
    mine = sorted((w for w in written if w[0] == str(id(listener))), key=lambda w: int(w[3]))
    return [(scheme, int(claims)) for _, scheme, claims, _ in mine]


def test_many_deliveries_share_a_transaction(site: TestApp, listeners: dict[str, Listener]) -> None:
    """A hundred events cost each subscriber a constant number of statements beside its own; one that fails is alone."""
    listeners["one"].failing.add("z")
    site.do_all("probe.tell", [{"scheme": "a", "claims": n} for n in range(98)] + [{"scheme": "z"}])
    while deliver_due(site):
        pass
    assert [claims for _, claims in committed(site, listeners["one"])] == list(range(98))
    assert states(site)["z", "one"] == ("pending", 1)
    site.do_all("probe.tell", [{"scheme": "a", "claims": n} for n in range(98)])
    before = site.database.statements
    while deliver_due(site):
        pass
    own = 2 * 98  # each handler writes once
    assert site.database.statements - before <= own + 40


def test_two_processes_keep_the_order_of_a_key(site: TestApp, listeners: dict[str, Listener]) -> None:
    """While one is at an older event of a key, another one does not go on with the later ones."""
    site.do_all("probe.tell", [{"scheme": "a", "claims": 1}, {"scheme": "a", "claims": 2}, {"scheme": "b"}])
    with site.database.command(site.system) as (connection, _):
        older = "SELECT FROM core.deliveries WHERE event = (SELECT min(event) FROM core.deliveries) FOR UPDATE"
        connection.execute(sa.text(older))
        while deliver_due(site):
            pass
        assert {k[0]: s for k, s in states(site).items() if s[0] == "done"} == {"b": ("done", 1)}
    while deliver_due(site):
        pass
    assert [h for h in listeners["one"].heard if h[0] == "a"] == [("a", 1), ("a", 2)]


def test_what_a_failing_subscriber_wrote_is_rolled_back(site: TestApp, listeners: dict[str, Listener]) -> None:
    """What a subscriber writes commits together with the mark that it is done, or not at all."""
    listeners["one"].failing.add("a")
    listeners["two"].breaking.add("a")
    site.do("probe.tell", {"scheme": "a"})
    deliver_due(site)
    assert site.rows("SELECT job FROM core.schedules") == []
    assert set(states(site).values()) == {("pending", 1)}


def test_a_broken_event_stops_nobody(site: TestApp, listeners: dict[str, Listener]) -> None:
    """A payload that cannot be read, and a subscriber that breaks its transaction, fail alone."""
    site.do("probe.tell", {"scheme": "bad", "claims": "no number"})
    listeners["one"].breaking.add("a")
    site.do_all("probe.tell", [{"scheme": "a"}, {"scheme": "b"}])
    while deliver_due(site):
        pass
    assert states(site)["b", "one"] == states(site)["b", "two"] == states(site)["a", "two"] == ("done", 1)
    assert states(site)["bad", "two"] == states(site)["a", "one"] == ("pending", 1)


def test_a_killed_delivery_comes_again(
    site: TestApp, listeners: dict[str, Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: a process that dies between the work and its mark leaves the event to be delivered again."""

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    site.do("probe.tell", {"scheme": "a"})
    with monkeypatch.context() as patch:
        patch.setattr(events, "write_events", die)
        with pytest.raises(KeyboardInterrupt):
            deliver_due(site)
    assert site.rows("SELECT job FROM core.schedules") == []
    assert deliver_due(site) == 2
    assert listeners["one"].heard == [("a", 1), ("a", 1)]


def test_a_subscriber_may_tell_others(site: TestApp, listeners: dict[str, Listener]) -> None:
    """What a handler emits is delivered as any event."""
    listeners["one"].telling.add("a")
    site.do("probe.tell", {"scheme": "a"})
    deliver_due(site)
    assert ("echo", 0) in listeners["two"].heard


def test_a_delivery_has_its_audit_entry(site: TestApp) -> None:
    """What a subscriber changes is in the log, as done by the system."""
    site.do("probe.tell", {"scheme": "a"})
    deliver_due(site)
    rows = site.rows(
        "SELECT actor, count(*) FROM core.audit_entries WHERE command = 'events.claims_valuated' GROUP BY 1"
    )
    assert [(r["actor"], r["count"]) for r in rows] == [(0, 2)]


def test_events_wait_for_a_plugin_that_is_switched_off(site: TestApp, listeners: dict[str, Listener]) -> None:
    """Started without a plugin, its deliveries are neither done nor failed; with it they arrive."""
    site.do("probe.tell", {"scheme": "a"})
    site._subscribers["claims_valuated"] = ("two",)
    deliver_due(site)
    assert states(site)["a", "one"] == ("pending", 0)
    del site._subscribers["claims_valuated"]
    deliver_due(site)
    assert listeners["one"].heard == [("a", 1)]


def test_a_parked_delivery_is_shown_and_delivered_again_by_hand(site: TestApp, listeners: dict[str, Listener]) -> None:
    """What was given up stays in sight with its error; when the plugin is mended, `events.retry` delivers it."""
    clock = ticking(site)
    listeners["one"].failing.add("a")
    site.do("probe.tell", {"scheme": "a"})
    for attempt in range(ATTEMPTS):
        deliver_due(site)
        clock.instant += FIRST_PAUSE * 2**attempt
    (parked,) = site.do("events.deliveries")
    assert (parked["name"], parked["subscriber"], parked["attempts"]) == ("claims_valuated", "one", ATTEMPTS)
    assert parked["error"].endswith("the subscriber is ill")
    listeners["one"].failing.clear()
    wanted = {"event": parked["event"], "subscriber": "one"}
    assert site.do("events.retry", wanted) == {**wanted, "state": "pending"}
    with pytest.raises(ImisError, match="not_found"):
        site.do("events.retry", wanted)
    assert deliver_due(site) == 1
    assert site.do("events.deliveries") == []
    assert [d["subscriber"] for d in site.do("events.deliveries", {"state": "done"})] == ["one", "two"]
