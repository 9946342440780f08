"""The plugin's own settings, `[plugins.fhir]`."""

from __future__ import annotations

from typing import Literal

from attrs import frozen


@frozen(kw_only=True)
class FhirSettings:
    """`identifiers`: which URLs are written for systems and extensions; both are always read.

    `server`: the address that links begin with (`https://imis.example.org`), where a proxy hides it from the requests.
    """

    identifiers: Literal["canonical", "openimis"] = "canonical"
    server: str | None = None
