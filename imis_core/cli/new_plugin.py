"""`imis new-plugin`: the folder of a plugin that is green from the start, from the template of the framework."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Final

import rich_click as click

FIRST_NUMBER: Final = 10_000  # below are those of the framework's own plugins
LAST_NUMBER: Final = 1_000_000


@click.command("new-plugin")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--name", metavar="NAME", help="Name of the plugin; by default that of the folder, without `imis-`.")
@click.option("--title", metavar="WORDS", help="What it is for, in a few words.")
@click.option(
    "--number", type=click.IntRange(1000), metavar="N", help="Number of its first noun; by default made from the name."
)
def new_plugin(folder: Path, name: str | None, title: str | None, number: int | None) -> None:
    """Make a new plugin in the folder DIR: a kind of scheme with tables, commands, queries, payrolls and tests."""
    from imis_core.cli.new import render, template_folder
    from imis_core.errors import Problem, refused
    from imis_core.plugins import RESERVED

    if folder.exists() and any(folder.iterdir()):
        raise refused("new.folder_not_empty", f"{folder} is not empty; name a folder that is new or empty")
    chosen = name or folder.resolve().name.lower().replace("-", "_").removeprefix("imis_")
    if not re.fullmatch(r"(?!pg_)[a-z][a-z0-9_]{0,29}", chosen) or chosen in RESERVED:
        message = f"{chosen!r} cannot be a plugin's name: at most 30 lower case letters, digits and underscores"
        raise refused("new.plugin_name", "name the plugin otherwise, with --name", Problem("name", "format", message))
    data = {"name": chosen, "number": number or _number(chosen)}
    if title is not None:
        data["title"] = title
    render(template_folder("plugin"), folder, data, None)
    click.echo(f"{folder} is ready; next, in that folder: pip install --editable . and pytest")


def _number(name: str) -> int:
    """A number for the plugin's nouns that others hardly have: it goes into outside ids, so it never changes."""
    return FIRST_NUMBER + zlib.crc32(name.encode()) % ((LAST_NUMBER - FIRST_NUMBER) // 10) * 10
