"""Runs a scenario file on a fresh database: its steps in order, by the clock and the users that it names.

After each step events are delivered and due jobs are run, as workers would do beside a served deployment. A step that
fails does not stop the file. What the steps mean is the commands' matter; what files look like is `files`'.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from imis_core.application import Application
from imis_core.audit import request_digest, write_entry
from imis_core.clock import SetClock
from imis_core.context import Context
from imis_core.errors import ImisError, Unavailable, refused
from imis_core.events import deliver_due
from imis_core.opening import Playground
from imis_core.places.lookup import resolve_locations, resolve_providers
from imis_core.scenarios.files import Actor, Scenario, Step, read_scenario
from imis_core.scenarios.matching import first_mismatch, show
from imis_core.scenarios.references import UnknownReference, resolve
from imis_core.security.caller import Caller
from imis_core.security.login import caller_named

SETTLING_ROUNDS: Final = 20  # an event's delivery may start a job, whose command emits an event, and so on


@frozen
class Failure:
    """A step that did not do as it says; `step` counts from 1."""

    step: int
    do: str
    name: str | None
    reason: str


@frozen
class ScenarioResult:
    """What a file showed: it passed if no step failed."""

    file: str
    title: str
    steps: int
    failures: tuple[Failure, ...] = ()

    @classmethod
    def unreadable(cls, file: str, reason: str) -> ScenarioResult:
        """The result of a wrong file: no step was taken (step 0 is the file itself)."""
        return cls(file, Path(file).stem, 0, (Failure(0, "", None, reason),))

    @property
    def passed(self) -> bool:
        return not self.failures

    def as_json(self) -> dict[str, Any]:
        """The line of `imis scenario --json`."""
        failures = [{"step": f.step, "do": f.do, "name": f.name, "reason": f.reason} for f in self.failures]
        return {
            "file": self.file,
            "title": self.title,
            "passed": self.passed,
            "steps": self.steps,
            "failures": failures,
        }


class _Failed(Exception):
    """A step's reason to fail."""


def run_scenario(path: Path, playground: Playground, *, extra: Mapping[str, object] | None = None) -> ScenarioResult:
    """Run one file on a database of its own, dropped afterwards; `extra` are plugins that are not installed (tests).

    Raises `ScenarioError`, `SettingsError` or `PluginErrors` for what is wrong with the file or its deployment,
    `scenario.not_loaded` if the deployment's own files are refused, and `Unavailable` when the database goes away.
    """
    return run(read_scenario(path, extra=extra), playground, extra=extra)


def run(
    scenario: Scenario,
    playground: Playground,
    *,
    extra: Mapping[str, object] | None = None,
    at_end: Callable[[Application], None] | None = None,
) -> ScenarioResult:
    """Run a scenario that has been read, as `run_scenario` does; `at_end` looks at the application after it."""
    clock = SetClock(scenario.today)
    with playground.application(scenario.settings, clock, extra) as app:
        if scenario.folder is not None:
            _load(app, scenario.folder)
        steps = _Run(app, clock, {step.actor.user: step.actor for step in reversed(scenario.steps)})
        failures = tuple(failure for step in scenario.steps for failure in steps.take(step))
        if at_end is not None and not failures:
            at_end(app)
    return ScenarioResult(scenario.file, scenario.title, len(scenario.steps), failures)


def _load(app: Application, folder: Path) -> None:
    """What `imis load` brings in before a deployment's scenario: its packages and reference data."""
    from imis_core.imports import FOLDERS, load_paths

    report = load_paths(app, [path for name in FOLDERS if (path := folder / name).is_dir()])
    if report.problems:
        raise refused(
            "scenario.not_loaded",
            f"{len(report.problems)} of the deployment's own files are refused, so no scenario of {folder} can run "
            f"(`imis load` tells all): {report.problems[0]}",
        )


@define
class _Run:
    """A scenario at work: what was saved, who has acted, and the background work."""

    app: Application
    clock: SetClock
    cast: Mapping[str, Actor]  # who acts in the file, by name, as each acts first
    saved: dict[str, Any] = field(factory=dict)
    known: set[Actor] = field(factory=set)
    told: set[tuple[Any, ...]] = field(factory=set)  # failures of events and jobs that a step has already shown
    enqueued_on: date | None = None

    def take(self, step: Step) -> list[Failure]:
        """Take one step and let everything settle; what failed of it."""
        reasons = []
        try:
            self._take(step)
        except _Failed as failed:
            reasons.append(str(failed))
        reasons += self._settle()
        return [Failure(step.number, step.do, step.name, reason) for reason in reasons]

    def _take(self, step: Step) -> None:
        if step.on is not None:
            self.clock.set(step.on)
        caller = self._caller(step.actor)
        self._introduce(step)
        result = self._run(step, caller)
        if step.error is not None:
            return
        if step.save is not None:
            self.saved[step.save] = result
        wrong = first_mismatch(self._resolved(step.expect), result, step.absent)
        if wrong is not None:
            raise _Failed(str(wrong))

    def _run(self, step: Step, caller: Caller) -> Any:
        data = as_sent(self._resolved(step.with_))
        try:
            result = self.app.run(step.do, data, caller)
        except Unavailable:
            raise
        except ImisError as error:
            if step.error is None:
                raise _Failed(f"expected no error, found {error.refusal.line()}") from None
            if step.error != error.code:
                raise _Failed(f"expected the error {step.error}, found {error.refusal.line()}") from None
            return None
        except Exception as error:
            # A defect, not a refusal: it belongs to this step, and the later ones may still tell something.
            raise _Failed(f"internal error: {_where(error)}") from error
        if step.error is not None:
            raise _Failed(f"expected the error {step.error}, found the result {show(result)}")
        return result

    def _resolved(self, value: Any) -> Any:
        try:
            return resolve(value, self.saved)
        except UnknownReference as error:
            raise _Failed(str(error)) from None

    def _caller(self, actor: Actor) -> Caller:
        """The user that takes a step; made, or given the role and the place, when they first act so."""
        if actor not in self.known:
            self._appoint(actor)
            self.known.add(actor)
        try:
            return caller_named(self.app, actor.user)
        except ImisError as error:
            raise _Failed(f"the user {actor.user!r} cannot act: {error.refusal.line()}") from None

    def _introduce(self, step: Step) -> None:
        """Whom a step names before they act is there already: with the role, without the place."""
        if step.do.startswith("users."):
            return  # it makes users itself
        for name in _texts(step.with_) & self.cast.keys():
            actor = evolve(self.cast[name], where=None)
            if actor not in self.known:
                self._appoint(actor)
                self.known.add(actor)

    def _appoint(self, actor: Actor) -> None:
        app = self.app
        with app.database.command(app.system) as (connection, audit):
            context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "scenario.users")
            scope = app.settings.scope_of(actor.role)
            names = [] if actor.where is None else [actor.where]
            places = resolve_locations(context, names if scope == "place" else [])
            providers = resolve_providers(context, names if scope == "provider" else [])
            if names and not places and not providers:
                raise _Failed(f"as {actor.user}@{actor.where}: there is no {scope} {actor.where!r}")
            appointed = {
                "name": actor.user,
                "roles": [actor.role],
                "places": [p.id for p in places.values()],
                "providers": [p.id for p in providers.values()],
            }
            if context.execute(_APPOINT, appointed).first() is not None:
                write_entry(context, 1, 0, request_digest(context.command, [appointed]), None)

    def _settle(self) -> list[str]:
        """Deliver events and run due jobs until nothing is left; what failed of them."""
        reasons: list[str] = []
        if self.enqueued_on != self.clock.today():
            self.enqueued_on = self.clock.today()
            self.app.queue.enqueue_due()
        for _ in range(SETTLING_ROUNDS):
            waiting = self._rows(_WAITING, now=self.clock.now())[0]
            if not (waiting.events or waiting.jobs):
                return reasons
            if waiting.events:
                reasons += self._deliver()
            if waiting.jobs:
                reasons += self._work()
        return [*reasons, f"events and jobs do not come to rest in {SETTLING_ROUNDS} rounds"]

    def _deliver(self) -> list[str]:
        while deliver_due(self.app):
            pass
        failed = [row for row in self._rows(_FAILED_DELIVERIES) if self._is_news(row)]
        return [f"the event {r.name} failed at {r.subscriber}: {r.error}" for r in failed]

    def _work(self) -> list[str]:
        with _causes("procrastinate") as causes:
            self.app.queue.run_due()
        failed = [row for row in self._rows(_FAILED_JOBS) if self._is_news(row)]
        told = "; ".join(causes) or "see the log"
        return [f"the job {row.job} failed: {told}" for row in failed]

    def _is_news(self, row: Any) -> bool:
        key = tuple(row)
        new = key not in self.told
        self.told.add(key)
        return new

    def _rows(self, statement: sa.TextClause, **parameters: Any) -> list[Any]:
        with self.app.database.query(self.app.system) as connection:
            return list(connection.execute(statement, parameters).all())


def _texts(value: Any) -> set[str]:
    """All texts in a step's data, without the keys."""
    if isinstance(value, str):
        return {value}
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return {text for item in items for text in _texts(item)}


@contextmanager
def _causes(logger: str) -> Iterator[list[str]]:
    """Exceptions that a library only logs, collected rather than printed."""
    causes: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                causes.append(_where(record.exc_info[1]))

    log, ear = logging.getLogger(logger), Ear()
    before = log.propagate, log.level
    log.addHandler(ear)
    log.propagate = False
    log.setLevel(logging.INFO)  # a failure that will be tried again is told as information only
    try:
        yield causes
    finally:
        log.removeHandler(ear)
        log.propagate, level = before
        log.setLevel(level)


def as_sent(value: Any) -> Any:
    """A step's data as a request would bring it: dates as ISO text. Floats stay, for the door to refuse."""
    if isinstance(value, Mapping):
        return {key: as_sent(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    return value.isoformat() if isinstance(value, (date, time)) else value


def _where(error: BaseException) -> str:
    """An exception on one line with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{at}".split())


_APPOINT: Final = sa.text(
    """
    INSERT INTO core.users AS u (name, roles, places, providers)
    VALUES (:name, CAST(:roles AS text[]), CAST(:places AS bigint[]), CAST(:providers AS bigint[]))
    ON CONFLICT (name) DO UPDATE SET
      roles = ARRAY(SELECT DISTINCT unnest(u.roles || excluded.roles) ORDER BY 1),
      places = ARRAY(SELECT DISTINCT unnest(u.places || excluded.places) ORDER BY 1),
      providers = ARRAY(SELECT DISTINCT unnest(u.providers || excluded.providers) ORDER BY 1)
    WHERE NOT (u.roles @> excluded.roles AND u.places @> excluded.places AND u.providers @> excluded.providers)
    RETURNING u.id
    """
)
# The queue compares with the server's clock itself: a retry that waits for later is not due.
_WAITING: Final = sa.text(
    """
    SELECT EXISTS (SELECT FROM core.deliveries WHERE state = 'pending' AND next_at <= :now) AS events,
      EXISTS (SELECT FROM jobs.procrastinate_jobs
              WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())) AS jobs
    """
)
_FAILED_DELIVERIES: Final = sa.text(
    """
    SELECT e.name, d.event, d.subscriber, d.attempts, d.error
    FROM core.deliveries d JOIN core.events e ON e.id = d.event
    WHERE d.state <> 'done' AND d.error IS NOT NULL ORDER BY d.event, d.subscriber
    """
)
_FAILED_JOBS: Final = sa.text(
    """
    SELECT id, attempts, coalesce(args->>'job', task_name) AS job FROM jobs.procrastinate_jobs
    WHERE status = 'failed' OR (status = 'todo' AND attempts > 0) ORDER BY id
    """
)
