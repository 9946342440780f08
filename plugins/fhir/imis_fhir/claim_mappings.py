"""How claims and their results look in FHIR R4: a Claim, which can be sent, and the ClaimResponse to it."""

from __future__ import annotations

from typing import Final

from imis_core.api import MappingEntry as Entry
from imis_core.api import MappingFilter as Filter
from imis_core.api import ResourceMapping
from imis_fhir.mappings import COVERAGE, GROUP, LOCATION, ORGANIZATION, PATIENT, SURFACE

# The kernel knows one kind of claim; the others of HL7's that clients send make no difference to it.
_CLAIM_TYPE: Final = Entry(
    value="institutional", path="type.coding:claim-type.code", form="code",
    accepts=("professional", "pharmacy", "oral", "vision"),
)  # fmt: skip
# How far a claim is adjudicated; the exact state stands in the extension.
_OUTCOMES: Final = {
    "entered": "queued", "checked": "queued", "processed": "partial", "valuated": "complete", "paid": "complete",
    "rejected": "complete", "withdrawn": "complete",
}  # fmt: skip
_ID: Final = Filter(name="_id", form="id", fields={"": "id"})
_OF_PATIENT: Final = Filter(name="patient", form="reference", of="Patient", fields={"": "person"})

CLAIM: Final = ResourceMapping(
    surface=SURFACE,
    resource="Claim",
    noun="claims",
    query="claims.list_in_full",
    command="claims.submit",
    entries=(
        Entry(column="code", into="code", path="identifier:claim.value", required=True),
        Entry(value="active", path="status", form="code", required=True),
        _CLAIM_TYPE,
        Entry(column="visit_type", into="visit_type", path="type.coding:claim-visit-type.code", form="code"),
        Entry(value="claim", path="use", form="code", required=True),
        Entry(column="person_id", into="person", path="patient", form="reference", of="Patient", required=True),
        Entry(column="from", into="from", path="billablePeriod.start", form="date", required=True),
        Entry(column="to", into="to", path="billablePeriod.end", form="date"),
        Entry(column="claimed_on", into="claimed_on", path="created", form="date", required=True),
        Entry(column="scheme", into="scheme", path="insurer", form="logical", of="scheme"),
        Entry(
            column="provider_id", into="provider", path="provider", form="reference", of="Organization", required=True
        ),
        Entry(
            value="normal", path="priority.coding:processpriority.code", form="code", required=True,
            accepts=("stat", "deferred"),
        ),
        Entry(value=1, path="diagnosis:principal.sequence"),
        Entry(
            column="diagnosis", into="diagnosis", form="code", required=True,
            path="diagnosis:principal.diagnosisCodeableConcept.coding:diagnosis.code",
        ),
        Entry(column="secondary.*", path="diagnosis:secondary[*].sequence", form="position", of="2"),
        Entry(
            column="secondary.*", into="secondary.*", form="code", required=True,
            path="diagnosis:secondary[*].diagnosisCodeableConcept.coding:diagnosis.code",
        ),
        Entry(value=1, path="insurance:main.sequence"),
        Entry(value=True, path="insurance:main.focal"),
        # Which scheme is asked; a reference to a Coverage is checked and read as its scheme (`claims`).
        Entry(column="scheme", path="insurance:main.coverage", form="logical", of="scheme"),
        Entry(column="lines.*.line", path="item[*].sequence", form="position", required=True),
        # The catalogue says what an item is; a client may repeat it.
        Entry(
            column="lines.*.kind", path="item[*].category.coding:claim-item-category.code", form="code",
            accepts=("product", "service"),
        ),
        Entry(
            column="lines.*.item", into="lines.*.item", form="code", required=True,
            path="item[*].productOrService.coding:item.code",
        ),
        Entry(
            column="lines.*.quantity", into="lines.*.quantity", path="item[*].quantity", form="quantity", required=True,
        ),
        Entry(
            column="lines.*.price", into="lines.*.price", path="item[*].unitPrice", form="money", of="currency",
            required=True,
        ),
        # Sums that a client sends are checked and computed again (`claims`).
        Entry(column="lines.*.claimed", path="item[*].net", form="money", of="currency"),
        Entry(column="claimed", path="total", form="money", of="currency"),
    ),
    filters=(
        _ID,
        Filter(name="identifier", form="token", fields={"claim": "code", "uuid": "id", "": "code"}),
        _OF_PATIENT,
        Filter(name="provider", form="reference", of="Organization", fields={"": "provider"}),
    ),
)  # fmt: skip

CLAIM_RESPONSE: Final = ResourceMapping(
    surface=SURFACE,
    resource="ClaimResponse",
    noun="claims",
    query="claims.list_in_full",
    entries=(
        Entry(column="code", path="identifier:claim-response.value"),
        Entry(value="active", path="status", form="code"),
        _CLAIM_TYPE,
        Entry(column="visit_type", path="type.coding:claim-visit-type.code", form="code"),
        Entry(value="claim", path="use", form="code"),
        Entry(column="person_id", path="patient", form="reference", of="Patient"),
        Entry(column="claimed_on", path="created", form="date"),
        Entry(column="scheme", path="insurer", form="logical", of="scheme"),
        Entry(column="provider_id", path="requestor", form="reference", of="Organization"),
        Entry(column="id", path="request", form="reference", of="Claim"),
        Entry(column="status", path="outcome", form="code", codes=_OUTCOMES),
        Entry(
            column="status", path="extension:claim-status.valueCodeableConcept.coding:claim-status.code", form="code"
        ),
        Entry(column="rejection", path="disposition"),
        Entry(column="lines.*.line", path="item[*].itemSequence", form="integer"),
        Entry(column="lines.*.claimed", path="item[*].adjudication:submitted.amount", form="money", of="currency"),
        Entry(
            column="lines.*.quantity_approved", path="item[*].adjudication:quantity-approved.value", form="decimal"
        ),
        Entry(
            column="lines.*.rejection", form="code",
            path="item[*].adjudication:rejection.reason.coding:claim-rejection-reasons.code",
        ),
        Entry(
            column="lines.*.steps.*.name", form="code",
            path="item[*].adjudication:step[*].category.coding:claim-adjudication-step.code",
        ),
        Entry(
            column="lines.*.steps.*.amount", path="item[*].adjudication:step[*].amount", form="money", of="currency"
        ),
        Entry(column="lines.*.deducted", path="item[*].adjudication:deductible.amount", form="money", of="currency"),
        Entry(
            column="lines.*.above_ceiling", path="item[*].adjudication:above-ceiling.amount", form="money",
            of="currency",
        ),
        Entry(column="lines.*.payable", path="item[*].adjudication:benefit.amount", form="money", of="currency"),
        Entry(
            column="rejection", path="adjudication:rejection.reason.coding:claim-rejection-reasons.code", form="code"
        ),
        Entry(column="claimed", path="total:submitted.amount", form="money", of="currency"),
        Entry(column="approved", path="total:eligible.amount", form="money", of="currency"),
        Entry(column="payable", path="total:benefit.amount", form="money", of="currency"),
    ),
    filters=(
        _ID,
        Filter(name="identifier", form="token", fields={"claim-response": "code", "uuid": "id", "": "code"}),
        Filter(name="request", form="reference", of="Claim", fields={"": "id"}),
        _OF_PATIENT,
        Filter(name="requestor", form="reference", of="Organization", fields={"": "provider"}),
    ),
)  # fmt: skip

KERNEL_MAPPINGS: Final = (PATIENT, GROUP, COVERAGE, ORGANIZATION, LOCATION, CLAIM, CLAIM_RESPONSE)
