"""What every user may do with the own password and logins, whatever the roles (`users.own`)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid
from imis_core.queries import Listing, query
from imis_core.security import lockout
from imis_core.security.caller import OWN
from imis_core.security.passwords import verify_password
from imis_core.security.tables import users
from imis_core.users.logins import EndedLogins, ListOwnLogins, Login, end, logins_of
from imis_core.users.passwords import new_password_values, reuse_problems, rule_problems


@frozen(kw_only=True)
class ChangePassword:
    password: str = field(metadata={"secret": True}, repr=False)
    new_password: str = field(metadata={"secret": True}, repr=False)


@frozen(kw_only=True)
class PasswordChanged:
    name: str


@frozen(kw_only=True)
class EndOwnLogins:
    """One login, or without one all of them, this one too."""

    login: str | None = None


# It cannot wait for a second person: nobody else is to keep one's password meanwhile.
@command("users.change_password", input=ChangePassword, result=PasswordChanged, permission=OWN, approval=True)
def change_password(context: Context, items: tuple[ChangePassword, ...]) -> list[PasswordChanged | Refusal]:
    """Change the own password, with the present one; every login ends, this one too."""
    # Each takes a core for some tenths of a second on purpose, and everybody may: a list of them would be a flood.
    again = invalid(Problem("", "too_many", "change the password once in a request"))
    return [_change(context, item) if number == 0 else again for number, item in enumerate(items)]


def _change(context: Context, item: ChangePassword) -> PasswordChanged | Refusal:
    user: Any = context.execute(sa.select(users).where(users.c.id == context.caller.user).with_for_update()).first()
    subjects = [lockout.of_name(context.caller.name)]
    lockout.check(context.connection, subjects, context.now)
    if user is None or not verify_password(user.password, item.password):
        lockout.count_failure(context.app, subjects)  # whoever found an open browser guesses as slowly as at the door
        return Refusal("users.wrong_password", "the present password is wrong")
    problems = rule_problems(context, user.name, item.new_password, "new_password")
    problems = problems or reuse_problems(context, user, item.new_password, "new_password")
    if problems:
        return invalid(*problems)
    values = new_password_values(context, user, item.new_password, must_change=False)
    context.execute(sa.update(users).where(users.c.id == user.id).values(**values))
    return PasswordChanged(name=user.name)


@command("users.end_own_logins", input=EndOwnLogins, result=EndedLogins, permission=OWN, approval=True)
def end_own_logins(context: Context, items: tuple[EndOwnLogins, ...]) -> list[EndedLogins | Refusal]:
    """End one of the own logins, or all of them."""
    return [end(context, context.caller.user, item.login) for item in items]


@query("users.own_logins", input=ListOwnLogins, result=Login, listing=True, permission=OWN)
def own_logins(context: Context, asked: ListOwnLogins) -> Listing:
    """The own tokens and sessions, the newest first."""
    return logins_of(context, asked, context.caller.user)


COMMANDS = (change_password, end_own_logins)
QUERIES = (own_logins,)
