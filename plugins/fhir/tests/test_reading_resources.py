"""Reads, searches, paging and capabilities over HTTP; every answer is judged by the models of FHIR R4."""

from __future__ import annotations

import re
from typing import Any

import pytest

ALL = ("Patient", "Group", "Coverage", "Organization", "Location", "Claim", "ClaimResponse")
NUMBER = "urn:imis:fhir:NamingSystem:person-number"


def test_capabilities_are_those_registered(site: Any) -> None:
    """The CapabilityStatement names each mapping's resource with its parameters and interactions, without a login."""
    statement = site.anyone.get("metadata")
    resources = {one["type"]: one for one in statement["rest"][0]["resource"]}
    mappings = {m.resource: m for m in site.app.mappings}
    assert set(resources) == set(mappings) == set(ALL)
    for name, one in resources.items():
        assert [p["name"] for p in one["searchParam"]] == [f.name for f in mappings[name].filters]
    creating = {name for name, one in resources.items() if {"code": "create"} in one["interaction"]}
    assert creating == {"Claim"}
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["implementation"]["url"] == f"{site.url}/fhir/R4"


@pytest.mark.parametrize("resource", ALL)
def test_what_a_search_finds_can_be_read(site: Any, resource: str) -> None:
    """Each match of a searchset stands at its fullUrl, the same as in the Bundle."""
    if resource in ("Claim", "ClaimResponse"):
        code = f"R-{resource}"
        site.client.post("Claim", site.world.claim(code))
    bundle = site.client.get(resource)
    assert bundle["entry"]
    for entry in bundle["entry"]:
        assert entry["fullUrl"] == f"{site.url}/fhir/R4/{resource}/{entry['resource']['id']}"
        assert site.client.get(f"{resource}/{entry['resource']['id']}") == entry["resource"]
        assert entry["search"] == {"mode": "match"}


def test_a_patient_is_the_person(site: Any) -> None:
    """Number, identifiers, names, sex and birth date stand where FHIR has them."""
    [patient] = site.client.resources(f"Patient?identifier={NUMBER}|N1")
    assert patient["identifier"] == [
        {"system": NUMBER, "value": "N1"},
        {"system": "urn:imis:fhir:NamingSystem:nid", "value": "77"},
    ]
    assert patient["name"] == [{"use": "official", "family": "Berg", "given": ["Ana"]}]
    assert (patient["gender"], patient["birthDate"], patient["active"]) == ("female", "1985-05-17", True)
    [place] = site.client.resources("Location?identifier=A")
    reference = patient["address"][0]["extension"][0]["valueReference"]["reference"]
    assert reference == f"Location/{place['id']}"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("identifier=N1", ["N1"]),
        ("identifier=77", ["N1"]),
        ("identifier=urn:imis:fhir:NamingSystem:nid|77", ["N1"]),
        ("identifier=urn:imis:fhir:NamingSystem:nid|N1", []),
        ("identifier=http://elsewhere.example/ids|N1", []),
        ("identifier=|N1", []),
        ("identifier=https://openimis.github.io/openimis_fhir_r4_ig/CodeSystem/openimis-identifiers|N1", ["N1"]),
        ("family=BER", ["N1", "N2"]),
        ("family=ber&given=b", ["N2"]),
        ("name=cle", ["N3"]),
        ("gender=male", ["N2"]),
        ("gender=unknown", []),
        ("birthdate=1985-05-17", ["N1"]),
        ("birthdate=1985", ["N1"]),
        ("birthdate=2015-02", ["N2"]),
        ("birthdate=ge1985-05-17&birthdate=lt2015-02-01", ["N1", "N3"]),
        ("birthdate=gt1990-01-31", ["N2"]),
        ("birthdate=le1985", ["N1"]),
        ("birthdate=1985&birthdate=1990", []),
        ("family=Berg&family=Dahl", []),
        ("_id=nonsense", []),
    ],
)
def test_patients_are_searched_by_what_fhir_calls_it(site: Any, query: str, numbers: list[str]) -> None:
    """Each parameter finds as FHIR says; what can match nothing gives an empty searchset."""
    found = site.client.resources(f"Patient?{query}")
    assert [patient["identifier"][0]["value"] for patient in found] == numbers


def test_every_resource_is_found_by_its_identifier(site: Any) -> None:
    """`identifier` takes system|value, the value alone, and the server's own id."""
    site.client.post("Claim", site.world.claim("ID-1"))
    for resource, code in (
        ("Group", "FAM1"), ("Organization", "HC1"), ("Location", "A"), ("Claim", "ID-1"), ("ClaimResponse", "ID-1"),
    ):  # fmt: skip
        [found] = site.client.resources(f"{resource}?identifier={code}")
        identifier = found["identifier"][0]
        assert identifier["value"] == code
        assert site.client.resources(f"{resource}?identifier={identifier['system']}|{code}") == [found]
        assert site.client.resources(f"{resource}?identifier={found['id']}") == [found]
        assert site.client.resources(f"{resource}?_id={found['id']}") == [found]
        assert site.client.resources(f"{resource}?identifier={NUMBER}x|{code}") == []
    [coverage] = site.client.resources(f"Coverage?patient={site.world.person('N1')}")
    for identifier in coverage["identifier"]:
        assert coverage in site.client.resources(f"Coverage?identifier={identifier['system']}|{identifier['value']}")


def test_a_group_names_its_members(site: Any) -> None:
    """A household is a Group of actual persons with their relationships, found by a member."""
    person = site.world.person("N2")
    [group] = site.client.resources(f"Group?member=Patient/{person}")
    assert (group["type"], group["actual"], group["quantity"]) == ("person", True, 2)
    members = [(m["entity"]["reference"], m["extension"][0]["valueCode"]) for m in group["member"]]
    assert members == [(f"Patient/{site.world.person('N1')}", "head"), (f"Patient/{person}", "child")]


def test_a_coverage_is_one_persons(site: Any) -> None:
    """Each person of a policy has a Coverage with the days of the own cover; an unpaid one is a draft."""
    [paid] = site.client.resources(f"Coverage?beneficiary=Patient/{site.world.person('N2')}")
    assert paid["status"] == "active"
    assert paid["period"] == {"start": "2021-01-01", "end": "2021-12-31"}
    assert paid["payor"][0]["identifier"]["value"] == "fund"
    assert {c["type"]["coding"][0]["code"]: c["value"] for c in paid["class"]} == {"plan": "BASIC", "group": "FAM1"}
    [unpaid] = site.client.resources(f"Coverage?patient={site.url}/fhir/R4/Patient/{site.world.person('N3')}")
    assert unpaid["status"] == "draft"
    assert unpaid["period"] == {"end": "2021-12-31"}


def test_pages_follow_one_another(site: Any) -> None:
    """`next` leads through all matches once; `self` repeats what was asked."""
    seen, address, pages = [], "Patient?_count=2&birthdate=ge1900", 0
    while address:
        bundle = site.client.get(address)
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        assert links["self"] == f"{site.url}/fhir/R4/Patient?_count=2&birthdate=ge1900"
        seen += [entry["resource"]["identifier"][0]["value"] for entry in bundle["entry"]]
        address, pages = links.get("next", "").removeprefix(f"{site.url}/fhir/R4/"), pages + 1
    assert (seen, pages) == (["N1", "N2", "N3"], 2)


@pytest.mark.parametrize("resource", ALL)
def test_a_page_is_a_constant_number_of_statements(site: Any, resource: str) -> None:
    """Longer pages ask the database as often as short ones."""
    below = "&partof=R" if resource == "Location" else ""  # places of one kind: the topmost one needs no parent
    for suffix in "ab":
        site.client.post("Claim", site.world.claim(f"N-{resource}-{suffix}"))

    def statements(count: int) -> int:
        before = site.app.database.statements
        found = site.client.resources(f"{resource}?_count={count}{below}")
        assert len(found) == count
        return int(site.app.database.statements - before)

    assert statements(1) == statements(2)


@pytest.mark.parametrize("query", ["colour=red", "family:exact=Berg", "_sort=family", "family=a,b", "birthdate=soon"])
def test_what_is_not_understood_is_refused(site: Any, query: str) -> None:
    """An unknown parameter, modifier or value is an OperationOutcome that names the parameter."""
    outcome = site.client.get(f"Patient?{query}", 400)
    [issue] = outcome["issue"]
    assert issue["location"] == [f"http.{query.partition('=')[0]}"]
    assert issue["severity"] == "error"


def test_a_lenient_client_gets_what_is_understood(site: Any) -> None:
    """`Prefer: handling=lenient` passes over an unknown parameter, and `self` leaves it out."""
    bundle = site.client.get("Patient?colour=red&family=Dahl", Prefer="handling=lenient")
    assert len(bundle["entry"]) == 1
    assert bundle["link"][0]["url"].endswith("/Patient?family=Dahl")


def test_a_version_is_not_sent_twice(site: Any) -> None:
    """The ETag is the version; who has it gets 304 until the resource changes."""
    identity = site.world.person("N3")
    answer = site.client.http.get(f"/fhir/R4/Patient/{identity}")
    tag = answer.headers["etag"]
    assert tag == f'W/"{answer.json()["meta"]["versionId"]}"'
    again = site.client.get(f"Patient/{identity}", 304, **{"If-None-Match": tag})
    assert again.headers["etag"] == tag
    site.client.get(f"Patient/{identity}", 200, **{"If-None-Match": 'W/"0"'})


def test_refusals_are_outcomes(site: Any) -> None:
    """No login, no permission, nothing there, no such address or method: always an OperationOutcome with our code."""
    nobody = site.user("nil", "nobody")
    unknown = "00000000-0000-0000-0000-000000000000"
    for client, address, status, code in (
        (site.anyone, "Patient", 401, "auth.required"),
        (nobody, "Patient", 403, "permission.denied"),
        (nobody, "Patient?identifier=|N1", 403, "permission.denied"),
        (nobody, f"Patient/{site.world.person('N1')}", 403, "permission.denied"),
        (site.client, f"Patient/{unknown}", 404, "not_found"),
        (site.client, f"Group/{site.world.person('N1')}", 404, "not_found"),
        (site.client, "Starship", 404, "not_found"),
        (site.client, "Patient/1/2/3", 404, "not_found"),
    ):
        issue = client.get(address, status)["issue"][0]
        assert issue["details"]["coding"][0]["code"] == code
    assert site.client.http.put("/fhir/R4/Patient/1", json={}).json()["resourceType"] == "OperationOutcome"
    refused = site.anyone.http.get("/fhir/R4/Patient")
    assert refused.headers["www-authenticate"] == "Bearer"
    xml = site.client.http.get("/fhir/R4/Patient", headers={"Accept": "application/fhir+xml"})
    assert (xml.status_code, xml.json()["resourceType"]) == (406, "OperationOutcome")


def test_scope_holds(site: Any) -> None:
    """Who may see one place finds its persons, groups and covers only; what lies outside is not there."""
    officer = site.user("olga", "officer", places=["B"])
    assert [p["identifier"][0]["value"] for p in officer.resources("Patient")] == ["N3"]
    assert [g["identifier"][0]["value"] for g in officer.resources("Group")] == ["FAM2"]
    assert [c["subscriberId"] for c in officer.resources("Coverage")] == ["N3"]
    hidden = site.world.person("N1")
    officer.get(f"Patient/{hidden}", 404)
    assert officer.resources(f"Coverage?patient={hidden}") == []
    site.client.post("Claim", site.world.claim("S-1"))
    assert officer.resources("Claim?identifier=S-1") == []


def test_openimis_urls_are_written_where_they_are_wanted(openimis: Any) -> None:
    """The switch changes URLs and codes to openIMIS's, and searches by its identifier system find."""
    [patient] = openimis.client.resources("Patient?identifier=N1")
    coding = patient["identifier"][0]["type"]["coding"][0]
    assert (coding["system"].rpartition("/")[2], coding["code"]) == ("openimis-identifiers", "SB")
    assert openimis.client.resources(f"Patient?identifier={coding['system']}|N1") == [patient]
    assert openimis.client.resources(f"Patient?identifier={NUMBER}|N1") == [patient]
    [clinic] = openimis.client.resources("Organization?name=clinic hc1")
    levels = {e["url"].rpartition("/")[2]: e["valueCodeableConcept"]["coding"][0]["code"] for e in clinic["extension"]}
    assert levels == {"organization-hf-level": "C", "organization-hf-care-type": "B"}
    created = openimis.client.post("Claim", openimis.world.claim("O-1"))
    assert created["type"]["coding"][1]["code"] == "O"
    assert openimis.client.post("Claim", {**created, "identifier": [{"value": "O-2"}]})["item"] == created["item"]
    assert not re.search(r"urn:imis", str(created))
