"""`imis doctor`: the findings of `operations.doctor`, as lines or as JSON, and an exit code for a monitor."""

from __future__ import annotations

import json
from typing import Final

import rich_click as click

from imis_core.cli.session import State

_MARKS: Final = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "error": "ERROR  "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--strict", is_flag=True, help="Warnings count as errors for the exit code.")
@click.pass_obj
def doctor(state: State, as_json: bool, strict: bool) -> int:
    """Examine the deployment: settings, plugins, database, tables, queue, outbox, disk, clock, keys, backups.

    Each finding has its remedy. Exit code 1 if one is an error.
    """
    folder = state.deployment
    from imis_core.operations.doctor import examine, worst

    findings = examine(folder)
    gravest = worst(findings)
    if as_json:
        click.echo(json.dumps({"worst": gravest, "findings": [f.as_json() for f in findings]}, indent=1))
    else:
        for finding in findings:
            click.echo(f"{_MARKS[finding.severity]} {finding.area}: {' '.join(finding.message.split())}")
            if finding.remedy and finding.severity != "ok":
                click.echo(f"        {finding.code}; remedy: {finding.remedy}")
    return 1 if gravest == "error" or (strict and gravest == "warning") else 0
