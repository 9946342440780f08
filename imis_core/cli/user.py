"""`imis user`: users are added and given passwords by whoever holds the deployment's folder."""

from __future__ import annotations

import sys
from typing import Any

import rich_click as click

from imis_core.cli.session import State, work_refused

_MUST_CHANGE = click.option("--must-change", is_flag=True, help="The user chooses another one at the next login.")


@click.group()
def user() -> None:
    """Add users and set their passwords."""


@user.command()
@click.argument("name")
@click.option(
    "--role", "roles", multiple=True, required=True, metavar="R", help="A role of imis.toml; may be repeated."
)
@click.option("--place", "places", multiple=True, metavar="P", help="Where a role of scope place works.")
@click.option("--provider", "providers", multiple=True, metavar="P", help="For whom a role of scope provider works.")
@_MUST_CHANGE
@click.pass_obj
def add(
    state: State, name: str, roles: tuple[str, ...], places: tuple[str, ...], providers: tuple[str, ...],
    must_change: bool,
) -> None:  # fmt: skip
    """Add the user NAME; the password is read from standard input."""
    data = {
        "name": name, "roles": roles, "places": places, "providers": providers, "password": _password(),
        "must_change": must_change,
    }  # fmt: skip
    _run(state, "users.add", data, f"user {name} is added")


@user.command()
@click.argument("name")
@_MUST_CHANGE
@click.pass_obj
def passwd(state: State, name: str, must_change: bool) -> None:
    """Give the user NAME a new password, read from standard input; logins with the old one end, a lock is lifted."""
    data = {"user": name, "password": _password(), "must_change": must_change}
    _run(state, "users.change", data, f"the password of {name} is changed")


def _password() -> str:
    """The password: asked for twice on a terminal, else the first line of standard input."""
    if sys.stdin.isatty():
        answer = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        assert isinstance(answer, str)
        return answer
    line = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not line:
        raise click.UsageError("no password on standard input", click.get_current_context())
    return line


def _run(state: State, command: str, data: dict[str, Any], done: str) -> None:
    from imis_core.deployment import ADMINISTRATOR
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named

    with state.application() as app:
        try:
            result = app.run(command, data, caller_named(app, ADMINISTRATOR))
        except ImisError as error:
            raise work_refused(error) from None
    awaiting = isinstance(result, dict) and "approval" in result
    click.echo(f"{command} awaits the approval {result['approval']}" if awaiting else done)
