"""Claims that are sent in FHIR: stored through the kernel's door, judged and read back, or refused at the place."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest


def issues(outcome: Any) -> list[tuple[str, str]]:
    """Code and expression of each issue."""
    assert outcome["resourceType"] == "OperationOutcome"
    return [(issue["code"], issue.get("expression", [""])[0]) for issue in outcome["issue"]]


def test_a_claim_is_created_and_read_back(site: Any) -> None:
    """201 with the address of the new Claim, which is what was sent, with the kernel's own claim behind it."""
    sent = site.world.claim("C-1", diagnosis=[
        {"sequence": 1, "diagnosisCodeableConcept": {"coding": [{"code": "A09"}]}},
        {"sequence": 2, "diagnosisCodeableConcept": {"coding": [{"code": "B50"}]}},
    ])  # fmt: skip
    answer = site.client.http.post("/fhir/R4/Claim", json=sent)
    created = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{site.url}/fhir/R4/Claim/{created['id']}"
    assert answer.headers["etag"] == 'W/"1"'
    assert site.client.get(f"Claim/{created['id']}") == created
    for name in ("status", "use", "patient", "billablePeriod", "created", "provider"):
        assert created[name] == sent[name]
    assert [i["unitPrice"]["value"] for i in created["item"]] == [12.5, 80]
    assert created["total"] == {"value": 105, "currency": "USD"}
    shown = site.app.do("claims.show", {"claim": "C-1"})
    assert (shown["id"], shown["status"], shown["secondary"]) == (created["id"], "checked", ["B50"])


def test_what_was_read_can_be_sent_again(site: Any) -> None:
    """A Claim as the server writes it, under another business code, gives the same resource."""
    first = site.client.post("Claim", site.world.claim("C-2"))
    changed = deepcopy(first)
    changed["identifier"][0]["value"] = "C-2 again"
    second = site.client.post("Claim", changed)
    assert {**second, "id": first["id"], "identifier": first["identifier"]} == first


def test_a_response_tells_each_line_with_its_steps(site: Any) -> None:
    """Before processing it is queued; afterwards complete, with steps, amounts and the reasons of rejections."""
    site.client.post("Claim", site.world.claim("C-3"))
    [queued] = site.client.resources("ClaimResponse?identifier=C-3")
    assert queued["outcome"] == "queued"
    site.app.do("claims.process", {"scheme": "fund"})
    [response] = site.client.resources(f"ClaimResponse?request=Claim/{queued['id']}")
    assert response["outcome"] == "complete"
    assert response["request"] == {"reference": f"Claim/{queued['id']}"}
    lab, xray = response["item"]
    steps = [
        (a["category"]["coding"][0]["code"], a["amount"]["value"])
        for a in lab["adjudication"] if a["category"]["coding"][0]["system"].endswith("claim-adjudication-step")
    ]  # fmt: skip
    assert steps[0] == ("price", 25)
    assert steps[-1] == ("ceiling", 20)
    amounts = {a["category"]["coding"][0]["code"]: a.get("amount", {}).get("value") for a in lab["adjudication"]}
    assert (amounts["submitted"], amounts["benefit"]) == (25, 20)
    reasons = [a["reason"]["coding"][0]["code"] for a in xray["adjudication"] if "reason" in a]
    assert reasons == ["not_covered"]
    totals = {t["category"]["coding"][0]["code"]: t["amount"]["value"] for t in response["total"]}
    assert (totals["submitted"], totals["benefit"]) == (105, 20)


def test_submit_answers_with_the_response(site: Any) -> None:
    """`Claim/$submit` takes a Claim, alone or in Parameters, and answers its ClaimResponse."""
    response = site.client.post("Claim/$submit", site.world.claim("C-4"), 200)
    assert (response["resourceType"], response["outcome"]) == ("ClaimResponse", "queued")
    parameters = {"resourceType": "Parameters", "parameter": [
        {"name": "resource", "resource": site.world.claim("C-5", item=[
            {"sequence": 1, "productOrService": {"coding": [{"code": "XRAY"}]}, "quantity": {"value": 1},
             "unitPrice": {"value": 80}},
        ])},
    ]}  # fmt: skip
    rejected = site.client.post("Claim/$submit", parameters, 200)
    assert rejected["disposition"] == "all_lines_rejected"
    assert rejected["adjudication"][0]["reason"]["coding"][0]["code"] == "all_lines_rejected"
    site.client.post("Claim/$purge", site.world.claim("C-6"), 404)


def insured(coverage: dict[str, Any]) -> dict[str, Any]:
    return {"insurance": [{"sequence": 1, "focal": True, "coverage": coverage}]}


FOREIGN = {"reference": "http://elsewhere.example/Patient/x"}
MODIFIER = {"url": "http://elsewhere.example", "valueBoolean": True}
DEFECTS: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("no patient", {"patient": None}, [("required", "patient")]),
    ("no identifier", {"identifier": None}, [("required", "identifier.value")]),
    ("no items", {"item": None}, [("required", "item")]),
    ("no insurance", {"insurance": None}, [("required", "insurance")]),
    ("no diagnosis", {"diagnosis": None}, [("required", "diagnosis.diagnosisCodeableConcept.coding.code")]),
    ("a patient who is not there", {"patient": {"reference": "Patient/x"}}, [("not-found", "patient")]),
    ("another server's patient", {"patient": FOREIGN}, [("value", "patient.reference")]),
    ("a practitioner", {"provider": {"reference": "Practitioner/1"}}, [("value", "provider.reference")]),
    ("a draft", {"status": "draft"}, [("value", "status")]),
    ("an estimate", {"use": "predetermination"}, [("value", "use")]),
    ("half a date", {"created": "2021-02"}, [("value", "created")]),
    ("a date as a number", {"created": 2021}, [("value", "created")]),
    ("an end before the start", {"billablePeriod": {"start": "2021-02-02", "end": "2021-02-01"}},
     [("value", "billablePeriod.end")]),
    ("a claim from the future", {"billablePeriod": {"start": "2021-02-02", "end": "2022-02-01"}},
     [("invalid", "billablePeriod.end")]),
    ("a wrong total", {"total": {"value": 104}}, [("invariant", "total.value")]),
    ("an unknown scheme", insured({"identifier": {"value": "x"}}), [("structure", "insurer")]),
    ("an unknown coverage", insured({"reference": "Coverage/x"}),
     [("not-found", "insurance[0].coverage.reference")]),
    ("what is not kept", {"careTeam": [{"sequence": 1}]}, [("not-supported", "careTeam[0].sequence")]),
    ("a modifier", {"modifierExtension": [MODIFIER]},
     [("not-supported", f"modifierExtension[0].{part}") for part in MODIFIER]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), [d[1:] for d in DEFECTS], ids=[d[0] for d in DEFECTS])
def test_a_defect_is_refused_at_its_place(site: Any, changes: dict[str, Any], expected: Any) -> None:
    """422 (404 for a patient who is not there) with FHIR's issue code and the element; nothing is stored."""
    status = 404 if expected == [("not-found", "patient")] else 422
    outcome = site.client.post("Claim", site.world.claim("D-1", **changes), status)
    assert issues(outcome) == [(code, f"Claim.{path}") for code, path in expected]
    assert site.client.resources("Claim?identifier=D-1") == []


LINE_DEFECTS: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("an unknown item", {"productOrService": {"coding": [{"code": "NOPE"}]}},
     [("not-found", "productOrService.coding[0].code")]),
    ("a quantity as text", {"quantity": {"value": "2"}}, [("value", "quantity")]),
    ("no quantity at all", {"quantity": {"value": 0}}, [("value", "quantity")]),
    ("a unit", {"quantity": {"value": 2, "unit": "box"}}, [("not-supported", "quantity.unit")]),
    ("too many decimals", {"unitPrice": {"value": 12.505}}, [("value", "unitPrice")]),
    ("another currency", {"unitPrice": {"value": 12.5, "currency": "EUR"}}, [("value", "unitPrice.currency")]),
    ("no price", {"unitPrice": None}, [("required", "unitPrice")]),
    ("a wrong net", {"net": {"value": 24}}, [("invariant", "net.value")]),
    ("a wrong sequence", {"sequence": 7}, [("value", "sequence")]),
    ("a day outside the period", {"servicedDate": "2021-03-01"}, [("invariant", "servicedDate")]),
    ("a site of the body", {"bodySite": {"coding": [{"code": "A"}]}}, [("not-supported", "bodySite.coding[0].code")]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), [d[1:] for d in LINE_DEFECTS], ids=[d[0] for d in LINE_DEFECTS])
def test_a_defect_of_a_line_names_the_line(site: Any, changes: dict[str, Any], expected: Any) -> None:
    """The expression leads to the second item, where the defect is."""
    claim = site.world.claim("D-2")
    claim["item"][1] = {**claim["item"][0], "sequence": 2, **changes}
    claim["item"][1] = {name: part for name, part in claim["item"][1].items() if part is not None}
    outcome = site.client.post("Claim", claim, 404 if "NOPE" in str(changes) else 422)
    assert issues(outcome) == [(code, f"Claim.item[1].{path}") for code, path in expected]


def test_all_defects_are_told_at_once(site: Any) -> None:
    """One outcome lists every element that is wrong."""
    outcome = site.client.post("Claim", site.world.claim("D-3", use="preauthorization", created="soon"), 422)
    assert sorted(issues(outcome)) == [("value", "Claim.created"), ("value", "Claim.use")]


def test_a_code_is_used_once(site: Any) -> None:
    """The same business code again is a conflict; with an Idempotency-Key the first answer comes again."""
    claim = site.world.claim("C-7")
    first = site.client.post("Claim", claim, **{"Idempotency-Key": "k-7"})
    assert site.client.post("Claim", claim, **{"Idempotency-Key": "k-7"}) == first
    outcome = site.client.post("Claim", claim, 409)
    assert issues(outcome) == [("duplicate", "Claim")]
    assert outcome["issue"][0]["details"]["coding"][0]["code"] == "claims.duplicate_code"


def test_sums_and_days_of_service_are_compared(site: Any) -> None:
    """Right sums are taken; days of service make the period where it is left out; a missing quantity is one."""
    claim = site.world.claim("C-8", billablePeriod=None, total={"value": 15.55, "currency": "USD"})
    claim["item"] = [
        {"sequence": 1, "productOrService": {"coding": [{"code": "LAB"}]}, "servicedDate": "2021-02-02",
         "unitPrice": {"value": 12.5}, "net": {"value": 12.5}},
        {"sequence": 2, "productOrService": {"coding": [{"code": "DRUG"}]}, "servicedDate": "2021-02-01",
         "unitPrice": {"value": 3.05}, "net": {"value": 3.05}},
    ]  # fmt: skip
    created = site.client.post("Claim", claim)
    assert created["billablePeriod"] == {"start": "2021-02-01", "end": "2021-02-02"}
    assert [item["quantity"]["value"] for item in created["item"]] == [1, 1]


def test_a_coverage_says_which_scheme(site: Any) -> None:
    """A reference to the patient's own Coverage is taken as its scheme; another patient's is not there."""
    [own] = site.client.resources(f"Coverage?patient={site.world.person('N1')}")
    [other] = site.client.resources(f"Coverage?patient={site.world.person('N3')}")

    created = site.client.post("Claim", site.world.claim("C-9", **insured({"reference": f"Coverage/{own['id']}"})))
    assert created["insurer"]["identifier"]["value"] == "fund"
    theirs = site.world.claim("C-10", **insured({"reference": f"Coverage/{other['id']}"}))
    outcome = site.client.post("Claim", theirs, 422)
    assert issues(outcome) == [("not-found", "Claim.insurance[0].coverage.reference")]


def test_a_lenient_client_may_send_more_than_is_kept(site: Any) -> None:
    """`Prefer: handling=lenient` lets elements go that are not kept; never what changes the meaning."""
    claim = site.world.claim("C-11", careTeam=[{"sequence": 1, "provider": {"display": "Dr Eno"}}])
    created = site.client.post("Claim", claim, Prefer="handling=lenient, return=representation")
    assert "careTeam" not in created
    modified = {**claim, "modifierExtension": [{"url": "http://e.example", "valueBoolean": True}]}
    site.client.post("Claim", modified, 422, Prefer="handling=lenient")


def test_only_its_own_facility_claims(site: Any) -> None:
    """A facility names any patient by number and claims for itself; not for another, and sees only its own claims."""
    clinic = site.user("carl", "clinic", providers=["HC1"])
    by_number = {"identifier": {"system": "urn:imis:fhir:NamingSystem:person-number", "value": "N3"}}
    created = clinic.post("Claim", site.world.claim("C-12", patient=by_number))
    assert created["patient"] == {"reference": f"Patient/{site.world.person('N3')}"}
    elsewhere = {"reference": f"Organization/{site.world.provider('HC2')}"}
    outcome = clinic.post("Claim", site.world.claim("C-13", provider=elsewhere), 403)
    assert issues(outcome)[0][0] == "forbidden"
    site.client.post("Claim", site.world.claim("C-14", provider=elsewhere))
    assert clinic.resources("Claim?identifier=C-14") == []
    assert [c["id"] for c in clinic.resources("Claim?identifier=C-12")] == [created["id"]]


def test_who_may_only_submit_learns_the_address(site: Any) -> None:
    """Without the permission to see claims the answer has no body, and nothing is stored for a response."""
    submitter = site.user("sam", "submitter")
    answer = submitter.post("Claim", site.world.claim("C-15"))
    assert answer.headers["location"].startswith(f"{site.url}/fhir/R4/Claim/")
    assert issues(submitter.post("Claim/$submit", site.world.claim("C-16"), 403))[0][0] == "forbidden"
    assert site.client.resources("Claim?identifier=C-16") == []
    reader = site.user("rita", "nobody")
    assert issues(reader.post("Claim", site.world.claim("C-17"), 403))[0][0] == "forbidden"


def test_what_comes_back_can_be_chosen(site: Any) -> None:
    """`Prefer: return=minimal` gives no body, `OperationOutcome` one that says what was made."""
    minimal = site.client.post("Claim", site.world.claim("C-18"), Prefer="return=minimal")
    assert minimal.content == b""
    outcome = site.client.post("Claim", site.world.claim("C-19"), Prefer="return=OperationOutcome")
    assert outcome["issue"][0]["severity"] == "information"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"resourceType": "Patient"}', b'{"resourceType": "Claim", "item": NaN}']
)
def test_a_body_that_is_no_claim_is_refused(site: Any, body: bytes) -> None:
    """What is not JSON, or no Claim, is an OperationOutcome."""
    answer = site.client.http.post("/fhir/R4/Claim", content=body, headers={"Content-Type": "application/fhir+json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_other_resources_cannot_be_created(site: Any) -> None:
    """A resource whose mapping has no command is read only."""
    assert issues(site.client.post("Patient", {"resourceType": "Patient"}, 405)) == [("not-supported", "")]
