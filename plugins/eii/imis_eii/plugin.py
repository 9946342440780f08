"""Employment injury insurance as a plugin: all its hook implementations on one page. They import lazily."""

from __future__ import annotations

from imis_core.api import Manifest, hookimpl


@hookimpl
def imis_plugin() -> Manifest:
    from imis_eii import __version__

    return Manifest(name="eii", version=__version__, kernel=">=0.1,<0.2", nouns={"eii": 1020})
