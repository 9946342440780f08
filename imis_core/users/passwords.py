"""Setting a user's password: the rules, the earlier ones that are not taken again, and the end of all logins."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.errors import Problem
from imis_core.security import lockout
from imis_core.security.passwords import hash_password, password_problems, verify_password
from imis_core.security.tables import earlier_passwords
from imis_core.users.logins import revoke

# Only the newest are kept: what is not compared any more has no reason to lie about.
_KEEP: Final = sa.text(
    'DELETE FROM core.earlier_passwords WHERE "user" = :user AND id NOT IN '
    '(SELECT id FROM core.earlier_passwords WHERE "user" = :user ORDER BY id DESC LIMIT :keep)'
)


def rule_problems(context: Context, name: str, password: str, path: str = "password") -> list[Problem]:
    """What is wrong with a password for the user of that name, whatever was before."""
    return password_problems(password, name, context.settings.security.password_length, path)


def reuse_problems(context: Context, user: Any, password: str, path: str = "password") -> list[Problem]:
    """Whether a user (a row of `users`) had this password lately (`[security] password_history`)."""
    before = context.execute(
        sa.select(earlier_passwords.c.password)
        .where(earlier_passwords.c.user == user.id)
        .order_by(earlier_passwords.c.id.desc())
        .limit(context.settings.security.password_history - 1)
    ).scalars()
    if any(verify_password(stored, password) for stored in (user.password, *before) if stored is not None):
        return [Problem(path, "reused", "this password was used before; take another one")]
    return []


def new_password_values(context: Context, user: Any, password: str, *, must_change: bool) -> dict[str, Any]:
    """The columns of a user's new password; what goes with it is written: all logins end, a lock is lifted."""
    if user.password is not None:
        context.execute(
            sa.insert(earlier_passwords).values(user=user.id, password=user.password, replaced_at=context.now)
        )
        keep = context.settings.security.password_history - 1
        context.execute(_KEEP, {"user": user.id, "keep": keep})
    revoke(context, user.id)
    lockout.forget(context.connection, [lockout.of_name(user.name)])
    return {"password": hash_password(password), "must_change": must_change}
