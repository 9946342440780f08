"""`imis plugins`: which are installed, which are switched on, and the tables of one put away."""

from __future__ import annotations

import rich_click as click

from imis_core.cli.session import State


@click.group(invoke_without_command=True)
@click.pass_context
def plugins(context: click.Context) -> int:
    """Plugins that are installed and those that are switched on."""
    code = context.invoke(list_plugins) if context.invoked_subcommand is None else 0
    assert isinstance(code, int)
    return code


@plugins.command("list")
@click.pass_obj
def list_plugins(state: State) -> int:
    """Show each plugin with its version; exit code 1 if one is switched on that is not installed."""
    from imis_core import plugins as known

    enabled = state.settings().enabled if (state.folder / "imis.toml").is_file() else ()
    installed = {
        name: entry.dist.version if entry.dist is not None else "?" for name, entry in known.installed().items()
    }
    for name in sorted({*installed, *enabled}):
        if name not in installed:
            state_text = "enabled, but not installed"
        else:
            state_text = "enabled" if name in enabled else "installed"
        click.echo(f"{name}  {installed.get(name, '-')}  {state_text}")
    return 1 if set(enabled) - set(installed) else 0


@plugins.command("remove")
@click.argument("name")
@click.option("--drop", is_flag=True, help="Drop its tables with all rows, instead of keeping them put away.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(state: State, name: str, drop: bool, yes: bool) -> None:
    """Put the tables of the plugin NAME away, which is switched on no more; the others keep working.

    They stay in a schema archived_NAME, which only the owner reads and every backup holds. `imis backup` first.
    """
    folder = state.deployment
    from imis_core.operations.removing import remove_plugin

    planned = remove_plugin(folder, name, drop=drop, dry_run=True)
    what = f"drop {planned.rows:,} rows" if drop else f"put {planned.rows:,} rows away as {planned.archive}"
    if not yes:
        click.confirm(f"{name}: {what}, drop {planned.keys} keys to other tables. Go on?", abort=True, err=True)
    done = remove_plugin(folder, name, drop=drop)
    fate = "dropped" if done.archive is None else f"kept in the schema {done.archive}"
    click.echo(f"{name}: {done.rows:,} rows {fate}; {done.deliveries} events were still to be delivered to it")
