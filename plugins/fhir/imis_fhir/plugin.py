"""FHIR R4 as a plugin: all its hook implementations on one page. They import lazily and compute nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from imis_core.api import Manifest, hookimpl

if TYPE_CHECKING:
    from imis_core.api import ResourceMapping, Route


@hookimpl
def imis_plugin() -> Manifest:
    from imis_fhir import __version__, surface
    from imis_fhir.mappings import SURFACE
    from imis_fhir.settings import FhirSettings

    return Manifest(
        name="fhir",
        version=__version__,
        kernel=">=0.1,<0.2",
        settings=FhirSettings,
        nouns={"fhir": 1040},
        surfaces={SURFACE: surface.problems},
    )


@hookimpl
def imis_register_mappings() -> Iterable[ResourceMapping]:
    from imis_fhir.claim_mappings import KERNEL_MAPPINGS

    return KERNEL_MAPPINGS


@hookimpl
def imis_register_routes() -> Iterable[Route]:
    from imis_core.api import Route
    from imis_fhir.outcomes import MEDIA_TYPE, tell
    from imis_fhir.server import BASE, answered, metadata, of_instance, of_type

    offered = (MEDIA_TYPE, "application/json")
    return [
        Route(
            name="fhir.metadata", path=f"{BASE}/metadata", handler=answered(metadata), open=True, media_types=offered,
            refuse=tell,
        ),
        Route(
            name="fhir.type", path=f"{BASE}/{{resource}}", methods=("GET", "POST"), handler=answered(of_type),
            media_types=offered, refuse=tell,
        ),
        Route(
            name="fhir.instance", path=f"{BASE}/{{resource}}/{{id}}", methods=("GET", "POST"),
            handler=answered(of_instance), media_types=offered, refuse=tell,
        ),
    ]  # fmt: skip
