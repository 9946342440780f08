"""`imis load`: packages, price lists and reference data from files into the database, the truth from then on."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from imis_core.cli.session import State


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.pass_obj
def load(state: State, paths: tuple[Path, ...]) -> int:
    """Load the files PATH... and all files in folders; what is loaded already does nothing.

    Exit code 1 if something was refused.
    """
    refused = 0
    with state.application() as app:
        from imis_core.imports import load_paths

        for loaded in load_paths(app, paths):
            refused += loaded.refused
            click.echo(f"{loaded.path}: {loaded.loaded} loaded, {loaded.unchanged} unchanged, {loaded.refused} refused")
    return 1 if refused else 0
