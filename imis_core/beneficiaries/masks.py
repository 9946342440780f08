"""What is shown as `***` to whoever lacks the permission `beneficiaries.unmask`: attributes and identifiers.

Which ones says the deployment: `masked = true` of an attribute, and `masked_identifiers`, systems of identifiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from imis_core.context import Context

UNMASK: Final = "beneficiaries.unmask"  # the permission to see masked values
MASK: Final = "***"


def masked_names(context: Context) -> frozenset[str]:
    """Names of attributes, of persons and of groups, that this caller sees masked."""
    if context.caller.may(UNMASK):
        return frozenset()
    declared = context.settings.deployment.attributes or {}
    return frozenset(name for name, rule in declared.items() if rule.masked)


def masked_systems(context: Context) -> frozenset[str]:
    """Systems of identifiers whose values this caller sees masked."""
    return frozenset() if context.caller.may(UNMASK) else frozenset(context.settings.deployment.masked_identifiers)


def masked_attributes(context: Context, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as this caller sees them."""
    masked = masked_names(context)
    return {name: MASK if name in masked else value for name, value in attributes.items()}
