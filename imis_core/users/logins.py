"""Logins as administrators see them: who is logged in with what, ending that, and lifting locks. Logs nobody in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.queries import Listing, query
from imis_core.security import lockout
from imis_core.security.tables import login_failures, tokens, users
from imis_core.users.reach import administered, named, within


@frozen(kw_only=True)
class ListOwnLogins:
    """`all`: those that ended too, as long as they are kept."""

    all: bool = False


@frozen(kw_only=True)
class ListLogins(ListOwnLogins):
    """Without a user: everybody's."""

    user: str | None = None


@frozen(kw_only=True)
class Login:
    """A token of a program, or a browser's session. `ended`: it was revoked; `seen`: of a session, to the minute."""

    id: str
    user: str
    kind: str
    client: str
    address: str | None
    begun: datetime
    expires: datetime
    seen: datetime | None
    ended: datetime | None


@frozen(kw_only=True)
class EndLogins:
    """One login of a user, or without one all of them."""

    user: str
    login: str | None = None


@frozen(kw_only=True)
class EndedLogins:
    ended: int


@frozen(kw_only=True)
class Unlock:
    """A user, or an address as `users.locked` shows it."""

    user: str | None = None
    address: str | None = None


@frozen(kw_only=True)
class Unlocked:
    forgotten: int


@frozen(kw_only=True)
class ListLocked:
    pass


@frozen(kw_only=True)
class Locked:
    """What is locked: a user, an address, or a name that no user has (which stays untold)."""

    kind: Literal["user", "address", "unknown_name"]
    name: str | None
    failures: int
    failed: datetime
    until: datetime


def logins_of(context: Context, asked: ListOwnLogins, user: int | None) -> Listing:
    """The logins of a user, or of all within the caller's reach, the newest first."""
    select = sa.select(tokens, users.c.name.label("name")).join(users, users.c.id == tokens.c.user)
    if user is None:
        select = select.where(within(context))
    else:
        select = select.where(tokens.c.user == user)
    if not asked.all:
        select = select.where(tokens.c.revoked_at.is_(None), tokens.c.expires_at > context.now)

    def build(rows: Sequence[Any]) -> list[Login]:
        ids = context.ids.encode_all("logins", [row.id for row in rows])
        return [
            Login(
                id=identity, user=row.name, kind="session" if row.session else "token", client=row.client,
                address=row.address, begun=row.created_at, expires=row.expires_at, seen=row.seen_at,
                ended=row.revoked_at,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (sa.literal(0) - tokens.c.id,), build)


@query("users.logins", input=ListLogins, result=Login, listing=True)
def list_logins(context: Context, asked: ListLogins) -> Listing | Refusal:
    """Tokens and sessions of a user or of all users, the newest first."""
    if asked.user is None:
        return logins_of(context, asked, None)
    user = context.execute(sa.select(users.c.id).where(named(context, asked.user), within(context))).scalar()
    return not_found("user", "user", asked.user) if user is None else logins_of(context, asked, user)


def revoke(context: Context, user: int, login: int | None = None) -> int:
    """Revoke a user's tokens and sessions, or one of them; how many ended."""
    statement = sa.update(tokens).where(
        tokens.c.user == user, tokens.c.revoked_at.is_(None), tokens.c.expires_at > context.now
    )
    if login is not None:
        statement = statement.where(tokens.c.id == login)
    return len(context.execute(statement.values(revoked_at=context.now).returning(tokens.c.id)).all())


def end(context: Context, user: int, login: str | None) -> EndedLogins | Refusal:
    """End a user's logins, or one of them: another user's is not there."""
    if login is None:
        return EndedLogins(ended=revoke(context, user))
    number = context.ids.decode("logins", login)
    count = 0 if number is None else revoke(context, user, number)
    return EndedLogins(ended=count) if count else not_found("login", "login", login)


@command("users.end_logins", input=EndLogins, result=EndedLogins)
def end_logins(context: Context, items: tuple[EndLogins, ...]) -> list[EndedLogins | Refusal]:
    """End one login of a user, or all of them: who held them logs in again, or cannot."""
    found = [administered(context, item.user) for item in items]
    return [
        user if isinstance(user, Refusal) else end(context, user.id, item.login)
        for user, item in zip(found, items, strict=True)
    ]


@command("users.unlock", input=Unlock, result=Unlocked)
def unlock(context: Context, items: tuple[Unlock, ...]) -> list[Unlocked | Refusal]:
    """Let a user or an address log in again at once, after too many failures."""
    return [_unlock(context, item) for item in items]


def _unlock(context: Context, item: Unlock) -> Unlocked | Refusal:
    if (item.user is None) == (item.address is None):
        return invalid(Problem("user", "choice", "name either a user or an address"))
    if item.address is not None:
        if not context.caller.everywhere:
            message = "an address is of no place: who administers the whole deployment unlocks it"
            return Refusal("permission.denied", message)
        subject = lockout.of_address(item.address.partition("/")[0])
    else:
        assert item.user is not None
        user = administered(context, item.user)
        if isinstance(user, Refusal):
            return user
        subject = lockout.of_name(user.name)
    return Unlocked(forgotten=lockout.forget(context.connection, [subject]))


@query("users.locked", input=ListLocked, result=Locked, listing=True)
def locked(context: Context, asked: ListLocked) -> Listing:
    """Names and addresses that are locked after too many failed logins; those of no user to who sees everything."""
    select = sa.select(login_failures).where(login_failures.c.locked_until > context.now)
    if not context.caller.everywhere:
        select = select.where(login_failures.c.subject.in_(sa.select(lockout.SUBJECT).where(within(context))))

    def build(rows: Sequence[Any]) -> list[Locked]:
        names = lockout.names_of(context.connection, [row.subject for row in rows])
        return [
            Locked(
                kind=kind, name=name, failures=row.failures, failed=row.failed_at, until=row.locked_until,
            )
            for row, (kind, name) in zip(rows, names, strict=True)
        ]  # fmt: skip

    return Listing(select, (login_failures.c.subject,), build)


COMMANDS = (end_logins, unlock)
QUERIES = (list_logins, locked)
