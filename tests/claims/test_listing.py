"""Lists of claims by what names them, in short and in full."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError
from tests.claims.conftest import Clinic


@pytest.mark.parametrize("query", ["claims.list", "claims.list_in_full"])
def test_claims_are_listed_by_what_names_them(clinic: Clinic, query: str) -> None:
    """Id, code, provider and person (each by code or id) narrow the list; what is no id finds nothing."""
    first = clinic.submit("C1", "LAB")
    clinic.submit("C2", "LAB", number="N2")
    full = clinic.show("C1")

    def codes(**asked: Any) -> list[str]:
        return [claim["code"] for claim in clinic.app.do(query, asked)]

    assert codes() == ["C1", "C2"]
    assert codes(id=first["id"]) == ["C1"]
    assert codes(id="C1") == []
    assert codes(code="C2") == ["C2"]
    assert codes(person="N2") == ["C2"]
    assert codes(person=full["person_id"]) == ["C1"]
    assert codes(provider=full["provider_id"]) == codes(provider="HC") == ["C1", "C2"]
    assert codes(provider="OUT") == []


def test_a_facility_sees_the_numbers_on_its_own_claims(make_app: Any) -> None:
    """Whoever the patient is and wherever he or she lives; lists find them by number; each read is noted."""
    clerk = {"permissions": ["claims.*", "beneficiaries.*"], "scope": "provider"}
    clinic = Clinic(make_app(settings={"roles": {"clerk": clerk}}))
    anna = clinic.app.as_user("anna", "clerk", providers=["HC"])
    ben = clinic.app.as_user("ben", "clerk", providers=["OUT"])
    clinic.submit("C1", "LAB", as_=anna)
    clinic.submit("C2", "LAB", number="N2", as_=anna)
    clinic.submit("C3", "LAB", provider="OUT", as_=ben)
    person = clinic.show("C1")["person_id"]
    for query in ("claims.list", "claims.list_in_full"):

        def found(query: str = query, **asked: Any) -> list[tuple[str, str]]:
            return [(c["code"], c["number"]) for c in clinic.app.do(query, asked, as_=anna)]

        assert found() == [("C1", "N1"), ("C2", "N2")]
        assert found(number="N1") == found(person="N1") == [("C1", "N1")]
        assert found(number="N3") == found(number="N9") == []
    assert clinic.app.do("claims.list", {"person": person}) != []
    assert clinic.app.do("claims.show", {"claim": "C1"}, as_=anna)["number"] == "N1"
    with pytest.raises(ImisError) as caught:  # nothing else of them
        clinic.app.do("beneficiaries.show_person", {"person": person}, as_=anna)
    assert caught.value.code == "not_found"
    read = clinic.app.do("audit.reads", {"user": "anna"})
    assert {(one["query"], one["person"]) for one in read} >= {
        (query, number) for query in ("claims.list", "claims.list_in_full") for number in ("N1", "N2")
    } | {("claims.show", "N1")}


def test_claims_of_merged_persons_are_one_persons(clinic: Clinic) -> None:
    """Under either number, whichever of the two was kept; each claim shows the number that it was made under."""
    clinic.submit("C1", "LAB")
    clinic.submit("C2", "LAB", number="N2")
    clinic.person("N7")
    clinic.insure("N7", "BASIC")
    clinic.submit("C7", "LAB", number="N7")
    clinic.app.do("beneficiaries.merge", {"keep": "N1", "drop": "N7"})
    for number in ("N1", "N7"):
        listed = clinic.app.do("claims.list", {"number": number})
        assert [(claim["code"], claim["number"]) for claim in listed] == [("C1", "N1"), ("C7", "N7")]


def test_a_claim_in_full_is_the_one_shown(clinic: Clinic) -> None:
    """The list in full tells of each claim what the single query tells: lines as they were asked and judged."""
    clinic.app.do("catalogue.add_diagnosis", {"code": "B50", "name": "Malaria"})
    clinic.submit("C1", ("DRUG", "2.5", "30.33"), "UNLISTED", secondary=["B50", "A09"], visit_type="emergency")
    clinic.submit("C2", "LAB")
    clinic.process()
    shown = [clinic.show("C1"), clinic.show("C2")]
    assert clinic.app.do("claims.list_in_full") == shown
    assert (shown[0]["secondary"], shown[0]["visit_type"], shown[0]["version"]) == (["B50", "A09"], "emergency", 2)
    asked = [(line["kind"], line["quantity"], line["price"], line["claimed"]) for line in shown[0]["lines"]]
    assert asked == [("product", "2.5", "30.33", "75.83"), ("service", "1", "100.00", "100.00")]


def test_a_list_in_full_is_a_constant_number_of_statements(clinic: Clinic) -> None:
    """The lines of all claims of a page come in one statement."""
    clinic.submit("C1", "LAB")

    def statements() -> int:
        before = clinic.app.database.statements
        clinic.app.do("claims.list_in_full")
        return clinic.app.database.statements - before

    one = statements()
    clinic.submit("C2", "LAB")
    assert statements() == one
