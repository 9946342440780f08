"""Whom a user may administer and what he or she may give: nothing and nobody that reaches further.

Who works in places or facilities administers only users whose places and facilities all lie within the own ones; other
users are not there, but for one thing that a deployment has once: a name that is taken. Users who see everything are
neither listed nor shown to such an administrator, and commands on them are refused. An administrator of the whole
deployment who may not do everything makes every user but those who may. Says nothing of who may call the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR
from imis_core.errors import Refusal, not_found
from imis_core.security.tables import users

_WIDTH: Final = {"provider": 0, "place": 1, "all": 2}


def within(context: Context) -> sa.ColumnElement[bool]:
    """Which users (rows of `users`) the caller may see and administer."""
    if context.caller.everywhere:
        return sa.true()
    roles = sa.literal(_wider(context), ARRAY(sa.Text))
    return sa.and_(_places_within(context), sa.not_(users.c.roles.bool_op("&&")(roles)))


def _places_within(context: Context) -> sa.ColumnElement[bool]:
    if context.caller.everywhere:
        return sa.true()
    here = sa.literal(list(context.caller.places), ARRAY(sa.BigInteger))
    one = sa.func.unnest(users.c.providers).column_valued("one_provider")
    elsewhere = sa.exists(sa.select(one).where(sa.not_(context.caller.sees_provider(one))))
    return sa.and_(users.c.places.bool_op("<@")(here), sa.not_(elsewhere))


def _wider(context: Context) -> list[str]:
    """The configured roles whose scope is wider than the widest of the caller's."""
    settings, caller = context.settings, context.caller
    known = [ADMINISTRATOR, *settings.roles]
    own = max((_WIDTH[settings.scope_of(r)] for r in caller.roles if r in known), default=0)
    return [] if caller.everywhere else [r for r in known if _WIDTH[settings.scope_of(r)] > own]


def beyond(context: Context, roles: Sequence[str]) -> Refusal | None:
    """`permission.denied` for roles that may do everything, or see further, when the caller does not."""
    wider = _wider(context)
    for role in roles:  # a user may still have a role that is no longer configured: it gives nothing
        if role in wider or ("*" in _permissions(context, role) and "*" not in context.caller.permissions):
            return _too_far(role)
    return None


def ungiven(context: Context, roles: Sequence[str]) -> Refusal | None:
    """`permission.denied` for roles that the caller may not give, nor a password to who has them.

    Who administers some places gives only what he or she may do; who administers all gives all but everything.
    """
    refusal = beyond(context, roles)
    if refusal is not None or context.caller.everywhere:
        return refusal
    for role in roles:
        if not all(context.caller.may(permission) for permission in _permissions(context, role)):
            return _too_far(role)
    return None


def _permissions(context: Context, role: str) -> tuple[str, ...]:
    known = role == ADMINISTRATOR or role in context.settings.roles
    return context.settings.permissions_of(role) if known else ()


def _too_far(role: str) -> Refusal:
    message = f"the role {role!r} reaches further than your own; ask an administrator"
    return Refusal("permission.denied", message)


def named(context: Context, name: str) -> sa.ColumnElement[bool]:
    """Which user is named by name or outside id."""
    number = context.ids.decode("users", name)
    return users.c.name == name if number is None else users.c.id == number


def administered(context: Context, name: str) -> Any:
    """The row of a user named by name or outside id, locked, whom the caller may administer; else a `Refusal`."""
    select = sa.select(users).where(named(context, name), _places_within(context))
    row = context.execute(select.with_for_update()).first()
    if row is None:
        return not_found("user", "user", name)
    return beyond(context, row.roles) or row
