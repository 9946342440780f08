"""The CapabilityStatement, made from the mappings that are registered and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from imis_core.api import ResourceMapping
from imis_fhir import __version__
from imis_fhir.search import KINDS

FHIR_VERSION: Final = "4.0.1"
_SUBMIT: Final = "http://hl7.org/fhir/OperationDefinition/Claim-submit"


def capability_statement(
    mappings: Mapping[str, ResourceMapping], base: str, name: str, today: date, versioned: Mapping[str, bool]
) -> dict[str, Any]:
    """What this server can do. `versioned`: which resources count their versions."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": today.isoformat(),
        "kind": "instance",
        "software": {"name": "imis-fhir", "version": __version__},
        "implementation": {"description": name, "url": base},
        "fhirVersion": FHIR_VERSION,
        "format": ["json", "application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "A bearer token of the deployment (POST /api/auth/token); the caller's permissions "
                    "and scope hold for every interaction.",
                },
                "resource": [
                    _resource(mapping, versioned[resource], mappings) for resource, mapping in sorted(mappings.items())
                ],
            }
        ],
    }


def _resource(mapping: ResourceMapping, versioned: bool, mappings: Mapping[str, ResourceMapping]) -> dict[str, Any]:
    interactions = ["read", "search-type", *(["create"] if mapping.command else [])]
    found: dict[str, Any] = {
        "type": mapping.resource,
        "interaction": [{"code": code} for code in interactions],
        "versioning": "versioned" if versioned else "no-version",
        "conditionalRead": "not-match" if versioned else "not-supported",
        "searchParam": [{"name": one.name, "type": KINDS[one.form].type} for one in mapping.filters],
    }
    if submits(mapping, mappings):
        found["operation"] = [{"name": "submit", "definition": _SUBMIT}]
    return found


def submits(mapping: ResourceMapping, mappings: Mapping[str, ResourceMapping]) -> bool:
    """Whether `$submit` is offered: a Claim can be created and its ClaimResponse read."""
    return mapping.resource == "Claim" and mapping.command is not None and "ClaimResponse" in mappings
