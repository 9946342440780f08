"""Connections to the application's database: engine, roles, the opening of a transaction in a caller's scope.

Only this module begins transactions. The login is a member of the application's roles, never a superuser.
"""

from __future__ import annotations

import logging
import random
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
import sqlalchemy as sa
from attrs import frozen
from psycopg import errors as pg
from sqlalchemy.engine import URL, Connection, Engine, make_url

from imis_core.database.array_dumper import ColumnDumper
from imis_core.errors import Refusal, Unavailable, refused
from imis_core.redaction import remember

if TYPE_CHECKING:
    from imis_core.security.caller import Caller

RETRIES: Final = 4  # of a transaction that lost against another one (deadlock, serialization)
FIRST_PAUSE_SECONDS: Final = 0.05
CANCEL_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 900  # a transaction in which nothing happens for so long is ended: it holds what others wait for
LAST_WORDS: Final = 5  # messages that a server sends unasked before it closes a connection
REVIVE_SECONDS: Final = 5.0  # between two tries to start a server of our own again
LOST: Final = (pg.DeadlockDetected, pg.SerializationFailure)
T = TypeVar("T")
_log = logging.getLogger(__name__)


@frozen
class Bounds:
    """What one request may take of the database: seconds of a statement, of waiting for a lock, and in all."""

    statement_seconds: int
    lock_seconds: int
    request_seconds: int
    until: float  # of the machine's steady clock


_BOUNDS: Final[ContextVar[Bounds | None]] = ContextVar("imis.bounds", default=None)


@contextmanager
def bounded(statement_seconds: int, lock_seconds: int, request_seconds: int) -> Iterator[None]:
    """Bound every transaction that this thread begins in the block; jobs and the command line are not bounded."""
    until = time.monotonic() + request_seconds
    token = _BOUNDS.set(Bounds(statement_seconds, lock_seconds, request_seconds, until))
    try:
        yield
    finally:
        _BOUNDS.reset(token)


@frozen
class Roles:
    """The three roles of a database; `<database>_owner` migrates, `_app` writes, `_read` reads."""

    owner: str
    app: str
    read: str

    @classmethod
    def of(cls, database: str) -> Roles:
        return cls(f"{database}_owner", f"{database}_app", f"{database}_read")


class Database:
    """One PostgreSQL database as the application uses it."""

    def __init__(self, url: str, *, pool_size: int = 10, revive: Callable[[], None] | None = None) -> None:
        """`revive` starts a server of our own that has died; it is asked when no connection is to be had."""
        self.url = driver_url(url)
        remember(self.url.password)
        self._revive = revive
        self._reviving = threading.Lock()
        self._revived_at = -REVIVE_SECONDS
        self.engine: Engine = sa.create_engine(
            self.url, pool_size=pool_size, max_overflow=10, pool_reset_on_return="rollback", query_cache_size=1500,
            hide_parameters=True,
        )  # fmt: skip
        sa.event.listen(self.engine, "connect", _prepare)
        self._roles: Roles | None = None
        self.statements = 0
        sa.event.listen(self.engine, "before_cursor_execute", self._count)
        self._used: set[Any] = set()
        self._using = threading.Lock()
        sa.event.listen(self.engine, "do_connect", self._connect)
        sa.event.listen(self.engine, "checkout", self._taken)
        sa.event.listen(self.engine, "checkin", self._given_back)

    def _count(self, *_: Any) -> None:
        self.statements += 1  # single statements and COPYs alike; benchmarks and tests read it
        bounds = _BOUNDS.get()
        if bounds is not None and time.monotonic() > bounds.until:
            raise timed_out(bounds.request_seconds)

    def _connect(self, dialect: Any, _: Any, arguments: Any, options: Any) -> Any:
        """A new connection; a dead server of our own is started first."""
        try:
            return dialect.connect(*arguments, **options)
        except psycopg.OperationalError:
            if not self._revived():
                raise
        return dialect.connect(*arguments, **options)

    def _revived(self) -> bool:
        if self._revive is None:
            return False
        with self._reviving:  # the others wait for the first one's try
            if time.monotonic() - self._revived_at >= REVIVE_SECONDS:
                try:
                    self._revive()
                except Unavailable as error:
                    _log.error("the database server cannot be started again: %s", error)
                    return False
                finally:
                    self._revived_at = time.monotonic()
        return True

    def _taken(self, connection: Any, *_: Any) -> None:
        if _has_ended(connection):
            raise sa.exc.InvalidatePoolError  # the pool throws away what is older than this, and connects anew
        with self._using:
            self._used.add(connection)

    def _given_back(self, connection: Any, *_: Any) -> None:
        with self._using:
            self._used.discard(connection)

    def interrupt(self) -> None:
        """Cancel the statements that this process runs at the moment: their transactions fail and are rolled back."""
        with self._using:
            used = list(self._used)
        for connection in used:
            with suppress(psycopg.Error):  # it has ended by itself, or the server is gone
                connection.cancel_safe(timeout=CANCEL_SECONDS)

    @property
    def roles(self) -> Roles:
        """The roles as the database knows them: they keep their names when a database is cloned or renamed.

        Raises `database.not_migrated`, `database.superuser` and `database.unreachable`.
        """
        if self._roles is None:
            try:
                with self.engine.connect() as connection:
                    row = connection.execute(_WHO).one()
            except sa.exc.OperationalError as error:
                raise unreachable(self.url, error) from None
            if row.superuser:
                raise refused(
                    "database.superuser",
                    f"{row.login!r} is a superuser; give the application a login of its own (docs/operate.md) that is "
                    "a member of the application's roles",
                )
            if row.owner is None or not row.owner.endswith("_owner"):
                raise refused("database.not_migrated", "the database has no tables yet; run `imis migrate` first")
            self._roles = Roles.of(row.owner.removesuffix("_owner"))
        return self._roles

    @contextmanager
    def command(self, caller: Caller) -> Iterator[tuple[Connection, int]]:
        """A transaction of the application's role in the caller's scope, with the number of its audit entry."""
        roles = self.roles
        with self._connected() as connection, connection.begin():
            audit = connection.execute(_OPEN_COMMAND, _scope(caller, roles.app)).scalar_one()
            yield connection, int(audit)

    @contextmanager
    def query(self, caller: Caller, *, writes: bool = False) -> Iterator[Connection]:
        """A transaction of the reading role, or of the application's if it `writes`, in the caller's scope."""
        roles = self.roles
        with self._connected() as connection, connection.begin():
            role = roles.app if writes else roles.read
            connection.execute(_OPEN_QUERY, _scope(caller, role))
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            connection = self.engine.connect()
        except sa.exc.OperationalError as error:
            raise unreachable(self.url, error) from None
        with connection:
            yield connection

    def dispose(self) -> None:
        self.engine.dispose()


_WHO = sa.text(
    "SELECT current_user AS login, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser, "
    "(SELECT nspowner::regrole::name FROM pg_namespace WHERE nspname = 'core') AS owner"
)
_LIMITS = (
    "set_config('imis.scope', :scope, true), set_config('imis.places', :places, true), "
    "set_config('imis.providers', :providers, true), set_config('imis.persons', :persons, true)"
)
_PATIENCE = (
    "set_config('statement_timeout', CAST(:statement AS text), true), "
    "set_config('lock_timeout', CAST(:lock AS text), true)"
)
_SCOPE = f"set_config('role', :role, true), {_LIMITS}, {_PATIENCE}"
_SET_SCOPE = sa.text(f"SELECT {_LIMITS}")
_OPEN_COMMAND = sa.text(
    f"SELECT set_config('imis.audit', nextval('core.audit_ids')::text, true)::bigint AS audit, {_SCOPE}"
)
_OPEN_QUERY = sa.text(f"SELECT {_SCOPE}")


def _has_ended(connection: Any) -> bool:
    """Whether the server has closed a connection while nobody used it; asks the system, not the server."""
    try:
        for _ in range(LAST_WORDS):  # what the server said before it went is read first, then its going
            if not _readable(connection.fileno()):
                break
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return bool(connection.pgconn.status != psycopg.pq.ConnStatus.OK)


def _readable(descriptor: int) -> bool:
    if not hasattr(select, "poll"):
        return bool(select.select([descriptor], [], [], 0)[0])
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))


def _array(numbers: tuple[int, ...]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _scope(caller: Caller, role: str) -> dict[str, str | None]:
    bounds = _BOUNDS.get()
    return {
        "role": role,
        **_limits(caller),
        # Null: whatever the server says; jobs and the command line take the time that they need.
        "statement": None if bounds is None else f"{bounds.statement_seconds}s",
        "lock": None if bounds is None else f"{bounds.lock_seconds}s",
    }


def _limits(caller: Caller) -> dict[str, str]:
    return {
        "scope": "all" if caller.everywhere else "limited",
        "places": _array(caller.places),
        "providers": _array(caller.providers),
        "persons": _array(caller.looked_up),
    }


def set_scope(connection: Connection, caller: Caller) -> None:
    """Put the rest of the running transaction (or savepoint) into this caller's row-security scope."""
    connection.execute(_SET_SCOPE, _limits(caller))


def _prepare(connection: Any, _: object) -> None:
    # The queue library's functions are unqualified; every table of ours is named with its schema.
    connection.execute("SET search_path = jobs, pg_catalog")
    connection.execute("SET timezone = 'UTC'")
    connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
    connection.commit()
    connection.adapters.register_dumper(list, ColumnDumper)


def driver_url(url: str) -> URL:
    """A `postgresql://` URL with the driver that we use."""
    return make_url(url).set(drivername="postgresql+psycopg")


def retried(transaction: Callable[[], T]) -> T:
    """Run a whole transaction, again if it lost against another one; everything else that fails raises.

    Between two tries it pauses for a random, growing while, so that two that met do not meet again.
    """
    for attempt in range(RETRIES):
        try:
            return transaction()
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, LOST):
                raise
        time.sleep(random.uniform(0, FIRST_PAUSE_SECONDS * 2**attempt))  # noqa: S311 - no secret
    return transaction()


def lost_race(what: str) -> sa.exc.OperationalError:
    """To be raised when a concurrent command took what this one was about to take: the door runs the batch again."""
    return sa.exc.OperationalError(what, None, pg.SerializationFailure(f"{what} was taken by a concurrent command"))


def timed_out(seconds: int) -> Unavailable:
    """`requests.timed_out`: the statements of a request took too long together."""
    message = (
        f"this took more than {seconds} seconds, and nothing was changed; ask for less, or send it in several parts"
    )
    return Unavailable(Refusal("requests.timed_out", message))


def unreachable(url: URL, error: Exception) -> Unavailable:
    """`database.unreachable`, without the password."""
    reason = str(getattr(error, "orig", error)).splitlines()[0]
    shown = url.render_as_string(hide_password=True)
    return Unavailable(
        Refusal("database.unreachable", f"no database at {shown}: {reason}; start it or mend [database] url")
    )
