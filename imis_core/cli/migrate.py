"""`imis migrate`: the deployment's database, made or brought to the newest revisions."""

from __future__ import annotations

import rich_click as click

from imis_core.cli.session import State


@click.command()
@click.pass_obj
def migrate(state: State) -> None:
    """Make the database, or bring its tables to this version. Safe to repeat."""
    folder = state.deployment
    from imis_core.opening import migrate_deployment

    done = migrate_deployment(folder)
    for moved in done.moved:
        click.echo(f"{moved.plugin}: {moved.current or 'nothing'} -> {moved.head}")
    if not done.moved:
        click.echo(f"database {done.database}: nothing to do")
