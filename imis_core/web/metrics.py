"""Figures for monitoring in the Prometheus text form: requests, commands, and what waits in the database.

The page has no login: keep `/metrics` behind the proxy. Several web processes share their counts through files in
`PROMETHEUS_MULTIPROC_DIR`, which `imis serve` sets. docs/operate.md says which of them to watch.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from imis_core import __version__
from imis_core.errors import ImisError
from imis_core.operations.backup import LAST

if TYPE_CHECKING:
    from imis_core.application import Application

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
_FRESH_SECONDS: Final = 5.0  # the database is asked at most this often, however often the page is read
_STALLED_SECONDS: Final = 120.0  # without a sign of life from a job's worker
# Ages in seconds: of events and audit entries by the application's clock, of jobs by the machine's, as the queue's.
_WAITING: Final = sa.text(
    """
    SELECT d.*, j.*, a.*, s.*, t.*, l.*, m.*
    FROM (SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
                 count(*) FILTER (WHERE state = 'parked') AS parked,
                 extract(epoch FROM CAST(:now AS timestamptz) - min(next_at) FILTER (WHERE state = 'pending'))
                     AS pending_age
          FROM core.deliveries WHERE state <> 'done') d,
         (SELECT count(*) FILTER (WHERE status = 'todo') AS waiting,
                 count(*) FILTER (WHERE status = 'doing') AS running,
                 count(*) FILTER (WHERE status = 'failed') AS failed,
                 count(*) FILTER (WHERE status = 'doing' AND (w.id IS NULL OR w.last_heartbeat
                     < clock_timestamp() - make_interval(secs => :stalled))) AS stalled,
                 extract(epoch FROM clock_timestamp() - min(coalesce(scheduled_at,
                     (SELECT min(at) FROM jobs.procrastinate_events e WHERE e.job_id = q.id)))
                     FILTER (WHERE status = 'todo')) AS waiting_age
          FROM jobs.procrastinate_jobs q LEFT JOIN jobs.procrastinate_workers w ON w.id = q.worker_id
          WHERE status IN ('todo', 'doing', 'failed')) j,
         (SELECT count(*) AS sessions FROM pg_stat_activity WHERE datname = current_database()) a,
         (SELECT extract(epoch FROM CAST(:now AS timestamptz) - min(e.at)) AS unsealed_age
          FROM core.audit_entries e WHERE e.id > coalesce((
              SELECT top FROM core.audit_seals WHERE log = 'audit' ORDER BY number DESC LIMIT 1), 0)) s,
         (SELECT count(*) FILTER (WHERE state = 'parked') AS transmissions_parked,
                 count(*) FILTER (WHERE state <> 'parked') AS transmissions_open
          FROM core.transmission_current
          WHERE state IN ('waiting', 'sending', 'unknown', 'accepted', 'parked')) t,
         (SELECT count(*) AS lines_open FROM core.payment_lines WHERE state <> 'closed') l,
         (SELECT count(*) AS messages_waiting FROM core.provider_messages_waiting) m
    """
)
_GAUGES: Final = {
    "pending": ("imis_outbox_pending", "Event deliveries that wait"),
    "pending_age": ("imis_outbox_oldest_seconds", "How long the oldest delivery that is due has waited"),
    "parked": ("imis_outbox_parked", "Event deliveries that failed too often"),
    "waiting": ("imis_jobs_waiting", "Background jobs that wait"),
    "waiting_age": ("imis_jobs_oldest_seconds", "How long the oldest job that is due has waited"),
    "running": ("imis_jobs_running", "Background jobs that run"),
    "stalled": ("imis_jobs_stalled", "Background jobs whose worker gives no sign of life"),
    "failed": ("imis_jobs_failed", "Background jobs that failed"),
    "sessions": ("imis_database_sessions", "Sessions in the database, of whatever program"),
    "transmissions_open": ("imis_transmissions_open", "Batches of orders that a payment provider has not reported on"),
    "transmissions_parked": ("imis_transmissions_parked", "Batches of orders of which nobody knows what became"),
    "lines_open": ("imis_payment_lines_open", "Payment providers to which nothing goes out for now"),
    "messages_waiting": ("imis_provider_messages_waiting", "Messages of payment providers that nobody has read"),
    "unsealed_age": ("imis_audit_unsealed_seconds", "How long the oldest audit entry has waited for its seal"),
}


class Waiting(Collector):
    """What waits in the database; asked anew only when the last answer is old."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._read_at = -_FRESH_SECONDS
        self._figures: dict[str, float] | None = None

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_SECONDS:
                self._figures, self._read_at = self._read(), time.monotonic()
            figures = self._figures
        yield GaugeMetricFamily("imis_database_up", "1 if the database answers", value=figures is not None)
        for name, (metric, meaning) in _GAUGES.items():
            if figures is not None:
                yield GaugeMetricFamily(metric, meaning, value=figures[name])
        if (made_at := self._last_backup()) is not None:
            meaning = "When the last backup from this folder was made"
            yield GaugeMetricFamily("imis_last_backup_timestamp_seconds", meaning, value=made_at)
        info = GaugeMetricFamily("imis_info", "The version that runs", labels=["version"])
        info.add_metric([__version__], 1)
        yield info

    def _read(self) -> dict[str, float] | None:
        parameters = {"now": self._app.clock.now(), "stalled": _STALLED_SECONDS}
        try:
            with self._app.database.query(self._app.system) as connection:
                row = connection.execute(_WAITING, parameters).one()
        except (ImisError, sa.exc.SQLAlchemyError):
            return None  # `imis_database_up 0` says so
        # What is not due yet, and what does not wait at all, has no age.
        return {name: max(float(value or 0), 0.0) for name, value in row._mapping.items()}

    def _last_backup(self) -> float | None:
        try:
            last = json.loads((self._app.var / LAST).read_text("utf-8"))
            return datetime.fromisoformat(last["made_at"]).timestamp()
        except (OSError, ValueError, KeyError, TypeError):
            return None  # none was made from here: an alarm on its absence says so


class Metrics:
    """The figures of one application's web door."""

    def __init__(self, app: Application) -> None:
        self._waiting = Waiting(app)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "imis_http_requests", "Requests by route and status", ("route", "status"), registry=self._registry
        )
        self._durations = Histogram(
            "imis_http_request_duration_seconds", "Seconds until the answer began", ("route",),
            registry=self._registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._commands = Counter(
            "imis_commands", "Items of commands by what became of them: done, awaiting, repeated, failed, or a code",
            ("command", "outcome"), registry=self._registry,
        )  # fmt: skip
        self._command_durations = Histogram(
            "imis_command_duration_seconds", "Seconds of a command, whole batches", ("command",),
            registry=self._registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._in_use = Gauge(
            "imis_database_connections_in_use", "Connections that requests and jobs hold at this moment",
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._most = Gauge(
            "imis_database_connections_max", "Connections that this deployment's web processes may hold",
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip
        app.watchers.append(self.count_command)
        engine = app.database.engine
        pool = engine.pool
        if isinstance(pool, sa.pool.QueuePool):
            self._most.set(pool.size() + max(pool._max_overflow, 0))
        sa.event.listen(engine, "checkout", lambda *_: self._in_use.inc())
        sa.event.listen(engine, "checkin", lambda *_: self._in_use.dec())

    def count(self, route: str, status: int, seconds: float | None) -> None:
        """Count one answered request. `route` is a command's or query's name or an address of ours, never free text."""
        self._requests.labels(route, str(status)).inc()
        if seconds is not None:
            self._durations.labels(route).observe(seconds)

    def count_command(self, command: str, outcomes: Mapping[str, int], seconds: float) -> None:
        """Count a command's items by what became of them."""
        for outcome, items in outcomes.items():
            self._commands.labels(command, outcome).inc(items)
        self._command_durations.labels(command).observe(seconds)

    def page(self) -> bytes:
        """All figures as text."""
        registry: Any = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        waiting = CollectorRegistry()
        waiting.register(self._waiting)
        return generate_latest(registry) + generate_latest(waiting)
