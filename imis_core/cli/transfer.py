"""`imis import` and `imis export`: files of rows in through the rooms' commands, and listings out into files."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import rich_click as click

from imis_core.cli.session import State, check_name, read_json, work_refused

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.cli.progress import Progress
    from imis_core.security.caller import Caller

# The kinds of `imis_core.imports.kinds`, stated here so that the help needs no application; a test keeps them alike.
KINDS: Final = ("locations", "facilities", "items", "price_lists", "diagnoses", "persons", "households", "claims")
# Names of formats with the media types that the web offers them under.
FORMATS: Final = {
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_BINARY: Final = ("xlsx", "parquet")
_existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("file", type=_existing_file)
@click.option("--lines", type=_existing_file, metavar="FILE", help="The lines of claims.")
@click.option("--map", "mapping", type=_existing_file, metavar="MAP.toml", help="Which column is which field.")
@click.option("--lines-map", "lines_mapping", type=_existing_file, metavar="MAP.toml", help="The same for --lines.")
@click.option(
    "--errors",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where rows that were not loaded are written, to be corrected and imported again.",
)
@click.option("--as", "user", default="administrator", show_default=True, metavar="USER", help="The user who loads.")
@click.pass_obj
def import_command(
    state: State,
    kind: str,
    file: Path,
    lines: Path | None,
    mapping: Path | None,
    lines_mapping: Path | None,
    errors: Path | None,
    user: str,
) -> int:
    """Load the rows of FILE (CSV, XLSX or NDJSON, also gzipped) as KIND; each row is loaded, or listed with its errors.

    Exit code 1 if a row was refused.
    """
    from imis_core.security.login import caller_named

    with state.application() as app:
        caller = caller_named(app, user)
        from imis_core.cli.progress import progress
        from imis_core.imports import import_file

        with progress(f"import {kind}") as bar:
            done = import_file(
                app, kind, file, caller,
                lines=lines, mapping=mapping, lines_mapping=lines_mapping, errors=errors, progress=bar.reach,
            )  # fmt: skip
    click.echo(f"{file}: {done.loaded} loaded, {done.unchanged} unchanged, {done.refused} refused")
    for outcome, count in sorted(done.outcomes.items()):
        click.echo(f"  {count} {outcome}")
    for code, count in sorted(done.reasons.items()):
        print(f"imis: {code}: {count} rows", file=sys.stderr)
    for path in done.error_files:
        print(f"imis: what was not loaded is in {path}; correct it there and import that file", file=sys.stderr)
    return 1 if done.refused or done.error_files else 0


@click.command("export")
@click.argument("query")
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), help="Default: what --output ends in, else csv.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Default: standard output."
)
@click.option("--data", "source", metavar="JSON", help="Its filters: JSON, a file of it, or -.")
@click.option("--as", "user", default="administrator", show_default=True, metavar="USER", help="The user who reads.")
@click.pass_obj
def export_command(
    state: State, query: str, format_: str | None, output: Path | None, source: str | None, user: str
) -> None:
    """Write the whole answer of QUERY into a file: CSV, XLSX, NDJSON or Parquet."""
    file_format = format_ or _format_of(output)
    if output is None and file_format in _BINARY and sys.stdout.isatty():
        raise click.UsageError(f"{file_format} is nothing for a terminal; name a file with --output")
    data = read_json(source, "--data")
    from imis_core.errors import ImisError
    from imis_core.security.login import caller_named

    with state.application() as app:
        check_name(app, query, query=True)
        caller = caller_named(app, user)
        try:
            if output is None:
                with _written(app, query, data, caller, file_format, None) as file:
                    shutil.copyfileobj(file, sys.stdout.buffer)
                return
            from imis_core.cli.progress import progress

            with progress(f"export {query}") as bar, _written(app, query, data, caller, file_format, bar) as file:
                put_in_place(output, file)
        except ImisError as error:
            raise work_refused(error) from None


def _format_of(output: Path | None) -> str:
    suffix = output.suffix.lower().removeprefix(".") if output is not None else ""
    return suffix if suffix in FORMATS else "csv"


def _written(
    app: Application, query: str, data: Any, caller: Caller, file_format: str, bar: Progress | None
) -> IO[bytes]:
    """The answer as a whole file, as the web writes it."""
    from imis_core.queries import export
    from imis_core.web.exports import write_export

    def chunks() -> Iterator[list[Any]]:
        for chunk in export(app, query, data, caller):
            items = chunk if isinstance(chunk, list) else [chunk]  # a query that is no listing answers one object
            yield items
            if bar is not None:
                bar.advance(len(items))

    return write_export(chunks(), app.queries[query].result, FORMATS[file_format])


def put_in_place(target: Path, file: IO[bytes]) -> None:
    """Put the file in place whole; what was there stays if the disk fills up."""
    from imis_core.errors import Refusal, Unavailable

    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with fresh.open("wb") as stream:
            shutil.copyfileobj(file, stream)
        os.replace(fresh, target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        reason = f"{target} cannot be written: {error.strerror}; name another file with --output"
        raise Unavailable(Refusal("files.unwritable", reason)) from None
