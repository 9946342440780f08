"""Applications for the machine: each on a fresh copy of a database with the world in it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from imis_core.application import Composition
from imis_core.clock import SetClock
from imis_core.deployment import settings_from
from imis_core.opening import Playground
from imis_core.testing.app import TestApp, default_settings
from tests.machine.world import SETTINGS, START, make_world

Made = tuple[Callable[[], None], TestApp]


@pytest.fixture(scope="session")
def make_machine_app(playground: Playground) -> Iterator[Callable[[], Made]]:
    """Answers how to close it, and an application with the world in it."""
    settings = settings_from({**default_settings(), **SETTINGS}, "machine", default_name="machine")
    template = playground.template(Composition(settings))
    world = f"{playground.prefix}_machine"
    addresses = playground.databases.clone(template, world)
    with playground.on(addresses, settings, SetClock(START), kind=TestApp) as app:
        make_world(app)

    def make() -> Made:
        stack = ExitStack()
        name = f"{world}_{secrets.token_hex(4)}"
        copy = playground.databases.clone(world, name)
        stack.callback(playground.databases.drop, name)
        made: Any = stack.enter_context(playground.on(copy, settings, SetClock(START), kind=TestApp))
        for user in ("anna", "ben"):
            made.as_user(user)
        return stack.close, made

    yield make
    playground.databases.drop(world)
