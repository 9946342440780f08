"""`imis scenario`: runs scenario files on throw-away databases and tells which steps failed."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from imis_core.cli.session import State

if TYPE_CHECKING:
    from imis_core.scenarios.runner import ScenarioResult


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--database", metavar="URL", help="A server for the databases; default: a temporary embedded one.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each file.")
@click.pass_obj
def scenario(state: State, files: tuple[Path, ...], database: str | None, as_json: bool) -> int:
    """Run scenario files, each on a fresh database of its own.

    Exit code 0 if all passed, 1 if a step failed, 2 if a file is wrong.
    """
    from imis_core.errors import ImisError, Unavailable
    from imis_core.opening import playground
    from imis_core.scenarios.files import read_scenario
    from imis_core.scenarios.runner import ScenarioResult, run

    exit_code = 0
    with ExitStack() as stack:
        ground = None
        for path in files:
            try:
                read = read_scenario(path)
                if ground is None:  # a wrong file is told before a database server is started for it
                    ground = stack.enter_context(playground(database))
                result = run(read, ground)
            except Unavailable:
                raise
            except ImisError as error:
                exit_code = max(exit_code, error.exit_code)
                print(f"imis: {error.refusal.line()}", file=sys.stderr)
                if as_json:
                    _print_json(ScenarioResult.unreadable(str(path), error.refusal.line()))
                continue
            if not result.passed:
                exit_code = max(exit_code, 1)
            if as_json:
                _print_json(result)
            else:
                _print(result)
    return exit_code


def _print_json(result: ScenarioResult) -> None:
    click.echo(json.dumps(result.as_json(), ensure_ascii=False))


def _print(result: ScenarioResult) -> None:
    verdict = "passed" if result.passed else f"FAILED ({len(result.failures)})"
    click.echo(f"{result.file}: {verdict}, {result.steps} steps: {result.title}")
    for failure in result.failures:
        name = f" ({failure.name})" if failure.name else ""
        click.echo(f"  step {failure.step} {failure.do}{name}: {failure.reason}")
