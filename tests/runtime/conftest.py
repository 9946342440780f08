"""Small plugins made on the spot, for tests of what the kernel does with good and bad ones."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from imis_core.hookspecs import hookimpl
from imis_core.plugins import Manifest

PluginMaker = Callable[..., ModuleType]


def _answering(answer: Any) -> Callable[[], Any]:
    return lambda: answer


@pytest.fixture(scope="session")
def make_plugin() -> PluginMaker:
    """Makes plugin modules: `make_plugin("probe", nouns={...}, commands=(...), imis_on_claims_valuated=function)`.

    What is no field of the manifest is a hook: a function as it is, anything else as what `imis_register_*` answers.
    """

    def make(name: str, *, hooks: dict[str, Any] | None = None, **given: Any) -> ModuleType:
        module = ModuleType(name)
        surfaces = {k: given.pop(k) for k in ("commands", "queries", "jobs", "scheme_types") if k in given}
        manifest = Manifest(**{"name": name, "version": "1", "kernel": ">=0", **given})
        functions = {"imis_plugin": _answering(manifest), **(hooks or {})}
        functions |= {f"imis_register_{k}": _answering(v) for k, v in surfaces.items()}
        for key, function in functions.items():
            setattr(module, key, hookimpl(function))
        return module

    return make
