"""How persons, groups, covers and places look in FHIR R4: tables of columns and places, nothing else.

Claims are in `claim_mappings`. Another plugin contributes such tables for its own nouns, with the surface `fhir.r4`.
"""

from __future__ import annotations

from typing import Final

from imis_core.api import MappingEntry as Entry
from imis_core.api import MappingFilter as Filter
from imis_core.api import ResourceMapping

SURFACE: Final = "fhir.r4"
_ACTIVE: Final = {"active": "true", "inactive": "false"}
_SEX: Final = {"F": "female", "M": "male", "O": "other"}
# FHIR's few states of a coverage; the exact one stands in the extension.
_COVER_STATES: Final = {
    "idle": "draft", "active": "active", "suspended": "cancelled", "expired": "cancelled", "terminated": "cancelled",
}  # fmt: skip
_ID: Final = Filter(name="_id", form="id", fields={"": "id"})

PATIENT: Final = ResourceMapping(
    surface=SURFACE,
    resource="Patient",
    noun="persons",
    query="beneficiaries.list",
    entries=(
        Entry(column="number", path="identifier:person-number.value"),
        Entry(column="identifiers.*.system", path="identifier[*].system", form="system"),
        Entry(column="identifiers.*.value", path="identifier[*].value"),
        Entry(column="status", path="active", form="boolean", codes=_ACTIVE),
        Entry(column="family_name", path="name:official.family"),
        Entry(column="given_name", path="name:official.given:first"),
        Entry(column="sex", path="gender", form="code", codes=_SEX),
        Entry(column="birth_date", path="birthDate", form="date"),
        Entry(column="death_date", path="deceasedDateTime", form="date"),
        Entry(
            column="location_id", path="address:home.extension:address-location-reference.valueReference",
            form="reference", of="Location",
        ),
    ),
    filters=(
        _ID,
        Filter(
            name="identifier", form="token",
            fields={"person-number": "number", "uuid": "id", "": "identifier", "*": "identifier", "system": "system"},
        ),
        Filter(name="name", form="string", fields={"": "name"}),
        Filter(name="family", form="string", fields={"": "family_name"}),
        Filter(name="given", form="string", fields={"": "given_name"}),
        Filter(name="gender", form="code", fields={"": "sex"}, codes=_SEX),
        Filter(name="birthdate", form="date", fields={"from": "born_from", "to": "born_to"}),
    ),
)  # fmt: skip

GROUP: Final = ResourceMapping(
    surface=SURFACE,
    resource="Group",
    noun="groups",
    query="beneficiaries.list_groups",
    entries=(
        Entry(column="code", path="identifier:group-code.value"),
        Entry(column="status", path="active", form="boolean", codes=_ACTIVE),
        Entry(value="person", path="type", form="code"),
        Entry(value=True, path="actual", form="boolean"),
        Entry(
            column="kind", path="extension:group-type.valueCodeableConcept.coding:group-type.code", form="code",
        ),
        Entry(
            column="location_id", path="extension:address-location-reference.valueReference", form="reference",
            of="Location",
        ),
        Entry(column="members", path="quantity", form="count"),
        Entry(column="members.*.id", path="member[*].entity", form="reference", of="Patient"),
        Entry(column="members.*.relationship", path="member[*].extension:group-member-relationship.valueCode"),
        Entry(column="members.*.recipient", path="member[*].extension:group-member-recipient.valueCode"),
    ),
    filters=(
        _ID,
        Filter(name="identifier", form="token", fields={"group-code": "code", "uuid": "id", "": "code"}),
        Filter(name="member", form="reference", of="Patient", fields={"": "person"}),
    ),
)  # fmt: skip

COVERAGE: Final = ResourceMapping(
    surface=SURFACE,
    resource="Coverage",
    noun="coverage_members",
    query="coverage.list_covered",
    entries=(
        Entry(column="id", path="identifier:coverage.value"),
        Entry(column="coverage", path="identifier:policy.value"),
        Entry(column="status", path="status", form="code", codes=_COVER_STATES),
        Entry(
            column="status", path="extension:coverage-status.valueCodeableConcept.coding:coverage-status.code",
            form="code",
        ),
        Entry(column="number", path="subscriberId"),
        Entry(column="person_id", path="beneficiary", form="reference", of="Patient"),
        Entry(column="effective_from", path="period.start", form="date"),
        Entry(column="effective_to", path="period.end", form="date"),
        Entry(column="scheme", path="payor:scheme", form="logical", of="scheme"),
        Entry(column="package", path="class:plan.value"),
        Entry(column="group", path="class:group.value"),
    ),
    filters=(
        _ID,
        Filter(
            name="identifier", form="token",
            fields={"coverage": "id", "policy": "coverage", "": "id", "uuid": "coverage"},
        ),
        Filter(name="beneficiary", form="reference", of="Patient", fields={"": "person"}),
        Filter(name="patient", form="reference", of="Patient", fields={"": "person"}),
    ),
)  # fmt: skip

ORGANIZATION: Final = ResourceMapping(
    surface=SURFACE,
    resource="Organization",
    noun="providers",
    query="providers.list",
    entries=(
        Entry(column="code", path="identifier:provider-code.value"),
        Entry(value="prov", path="type:provider.coding:organization-type.code", form="code"),
        Entry(column="name", path="name"),
        Entry(
            column="level", form="code",
            path="extension:organization-hf-level.valueCodeableConcept.coding:organization-hf-level.code",
        ),
        Entry(
            column="care_type",
            path="extension:organization-hf-care-type.valueCodeableConcept.coding:organization-hf-care-type.code",
            form="code",
        ),
        Entry(column="closed_on", path="extension:closed-on.valueDate", form="date"),
        Entry(
            column="location_id", path="address:work.extension:address-location-reference.valueReference",
            form="reference", of="Location",
        ),
    ),
    filters=(
        _ID,
        Filter(name="identifier", form="token", fields={"provider-code": "code", "uuid": "id", "": "code"}),
        Filter(name="name", form="string", fields={"": "name"}),
    ),
)  # fmt: skip

LOCATION: Final = ResourceMapping(
    surface=SURFACE,
    resource="Location",
    noun="locations",
    query="locations.list",
    entries=(
        Entry(column="code", path="identifier:location-code.value"),
        Entry(column="name", path="name"),
        Entry(value="instance", path="mode", form="code"),
        Entry(column="level", path="type:level.coding:location-level.code", form="code"),
        Entry(value="area", path="physicalType.coding:location-physical-type.code", form="code"),
        Entry(column="closed_on", path="extension:closed-on.valueDate", form="date"),
        Entry(column="parent_id", path="partOf", form="reference", of="Location"),
    ),
    filters=(
        _ID,
        Filter(name="identifier", form="token", fields={"location-code": "code", "uuid": "id", "": "code"}),
        Filter(name="name", form="string", fields={"": "name"}),
        Filter(name="partof", form="reference", of="Location", fields={"": "parent"}),
    ),
)
