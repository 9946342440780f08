"""Figures for monitoring in the Prometheus text form: requests, their durations, and what waits in the database.

The page has no login: keep `/metrics` behind the proxy. Several web processes share their counts through files in
`PROMETHEUS_MULTIPROC_DIR`, which `imis serve` sets.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from imis_core.errors import ImisError

if TYPE_CHECKING:
    from imis_core.application import Application

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
_FRESH_SECONDS: Final = 5.0  # the database is asked at most this often, however often the page is read
_WAITING: Final = sa.text(
    "SELECT (SELECT count(*) FROM core.deliveries WHERE state = 'pending') AS pending, "
    "(SELECT count(*) FROM core.deliveries WHERE state = 'parked') AS parked, "
    "(SELECT count(*) FROM jobs.procrastinate_jobs WHERE status = 'todo') AS waiting, "
    "(SELECT count(*) FROM jobs.procrastinate_jobs WHERE status = 'failed') AS failed"
)
_GAUGES: Final = {
    "pending": ("imis_outbox_pending", "Event deliveries that wait"),
    "parked": ("imis_outbox_parked", "Event deliveries that failed too often"),
    "waiting": ("imis_jobs_waiting", "Background jobs that wait"),
    "failed": ("imis_jobs_failed", "Background jobs that failed"),
}


class Waiting(Collector):
    """What waits in the database; asked anew only when the last answer is old."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._read_at = -_FRESH_SECONDS
        self._figures: dict[str, int] | None = None

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_SECONDS:
                self._figures, self._read_at = self._read(), time.monotonic()
            figures = self._figures
        yield GaugeMetricFamily("imis_database_up", "1 if the database answers", value=figures is not None)
        for name, (metric, meaning) in _GAUGES.items():
            if figures is not None:
                yield GaugeMetricFamily(metric, meaning, value=figures[name])

    def _read(self) -> dict[str, int] | None:
        try:
            with self._app.database.query(self._app.system) as connection:
                row = connection.execute(_WAITING).one()
        except (ImisError, sa.exc.SQLAlchemyError):
            return None  # `imis_database_up 0` says so
        return {name: int(value) for name, value in row._mapping.items()}


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

    def count(self, route: str, status: int, seconds: float | None) -> None:
        """Count one answered request. `route` is a command's or query's name or an address of ours, never free text."""
        self._requests.labels(route, str(status)).inc()
        if seconds is not None:
            self._durations.labels(route).observe(seconds)

    def page(self) -> bytes:
        """All figures as text."""
        registry = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        waiting = CollectorRegistry()
        waiting.register(self._waiting)
        return generate_latest(registry) + generate_latest(waiting)
