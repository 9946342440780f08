"""Whom a user may administer: nobody who may do everything, sees everything, or works outside the user's own places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR
from imis_core.errors import Refusal, not_found
from imis_core.places.tables import providers as providers_table
from imis_core.security.tables import users


def beyond(
    context: Context, roles: Sequence[str], places: Sequence[int], providers: Sequence[int]
) -> Refusal | None:  # fmt: skip
    """`permission.denied` for roles, places and providers (by number) that reach further than the caller's own."""
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
    if not caller.everywhere and not (set(places) <= set(caller.places) and _answers_for(context, providers)):
        message = "this user works outside the places and facilities that are yours; ask an administrator"
        return Refusal("permission.denied", message)
    return None


def _answers_for(context: Context, numbers: Sequence[int]) -> bool:
    """Whether all of these providers are the caller's, or stand in the caller's places."""
    wanted = set(numbers)
    if not wanted:
        return True
    p = providers_table.alias("named").c  # `sees_provider` asks the table by its own name
    own = context.execute(sa.select(p.id).where(p.id.in_(wanted), context.caller.sees_provider(p.id))).scalars()
    return wanted == set(own)


def administered(context: Context, name: str) -> Any:
    """The row of a user named by name or outside id, locked, whom the caller may administer; else a `Refusal`."""
    number = context.ids.decode("users", name)
    condition = users.c.name == name if number is None else users.c.id == number
    row = context.execute(sa.select(users).where(condition).with_for_update()).first()
    if row is None:
        return not_found("user", "user", name)
    return beyond(context, row.roles, row.places, row.providers) or row
