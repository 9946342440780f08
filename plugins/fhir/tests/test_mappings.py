"""The mappings as descriptions: both ways give the same resource, and wrong descriptions stop the start."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given, settings
from hypothesis import strategies as st
from imis_fhir import claims
from imis_fhir.claim_mappings import CLAIM
from imis_fhir.mappings import PATIENT
from imis_fhir.reading import from_fhir
from imis_fhir.surface import problems
from imis_fhir.systems import STYLES, Style
from imis_fhir.writing import to_fhir

from imis_core.api import Manifest, MappingEntry, MappingFilter, ResourceMapping, hookimpl
from imis_core.testing.app import TestApp

CODES = st.from_regex(r"[A-Z][A-Z0-9/.-]{0,8}", fullmatch=True)
IDS = st.uuids().map(str)
DAYS = st.dates().map(lambda day: day.isoformat())
AMOUNTS = st.integers(0, 10**12).map(lambda minor: f"{minor // 100}.{minor % 100:02d}")
QUANTITIES = st.sampled_from(["1", "2", "2.5", "0.333", "10000"])
LINES = st.lists(
    st.fixed_dictionaries(
        {"item": CODES, "quantity": QUANTITIES, "price": AMOUNTS, "kind": st.sampled_from(["service", "product"])}
    ),
    min_size=1,
    max_size=4,
)
ROWS = st.fixed_dictionaries(
    {
        "id": IDS, "code": CODES, "scheme": st.sampled_from(["fund", "hib"]), "person_id": IDS, "provider_id": IDS,
        "from": DAYS, "to": DAYS, "claimed_on": DAYS, "visit_type": st.sampled_from(["other", "referral", "emergency"]),
        "diagnosis": CODES, "secondary": st.lists(CODES, max_size=3), "lines": LINES, "version": st.integers(1, 9),
    }
)  # fmt: skip


def summed(row: dict[str, Any]) -> dict[str, Any]:
    """A claim's row with what the kernel computes beside what was sent."""
    lines = [
        {**line, "line": position, "claimed": str(_cents(Decimal(line["quantity"]) * Decimal(line["price"])))}
        for position, line in enumerate(row["lines"], start=1)
    ]
    total = sum((Decimal(line["claimed"]) for line in lines), Decimal(0))
    return {**row, "currency": "USD", "lines": lines, "claimed": str(total)}


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), "ROUND_HALF_UP")


@settings(max_examples=60, deadline=None)
@given(row=ROWS, style=st.sampled_from(STYLES))
def test_a_claim_survives_both_ways(row: dict[str, Any], style: Style) -> None:
    """to_fhir(from_fhir(x)) is x, in both styles: every element of a Claim that is written is read, and only those."""
    resource = to_fhir(CLAIM, summed(row), style)
    get_fhir_model_class("Claim").model_validate(resource)
    prepared = claims.prepare(resource, "", lambda coverage, patient: None)
    reading = from_fhir(CLAIM, prepared.resource, style)
    assert [*prepared.issues, *reading.issues] == []
    data = reading.data
    back = {
        **row, **data, "person_id": data["person"], "provider_id": data["provider"],
        "secondary": data.get("secondary", []),
        "lines": [{**old, **new} for old, new in zip(row["lines"], data["lines"], strict=True)],
    }  # fmt: skip
    assert to_fhir(CLAIM, summed(back), style) == resource


@settings(max_examples=30, deadline=None)
@given(row=ROWS, written=st.sampled_from(STYLES))
def test_both_styles_are_read_alike(row: dict[str, Any], written: Style) -> None:
    """A Claim in openIMIS's URLs and codes is read as one in our own."""
    resource = to_fhir(CLAIM, summed(row), written)
    readings = [
        from_fhir(CLAIM, claims.prepare(resource, "", lambda c, p: None).resource, style).data for style in STYLES
    ]
    assert readings[0] == readings[1]
    assert (readings[0]["code"], readings[0]["visit_type"]) == (row["code"], row["visit_type"])


@pytest.mark.parametrize("resource", ["identifier", "patient", "item", "insurance", "type", "diagnosis", "provider"])
@pytest.mark.parametrize("junk", [None, [], {}, "x", 7, [[]], [None], [{}], {"coding": "x"}, [{"sequence": "1"}]])
def test_no_shape_of_junk_breaks_the_reader(resource: str, junk: Any) -> None:
    """An element of a wrong shape is a problem or read as nothing, never a failure of the program."""
    sent = {"resourceType": "Claim", "item": [{"sequence": 1}], resource: junk}
    prepared = claims.prepare(sent, "", lambda coverage, patient: None)
    assert [*prepared.issues, *from_fhir(CLAIM, prepared.resource, STYLES[0]).issues]


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (MappingEntry(path="identifier[0].value", column="number"), "identifier[0]"),
        (MappingEntry(path="name.family", column="family_name", form="surname"), "surname"),
        (MappingEntry(path="identifier[*].value", column="number"), "different lists"),
        (MappingEntry(path="active"), "neither"),
    ],
)
def test_a_wrong_line_is_told(entry: MappingEntry, word: str) -> None:
    """What the surface cannot read in a mapping is named."""
    [problem] = problems(evolve(PATIENT, entries=(entry,)))
    assert word in problem


class Fleet:
    """A plugin that contributes a mapping of its own noun's listing."""

    def __init__(self, mapping: ResourceMapping) -> None:
        self.mapping = mapping

    @hookimpl
    def imis_plugin(self) -> Manifest:
        return Manifest(name="fleet", version="1", kernel=">=0", nouns={"fleet": 1991})

    @hookimpl
    def imis_register_mappings(self) -> Sequence[ResourceMapping]:
        return [self.mapping]


DEVICE = ResourceMapping(
    surface="fhir.r4", resource="Device", noun="fleet", query="providers.list",
    entries=(
        MappingEntry(column="code", path="identifier:vehicle.value"),
        MappingEntry(value="active", path="status", form="code"),
    ),
    filters=(MappingFilter(name="identifier", form="token", fields={"vehicle": "code", "": "code"}),),
)  # fmt: skip


def test_another_plugins_mapping_is_served(make_app: Any) -> None:
    """A mapping that a plugin contributes is searched like the kernel's; the metadata name it."""
    app: TestApp = make_app(extra={"fleet": Fleet(DEVICE)}, plugins=["fleet", "fhir"])
    assert "Device" in {mapping.resource for mapping in app.mappings}
    app.do("providers.register", {"code": "V1", "name": "Van"})
    [row] = app.do("providers.list", {"code": "V1"})
    written = to_fhir(DEVICE, row, STYLES[0])
    assert written["identifier"] == [{"system": "urn:imis:fhir:NamingSystem:vehicle", "value": "V1"}]
    get_fhir_model_class("Device").model_validate(written)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"query": "providers.lost"}, "providers.lost"),
        ({"noun": "ships"}, "ships"),
        ({"command": "fleet.sell"}, "fleet.sell"),
        ({"entries": (MappingEntry(column="colour", path="status"),)}, "colour"),
        ({"entries": (MappingEntry(column="code", path="sta tus"),)}, "sta tus"),
        ({"filters": (MappingFilter(name="x", form="token", fields={"": "colour"}),)}, "colour"),
        ({"filters": (MappingFilter(name="x", form="smell", fields={"": "code"}),)}, "smell"),
        ({"resource": "Patient"}, "both register"),
    ],
)
def test_a_wrong_mapping_stops_the_start(make_app: Any, changes: dict[str, Any], word: str) -> None:
    """What a mapping says of nouns, queries, commands and places must be so; the report names plugin and mapping."""
    with pytest.raises(Exception, match="fleet") as caught:
        make_app(extra={"fleet": Fleet(evolve(DEVICE, **changes))}, plugins=["fleet", "fhir"])
    assert word in str(caught.value)


def test_settings_are_checked(make_app: Any) -> None:
    """A misspelt switch is refused at start with its path."""
    with pytest.raises(Exception, match=r"plugins\.fhir\.identifiers"):
        make_app(plugins=["fhir"], settings={"plugins": {"fhir": {"identifiers": "openIMIS"}}})
