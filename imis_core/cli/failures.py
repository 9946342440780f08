"""Exceptions as the command line tells them: one line on standard error with the way out, and an exit code."""

from __future__ import annotations

import sys
import traceback

import click

from imis_core.cli import INTERRUPTED
from imis_core.errors import ImisError, Refusal

FAILED = 1
WRONG_INPUT = 2


def tell(error: Exception, *, debug: bool) -> int:
    """Print an error's line (with `debug` its traceback too) and return the exit code."""
    if isinstance(error, click.Abort):
        print("imis: interrupted", file=sys.stderr)
        return INTERRUPTED
    if debug and not isinstance(error, click.ClickException):
        traceback.print_exception(error)
    line, code = describe(error)
    print(f"imis: {line}", file=sys.stderr)
    return code


def describe(error: Exception) -> tuple[str, int]:
    """An error as one line, and its exit code."""
    if isinstance(error, ImisError):
        return error.refusal.line(), error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        way_out = f"; see `{context.command_path} --help`" if context is not None else ""
        return _one_line(f"usage: {error.format_message().rstrip('.')}{way_out}"), WRONG_INPUT
    if (file_problem := _of_files(error)) is not None:
        return file_problem, WRONG_INPUT
    fault = _of_database(error)
    if fault is not None and fault.code == "database.unreachable":
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        return _one_line(f"database.lost: the database went away: {reason}; see that it runs, then repeat"), FAILED
    if fault is not None:
        return fault.line(), FAILED
    return _one_line(f"internal error {type(error).__name__}: {error}; run `imis --debug ...` to see where"), FAILED


def _of_files(error: Exception) -> str | None:
    """The line of a file that cannot be read or mapped; the file room need not be loaded to ask."""
    files = sys.modules.get("imis_core.files")
    if files is not None and isinstance(error, (files.FileProblem, files.MappingProblem)):
        return _one_line(f"{error.code}: {error}")
    return None


def _of_database(error: Exception) -> Refusal | None:
    """A failure of the database; where it is not loaded there is none."""
    if "sqlalchemy.exc" not in sys.modules:
        return None
    from imis_core.database.faults import fault_of

    return fault_of(error)


def _one_line(text: str) -> str:
    return " ".join(text.split())
