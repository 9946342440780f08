"""The matrix of roles, who holds them, and the administration of users around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

ROLES = {
    "clerk": {"permissions": ["locations.*", "contributions.override"], "scope": "place"},
    "auditor": {"permissions": ["users.role_matrix", "users.roles"]},
    "nothing": {},
}


@pytest.fixture
def site(make_app: Callable[..., TestApp]) -> TestApp:
    app = make_app(plugins=[], settings={"roles": ROLES, "approvals": {"locations.add": {"roles": ["administrator"]}}})
    for name, roles in (("ann", ["clerk"]), ("bob", ["clerk", "auditor"]), ("eve", ["clerk"])):
        app.do("users.add", {"name": name, "roles": roles})
    app.do("users.disable", {"user": "eve"})
    return app


def matrix(app: TestApp, **asked: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = app.do("users.role_matrix", asked)
    return rows


def test_every_role_stands_beside_every_command_and_query(site: TestApp) -> None:
    """Each pair once, the built-in role first, and what is granted is what `may` says for a user of the role."""
    rows = matrix(site)
    roles = ["administrator", *ROLES]
    names = {*site.commands, *site.queries}
    pairs = [(r["role"], r["name"]) for r in rows if r["kind"] != "permission"]
    assert len(pairs) == len(set(pairs)) == len(roles) * len(names)
    for role in roles:
        caller = site.as_user(f"one_{role}", role)
        granted = {r["name"]: r["granted"] for r in rows if r["role"] == role}
        for name, definition in {**site.commands, **site.queries}.items():
            assert granted[name] == caller.may(definition.permission), (role, name)


def test_a_cell_says_by_what_and_in_which_scope(site: TestApp) -> None:
    """The permission that grants it, the role's scope, a second person where one is needed, and how many may."""
    (cell,) = matrix(site, role="clerk", name="locations.add")
    assert cell == {
        "role": "clerk", "scope": "place", "name": "locations.add", "kind": "command", "permission": "locations.add",
        "granted": True, "by": "locations.*", "needs_approval": True, "users": 2,
    }  # fmt: skip
    (cell,) = matrix(site, role="nothing", name="locations.add")
    assert (cell["granted"], cell["by"], cell["users"]) == (False, None, 0)
    (cell,) = matrix(site, role="administrator", name="users.list")
    assert (cell["granted"], cell["by"], cell["scope"]) == (True, "*", "all")


def test_permissions_beside_commands_are_there(site: TestApp) -> None:
    """What a role names that is no command is a row too; everybody's own is granted to all."""
    assert {r["role"]: r["granted"] for r in matrix(site, name="contributions.override")} == {
        "administrator": True, "clerk": True, "auditor": False, "nothing": False,
    }  # fmt: skip
    assert all(r["granted"] for r in matrix(site, name="users.change_password"))
    assert [r["name"] for r in matrix(site, role="nothing", granted=True)] == [
        "users.change_password", "users.end_own_logins", "users.own_logins",
    ]  # fmt: skip


def test_who_holds_a_role_is_listed(site: TestApp) -> None:
    """Active and disabled users apart; a role that imis.toml does not know any more is told."""
    with site.database.command(site.system) as (connection, _):
        connection.exec_driver_sql("UPDATE core.users SET roles = '{clerk,gone}' WHERE name = 'ann'")
    roles = {r["role"]: r for r in site.do("users.roles")}
    assert (roles["clerk"]["users"], roles["clerk"]["disabled_users"]) == (["ann", "bob"], ["eve"])
    assert roles["administrator"]["users"] == ["administrator"]
    assert (roles["gone"]["configured"], roles["gone"]["users"], roles["gone"]["permissions"]) == (False, ["ann"], [])


@pytest.mark.parametrize("asked", [{"role": "clark"}, {"name": "locations.ad"}])
def test_a_near_miss_is_told(site: TestApp, asked: dict[str, str]) -> None:
    """No empty matrix for a name that is none."""
    with pytest.raises(ImisError, match="did you mean") as caught:
        matrix(site, **asked)
    assert caught.value.code == "input.invalid"


def test_it_needs_its_permission(site: TestApp) -> None:
    """Who may do what is not everybody's to know."""
    with pytest.raises(ImisError, match=r"permission\.denied"):
        site.do("users.role_matrix", {}, as_="ann")
    assert site.do("users.role_matrix", {"role": "clerk", "granted": True}, as_="bob")


def test_a_user_is_shown(site: TestApp) -> None:
    """Roles, places, last login, what is logged in; by name or id; nothing of the password but whether there is one."""
    shown = site.do("users.show", {"user": "ann"})
    assert (shown["roles"], shown["has_password"], shown["last_login"], shown["logins"]) == (["clerk"], False, None, 0)
    assert site.do("users.show", {"user": shown["id"]}) == shown
    with pytest.raises(ImisError, match="not_found"):
        site.do("users.show", {"user": "nobody"})


def test_nobody_reaches_up(site: TestApp) -> None:
    """Who administers users neither enables, nor unlocks, nor logs out an administrator."""
    site.do("users.add", {"name": "root", "roles": ["administrator"]})
    with site.database.command(site.system) as (connection, _):
        connection.exec_driver_sql("UPDATE core.users SET roles = '{clerk}' WHERE name = 'bob'")
    lesser = site.as_user("bob")
    lesser = type(lesser)(lesser.user, "bob", ("clerk",), frozenset({"users.*"}), False)
    for name, data in (
        ("users.enable", {"user": "root"}),
        ("users.unlock", {"user": "root"}),
        ("users.end_logins", {"user": "root"}),
        ("users.change", {"user": "root", "must_change": True}),
    ):
        with pytest.raises(ImisError, match=r"permission\.denied"):
            site.do(name, data, as_=lesser)
    assert site.do("users.enable", {"user": "eve"}, as_=lesser)["disabled"] is False
