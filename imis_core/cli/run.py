"""`imis run`: any command or query by name, JSON in and JSON out."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from imis_core.cli.session import State, check_name, read_json, work_refused

if TYPE_CHECKING:
    from imis_core.application import Application


@click.command()
@click.argument("name", required=False)
@click.option("--data", "source", metavar="FILE|-", help="JSON for it: a file, standard input (-), or the JSON itself.")
@click.option("--as", "user", default="administrator", show_default=True, metavar="USER", help="The user who acts.")
@click.option("--key", help="An idempotency key: the same request again gives the same answer and changes nothing.")
@click.option("--atomic", is_flag=True, help="Of a list: all or none.")
@click.option("--list", "listed", is_flag=True, help="Show all commands and queries.")
@click.pass_obj
def run(
    state: State, name: str | None, source: str | None, user: str, key: str | None, atomic: bool, listed: bool
) -> int:
    """Run the command or query NAME on one object, or a command on a list of them as a batch.

    A batch prints a list of {"result": ...} and {"error": ...} in its order. Exit code 1 if anything was refused.
    """
    if listed:
        _list(state)
        return 0
    if name is None:
        raise click.UsageError("Missing argument NAME; `imis run --list` shows all", click.get_current_context())
    data = read_json(source, "--data")
    from imis_core.commands import outcomes_as_json
    from imis_core.errors import ImisError, Refusal
    from imis_core.security.login import caller_named

    with state.application() as app:
        check_name(app, name)
        if source is not None and source.lstrip()[:1] in ("{", "["):
            _refuse_secrets(app, name, data)
        caller = caller_named(app, user)
        try:
            result = app.run(name, data, caller, key=key, atomic=atomic)
        except ImisError as error:
            raise work_refused(error) from None
    if name in app.queries or not isinstance(data, list):
        print_json(result)
        return 0
    refused = sum(isinstance(outcome, Refusal) for outcome in result)
    print_json(outcomes_as_json(result))
    if refused:
        print(f"imis: {refused} of {len(result)} were refused; see their errors above", file=sys.stderr)
    return 1 if refused else 0


def _refuse_secrets(app: Application, name: str, data: Any) -> None:
    """Everybody on the machine reads the command lines of all processes: no password stands there."""
    import attrs

    from imis_core.errors import ImisError, Problem, invalid
    from imis_core.parsing import outside_name

    definition = app.commands.get(name)
    fields = attrs.fields(definition.input) if definition is not None else ()
    secret = {outside_name(a) for a in fields if a.metadata.get("secret") is True}
    given = sorted(secret & {k for item in (data if isinstance(data, list) else [data]) for k in _keys(item)})
    if given:
        message = "a command line is read by everybody on this machine; give it on standard input: --data -"
        raise ImisError(invalid(*[Problem(field, "secret", message) for field in given]))


def _keys(item: Any) -> list[str]:
    return [k for k, v in item.items() if v is not None] if isinstance(item, dict) else []


def print_json(value: Any) -> None:
    """Data for people and programs alike: indented JSON in the deployment's own letters."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _list(state: State) -> None:
    from imis_core.application import Composition

    composition = Composition(state.settings(), str(state.deployment / "imis.toml"))
    rows = [(c.name, "command", c.summary) for c in composition.commands.values()]
    rows += [(q.name, "query", q.summary) for q in composition.queries.values()]
    width = max(len(name) for name, _, _ in rows)
    for name, kind, summary in sorted(rows):
        click.echo(f"{name:<{width}}  {kind:<7}  {summary}")
