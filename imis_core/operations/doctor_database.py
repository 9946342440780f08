"""What `imis doctor` sees in the database: reach, version, logins, tables, clock, queue, outbox, long transactions.

Everything is read as the application's own login. It repairs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from imis_core.database.engine import Roles, driver_url
from imis_core.database.server import find_database
from imis_core.errors import ImisError
from imis_core.migrations.runner import states
from imis_core.operations.doctor_payments import look_at_payments

if TYPE_CHECKING:
    from imis_core.application import Composition
    from imis_core.deployment import Settings
    from imis_core.operations.doctor import Finding

OLDEST_MAJOR: Final = 15
CLOCK_WARNING_SECONDS: Final = 2.0
CLOCK_ERROR_SECONDS: Final = 30.0
WAITS_SECONDS: Final = 600.0  # a job or delivery that is due that long has no worker
STALLED_SECONDS: Final = 120.0  # without a sign of life from a job's worker; the reaper takes it again after 60
RUNS_SECONDS: Final = 3600.0
WRAPAROUND: Final = 1_500_000_000  # transactions, of two thousand million
CONNECTIONS_PERCENT: Final = 80
_STATE: Final = sa.text(
    "SELECT current_user AS login, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser, "
    "clock_timestamp() AS now, pg_database_size(current_database()) AS size, "
    "(SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS xids, "
    "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections, "
    "current_setting('max_connections')::int AS connections_max, "
    "(SELECT nspowner::regrole::name FROM pg_namespace WHERE nspname = 'core') AS owner"
)
_ROLES: Final = sa.text(
    "SELECT r.name, EXISTS (SELECT FROM pg_roles WHERE rolname = r.name) AS there, "
    "coalesce((SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = r.name), false) AS mine "
    "FROM unnest(CAST(:names AS text[])) AS r(name)"
)
_LONG: Final = sa.text(
    "SELECT count(*) AS number, max(extract(epoch FROM clock_timestamp() - xact_start)) AS seconds "
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND xact_start < clock_timestamp() - make_interval(secs => :limit)"
)
# The queue lives by the machine's clock; a worker's sign of life is its row.
_QUEUE: Final = sa.text(
    "SELECT count(*) FILTER (WHERE j.status = 'failed') AS failed, "
    "count(*) FILTER (WHERE j.status = 'todo') AS waiting, "
    "count(*) FILTER (WHERE j.status = 'doing' AND (w.id IS NULL OR w.last_heartbeat < "
    "clock_timestamp() - make_interval(secs => :stalled))) AS stalled, "
    "max(extract(epoch FROM clock_timestamp() - coalesce(j.scheduled_at, "
    "(SELECT min(e.at) FROM jobs.procrastinate_events e WHERE e.job_id = j.id)))) "
    "FILTER (WHERE j.status = 'todo') AS age "
    "FROM jobs.procrastinate_jobs j LEFT JOIN jobs.procrastinate_workers w ON w.id = j.worker_id"
)
_OUTBOX: Final = sa.text(
    "SELECT count(*) FILTER (WHERE d.state = 'pending') AS pending, "
    "count(*) FILTER (WHERE d.state = 'parked') AS parked, "
    "max(extract(epoch FROM clock_timestamp() - d.next_at)) FILTER (WHERE d.state = 'pending') AS age "
    "FROM core.deliveries d"
)


def look_into_database(settings: Settings, composition: Composition | None) -> tuple[list[Finding], bool]:
    """The findings, and whether the database is in use (it has tables)."""
    from imis_core.operations.doctor import Finding

    remedy = "start it, or mend [database] url or IMIS_DATABASE_URL"
    try:
        addresses = find_database(settings.database.url, settings.database.owner_url, settings.folder, settings.name)
    except ImisError as error:
        return [Finding("database", "error", error.code, error.refusal.message, remedy)], False
    engine = sa.create_engine(driver_url(addresses.app), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            found, in_use = _look(connection, composition)
            if in_use and not any(f.code == "database.roles_missing" for f in found):
                found += look_at_payments(connection, settings)
            if in_use and addresses.owner != addresses.app and addresses.lease is None:
                found += _owner(addresses.owner)
            return found, in_use
    except sa.exc.OperationalError as error:
        shown = driver_url(addresses.app).set(drivername="postgresql").render_as_string(hide_password=True)
        message = f"no database at {shown}: {str(error.orig).splitlines()[0]}"
        return [Finding("database", "error", "database.unreachable", message, remedy)], False
    finally:
        engine.dispose()
        addresses.release()


def _look(connection: sa.Connection, composition: Composition | None) -> tuple[list[Finding], bool]:
    from imis_core.operations.doctor import Finding

    asked = datetime.now(UTC)
    state = connection.execute(_STATE).one()
    answered = datetime.now(UTC)
    found = [*_server(connection, state), *_clock(state.now, asked, answered)]
    if state.owner is None:
        found.append(
            Finding("migrations", "error", "database.not_migrated", "it has no tables yet", "run `imis migrate`")
        )
        return found, False
    roles = Roles.of(state.owner.removesuffix("_owner"))
    missing = [r.name for r in connection.execute(_ROLES, {"names": [roles.app, roles.read]}) if not r.mine]
    if missing:
        message = f"{state.login!r} is no member of {', '.join(missing)}"
        grants = " ".join(f"GRANT {role} TO {state.login};" for role in missing)
        found.append(Finding("database", "error", "database.roles_missing", message, f"as an administrator: {grants}"))
        return found, True
    connection.execute(sa.text("SELECT set_config('role', :role, false)"), {"role": roles.app})
    if composition is not None:
        found += _migrations(connection, composition)
    found += _queue(connection)
    found += _outbox(connection)
    return found, True


def _server(connection: sa.Connection, state: Any) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    version = connection.dialect.server_version_info or (0,)
    shown = ".".join(map(str, version))
    if int(version[0]) < OLDEST_MAJOR:
        message = f"the server is PostgreSQL {shown}; {OLDEST_MAJOR} is the oldest that is known to work"
        yield Finding("database", "error", "database.too_old", message, "restore a backup into a newer server")
    if state.superuser:
        yield Finding(
            "database", "error", "database.superuser", f"the application logs in as the superuser {state.login!r}",
            "give it a login of its own (docs/operate.md, A server)",
        )  # fmt: skip
    used = 100 * state.connections // state.connections_max
    message = (
        f"PostgreSQL {shown}, login {state.login}, {state.size / 1e6:,.0f} MB, "
        f"{state.connections} of {state.connections_max} connections"
    )
    if used >= CONNECTIONS_PERCENT:
        remedy = "raise max_connections, run fewer processes, or put a pooler in transaction mode before it"
        yield Finding("database", "warning", "database.connections", message, remedy)
    elif not state.superuser:
        yield Finding("database", "ok", "database.reachable", message)
    if state.xids > WRAPAROUND:
        yield Finding(
            "database", "error", "database.wraparound", f"{state.xids:,} transactions since the last freezing",
            "end old transactions and let autovacuum run; VACUUM (FREEZE) in a quiet hour",
        )  # fmt: skip
    long = connection.execute(_LONG, {"limit": RUNS_SECONDS}).one()
    if long.number:
        message = f"{long.number} transactions are open for more than an hour, the oldest {long.seconds / 3600:.1f} h"
        remedy = "see pg_stat_activity; end it with pg_terminate_backend(pid) if nobody misses it"
        yield Finding("database", "warning", "database.long_transaction", message, remedy)


def _clock(database: datetime, asked: datetime, answered: datetime) -> Iterator[Finding]:
    """The database's time must lie between the question and the answer; what is beyond is the difference."""
    from imis_core.operations.doctor import Finding

    early, late = (asked - database).total_seconds(), (database - answered).total_seconds()
    apart = max(early, late, 0.0)
    message = f"this machine and the database are {apart:.1f} s apart"
    remedy = "set both by the same time server (chrony, systemd-timesyncd)"
    if apart > CLOCK_ERROR_SECONDS:
        yield Finding("clock", "error", "clock.apart", message, remedy)
    elif apart > CLOCK_WARNING_SECONDS:
        yield Finding("clock", "warning", "clock.apart", message, remedy)
    else:
        yield Finding("clock", "ok", "clock.together", message)


def _migrations(connection: sa.Connection, composition: Composition) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    wrong = [s for s in states(connection, composition.plugins.manifests) if not s.fits]
    for one in wrong:
        if one.is_known:
            message = f"{one.plugin} is at {one.current or 'nothing'}, this version needs {one.head}"
            yield Finding("migrations", "error", "database.behind", message, "back up, then run `imis migrate`")
        else:
            message = f"{one.plugin} is at {one.current}, which this version does not know"
            yield Finding("migrations", "error", "database.ahead", message, "install the newer version")
    if not wrong:
        yield Finding("migrations", "ok", "migrations.current", "the tables are at the newest revisions")


def _queue(connection: sa.Connection) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    row = connection.execute(_QUEUE, {"stalled": STALLED_SECONDS}).one()
    age = float(row.age or 0)
    if row.failed:
        remedy = '`imis run jobs.list --data \'{"status": "failed"}\'`, see the log, then `jobs.retry`'
        yield Finding("queue", "error", "queue.failed", f"{row.failed} jobs gave up", remedy)
    if row.stalled:
        remedy = "a running worker takes them again within a minute or two: see that one runs (`imis worker`)"
        yield Finding("queue", "error", "queue.stalled", f"{row.stalled} jobs were left by a dead worker", remedy)
    if age > WAITS_SECONDS:
        message = f"{row.waiting} jobs wait, the oldest for {age / 60:,.0f} minutes"
        remedy = "start a worker (`imis worker`, or `imis serve` without --no-worker), or more of them"
        yield Finding("queue", "error", "queue.waiting", message, remedy)
    if not row.failed and not row.stalled and age <= WAITS_SECONDS:
        yield Finding("queue", "ok", "queue.right", f"{row.waiting} jobs wait, none failed")


def _outbox(connection: sa.Connection) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    row = connection.execute(_OUTBOX).one()
    age = float(row.age or 0)
    if row.parked:
        message = f"{row.parked} deliveries to plugins failed too often and are parked"
        remedy = '`imis run events.deliveries --data \'{"state": "parked"}\'` shows why; mend it, then `events.retry`'
        yield Finding("outbox", "error", "outbox.parked", message, remedy)
    if age > WAITS_SECONDS:
        message = f"{row.pending} deliveries wait, the oldest for {age / 60:,.0f} minutes"
        yield Finding("outbox", "error", "outbox.waiting", message, "start a worker (`imis worker`)")
    if not row.parked and age <= WAITS_SECONDS:
        yield Finding("outbox", "ok", "outbox.right", f"{row.pending} deliveries wait, none is parked")


def _owner(url: str) -> Iterator[Finding]:
    """Whether whoever migrates can log in; that login is used so seldom that nobody would notice."""
    from imis_core.operations.doctor import Finding

    engine = sa.create_engine(driver_url(url), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            login = connection.execute(sa.text("SELECT current_user")).scalar_one()
        yield Finding("database", "ok", "database.owner", f"{login} migrates and backs up")
    except sa.exc.OperationalError as error:
        message = f"the login that migrates is refused: {str(error.orig).splitlines()[0]}"
        yield Finding("database", "warning", "database.owner_unreachable", message, "mend IMIS_DATABASE_OWNER_URL")
    finally:
        engine.dispose()
