"""A Claim of HL7's own examples: what is read of it, and every element that is not kept named."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from imis_fhir import claims
from imis_fhir.claim_mappings import CLAIM
from imis_fhir.paths import expression
from imis_fhir.reading import from_fhir
from imis_fhir.systems import STYLES

EXAMPLE = Path(__file__).parent / "data" / "hl7_Claim-100150.json"


def test_an_example_of_hl7_is_read() -> None:
    """Patient, provider, day of service, codes and prices are read; what is not kept is told element by element."""
    claim = json.loads(EXAMPLE.read_text("utf-8"), parse_float=Decimal)
    prepared = claims.prepare(claim, "", lambda coverage, patient: "fund" if patient == "1" else None)
    reading = from_fhir(CLAIM, prepared.resource, STYLES[0])
    assert prepared.issues == []
    line = {"item": "1200", "quantity": "1", "price": "135.57"}
    assert {name: reading.data[name] for name in ("code", "person", "provider", "from", "diagnosis", "lines")} == {
        "code": "12345", "person": "1", "provider": "1", "from": "2014-08-16", "diagnosis": "123456", "lines": [line],
    }  # fmt: skip
    told = {expression(issue.place, "Claim"): issue.unkept for issue in reading.issues}
    assert told == {
        "Claim.insurer.reference": True,  # an Organization of another server's; ours is named by the scheme
        "Claim.payee.type.coding[0].code": True,
        "Claim.careTeam[0].sequence": True,
        "Claim.careTeam[0].provider.reference": True,
        "Claim.insurance[0].identifier.system": True,
        "Claim.insurance[0].identifier.value": True,
        "Claim.item[0].careTeamSequence[0]": True,
    }
