"""Users for rooms and plugins: found by name or outside id, and named again, in one statement for a whole batch.

Nothing of a user's password, roles or scope is told here.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.security.tables import users


@frozen
class UserRow:
    """A user as others see him or her."""

    id: int
    name: str
    disabled: bool


def resolve_users(context: Context, refs: Iterable[str]) -> dict[str, UserRow]:
    """The users that are named by name or outside id; others are left out."""
    columns = (users.c.id, users.c.name, users.c.disabled)
    return {name: UserRow(*row) for name, row in context.named(users, refs, *columns, by="name")}


def user_names(context: Context, numbers: Iterable[int]) -> dict[int, str]:
    """The names of users by number; of the application itself `system`."""
    wanted = sorted(set(numbers))
    if not wanted:
        return {}
    rows = context.execute(sa.select(users.c.id, users.c.name).where(users.c.id == any_of(wanted)))
    names = {row.id: row.name for row in rows}
    return {number: names.get(number, "system") for number in wanted}
