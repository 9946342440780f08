"""`imis demo`: a deployment with invented people to look at. The work is in `imis_core.demo`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click


@click.command()
@click.option("--households", default=2000, show_default=True, type=click.IntRange(1), metavar="N", help="How many.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Real files instead of invented ones: households, claims, claim_lines, reference data, maps/ (docs/demo.md).",
)
@click.option("--seed", default=1, show_default=True, type=int, help="The same seed invents the same people.")
@click.option("--serve/--no-serve", default=True, show_default=True, help="Serve the deployment when it is ready.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), metavar="P")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where to make it (default: demo).",
)
def demo(households: int, data: Path | None, seed: int, serve: bool, port: int, folder: Path | None) -> None:
    """Make a deployment, fill it with invented households and claims, and serve it."""
    from imis_core.demo import run

    run(households=households, data=data, seed=seed, serve=serve, port=port, folder=folder)
