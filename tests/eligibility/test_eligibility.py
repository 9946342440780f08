"""The rules of eligibility, on a real database."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp


@pytest.fixture
def clinic(app: TestApp) -> TestApp:
    """A facility with prices, a package with limits, and a family of which nobody is enrolled."""
    for code, more in (
        ("DRUG", {}),
        ("LAB", {}),
        ("BED", {"care_type": "inpatient"}),
        ("FREE", {}),
        ("CHILD", {"ages": ["child"]}),
    ):
        app.do("catalogue.define_item", {"code": code, "name": code, "kind": "service", "price": "200", **more})
    prices = {"DRUG": "100", "LAB": "80", "BED": "10", "CHILD": "10"}
    app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": prices})
    app.do(
        "providers.register",
        {"code": "HC", "name": "HC", "level": "health_centre", "care_type": "outpatient", "price_lists": ["PL"]},
    )
    terms = {
        "insurance_months": 12, "premium_adult": "50", "deductible": {"level": "policy", "general": "30"},
        "ceiling": {"level": "person", "inpatient": "500", "outpatient": "40"},
        "items": {"DRUG": {"percent": 80}, "LAB": {"limit": "fixed", "amount": "60"}, "BED": {}, "CHILD": {}},
    }  # fmt: skip
    app.do(
        "benefit_packages.define",
        {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2019-01-01", "terms": terms},
    )
    member = {
        "number": "N1", "given_name": "A", "family_name": "B", "sex": "M", "birth_date": "1980-01-01",
        "relationship": "head",
    }  # fmt: skip
    app.do("beneficiaries.register_group", {"code": "F", "members": [member]})
    return app


def enrol(app: TestApp, paid: bool = True) -> Any:
    policy = app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": "F"})
    if paid:
        app.do("contributions.record", {"coverage": policy["id"], "amount": "50", "receipt": policy["id"]})
    return policy


def check(app: TestApp, **more: Any) -> Any:
    return app.do("eligibility.check", {"number": "N1", **more})


def test_who_has_no_policy_is_not_enrolled(clinic: TestApp) -> None:
    """Not covered, no policies; items are not covered either, and cost what they cost."""
    answer = check(clinic, scheme="chf", items=["DRUG"])
    assert (answer["eligible"], answer["reason"], answer["coverages"]) == (False, "not_enrolled", [])
    (item,) = answer["items"]
    assert (item["allowed"], item["reason"], item["scheme_pays"], item["patient_pays"]) == (
        False,
        "no_coverage",
        "0.00",
        "200.00",
    )


def test_an_unpaid_policy_is_idle_and_an_old_one_expired(clinic: TestApp) -> None:
    """The reason is that of the policy, which is shown with its status."""
    enrol(clinic, paid=False)
    answer = check(clinic)
    assert (answer["reason"], [c["status"] for c in answer["coverages"]]) == ("idle", ["idle"])
    clinic.clock.set(date(2022, 1, 1))
    assert check(clinic)["reason"] == "expired"


def test_a_covered_person_sees_what_is_left(clinic: TestApp) -> None:
    """Eligible: the policy with counts (unlimited), deductible used and ceiling left by the scopes of the terms."""
    policy = enrol(clinic)
    answer = check(clinic)
    assert (answer["eligible"], answer["reason"]) == (True, None)
    (coverage,) = answer["coverages"]
    assert (coverage["id"], coverage["package"], coverage["status"]) == (policy["id"], "P", "active")
    assert set(coverage["counts_left"].values()) == {None}
    assert coverage["deductible_used"] == {"general": "0.00"}
    assert coverage["ceiling_left"] == {"inpatient": "500.00", "outpatient": "40.00"}


def test_items_are_answered_one_by_one_at_the_facility_s_price(clinic: TestApp) -> None:
    """Deductible 30, then 80 %, at most the ceiling of 40: each item as if it were the only one."""
    enrol(clinic)
    items = check(clinic, provider="HC", items=["DRUG", "LAB", "BED", "FREE", "CHILD"])["items"]
    assert [(i["code"], i["allowed"], i["reason"], i["scheme_pays"], i["patient_pays"]) for i in items] == [
        ("DRUG", True, None, "40.00", "60.00"),
        ("LAB", True, None, "30.00", "50.00"),
        ("BED", False, "care_type", "0.00", "10.00"),
        ("FREE", False, "not_in_price_list", "0.00", None),
        ("CHILD", False, "patient_category", "0.00", "10.00"),
    ]
    (free,) = check(clinic, items=["FREE"])["items"]
    assert (free["reason"], free["patient_pays"]) == ("not_covered", "200.00")


def test_what_claims_used_up_is_not_there_any_more(clinic: TestApp) -> None:
    """After a claim that took the deductible and 40.00 of the ceiling, the next costs the patient everything."""
    enrol(clinic)
    clinic.do("catalogue.add_diagnosis", {"code": "A09", "name": "A09"})
    clinic.do(
        "claims.submit",
        {
            "code": "C1", "provider": "HC", "number": "N1", "from": "2021-01-01", "diagnosis": "A09",
            "lines": [{"item": "DRUG", "quantity": 1, "price": "100"}],
        },
    )  # fmt: skip
    clinic.do("claims.process", {"scheme": "chf"})
    answer = check(clinic, provider="HC", items=["DRUG"])
    (coverage,) = answer["coverages"]
    assert coverage["deductible_used"] == {"general": "30.00"}
    assert coverage["ceiling_left"] == {"inpatient": "500.00", "outpatient": "0.00"}
    assert (answer["items"][0]["scheme_pays"], answer["items"][0]["patient_pays"]) == ("0.00", "100.00")


def test_a_facility_outside_its_contract_is_the_first_reason(clinic: TestApp) -> None:
    """`provider_not_contracted` goes before everything else; a facility without dates is not held to any."""
    enrol(clinic)
    clinic.do(
        "providers.register",
        {"code": "OLD", "name": "Old", "care_type": "both", "contract": {"from": "2019-01-01", "to": "2020-12-31"}},
    )
    answer = check(clinic, provider="OLD", items=["DRUG"])
    assert (answer["eligible"], answer["reason"]) == (False, "provider_not_contracted")
    assert not answer["items"][0]["allowed"]
    assert check(clinic, provider="HC")["eligible"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"number": "N9"}, "not_found"),
        ({"provider": "NONE"}, "not_found"),
        ({"items": ["NONE"]}, "not_found"),
        ({"scheme": "none"}, "input.invalid"),
        ({"person": "N1"}, "input.invalid"),
    ],
)
def test_a_question_names_what_exists(clinic: TestApp, data: dict[str, Any], code: str) -> None:
    """Unknown persons, providers, items and schemes are refused, and so are two persons at once."""
    with pytest.raises(ImisError) as caught:
        check(clinic, **data)
    assert caught.value.code == code


def test_a_contracted_provider_looks_up_any_person_by_exact_number(make_app: Any) -> None:
    """A facility's clerk sees the policy of the person whose card lies on the desk, and the look-up is logged."""
    app = make_app(settings={"roles": {"clerk": {"permissions": ["eligibility.check"], "scope": "provider"}}})
    app.do("providers.register", {"code": "HC", "name": "HC", "care_type": "both", "contract": {"from": "2019-01-01"}})
    terms = {"insurance_months": 12}
    app.do(
        "benefit_packages.define",
        {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2019-01-01", "terms": terms},
    )
    member = {
        "number": "N1",
        "given_name": "A",
        "family_name": "B",
        "sex": "M",
        "birth_date": "1980-01-01",
        "relationship": "head",
    }
    app.do("beneficiaries.register_group", {"code": "F", "members": [member]})
    app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": "F"})
    clerk = app.as_user("anna", "clerk", providers=["HC"])
    answer = app.do("eligibility.check", {"number": "N1", "provider": "HC"}, as_=clerk)
    assert answer["eligible"]
    assert [c["package"] for c in answer["coverages"]] == ["P"]
    assert len(app.rows("SELECT 1 AS one FROM core.lookups")) == 1
