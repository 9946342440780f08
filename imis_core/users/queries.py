"""Users as administrators see them: the list, and one with his or her logins and locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query
from imis_core.security import lockout
from imis_core.security.tables import last_logins, login_failures, tokens, users
from imis_core.users.reach import named, within


@frozen(kw_only=True)
class User:
    id: str
    name: str
    roles: tuple[str, ...]
    places: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    disabled: bool = False
    must_change: bool = False


@frozen(kw_only=True)
class ListUsers:
    role: str | None = None


@frozen(kw_only=True)
class ShowUser:
    user: str


@frozen(kw_only=True)
class UserShown(User):
    """`everywhere`: a role of scope `all`. `logins`: tokens and sessions that last. `failures` since the last login."""

    everywhere: bool
    has_password: bool
    last_login: datetime | None
    last_client: str | None
    logins: int
    failures: int
    locked_until: datetime | None


def scope_names(context: Context, rows: Sequence[Any]) -> dict[int, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The codes of each user's places and providers, for a page of users in two statements."""
    codes = {}
    for table, column in (("locations", "places"), ("providers", "providers")):
        numbers = sorted({n for row in rows for n in getattr(row, column)})
        found = context.execute(
            sa.text(f"SELECT id, code FROM core.{table} WHERE id = ANY(:numbers)"), {"numbers": numbers}
        )
        codes[column] = {r.id: r.code for r in found}
    return {
        row.id: (tuple(codes["places"][n] for n in row.places), tuple(codes["providers"][n] for n in row.providers))
        for row in rows
    }


@query("users.list", input=ListUsers, result=User, listing=True)
def list_users(context: Context, asked: ListUsers) -> Listing:
    """Users in order of creation, with their roles, places and providers."""
    select = sa.select(users).where(within(context))
    if asked.role is not None:
        select = select.where(sa.literal(asked.role) == sa.any_(users.c.roles))

    def build(rows: Sequence[Any]) -> list[User]:
        names = scope_names(context, rows)
        ids = context.ids.encode_all("users", [row.id for row in rows])
        return [
            User(
                id=identity, name=row.name, roles=tuple(row.roles), places=names[row.id][0], providers=names[row.id][1],
                disabled=row.disabled, must_change=row.must_change,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (users.c.id,), build, {"name": users.c.name})


@query("users.show", input=ShowUser, result=UserShown)
def show(context: Context, asked: ShowUser) -> UserShown | Refusal:
    """A user with roles, places and providers, the last login, what is logged in, and whether it is locked."""
    row = context.execute(
        sa.select(users, last_logins.c.at, last_logins.c.client)
        .outerjoin(last_logins, last_logins.c.user == users.c.id)
        .where(named(context, asked.user), within(context))
    ).first()
    if row is None:
        return not_found("user", "user", asked.user)
    failed = context.execute(
        sa.select(login_failures).where(login_failures.c.subject == lockout.of_name(row.name))
    ).first()
    lasting = context.execute(
        sa.select(sa.func.count())
        .select_from(tokens)
        .where(tokens.c.user == row.id, tokens.c.revoked_at.is_(None), tokens.c.expires_at > context.now)
    ).scalar_one()
    names = scope_names(context, [row])[row.id]
    locked = None if failed is None else failed.locked_until
    configured = [r for r in row.roles if r in context.settings.roles or r == ADMINISTRATOR]
    return UserShown(
        id=context.ids.encode("users", row.id), name=row.name, roles=tuple(row.roles), places=names[0],
        providers=names[1], disabled=row.disabled, must_change=row.must_change,
        everywhere=any(context.settings.scope_of(r) == "all" for r in configured),
        has_password=row.password is not None, last_login=row.at, last_client=row.client, logins=lasting,
        failures=0 if failed is None else failed.failures,
        locked_until=locked if locked is not None and locked > context.now else None,
    )  # fmt: skip


QUERIES = (list_users, show)
