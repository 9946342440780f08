"""Login: a password for a token, and the caller that a user becomes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from imis_core.deployment import ADMINISTRATOR, Settings
from imis_core.errors import ImisError, not_found, refused
from imis_core.parsing import InvalidInput, parse
from imis_core.security.caller import Caller
from imis_core.security.passwords import new_token, token_digest, verify_password
from imis_core.security.tables import tokens, users

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context

TOKEN_LIFE: Final = timedelta(hours=12)
_BELOW: Final = """(WITH RECURSIVE below AS (
    SELECT id FROM core.locations WHERE id = ANY(u.places)
    UNION SELECT l.id FROM core.locations l JOIN below b ON l.parent = b.id)
    SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM below)"""
_USER: Final = f"SELECT u.id, u.name, u.roles, u.providers, {_BELOW} AS below FROM core.users u"
_BY_NAME: Final = sa.text(f"{_USER} WHERE u.name = :name AND NOT u.disabled")
_BY_ID: Final = sa.text(f"{_USER} WHERE u.id = :id AND NOT u.disabled")
_BY_TOKEN: Final = sa.text(
    f'{_USER} JOIN core.tokens t ON t."user" = u.id WHERE t.digest = :digest AND t.revoked_at IS NULL '
    "AND t.expires_at > :now AND NOT u.disabled"
)


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
    try:
        digest = token_digest(token)
    except UnicodeEncodeError:
        return None
    with app.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        row = connection.execute(_BY_TOKEN, {"digest": digest, "now": app.clock.now()}).first()
    return None if row is None else _caller(row, app.settings)


def log_in(app: Application, name: str, password: str, client: str) -> tuple[str, datetime]:
    """A fresh token for a name and password. Raises `auth.failed`, alike for an unknown name and a wrong password."""
    wrong = refused("auth.failed", "the name or the password is wrong")
    try:
        parse(name, str), parse(password, str)
    except InvalidInput:
        raise wrong from None  # no database holds such a text, so it is nobody's
    with app.database.command(app.system) as (connection, _):
        row = connection.execute(sa.select(users).where(users.c.name == name)).first()
        good = verify_password(row.password if row is not None else None, password)
        if row is None or not good or row.disabled:
            raise wrong
        token, now = new_token(), app.clock.now()
        connection.execute(
            sa.insert(tokens).values(
                digest=token_digest(token),
                user=row.id,
                client=client[:200],
                created_at=now,
                expires_at=now + TOKEN_LIFE,
            )
        )
        return token, now + TOKEN_LIFE
