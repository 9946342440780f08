"""Login: a password for a token or a session, and the caller that a user becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.deployment import ADMINISTRATOR, Settings
from imis_core.errors import ImisError, not_found, refused
from imis_core.parsing import InvalidInput, parse
from imis_core.security import lockout
from imis_core.security.caller import Caller
from imis_core.security.passwords import new_token, token_digest, verify_password
from imis_core.security.tables import tokens

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context

CLIENT_MAX: Final = 200  # characters of what a client calls itself
_WRONG: Final = "the name or the password is wrong"
SEEN_EVERY: Final = timedelta(minutes=1)  # how exactly a session's last use is kept
_BELOW: Final = """(WITH RECURSIVE below AS (
    SELECT id FROM core.locations WHERE id = ANY(u.places)
    UNION SELECT l.id FROM core.locations l JOIN below b ON l.parent = b.id)
    SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM below)"""
_COLUMNS: Final = f"u.id, u.name, u.roles, u.providers, {_BELOW} AS below"
_USER: Final = f"SELECT {_COLUMNS} FROM core.users u"
_BY_NAME: Final = sa.text(f"{_USER} WHERE u.name = :name AND NOT u.disabled")
_BY_ID: Final = sa.text(f"{_USER} WHERE u.id = :id AND NOT u.disabled")
_BY_TOKEN: Final = sa.text(
    f'{_USER} JOIN core.tokens t ON t."user" = u.id WHERE t.digest = :digest AND t.revoked_at IS NULL '
    "AND t.expires_at > :now AND NOT u.disabled AND NOT t.session"
)
_BY_SESSION: Final = sa.text(
    f"SELECT {_COLUMNS}, t.seen_at, t.expires_at FROM core.users u "
    'JOIN core.tokens t ON t."user" = u.id WHERE t.digest = :digest AND t.revoked_at IS NULL '
    "AND t.expires_at > :now AND t.seen_at > :idle_since AND NOT u.disabled AND t.session"
)
_OF_NAME: Final = sa.text("SELECT id, password, disabled, must_change FROM core.users WHERE name = :name")
_LAST_LOGIN: Final = sa.text(
    'INSERT INTO core.last_logins ("user", at, client) VALUES (:user, :now, :client) '
    'ON CONFLICT ("user") DO UPDATE SET at = excluded.at, client = excluded.client'
)
_UNCHANGED: Final = sa.text("SELECT 1 FROM core.users WHERE id = :user AND password = :seen AND NOT disabled FOR SHARE")
_SEEN: Final = sa.text("UPDATE core.tokens SET seen_at = :now WHERE digest = :digest AND seen_at < :now")


def _caller(row: Any, settings: Settings) -> Caller:
    """A user's row as a caller: the union of the roles' permissions, the widest of their scopes."""
    known = [r for r in row.roles if r == ADMINISTRATOR or r in settings.roles]
    scopes = {settings.scope_of(r) for r in known}
    return Caller(
        user=row.id,
        name=row.name,
        roles=tuple(row.roles),
        permissions=frozenset(p for r in known for p in settings.permissions_of(r)),
        everywhere="all" in scopes,
        places=tuple(row.below) if "place" in scopes else (),
        providers=tuple(row.providers) if "provider" in scopes else (),
    )


def caller_of(context: Context, user: int) -> Caller | None:
    """A user as a caller, by number; None if disabled."""
    row = context.execute(_BY_ID, {"id": user}).first()
    return None if row is None else _caller(row, context.settings)


def caller_named(app: Application, name: str) -> Caller:
    """A user as a caller, by name. Raises `not_found`; for the command line and scenarios, not for the web."""
    with app.database.engine.connect() as connection:
        connection.execute(sa.text("SELECT set_config('role', :role, true)"), {"role": app.database.roles.app})
        row = connection.execute(_BY_NAME, {"name": name}).first()
    if row is None:
        raise ImisError(not_found("as", "user", name))
    return _caller(row, app.settings)


def caller_by_token(app: Application, token: str) -> Caller | None:
    """The caller that a bearer token stands for; None for one unknown, expired or revoked. One statement."""
    digest = _digest(token)
    if digest is None:
        return None
    with _at_once(app) as connection:
        row = connection.execute(_BY_TOKEN, {"digest": digest, "now": app.clock.now()}).first()
    return None if row is None else _caller(row, app.settings)


@frozen
class Session:
    """A browser's login: the caller, and until when it lasts at most."""

    caller: Caller
    expires: datetime


def session_of(app: Application, token: str) -> Session | None:
    """The session that a cookie stands for; None for one unknown, revoked, too old or idle for too long.

    One statement, and once a minute another one that keeps the last use.
    """
    digest = _digest(token)
    if digest is None:
        return None
    now = app.clock.now()
    idle = timedelta(minutes=app.settings.security.session_idle_minutes)
    with _at_once(app) as connection:
        row = connection.execute(_BY_SESSION, {"digest": digest, "now": now, "idle_since": now - idle}).first()
        if row is not None and now - row.seen_at >= SEEN_EVERY:
            connection.execute(_SEEN, {"digest": digest, "now": now})
    return None if row is None else Session(_caller(row, app.settings), row.expires_at)


def _digest(token: str) -> bytes | None:
    try:
        return token_digest(token)
    except UnicodeEncodeError:
        return None


@contextmanager
def _at_once(app: Application) -> Iterator[sa.Connection]:
    """A connection whose every statement stands by itself; rooms' tables are not touched here."""
    with app.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def log_in(
    app: Application, name: str, password: str, client: str,
    *, address: str | None = None, session: bool = False, new_password: str | None = None,
) -> tuple[str, datetime]:  # fmt: skip
    """A fresh token for a name and password, or a browser's `session`, with the end of its life.

    Raises `auth.failed`, alike for an unknown name, a wrong password and a disabled user; `auth.locked` after too many
    of these; `auth.password_change_required` without a `new_password` where one is due, and what is wrong with that.
    """
    wrong = refused("auth.failed", _WRONG)
    try:
        parse(name, str), parse(password, str)
    except InvalidInput:
        raise wrong from None  # no database holds such a text, so it is nobody's
    subjects = lockout.subjects_of(name, address)
    with _at_once(app) as connection:
        lockout.check(connection, subjects, app.clock.now())
        row = connection.execute(_OF_NAME, {"name": name}).first()
    good = verify_password(row.password if row is not None else None, password)
    if row is None or not good or row.disabled:
        lockout.count_failure(app, subjects)
        raise wrong
    if new_password is not None:
        changed = {"password": password, "new_password": new_password}
        app.run("users.change_password", changed, caller_named(app, name))
        with _at_once(app) as connection:
            row = connection.execute(_OF_NAME, {"name": name}).one()
    elif row.must_change:
        message = "this password was given to you; choose your own: log in with `new_password` beside it"
        raise refused("auth.password_change_required", message)
    return _let_in(app, row, subjects, client, address, session)


def _let_in(
    app: Application, user: Any, subjects: list[str], client: str, address: str | None, session: bool
) -> tuple[str, datetime]:
    token, now, settings = new_token(), app.clock.now(), app.settings.security
    expires = now + timedelta(hours=settings.session_hours if session else settings.token_hours)
    with app.database.command(app.system) as (connection, _):
        lockout.check(connection, subjects, now)  # what others failed at meanwhile counts for this one too
        if connection.execute(_UNCHANGED, {"user": user.id, "seen": user.password}).first() is None:
            raise refused("auth.failed", _WRONG)  # changed or disabled while the password was checked
        lockout.forget(connection, subjects[-1:])  # the name's; an address has other users
        connection.execute(
            sa.insert(tokens).values(
                digest=token_digest(token),
                user=user.id,
                session=session,
                client=client[:CLIENT_MAX],
                address=address,
                created_at=now,
                expires_at=expires,
                seen_at=now if session else None,
            )
        )
        connection.execute(_LAST_LOGIN, {"user": user.id, "now": now, "client": client[:CLIENT_MAX]})
    return token, expires


def end_login(app: Application, token: str) -> None:
    """Revoke one token or session."""
    with app.database.command(app.system) as (connection, _):
        connection.execute(
            sa.update(tokens)
            .where(tokens.c.digest == token_digest(token), tokens.c.revoked_at.is_(None))
            .values(revoked_at=app.clock.now())
        )
