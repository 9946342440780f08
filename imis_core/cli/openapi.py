"""`imis openapi`: the description of the deployment's REST interface. Needs no database."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import rich_click as click

from imis_core.cli.run import print_json
from imis_core.cli.session import State

if TYPE_CHECKING:
    from imis_core.application import Application


@click.command()
@click.pass_obj
def openapi(state: State) -> None:
    """Print the OpenAPI document of the deployment's REST interface."""
    settings, file = state.settings(), str(state.deployment / "imis.toml")
    from imis_core.application import Composition
    from imis_core.web.openapi import openapi_document

    # The document describes what is registered; a composition has that without a database.
    print_json(openapi_document(cast("Application", Composition(settings, file))))
