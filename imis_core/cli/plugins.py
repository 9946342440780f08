"""`imis plugins`: which plugins are installed, and which of them this deployment has switched on."""

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
    from importlib import metadata

    from imis_core.plugins import ENTRY_POINT_GROUP

    enabled = state.settings().enabled if (state.folder / "imis.toml").is_file() else ()
    installed = {
        entry.name: entry.dist.version if entry.dist is not None else "?"
        for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)
    }
    for name in sorted({*installed, *enabled}):
        if name not in installed:
            state_text = "enabled, but not installed"
        else:
            state_text = "enabled" if name in enabled else "installed"
        click.echo(f"{name}  {installed.get(name, '-')}  {state_text}")
    return 1 if set(enabled) - set(installed) else 0
