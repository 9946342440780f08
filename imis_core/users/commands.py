"""Administration of users: add, change, disable, list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.places.lookup import resolve_locations, resolve_providers
from imis_core.queries import Listing, query
from imis_core.security.passwords import PASSWORD_MIN, hash_password
from imis_core.security.tables import tokens, users


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
    beyond = _beyond(context, roles)
    if beyond is not None:
        return beyond
    return [found_places[p].id for p in places], [found_providers[p].id for p in providers]


def _beyond(context: Context, roles: Sequence[str]) -> Refusal | None:
    """Nobody makes or changes a user who may do everything, or sees everything, without being such a user."""
    settings, caller = context.settings, context.caller
    for role in roles:
        if role == ADMINISTRATOR:
            permissions: Sequence[str] = ("*",)
        else:  # a user may still have a role that is no longer configured: it gives nothing
            permissions = settings.roles[role].permissions if role in settings.roles else ()
        everything = "*" in permissions and "*" not in caller.permissions
        everywhere = bool(permissions) and settings.scope_of(role) == "all" and not caller.everywhere
        if everything or everywhere:
            message = f"the role {role!r} reaches further than your own; ask an administrator"
            return Refusal("permission.denied", message)
    return None


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
    refusal = _beyond(context, row.roles) or _own(context, row, item)
    if refusal is not None:
        return refusal
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


def _own(context: Context, row: Any, item: ChangeUser) -> Refusal | None:
    """Who may not do everything does not widen his or her own reach; the own password may always be changed."""
    asked = (item.roles, item.places, item.providers)
    if row.id != context.caller.user or "*" in context.caller.permissions or asked == (None, None, None):
        return None
    return Refusal("users.same_person", "you cannot change your own roles and places; ask somebody else")


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
        elif (refusal := _beyond(context, row.roles)) is not None:
            outcomes.append(refusal)
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
    """Users in order of creation, with their roles, places and providers."""
    select = sa.select(users)
    if asked.role is not None:
        select = select.where(sa.literal(asked.role) == sa.any_(users.c.roles))

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

    return Listing(select, (users.c.id,), build, {"name": users.c.name})


COMMANDS = (add, change, disable)
QUERIES = (list_users,)
