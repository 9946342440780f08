"""`imis audit`: whether the sealed logs are what they were when they were sealed. The check is `audit_verification`."""

from __future__ import annotations

import json
from pathlib import Path

import rich_click as click

from imis_core.cli.session import State


@click.group()
def audit() -> None:
    """The sealed log of what was done, and who read whom."""


@audit.command()
@click.option(
    "--seals",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A log file or the seals of a backup: every seal in it must still be there. May be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a log instead of sentences.")
@click.pass_obj
def verify(state: State, files: tuple[Path, ...], as_json: bool) -> int:
    """Check the sealed logs: what was sealed, what is not sealed yet, and each entry that is not what was sealed.

    Exit code 1 if an entry was changed, removed, inserted or moved, or if seals are missing.
    """
    from imis_core.audit_verification import seals_of_lines, told_in_words
    from imis_core.audit_verification import verify as verify_logs
    from imis_core.parsing import plain

    with state.application() as app:
        kept = []
        for path in files:
            with path.open("r", encoding="utf-8", errors="replace") as lines:
                kept += list(seals_of_lines(lines))
        found = verify_logs(app, kept)
    for one in found:
        if as_json:
            click.echo(json.dumps({**plain(one), "whole": one.is_whole}, sort_keys=True))
        else:
            for line in told_in_words(one):
                click.echo(line)
    return 0 if all(one.is_whole for one in found) else 1
