"""FHIR R4 for the IMIS framework, generated from what is registered."""

from typing import Final

__version__: Final = "0.1.0"
