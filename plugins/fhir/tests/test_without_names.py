"""Persons without names over FHIR: a Patient without a name is valid, found by number, and claimed for."""

from __future__ import annotations

from typing import Any

NUMBER = "urn:imis:fhir:NamingSystem:person-number"


def test_a_patient_without_a_name_is_valid(deploy: Any) -> None:
    """No name at all, or the one that there is; no search by name finds who has none."""
    with deploy(deployment={"person_names": "optional"}) as site:
        bare = {"sex": "F", "birth_date": "1971-02-03"}
        for number, fields in (("Q1", {}), ("Q2", {"given_name": "Zoe"}), ("Q3", {"family_name": "Zander"})):
            site.app.do("beneficiaries.register_person", {"number": number, "location": "A", **bare, **fields})
        found = {n: site.client.resources(f"Patient?identifier={NUMBER}|{n}")[0] for n in ("Q1", "Q2", "Q3")}
        assert "name" not in found["Q1"]
        assert found["Q2"]["name"] == [{"use": "official", "given": ["Zoe"]}]
        assert found["Q3"]["name"] == [{"use": "official", "family": "Zander"}]
        assert site.client.get(f"Patient/{found['Q1']['id']}") == found["Q1"]
        assert [p["id"] for p in site.client.resources("Patient?name=z")] == [found["Q2"]["id"], found["Q3"]["id"]]
        born = site.client.resources("Patient?birthdate=1971-02-03")
        assert [p["id"] for p in born] == [found[n]["id"] for n in ("Q1", "Q2", "Q3")]


def test_a_family_of_nameless_people_is_a_group(deploy: Any) -> None:
    """Its members refer to Patients that can be read; a claim for one of them goes through."""
    with deploy(deployment={"person_names": "optional"}) as site:
        head = {"number": "Q1", "sex": "M", "birth_date": "1971-02-03", "relationship": "head", "location": "A"}
        site.app.do("beneficiaries.register_group", {"code": "FAMQ", "location": "A", "members": [head]})
        [group] = [g for g in site.client.resources("Group") if "FAMQ" in str(g["identifier"])]
        [member] = group["member"]
        patient = site.client.get(member["entity"]["reference"])
        assert "name" not in patient
        assert patient["identifier"][0]["value"] == "Q1"
