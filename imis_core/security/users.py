"""Users: administration by commands, login to a token, and the caller that a user becomes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR, Settings
from imis_core.errors import ImisError, Problem, Refusal, invalid, not_found, refused, suggestion
from imis_core.parsing import InvalidInput, parse
from imis_core.queries import Listing, query
from imis_core.security.caller import Caller
from imis_core.security.passwords import PASSWORD_MIN, hash_password, new_token, token_digest, verify_password
from imis_core.security.tables import tokens, users

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


def caller_named(app: Any, name: str) -> Caller:
    """A user as a caller, by name. Raises `not_found`; for the command line and scenarios, not for the web."""
    with app.database.engine.connect() as connection:
        connection.execute(sa.text("SELECT set_config('role', :role, true)"), {"role": app.database.roles.app})
        row = connection.execute(_BY_NAME, {"name": name}).first()
    if row is None:
        raise ImisError(not_found("as", "user", name))
    return _caller(row, app.settings)


def caller_by_token(app: Any, token: str) -> Caller | None:
    """The caller that a bearer token stands for; None for one unknown, expired or revoked. One statement."""
    try:
        digest = token_digest(token)
    except UnicodeEncodeError:
        return None
    with app.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        row = connection.execute(_BY_TOKEN, {"digest": digest, "now": app.clock.now()}).first()
    return None if row is None else _caller(row, app.settings)


def log_in(app: Any, name: str, password: str, client: str) -> tuple[str, datetime]:
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


@frozen(kw_only=True)
class AddUser:
    name: str
    roles: tuple[str, ...]
    places: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    password: str | None = field(default=None, metadata={"secret": True})


@frozen(kw_only=True)
class ChangeUser:
    """Fields that are absent stay as they are."""

    user: str
    roles: tuple[str, ...] | None = None
    places: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    password: str | None = field(default=None, metadata={"secret": True})


@frozen(kw_only=True)
class DisableUser:
    user: str
    reason: str | None = None


@frozen(kw_only=True)
class User:
    id: str
    name: str
    roles: tuple[str, ...]
    places: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    disabled: bool = False


def _check(
    context: Context, roles: Sequence[str], places: Sequence[str], providers: Sequence[str], password: str | None
) -> tuple[list[int], list[int]] | Refusal:
    """Numbers of the places and providers, or all that is wrong with a user's fields."""
    from imis_core.places.lookup import resolve_locations, resolve_providers

    known = [*context.settings.roles, ADMINISTRATOR]
    problems = [
        Problem(f"roles.{i}", "unknown", f"there is no role {role!r}{suggestion(role, known)}")
        for i, role in enumerate(roles)
        if role not in known
    ]
    found_places, found_providers = resolve_locations(context, places), resolve_providers(context, providers)
    for what, names, found in (("places", places, found_places), ("providers", providers, found_providers)):
        problems += [
            Problem(f"{what}.{i}", "not_found", f"there is no {what[:-1]} {name!r}")
            for i, name in enumerate(names)
            if name not in found
        ]
    scopes = {context.settings.scope_of(r) for r in roles if r in known}
    if places and "place" not in scopes:
        problems.append(Problem("places", "scope", "none of these roles has the scope place"))
    if providers and "provider" not in scopes:
        problems.append(Problem("providers", "scope", "none of these roles has the scope provider"))
    if password is not None and len(password) < PASSWORD_MIN:
        problems.append(Problem("password", "too_short", f"a password has at least {PASSWORD_MIN} characters"))
    if problems:
        return invalid(*problems)
    return [found_places[p].id for p in places], [found_providers[p].id for p in providers]


@command("users.add", input=AddUser, result=User)
def add(context: Context, items: tuple[AddUser, ...]) -> list[User | Refusal]:
    """Add a user with roles and, for roles of scope place or provider, where they work."""
    return [_add(context, item) for item in items]


def _add(context: Context, item: AddUser) -> User | Refusal:
    if not item.name or len(item.name) > 100 or item.name != item.name.strip() or "@" in item.name or ":" in item.name:
        return invalid(Problem("name", "format", "a name has 1 to 100 characters, no '@' or ':', no outer spaces"))
    checked = _check(context, item.roles, item.places, item.providers, item.password)
    if isinstance(checked, Refusal):
        return checked
    row = context.execute(
        sa.text(
            "INSERT INTO core.users (name, password, roles, places, providers) VALUES "
            "(:name, :password, CAST(:roles AS text[]), CAST(:places AS bigint[]), CAST(:providers AS bigint[])) "
            "ON CONFLICT (name) DO NOTHING RETURNING id"
        ),
        {
            "name": item.name,
            "password": None if item.password is None else hash_password(item.password),
            "roles": list(item.roles),
            "places": checked[0],
            "providers": checked[1],
        },
    ).first()
    if row is None:
        return Refusal("users.name_taken", f"there is a user {item.name!r} already")
    return User(
        id=context.ids.encode("users", row.id),
        name=item.name,
        roles=item.roles,
        places=item.places,
        providers=item.providers,
    )


def _locked(context: Context, name: str) -> Any:
    number = context.ids.decode("users", name)
    condition = users.c.name == name if number is None else users.c.id == number
    return context.execute(sa.select(users).where(condition).with_for_update()).first()


@command("users.change", input=ChangeUser, result=User)
def change(context: Context, items: tuple[ChangeUser, ...]) -> list[User | Refusal]:
    """Change a user's roles, places, providers or password; a new password ends the user's tokens."""
    return [_change(context, item) for item in items]


def _change(context: Context, item: ChangeUser) -> User | Refusal:
    row = _locked(context, item.user)
    if row is None:
        return not_found("user", "user", item.user)
    names = _scope_names(context, [row])[row.id]
    roles = item.roles if item.roles is not None else tuple(row.roles)
    places = item.places if item.places is not None else names[0]
    providers = item.providers if item.providers is not None else names[1]
    checked = _check(context, roles, places, providers, item.password)
    if isinstance(checked, Refusal):
        return checked
    values: dict[str, Any] = {"roles": list(roles), "places": checked[0], "providers": checked[1]}
    if item.password is not None:
        values["password"] = hash_password(item.password)
        _revoke(context, row.id)
    context.execute(sa.update(users).where(users.c.id == row.id).values(**values))
    return User(
        id=context.ids.encode("users", row.id), name=row.name, roles=roles, places=places, providers=providers,
        disabled=row.disabled,
    )  # fmt: skip


def _revoke(context: Context, user: int) -> None:
    context.execute(
        sa.update(tokens).where(tokens.c.user == user, tokens.c.revoked_at.is_(None)).values(revoked_at=context.now)
    )


@command("users.disable", input=DisableUser, result=User)
def disable(context: Context, items: tuple[DisableUser, ...]) -> list[User | Refusal]:
    """Shut a user out at once; what the user did stays."""
    outcomes: list[User | Refusal] = []
    for item in items:
        row = _locked(context, item.user)
        if row is None:
            outcomes.append(not_found("user", "user", item.user))
        elif row.id == context.caller.user:
            outcomes.append(Refusal("users.same_person", "you cannot disable yourself; ask another administrator"))
        else:
            _revoke(context, row.id)
            context.execute(sa.update(users).where(users.c.id == row.id).values(disabled=True))
            names = _scope_names(context, [row])[row.id]
            outcomes.append(
                User(
                    id=context.ids.encode("users", row.id), name=row.name, roles=tuple(row.roles), places=names[0],
                    providers=names[1], disabled=True,
                )
            )  # fmt: skip
    return outcomes


def _scope_names(context: Context, rows: Sequence[Any]) -> dict[int, tuple[tuple[str, ...], tuple[str, ...]]]:
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


@frozen(kw_only=True)
class ListUsers:
    role: str | None = None


@query("users.list", input=ListUsers, result=User, listing=True)
def list_users(context: Context, asked: ListUsers) -> Listing:
    """Users with their roles, places and providers."""
    select = sa.select(users)
    if asked.role is not None:
        select = select.where(users.c.roles.any(asked.role))

    def build(rows: Sequence[Any]) -> list[User]:
        names = _scope_names(context, rows)
        ids = context.ids.encode_all("users", [row.id for row in rows])
        return [
            User(
                id=identity, name=row.name, roles=tuple(row.roles), places=names[row.id][0], providers=names[row.id][1],
                disabled=row.disabled,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (users.c.name,), build, {"name": users.c.name})


COMMANDS = (add, change, disable)
QUERIES = (list_users,)
