"""`imis demo`: scaffold a deployment, fill it, run a year of its schemes, say what came of it, and serve it.

The year goes through the same doors as any other: files are imported, commands run, a second person approves payments.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from imis_core.application import Application
from imis_core.clock import SetClock
from imis_core.commands import run_command
from imis_core.database import embedded
from imis_core.demo.doors import Doors
from imis_core.demo.files import Sources, currency_of_folder, prepare_sources
from imis_core.demo.schemes import add_schemes
from imis_core.demo.summary import Summary, summarise, text_of
from imis_core.demo.wallet import wallet
from imis_core.demo.year import Year
from imis_core.errors import ImisError, Refusal, refused
from imis_core.imports import FOLDERS, import_file, load_paths
from imis_core.opening import open_application
from imis_core.provider_simulator.process import Running
from imis_core.security.caller import Caller
from imis_core.security.login import caller_named

PRESET: Final = "chad-borsa"
MARKER: Final = ".imis-demo"  # says that the folder is the demo's own and may be made anew
DEFAULT_FOLDER: Final = Path("demo")
PORT: Final = 8000  # where a deployment is served unless it is asked otherwise


def run(
    *, households: int, data: Path | None, seed: int, serve: bool, port: int, folder: Path | None,
    say: Callable[[str], None] = print,
) -> Summary:  # fmt: skip
    """Run the demo; with `serve` it goes on serving until it is told to stop. Running it again begins anew."""
    started = time.monotonic()
    home = folder or DEFAULT_FOLDER
    _clear(home)
    _scaffold(home, data, say)
    sources = prepare_sources(home, data, households=households, seed=seed)
    add_schemes(home)
    clock = SetClock(sources.starts)
    with wallet(home, f"http://127.0.0.1:{port or PORT}") as running:
        summary, password = _year(home, sources, clock, running, started, say)
        say(text_of(summary))
        say(f"The deployment is in {home}; log in as demo with the password {password}")
        if serve:
            from imis_core.web.server import serve as serve_deployment

            serve_deployment(home, "127.0.0.1", port, 1, True, say)
    return summary


def _year(
    home: Path, sources: Sources, clock: SetClock, running: Running, started: float, say: Callable[[str], None]
) -> tuple[Summary, str]:
    """Fill the deployment and walk it through its year; what came of it, and the password of its user."""
    with open_application(home, clock=clock, migrate_first=True) as app:
        _load_reference(app, home, sources, say)
        password = secrets.token_urlsafe(9)
        # Whoever prepares and whoever approves are two persons.
        doors = Doors(app, _user(app, "demo", password), _user(app, "demo-approver", secrets.token_urlsafe(9)))
        year = Year(doors, clock, sources, running)
        year.run()
        summary = summarise(app, home, [scheme.summary() for scheme in year.schemes], time.monotonic() - started)
    return summary, password


def _load_reference(app: Application, home: Path, sources: Sources, say: Callable[[str], None]) -> None:
    """Packages and reference data. Rows of real files may be refused and are told of; the preset's own may not."""
    for given in sources.reference:
        errors = home / "var" / "demo" / f"{given.kind}.errors.csv"
        loaded = import_file(app, given.kind, given.path, app.system, mapping=given.mapping, errors=errors)
        if loaded.refused:
            say(f"{given.path}: {loaded.refused:,} of {loaded.rows:,} rows refused; see {errors}")
    folders = ("packages",) if sources.reference else FOLDERS
    report = load_paths(app, [home / name for name in folders])
    if report.problems:
        raise refused("demo.reference_data", f"the reference data do not load: {report.problems[0]}")
    if not report.packages:
        raise refused("demo.reference_data", f"{home / 'packages'} holds no package; add one, or leave the folder out")


def _clear(home: Path) -> None:
    """Take away an earlier demo; never a folder that is somebody's own."""
    if home.is_file():
        raise refused("demo.folder_not_empty", f"{home} is a file; name another --folder")
    if not home.exists() or not any(home.iterdir()):
        return
    if not (home / MARKER).exists():
        raise refused(
            "demo.folder_not_empty", f"{home} is not empty and was not made by the demo; name another --folder"
        )
    data = home / "var" / "postgres"
    if data.exists():
        if embedded.status(data).in_use:
            raise refused("demo.in_use", f"a demo is running in {home}; stop it first, or name another --folder")
        embedded.remove(data)
    shutil.rmtree(home)


def _scaffold(home: Path, data: Path | None, say: Callable[[str], None]) -> None:
    from imis_core.cli.new import render, template_folder

    home.mkdir(parents=True, exist_ok=True)
    # The mark comes first: a demo that fails half-way may be begun anew.
    (home / MARKER).write_text("made by `imis demo`, which may make it anew\n")
    chosen: dict[str, Any] = {"preset": PRESET}
    answers = data / "answers.yml" if data is not None and (data / "answers.yml").exists() else None
    if data is not None and answers is None and (currency := currency_of_folder(data)) is not None:
        say(f"the prices have decimals and no answers.yml says in which currency: {currency} stands in")
        chosen["currency"] = currency
    render(template_folder(), home, chosen, answers)


def _user(app: Application, name: str, password: str) -> Caller:
    outcome = run_command(
        app, "users.add", [{"name": name, "roles": ["administrator"], "password": password}], app.system
    ).outcomes[0]
    if isinstance(outcome, Refusal):
        raise ImisError(outcome)
    return caller_named(app, name)


__all__ = ["DEFAULT_FOLDER", "run"]
