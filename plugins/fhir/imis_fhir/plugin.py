"""FHIR R4 as a plugin: all its hook implementations on one page. They import lazily and compute nothing."""

from __future__ import annotations

from imis_core.api import Manifest, hookimpl


@hookimpl
def imis_plugin() -> Manifest:
    from imis_fhir import __version__

    return Manifest(name="fhir", version=__version__, kernel=">=0.1,<0.2", nouns={"fhir": 1040})
