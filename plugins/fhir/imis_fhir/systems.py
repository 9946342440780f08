"""URLs and codes of identifiers, extensions and code systems: ours, HL7's, and openIMIS's. Both styles are read.

A name such as `claim-status` stands for a system in the mappings; what is written for it depends on the style.
Sources: HL7 FHIR R4 terminology; the openIMIS FHIR R4 implementation guide (fhir.md, openIMIS compatibility).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from imis_core.api import Rejection

CANONICAL: Final = "urn:imis:fhir"
OPENIMIS: Final = "https://openimis.github.io/openimis_fhir_r4_ig"
_HL7: Final = "http://terminology.hl7.org/CodeSystem"
# Code systems that HL7 defines: the same in both styles.
_OF_HL7: Final[Mapping[str, str]] = {
    **{name: f"{_HL7}/{name}" for name in ("claim-type", "processpriority", "coverage-class", "organization-type")},
    "location-physical-type": f"{_HL7}/location-physical-type",
    "adjudication": f"{_HL7}/adjudication",
    "icd-10": "http://hl7.org/fhir/sid/icd-10",
}
_HL7_ADJUDICATION: Final = frozenset({"submitted", "eligible", "deductible", "benefit", "copay"})
_OPENIMIS_IDENTIFIERS: Final = f"{OPENIMIS}/CodeSystem/openimis-identifiers"
# Codes of openIMIS's identifier types by our names; `Code` where openIMIS has no finer one.
_IDENTIFIER_TYPES: Final[Mapping[str, str]] = {
    "person-number": "SB", "claim": "MR", "claim-response": "MR", "provider-code": "FI", "coverage": "UUID",
}  # fmt: skip
_ANY_TYPE: Final = "Code"
# Our codes in openIMIS's words, by code system. An unknown code is written as it is.
_OPENIMIS_CODES: Final[Mapping[str, Mapping[str, str]]] = {
    "claim-visit-type": {"other": "O", "referral": "R", "emergency": "E"},
    "claim-item-category": {"product": "item", "service": "service"},
    "claim-status": {"rejected": "1", "entered": "2", "checked": "4", "processed": "8", "valuated": "16"},
    "claim-rejection-reasons": {one.label: str(int(one)) for one in Rejection},
    "organization-hf-level": {"dispensary": "D", "health_centre": "C", "hospital": "H"},
    "organization-hf-care-type": {"inpatient": "I", "outpatient": "O", "both": "B"},
}
_OURS_OF: Final = {
    system: {theirs: ours for ours, theirs in codes.items()} for system, codes in _OPENIMIS_CODES.items()
}


@frozen
class Style:
    """What is written: canonical URLs, or openIMIS's."""

    openimis: bool = False

    def naming(self, name: str) -> str:
        """The system of an identifier."""
        return f"{OPENIMIS}/NamingSystem/{name}" if self.openimis else f"{CANONICAL}:NamingSystem:{name}"

    def code_system(self, name: str) -> str:
        """The URL of a code system."""
        if name in _OF_HL7:
            return _OF_HL7[name]
        return f"{OPENIMIS}/CodeSystem/{name}" if self.openimis else f"{CANONICAL}:CodeSystem:{name}"

    def extension(self, name: str) -> str:
        """The URL of an extension."""
        return f"{OPENIMIS}/StructureDefinition/{name}" if self.openimis else f"{CANONICAL}:StructureDefinition:{name}"

    def code(self, system: str, ours: str) -> str:
        """A code of ours as this style writes it."""
        return _OPENIMIS_CODES.get(system, {}).get(ours, ours) if self.openimis else ours

    def slice(self, element: str, name: str) -> dict[str, Any]:
        """What every element of a named slice says: its system, its URL, its category."""
        if element == "identifier":
            if not self.openimis:
                return {"system": self.naming(name)}
            code = _IDENTIFIER_TYPES.get(name, _ANY_TYPE)
            return {"type": {"coding": [{"system": _OPENIMIS_IDENTIFIERS, "code": code}]}}
        if element == "extension":
            return {"url": self.extension(name)}
        if element == "coding":
            return {"system": self.code_system(name)}
        if element in ("name", "address"):
            return {"use": name}
        if element == "adjudication" or (element == "total" and name in _HL7_ADJUDICATION):
            system = "adjudication" if name in _HL7_ADJUDICATION else "claim-adjudication"
            return {"category": {"coding": [{"system": self.code_system(system), "code": name}]}}
        if element == "class":
            return {"type": {"coding": [{"system": self.code_system("coverage-class"), "code": name}]}}
        return {}


STYLES: Final = (Style(openimis=False), Style(openimis=True))


def code_read(system: str, code: str) -> str:
    """A code of either style as ours."""
    return _OURS_OF.get(system, {}).get(code, code)


def name_of_system(system: str) -> str | None:
    """Our name of an identifier's system in either style; None for a foreign one."""
    for style in STYLES:
        beginning = style.naming("")
        if system.startswith(beginning):
            return system.removeprefix(beginning)
    return "" if system == _OPENIMIS_IDENTIFIERS else None


def system_of_name(name: str, style: Style) -> str:
    """The system of a person's further identifier: a URI as it is, a short name under our own."""
    return name if ":" in name else style.naming(name)
