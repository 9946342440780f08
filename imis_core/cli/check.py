"""`imis check`: what is wrong with a deployment, one finding a line. Changes nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from imis_core.cli.session import State

if TYPE_CHECKING:
    from pathlib import Path

    from imis_core.application import Application
    from imis_core.deployment import Settings
    from imis_core.errors import ImisError


@click.command()
@click.pass_obj
def check(state: State) -> int:
    """Check the settings, the plugins, the database and its tables, and whether the files were loaded.

    Exit code 2 if the settings or plugins are wrong, 1 if the database is.
    """
    from imis_core.errors import ImisError

    folder = state.deployment
    try:
        settings = _settings(folder)
    except ImisError as error:
        _wrong(error)
        return error.exit_code
    click.echo(f"settings: {folder / 'imis.toml'}: right")
    click.echo(f"plugins: {', '.join(settings.enabled) or 'none'}: right")
    return _database(state, settings)


def _settings(folder: Path) -> Settings:
    """The settings, checked with the plugins; mistakes of both in one report."""
    from imis_core.application import Composition
    from imis_core.deployment import SettingsError, load_settings, read_toml
    from imis_core.plugins import PluginErrors

    file = str(folder / "imis.toml")
    try:
        settings = load_settings(folder)
    except SettingsError as error:
        plugins = _plugin_problems(read_toml(folder / "imis.toml")) if not _is_unreadable(error) else ()
        raise SettingsError(file, (*error.refusal.problems, *plugins)) from None
    try:
        Composition(settings, file)
    except PluginErrors as error:
        raise SettingsError(file, error.refusal.problems) from None
    return settings


def _is_unreadable(error: ImisError) -> bool:
    return any(
        problem.path == "" and problem.reason in ("syntax", "encoding", "unreadable", "missing")
        for problem in error.refusal.problems
    )


def _plugin_problems(data: dict[str, Any]) -> tuple[Any, ...]:
    """What is wrong with the plugins that a file names, though the file itself has mistakes."""
    from imis_core import __version__, rooms
    from imis_core.plugins import PluginErrors, Plugins

    table = data.get("plugins")
    enabled = table.get("enabled") if isinstance(table, dict) else None
    if not isinstance(enabled, list) or not all(isinstance(name, str) for name in enabled):
        return ()
    try:
        Plugins(enabled, rooms, __version__)
    except PluginErrors as error:
        return error.refusal.problems
    return ()


def _database(state: State, settings: Settings) -> int:
    from imis_core.database.server import EMBEDDED
    from imis_core.errors import ImisError

    if settings.database.url == EMBEDDED and not (state.deployment / "var" / "postgres").is_dir():
        click.echo("database: not made yet; `imis migrate` makes it")
        return 0
    try:
        with state.application() as app:
            url = app.database.url.set(drivername="postgresql")
            click.echo(f"database: {url.render_as_string(hide_password=True)}: reachable")
            click.echo("tables: at the newest revisions")
            return _drift(app, state.deployment)
    except ImisError as error:
        if error.code == "database.not_migrated":
            click.echo("database: has no tables yet; `imis migrate` makes them")
            return 0
        _wrong(error)
        return 1


def _drift(app: Application, folder: Path) -> int:
    """What the deployment's files say that the database does not. Told, but no mistake: the database is the truth."""
    from imis_core.imports import FOLDERS, drift

    lines = drift(app, [folder / name for name in FOLDERS])
    for line in lines:
        click.echo(f"files: {line}")
    if not lines:
        click.echo("files: the data and the packages are in the database as they stand")
    return 0


def _wrong(error: ImisError) -> None:
    """Each mistake on a line of its own."""
    refusal = error.refusal
    for problem in refusal.problems:
        at = f"{problem.path}: " if problem.path else ""
        print("imis:", " ".join(f"{refusal.code}: {at}{problem.message}".split()), file=sys.stderr)
    if not refusal.problems:
        print(f"imis: {refusal.line()}", file=sys.stderr)
