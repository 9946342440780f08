"""`imis provider-simulator`: a payment provider to try payments against. What it does is in the room of that name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import rich_click as click

SECRET_VARIABLE: Final = "IMIS_SIMULATOR_SECRET"  # noqa: S105 - the name of the variable that holds it
TOKEN_VARIABLE: Final = "IMIS_SIMULATOR_TOKEN"  # noqa: S105 - the name of the variable that holds it


@click.command("provider-simulator")
@click.option(
    "--folder", required=True, metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Of its books."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H", help="The address to listen on.")
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), metavar="P", help="0: any free one."
)
@click.option(
    "--watch", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Also take bank files and cash lists that are put into DIR/in, and answer in DIR/out.",
)  # fmt: skip
def provider_simulator(folder: Path, host: str, port: int, watch: Path | None) -> None:
    """Play a payment provider until it is told to stop; it pays nobody.

    Prints its address as a line of JSON when it is ready. IMIS_SIMULATOR_SECRET signs its callbacks,
    IMIS_SIMULATOR_TOKEN, if it is set, is what requests must bear. How it behaves: POST /behaviour.
    """
    import asyncio

    from imis_core.provider_simulator.simulator import Options, run

    options = Options(
        folder=folder, host=host, port=port, watch=watch, secret=os.environ.get(SECRET_VARIABLE, ""),
        token=os.environ.get(TOKEN_VARIABLE, ""),
    )  # fmt: skip
    asyncio.run(run(options, click.echo))
