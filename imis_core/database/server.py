"""Which database a deployment uses: the embedded server in its folder, or a server by URL; roles, logins, throw-aways.

Opens no application. Passwords are made here, given to logins, and never shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from attrs import field, frozen
from psycopg import errors as pg
from sqlalchemy.engine import URL, make_url

from imis_core.database import embedded
from imis_core.database.engine import Roles, driver_url, unreachable
from imis_core.errors import ImisError, refused

EMBEDDED: Final = "embedded"
_OWNER_LOGIN: Final = "imis-migrations"  # with a hyphen, which no role of a deployment has, whatever its name
_APP_LOGIN: Final = "imis"


@frozen
class Addresses:
    """Where the application (`app`) and its owner (`owner`, who migrates) log in; `lease` keeps an embedded server."""

    database: str
    app: str = field(repr=False)
    owner: str = field(repr=False)
    lease: embedded.Lease | None = None

    @property
    def revive(self) -> Callable[[], None] | None:
        """Starts an embedded server that has died while we used it; None for a server that is not ours."""
        return None if self.lease is None else self.lease.revive

    def release(self) -> None:
        """Let an embedded server go; it stops when nobody else uses it."""
        if self.lease is not None:
            self.lease.release()


def database_name(deployment: str) -> str:
    return deployment.replace("-", "_")


def find_database(url: str, owner_url: str | None, folder: Path | None, deployment: str) -> Addresses:
    """The addresses of a deployment's database. An embedded server is started if nobody has, its database made."""
    if url != EMBEDDED:
        name = make_url(url).database
        if not name:
            raise refused("database.no_name", "[database] url names no database; end it with /NAME")
        return Addresses(name, url, owner_url or url)
    if folder is None:
        raise refused("database.no_folder", "an embedded database needs a deployment folder")
    lease = embedded.acquire(folder / "var" / "postgres")
    try:
        name = database_name(deployment)
        prepare(lease.url(), name, embedded_logins(lease.password))
        return Addresses(name, lease.url(name, _APP_LOGIN), lease.url(name, _OWNER_LOGIN), lease)
    except BaseException:
        lease.release()
        raise


def embedded_logins(password: str) -> dict[str, str]:
    """The two logins of an embedded database with their passwords: who migrates, and who serves."""
    return {_OWNER_LOGIN: password, _APP_LOGIN: password}


def prepare(admin_url: str, database: str, logins: dict[str, str]) -> None:
    """Make a database with its roles and the two logins, as a superuser; what is there already stays. Idempotent."""
    roles = Roles.of(database)
    owner_login, app_login = logins
    with _administering(admin_url) as connection:
        known = set(connection.execute(sa.text("SELECT rolname FROM pg_roles")).scalars())
        for role in (roles.owner, roles.app, roles.read):
            if role not in known:
                connection.execute(sa.text(f"CREATE ROLE {_name(role)} NOLOGIN"))
        for login, password in logins.items():
            if login not in known:
                connection.execute(sa.text(f"CREATE ROLE {_name(login)} LOGIN PASSWORD {_literal(password)}"))
        connection.execute(sa.text(f"GRANT {_name(roles.owner)} TO {_name(owner_login)}"))
        connection.execute(sa.text(f"GRANT {_name(roles.app)}, {_name(roles.read)} TO {_name(app_login)}"))
        exists = connection.execute(
            sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": database}
        ).first()
        if exists is None:
            connection.execute(sa.text(f"CREATE DATABASE {_name(database)} OWNER {_name(roles.owner)}"))


def ensure_roles(owner_url: str, app_url: str, database: str) -> Roles:
    """The roles of a database on a server by URL, made and granted by its owning login where they are missing.

    Raises `database.roles_missing` with the statements for an administrator if that login may not run them.
    """
    roles = Roles.of(database)
    with _administering(owner_url, database) as connection:
        statements = list(
            _missing(connection, roles, database, make_url(owner_url).username, make_url(app_url).username)
        )
        for position, statement in enumerate(statements):
            try:
                connection.execute(sa.text(statement))
            except sa.exc.ProgrammingError as error:
                if not isinstance(error.orig, pg.InsufficientPrivilege):
                    raise
                raise _roles_missing(statements[position:]) from None
        # PostgreSQL only warns when a grant on the database does nothing.
        if left := list(
            _missing(connection, roles, database, make_url(owner_url).username, make_url(app_url).username)
        ):
            raise _roles_missing(left)
    return roles


def _roles_missing(statements: Sequence[str]) -> ImisError:
    return refused(
        "database.roles_missing",
        "the database's roles or their grants are missing and the login may not make them; as an administrator: "
        + " ".join(f"{statement};" for statement in statements),
    )


def _missing(
    connection: sa.Connection, roles: Roles, database: str, owner_login: str | None, app_login: str | None
) -> Iterator[str]:
    """The statements that are still needed for the roles, their members, and the owner's right to make schemas."""
    known = set(connection.execute(sa.text("SELECT rolname FROM pg_roles")).scalars())
    # Since PostgreSQL 16 whoever makes a role administers it without yet being allowed to act as it.
    member = "SET" if connection.dialect.server_version_info >= (16,) else "MEMBER"  # type: ignore[operator]
    for role in (roles.owner, roles.app, roles.read):
        if role not in known:
            yield f"CREATE ROLE {_name(role)} NOLOGIN"
    for role, login in ((roles.owner, owner_login), (roles.app, app_login), (roles.read, app_login)):
        login = login or connection.execute(sa.text("SELECT current_user")).scalar_one()
        may = sa.text(f"SELECT pg_has_role(:login, :role, '{member}')")
        if role not in known or not connection.execute(may, {"login": login, "role": role}).scalar_one():
            yield f"GRANT {_name(role)} TO {_name(login)}"
    may = sa.text("SELECT has_database_privilege(:role, :database, 'CREATE')")
    if (
        roles.owner not in known
        or not connection.execute(may, {"role": roles.owner, "database": database}).scalar_one()
    ):
        yield f"GRANT CREATE ON DATABASE {_name(database)} TO {_name(roles.owner)}"


@contextmanager
def _administering(url: str, database: str | None = None) -> Iterator[sa.Connection]:
    engine = sa.create_engine(driver_url(url), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except sa.exc.OperationalError as error:
        raise unreachable(driver_url(url), error) from None
    try:
        with connection:
            yield connection
    finally:
        engine.dispose()


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class ThrowAway:
    """Databases that live as long as a run of scenarios or tests, cloned from a migrated template.

    On the server of `admin_url` (a login that may create databases and roles), or on a temporary embedded one.
    """

    def __init__(self, admin_url: str, prefix: str) -> None:
        self._admin = make_url(admin_url).set(drivername="postgresql")
        self._prefix = prefix
        self._password = secrets.token_urlsafe(24)
        # One connection stays open between clones: making it takes longer than what it is for.
        self._engine = sa.create_engine(
            driver_url(admin_url), pool_size=1, pool_pre_ping=True, isolation_level="AUTOCOMMIT"
        )

    def close(self) -> None:
        """Let the server go; what is still there of the run's databases stays."""
        self._engine.dispose()

    @property
    def owner_login(self) -> str:
        return f"{self._prefix}_owner_login"

    @property
    def app_login(self) -> str:
        return f"{self._prefix}_app_login"

    def template(self, name: str) -> Addresses:
        """A fresh database with its own roles, to be migrated and then cloned."""
        logins = {self.owner_login: self._password, self.app_login: self._password}
        prepare(self._url(self._admin), name, logins)
        with self._engine.connect() as connection:
            for login in logins:  # a second run on the same prefix gets this run's password
                connection.execute(sa.text(f"ALTER ROLE {_name(login)} PASSWORD {_literal(self._password)}"))
        return self.addresses(name)

    def addresses(self, database: str) -> Addresses:
        """How the two logins reach a database of this run."""
        at = self._admin.set(database=database, password=self._password)
        return Addresses(
            database, self._url(at.set(username=self.app_login)), self._url(at.set(username=self.owner_login))
        )

    def administrator(self, database: str) -> str:
        """How the login of `admin_url` reaches a database of this run, past every grant: for tests that break rows."""
        return self._url(self._admin.set(database=database))

    def clone(self, template: str, name: str) -> Addresses:
        """A copy of the template. Takes about 90 ms: files are copied rather than logged."""
        with self._engine.connect() as connection:
            # Two clones of one template at once would each see the other as a user of the template.
            connection.execute(sa.text("SELECT pg_advisory_lock(hashtext(:name))"), {"name": template})
            try:
                connection.execute(
                    sa.text(f"CREATE DATABASE {_name(name)} TEMPLATE {_name(template)} STRATEGY FILE_COPY")
                )
            finally:
                connection.execute(sa.text("SELECT pg_advisory_unlock(hashtext(:name))"), {"name": template})
        return self.addresses(name)

    def drop(self, name: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE IF EXISTS {_name(name)} WITH (FORCE)"))

    def drop_roles(self, template: str) -> None:
        """Remove the roles of a dropped template and the run's logins."""
        self.drop_own_roles(template)
        with self._engine.connect() as connection:
            for role in (self.owner_login, self.app_login):
                connection.execute(sa.text(f"DROP ROLE IF EXISTS {_name(role)}"))

    def drop_own_roles(self, template: str) -> None:
        """Remove the roles of a dropped template; the run's logins stay."""
        roles = Roles.of(template)
        with self._engine.connect() as connection:
            for role in (roles.owner, roles.app, roles.read):
                connection.execute(sa.text(f"DROP ROLE IF EXISTS {_name(role)}"))

    @staticmethod
    def _url(url: URL) -> str:
        return url.render_as_string(hide_password=False)


__all__ = [
    "EMBEDDED",
    "Addresses",
    "ThrowAway",
    "database_name",
    "embedded_logins",
    "ensure_roles",
    "find_database",
    "prepare",
]
