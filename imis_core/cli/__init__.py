"""The command line `imis`: each subcommand is a module of its own, imported when it is called. Holds no rule itself.

Starting is cheap on purpose: `imis --help` imports nothing of the application. Whatever goes wrong becomes one line on
standard error and an exit code: 0 done, 1 failed work, 2 wrong input (contract.md, 'Command line').
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

import rich_click as click

from imis_core import __version__
from imis_core.cli.session import State

INTERRUPTED: Final = 130  # as a shell tells of SIGINT
TERMINATED: Final = 143  # as a shell tells of SIGTERM
PIPE_CLOSED: Final = 1  # click's own code for a reader that has gone
# Subcommands in the order of the help: module below this package, and the command in it.
_COMMANDS: Final = {
    "new": ("new", "new"),
    "new-plugin": ("new_plugin", "new_plugin"),
    "check": ("check", "check"),
    "migrate": ("migrate", "migrate"),
    "load": ("load", "load"),
    "serve": ("serve", "serve"),
    "worker": ("serve", "worker"),
    "run": ("run", "run"),
    "import": ("transfer", "import_command"),
    "export": ("transfer", "export_command"),
    "file": ("file", "file"),
    "explain": ("explain", "explain"),
    "simulate": ("simulate", "simulate"),
    "scenario": ("scenario", "scenario"),
    "user": ("user", "user"),
    "cards": ("cards", "cards"),
    "audit": ("audit", "audit"),
    "plugins": ("plugins", "plugins"),
    "doctor": ("doctor", "doctor"),
    "backup": ("backup", "backup"),
    "restore": ("backup", "restore"),
    "upgrade": ("upgrade", "upgrade"),
    "openapi": ("openapi", "openapi"),
    "demo": ("demo", "demo"),
    "provider-simulator": ("provider_simulator", "provider_simulator"),
}


class _Lazy(click.RichGroup):
    """A group whose subcommands are imported when they are called or listed."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name]
        command = getattr(import_module(f"imis_core.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "--deployment",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    envvar="IMIS_DEPLOYMENT",
    help="The deployment's folder, the current one by default (IMIS_DEPLOYMENT).",
)
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.version_option(__version__, prog_name="imis")
@click.pass_obj
def imis(state: State, deployment: Path, debug: bool) -> None:
    """The information system of a social-protection scheme: configure, load, prove, run."""
    state.folder = deployment
    state.debug = debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure is told on one line of standard error."""
    from imis_core.redaction import guarded_standard_error

    state = State()
    with _ended_in_order(), guarded_standard_error():
        return _run(arguments, state)


def _run(arguments: Sequence[str] | None, state: State) -> int:
    try:
        code = imis.main(arguments, prog_name="imis", standalone_mode=False, obj=state)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # The reader has gone; nothing more can be said to it, not even by the interpreter at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        from imis_core.cli.failures import tell

        return tell(error, debug=state.debug)
    except KeyboardInterrupt:
        return INTERRUPTED


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends the work as an error would: throw-away databases are dropped, embedded servers are let go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
