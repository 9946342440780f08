"""`imis backup` and `imis restore`: a deployment into one file, and back. What they do is in `operations`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from imis_core.cli.progress import progress
from imis_core.cli.session import State

if TYPE_CHECKING:
    from imis_core.operations.archive import Told

_MB: Final = 1_000_000


@click.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR|FILE")
@click.option("--without-keys", is_flag=True, help="Leave the keys out, to be kept elsewhere.")
@click.option(
    "--keep", type=click.IntRange(1, 10_000), metavar="N", help="Then remove the oldest in DIR, so that N are left."
)
@click.option("--anonymise", is_flag=True, help="A copy for training: nobody in it is to be found again.")
@click.pass_obj
def backup(state: State, target: Path, without_keys: bool, keep: int | None, anonymise: bool) -> None:
    """Write database, stored files, settings and keys into one archive, while the deployment runs.

    Nothing is overwritten; the archive is readable by its owner only.
    """
    folder = state.deployment
    from imis_core.operations.backup import back_up

    if anonymise:
        if without_keys or keep is not None:
            raise click.UsageError("--anonymise goes with no other option", click.get_current_context())
        from imis_core.operations.anonymise import back_up_anonymised

        with megabytes("anonymise") as told:
            copy = back_up_anonymised(folder, target, told)
        click.echo(f"{copy.path}: {copy.bytes / _MB:,.1f} MB, {copy.rows:,} rows, anonymised, {copy.seconds:.1f} s")
        return
    with megabytes("backup") as told:
        done = back_up(folder, target, with_keys=not without_keys, keep=keep, told=told)
    click.echo(
        f"{done.path}: {done.bytes / _MB:,.1f} MB, {done.rows:,} rows, {done.files:,} attachments, {done.seconds:.1f} s"
    )
    for path in done.removed:
        click.echo(f"{path}: removed, older than the newest {keep}")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only read the archive through and say what is in it.")
@click.pass_obj
def restore(state: State, file: Path, check: bool) -> int:
    """Restore the archive FILE into this folder and its empty database, whole or not at all.

    A folder without imis.toml gets the archive's settings; settings that are there stay. Exit code 1 if the audit
    is not what was sealed (it was not when the backup was made, either).
    """
    with megabytes("check" if check else "restore") as told:
        if check:
            from imis_core.operations.archive import read_archive

            manifest = read_archive(file, told).manifest
        else:
            from imis_core.operations.restore import restore as run

            done = run(state.folder, file, told)
    if check:
        click.echo(
            f"{file}: whole; {manifest['deployment']} of {manifest['made_at']}, imis {manifest['imis']}, "
            f"{sum(manifest['rows'].values()):,} rows, {manifest['attachments']['count']:,} attachments"
        )
        return 0
    click.echo(
        f"database {done.database}: {done.rows:,} rows and {done.files:,} files in {done.seconds:.1f} s; counts as in "
        "the backup, ledger zero"
    )
    for name in done.kept:
        click.echo(f"{name}: kept as it is here; the backup's differs")
    for line in done.audit:
        click.echo(line)
    click.echo(f"next: {'`imis migrate`, `imis audit verify`, then ' if done.behind else ''}`imis check`")
    return 0 if done.audit_is_whole else 1


@contextmanager
def megabytes(title: str) -> Iterator[Told]:
    """Progress in whole megabytes of the bytes that are told."""
    with progress(title, unit="MB") as bar:
        rest = 0

        def told(count: int) -> None:
            nonlocal rest
            rest += count
            if rest >= _MB:
                bar.advance(rest // _MB)
                rest %= _MB

        yield told
