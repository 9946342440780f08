"""What roles may: the matrix of roles and permissions, and who holds them. Roles are made in imis.toml, not here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.queries import query
from imis_core.security.caller import OWN
from imis_core.security.tables import users
from imis_core.users.reach import within


@frozen(kw_only=True)
class ListRoles:
    pass


@frozen(kw_only=True)
class Role:
    """A role with who holds it; `configured` false: users still have it, but imis.toml does not know it any more."""

    role: str
    scope: str | None
    permissions: tuple[str, ...]
    configured: bool
    users: tuple[str, ...]
    disabled_users: tuple[str, ...]


@frozen(kw_only=True)
class AskMatrix:
    """`name`: of one command or query; `granted`: only what is (or is not) granted."""

    role: str | None = None
    name: str | None = None
    granted: bool | None = None


@frozen(kw_only=True)
class Cell:
    """Whether a role may use a command or query, and by which of its permissions; `users`: how many may by it."""

    role: str
    scope: str
    name: str
    kind: Literal["command", "query", "permission"]
    permission: str
    granted: bool
    by: str | None
    needs_approval: bool
    users: int


def _holders(context: Context) -> dict[str, list[tuple[str, bool]]]:
    """Name and whether disabled of each role's users within the caller's reach, by role."""
    found: dict[str, list[tuple[str, bool]]] = {}
    select = sa.select(users.c.name, users.c.disabled, users.c.roles).where(within(context))
    for row in context.execute(select.order_by(users.c.id)):
        for role in row.roles:
            found.setdefault(role, []).append((row.name, row.disabled))
    return found


@query("users.roles", input=ListRoles, result=Role, listing=True)
def list_roles(context: Context, asked: ListRoles) -> list[Role]:
    """Roles with their permissions and scope, and the users who hold them."""
    settings, holders = context.settings, _holders(context)
    configured = [ADMINISTRATOR, *settings.roles]
    return [
        Role(
            role=role,
            scope=settings.scope_of(role) if role in configured else None,
            permissions=settings.permissions_of(role) if role in configured else (),
            configured=role in configured,
            users=tuple(name for name, disabled in holders.get(role, ()) if not disabled),
            disabled_users=tuple(name for name, disabled in holders.get(role, ()) if disabled),
        )
        for role in [*configured, *sorted(set(holders) - set(configured))]
    ]


@query("users.role_matrix", input=AskMatrix, result=Cell, listing=True)
def role_matrix(context: Context, asked: AskMatrix) -> list[Cell] | Refusal:
    """Every role with every command, query and other permission: granted or not, by what, and in which scope."""
    settings = context.settings
    roles = [ADMINISTRATOR, *settings.roles]
    surfaces = list(_surfaces(context))
    problems = []
    if asked.role is not None and asked.role not in roles:
        problems.append(Problem("role", "unknown", f"there is no role {asked.role!r}{suggestion(asked.role, roles)}"))
    names = [name for name, _, _ in surfaces]
    if asked.name is not None and asked.name not in names:
        message = f"there is no command or query {asked.name!r}{suggestion(asked.name, names)}"
        problems.append(Problem("name", "unknown", message))
    if problems:
        return invalid(*problems)
    holders = _holders(context)
    cells = []
    for role in [r for r in roles if asked.role in (None, r)]:
        permissions, scope = settings.permissions_of(role), settings.scope_of(role)
        active = sum(not disabled for _, disabled in holders.get(role, ()))
        for name, kind, permission in surfaces:
            by = _granting(permissions, permission)
            if asked.name not in (None, name) or asked.granted not in (None, by is not None):
                continue
            cells.append(
                Cell(
                    role=role, scope=scope, name=name, kind=kind, permission=permission, granted=by is not None, by=by,
                    needs_approval=name in settings.approvals, users=active,
                )
            )  # fmt: skip
    return cells


def _surfaces(context: Context) -> Iterator[tuple[str, Literal["command", "query", "permission"], str]]:
    """Name, kind and permission of everything that is granted: commands, queries, and what roles name beside them."""
    app = context.app
    commands = [(c.name, c.permission) for c in app.commands.values()]
    queries = [(q.name, q.permission) for q in app.queries.values()]
    yield from ((name, "command", permission) for name, permission in sorted(commands))
    yield from ((name, "query", permission) for name, permission in sorted(queries))
    known = {permission for _, permission in (*commands, *queries)} | {name for name, _ in (*commands, *queries)}
    named = {p for role in context.settings.roles.values() for p in role.permissions if not p.endswith("*")}
    yield from ((permission, "permission", permission) for permission in sorted(named - known))


def _granting(permissions: tuple[str, ...], wanted: str) -> str | None:
    """Which of a role's permissions grants one; `users.own` is everybody's."""
    if wanted == OWN:
        return OWN
    noun = wanted.partition(".")[0]
    return next((p for p in (wanted, f"{noun}.*", "*") if p in permissions), None)


QUERIES = (list_roles, role_matrix)
