"""`imis upgrade`: the embedded database to the installed PostgreSQL major. What it does is in `operations.upgrade`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from imis_core.cli.backup import megabytes
from imis_core.cli.session import State


@click.command()
@click.option(
    "--old-programs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder with the old version's `postgres`.",
)
@click.pass_obj
def upgrade(state: State, old_programs: Path | None) -> None:
    """Bring the embedded database to the installed major version of PostgreSQL, by dump and restore.

    Stop the deployment and back it up first. The old cluster is kept beside the new one.
    """
    folder = state.deployment
    from imis_core.operations.upgrade import upgrade as run

    with megabytes("upgrade") as told:
        done = run(folder, old_programs, told)
    if done is None:
        click.echo("the embedded database is of the installed version: nothing to do")
        return
    click.echo(f"PostgreSQL {done.before} -> {done.after}; the old data are kept in {done.kept}: delete them in a week")
