"""`imis load`: packages, price lists and reference data from files into the database, the truth from then on."""

from __future__ import annotations

import sys
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
    with state.application() as app:
        from imis_core.imports import load_paths

        report = load_paths(app, paths)
    for file in report.files:
        click.echo(f"{file.path}: {file.loaded} loaded, {file.unchanged} unchanged, {file.refused} refused")
    for path, package in report.packages:
        click.echo(f"{path}: package {package}")
    for problem in report.problems:
        print(f"imis: {problem}", file=sys.stderr)
    return 1 if report.problems else 0
