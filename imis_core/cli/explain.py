"""`imis explain`: why something came out as it did, in words."""

from __future__ import annotations

import rich_click as click

from imis_core.cli.session import State, work_refused


@click.group()
def explain() -> None:
    """Tell in words why something came out as it did."""


@explain.command()
@click.argument("code")
@click.option("--language", metavar="LANG", help="en, fr, ne, sw; by default the deployment's first language.")
@click.option("--as", "user", default="administrator", show_default=True, metavar="USER", help="The user who asks.")
@click.pass_obj
def claim(state: State, code: str, language: str | None, user: str) -> None:
    """The claim CODE: why each line was refused, or what was paid for it, step by step."""
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named

    asked = {"claim": code} | ({} if language is None else {"language": language})
    with state.application() as app:
        caller = caller_named(app, user)
        try:
            found = app.run("claims.explain", asked, caller)
        except ImisError as error:
            raise work_refused(error) from None
    click.echo(found["text"])
