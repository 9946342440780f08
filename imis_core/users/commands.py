"""Administration of users: add, change, disable, enable. Their logins are in `logins`, what they may do in `roles`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.places.lookup import resolve_locations, resolve_providers
from imis_core.security.passwords import hash_password
from imis_core.security.tables import users
from imis_core.users.logins import revoke
from imis_core.users.passwords import new_password_values, rule_problems
from imis_core.users.queries import User, scope_names
from imis_core.users.reach import administered, beyond, ungiven


@frozen(kw_only=True)
class AddUser:
    """`must_change`: the user chooses an own password at the first login."""

    name: str
    roles: tuple[str, ...]
    places: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    password: str | None = field(default=None, metadata={"secret": True}, repr=False)
    must_change: bool = False


@frozen(kw_only=True)
class ChangeUser:
    """Fields that are absent stay as they are; a new password needs not be changed unless `must_change` says so."""

    user: str
    roles: tuple[str, ...] | None = None
    places: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    password: str | None = field(default=None, metadata={"secret": True}, repr=False)
    must_change: bool | None = None


@frozen(kw_only=True)
class DisableUser:
    user: str
    reason: str | None = None


@frozen(kw_only=True)
class EnableUser:
    user: str
    reason: str | None = None


def _check(
    context: Context, name: str, roles: Sequence[str], places: Sequence[str], providers: Sequence[str],
    password: str | None, *, given: bool,
) -> tuple[list[int], list[int]] | Refusal:  # fmt: skip
    """Numbers of the places and providers, or all that is wrong with a user's fields.

    `given`: the roles or a password are new, so that they are the caller's to give.
    """
    known = [*context.settings.roles, ADMINISTRATOR]
    problems = [
        Problem(f"roles.{i}", "unknown", f"there is no role {role!r}{suggestion(role, known)}")
        for i, role in enumerate(roles)
        if role not in known
    ]
    found_places = resolve_locations(context, places, within_scope=True)
    found_providers = resolve_providers(context, providers, within_scope=True)
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
    if password is not None:
        problems += rule_problems(context, name, password)
    if problems:
        return invalid(*problems)
    too_far = ungiven(context, roles) if given else beyond(context, roles)
    if too_far is not None:
        return too_far
    return [found_places[p].id for p in places], [found_providers[p].id for p in providers]


@command("users.add", input=AddUser, result=User)
def add(context: Context, items: tuple[AddUser, ...]) -> list[User | Refusal]:
    """Add a user with roles and, for roles of scope place or provider, where they work."""
    return [_add(context, item) for item in items]


def _add(context: Context, item: AddUser) -> User | Refusal:
    if not item.name or len(item.name) > 100 or item.name != item.name.strip() or "@" in item.name or ":" in item.name:
        return invalid(Problem("name", "format", "a name has 1 to 100 characters, no '@' or ':', no outer spaces"))
    checked = _check(context, item.name, item.roles, item.places, item.providers, item.password, given=True)
    if isinstance(checked, Refusal):
        return checked
    row = context.execute(
        sa.text(
            "INSERT INTO core.users (name, password, must_change, roles, places, providers) VALUES "
            "(:name, :password, :must_change, CAST(:roles AS text[]), CAST(:places AS bigint[]), "
            "CAST(:providers AS bigint[])) "
            "ON CONFLICT (name) DO NOTHING RETURNING id"
        ),
        {
            "name": item.name,
            "password": None if item.password is None else hash_password(item.password),
            "must_change": item.must_change,
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
        must_change=item.must_change,
    )


@command("users.change", input=ChangeUser, result=User)
def change(context: Context, items: tuple[ChangeUser, ...]) -> list[User | Refusal]:
    """Change a user's roles, places, providers or password; a new password ends the user's tokens."""
    return [_change(context, item) for item in items]


def _change(context: Context, item: ChangeUser) -> User | Refusal:
    row = administered(context, item.user)
    if isinstance(row, Refusal):
        return row
    refusal = _own(context, row, item)
    if refusal is not None:
        return refusal
    names = scope_names(context, [row])[row.id]
    roles = item.roles if item.roles is not None else tuple(row.roles)
    places = item.places if item.places is not None else names[0]
    providers = item.providers if item.providers is not None else names[1]
    # A new password for oneself is no reach that somebody gains.
    given = item.roles is not None or (item.password is not None and row.id != context.caller.user)
    checked = _check(context, row.name, roles, places, providers, item.password, given=given)
    if isinstance(checked, Refusal):
        return checked
    values: dict[str, Any] = {"roles": list(roles), "places": checked[0], "providers": checked[1]}
    if item.password is not None:
        values |= new_password_values(context, row, item.password, must_change=bool(item.must_change))
    elif item.must_change is not None:
        values["must_change"] = item.must_change
    context.execute(sa.update(users).where(users.c.id == row.id).values(**values))
    return User(
        id=context.ids.encode("users", row.id), name=row.name, roles=roles, places=places, providers=providers,
        disabled=row.disabled, must_change=values.get("must_change", row.must_change),
    )  # fmt: skip


def _own(context: Context, row: Any, item: ChangeUser) -> Refusal | None:
    """Who may not do everything does not widen his or her own reach; the own password may always be changed."""
    asked = (item.roles, item.places, item.providers)
    if row.id != context.caller.user or "*" in context.caller.permissions or asked == (None, None, None):
        return None
    return Refusal("users.same_person", "you cannot change your own roles and places; ask somebody else")


@command("users.disable", input=DisableUser, result=User)
def disable(context: Context, items: tuple[DisableUser, ...]) -> list[User | Refusal]:
    """Shut a user out at once; what the user did stays."""
    return [_switch(context, item.user, disabled=True) for item in items]


@command("users.enable", input=EnableUser, result=User)
def enable(context: Context, items: tuple[EnableUser, ...]) -> list[User | Refusal]:
    """Let a disabled user log in again; logins that ended stay so."""
    return [_switch(context, item.user, disabled=False) for item in items]


def _switch(context: Context, name: str, *, disabled: bool) -> User | Refusal:
    row = administered(context, name)
    if isinstance(row, Refusal):
        return row
    if disabled and row.id == context.caller.user:
        return Refusal("users.same_person", "you cannot disable yourself; ask another administrator")
    if disabled:
        revoke(context, row.id)
    if row.disabled != disabled:
        context.execute(sa.update(users).where(users.c.id == row.id).values(disabled=disabled))
    names = scope_names(context, [row])[row.id]
    return User(
        id=context.ids.encode("users", row.id), name=row.name, roles=tuple(row.roles), places=names[0],
        providers=names[1], disabled=disabled, must_change=row.must_change,
    )  # fmt: skip


COMMANDS = (add, change, disable, enable)
