"""`imis file`: a stored file out of the deployment onto this disk, as a user who may see it."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from imis_core.cli.session import State, work_refused
from imis_core.cli.transfer import put_in_place


@click.command()
@click.argument("attachment", metavar="ID")
@click.option(
    "--out", "--output", "output", required=True, metavar="PATH", help="Where the file is written.",
    type=click.Path(dir_okay=False, path_type=Path),
)  # fmt: skip
@click.option("--as", "user", default="administrator", show_default=True, metavar="USER", help="The user who reads.")
@click.pass_obj
def file(state: State, attachment: str, output: Path, user: str) -> None:
    """Write the stored file ID (an attachment, such as a cash list) to PATH."""
    from imis_core.attachments.streaming import open_file
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named

    with state.application() as app:
        caller = caller_named(app, user)
        try:
            found = open_file(app, attachment, caller)
            with found.content:
                put_in_place(output, found.content)
        except ImisError as error:
            raise work_refused(error) from None
    click.echo(f"{output}: {found.name}, {found.size} bytes")
