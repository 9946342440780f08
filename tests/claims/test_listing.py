"""Lists of claims by what names them, in short and in full."""

from __future__ import annotations

from typing import Any

import pytest

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
