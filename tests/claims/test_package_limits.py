"""Co-payments, category caps, ceiling exclusions, and ceilings that grow with members: amounts computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.claims.conftest import TERMS, Clinic, rejections

ITEMS = TERMS["items"]


def insured(clinic: Clinic, number: str, **terms: Any) -> None:
    """A person with a package of these terms; every item is covered in full unless they say otherwise."""
    clinic.package(f"P-{number}", {"insurance_months": 12, "items": ITEMS, **terms})
    clinic.person(number)
    clinic.insure(number, f"P-{number}")


def steps(clinic: Clinic, code: str, line: int = 0) -> dict[str, str]:
    return {step["name"]: step["amount"] for step in clinic.show(code)["lines"][line]["steps"]}


def test_a_copayment_in_percent_follows_the_coinsurance(clinic: Clinic) -> None:
    """100.00, 20.00 deducted, 80 % of the rest, of that 10 % paid by the patient: 57.60; rounded once, half up."""
    terms = {"deductible": {"level": "treatment", "general": "20"}, "items": {"LAB": {"percent": 80}}}
    insured(clinic, "N7", copayments=[{"name": "share", "percent": 10}], **terms)
    clinic.submit("C1", "LAB", number="N7")
    assert clinic.paid("C1") == ["57.60"]
    assert steps(clinic, "C1") == {
        "price": "100.00", "limit": "100.00", "deductible": "80.00", "coinsurance": "64.00", "copayment": "57.60",
        "category_cap": "57.60", "ceiling": "57.60",
    }  # fmt: skip


def test_a_copayment_of_an_amount_is_taken_once_from_the_lines_in_order(clinic: Clinic) -> None:
    """Products first; never counted as deductible."""
    insured(clinic, "N7", copayments=[{"name": "visit", "amount": "130"}])
    clinic.submit("C1", "LAB", "DRUG", "ADVICE", number="N7")
    assert clinic.paid("C1") == ["70.00", "0.00", "100.00"]
    assert [line["deducted"] for line in clinic.show("C1")["lines"]] == ["0.00"] * 3
    clinic.submit("C2", "LAB", number="N7")
    assert clinic.paid("C2") == ["0.00"]  # once per claim


@pytest.mark.parametrize(
    ("when", "more", "payable"),
    [
        ("claim.visit_type = 'emergency'", {"visit_type": "emergency"}, "50.00"),
        ("claim.visit_type = 'emergency'", {}, "100.00"),
        ("claim.referred", {"visit_type": "referral"}, "50.00"),
        ("not claim.referred", {}, "50.00"),
        ("claim.overnight and claim.category = 'hospitalisation'", {"to": "2021-02-02"}, "50.00"),
        ("claim.overnight", {}, "100.00"),
        ("facility.level = 'health_centre' and facility.care_type = 'both'", {}, "50.00"),
        ("facility.location = 'D1'", {"provider": "FAR"}, "50.00"),
        ("facility.location = 'D1'", {}, "100.00"),
        ("facility.is_first_service_point", {"provider": "FAR"}, "50.00"),
        ("not facility.is_first_service_point", {}, "50.00"),
        ("facility.is_first_service_point", {}, "100.00"),
        ("age >= 41", {}, "50.00"),
        ("age >= 42", {}, "100.00"),
        ("poor and size = 2 and head.sex = 'M'", {}, "50.00"),
        ("any(members where age < 10)", {"from": "2021-02-01"}, "50.00"),
        ("any(members where age < 9)", {"from": "2021-02-01"}, "100.00"),
    ],
)
def test_the_first_copayment_whose_condition_is_met_holds(
    clinic: Clinic, when: str, more: dict[str, Any], payable: str
) -> None:
    """Of patient, household, claim and facility, on the target date; none that is met: no co-payment."""
    app = clinic.app
    app.do("locations.add", {"code": "D1", "name": "D1", "level": "district"})
    far = {"code": "FAR", "name": "FAR", "level": "hospital", "care_type": "both", "price_lists": ["PL"]}
    app.do("providers.register", {**far, "location": "D1"})
    head = {"number": "N7", "sex": "M", "birth_date": "1980-01-31", "attributes": {"first_service_point": "FAR"}}
    child = {"number": "N8", "sex": "F", "birth_date": "2011-08-01"}
    named = {"given_name": "A", "family_name": "B"}
    members = [{**head, **named, "relationship": "head"}, {**child, **named, "relationship": "child"}]
    app.do("beneficiaries.register_group", {"code": "F-N7", "attributes": {"poor": True}, "members": members})
    second = {"name": "never", "when": "claim.visit_type = 'none'", "percent": 99}
    clinic.package(
        "P",
        {"insurance_months": 12, "items": ITEMS, "copayments": [second, {"name": "n", "when": when, "percent": 50}]},
    )
    clinic.insure("N7", "P")
    clinic.submit("C1", "LAB", number="N7", **more)
    assert clinic.paid("C1") == [payable]


def test_the_household_is_that_of_the_target_date(clinic: Clinic) -> None:
    """A patient who died or moved out since is judged with the household that he or she lived in on that day."""
    copayment = {"name": "n", "when": "code = 'F-N7' and size >= 1", "percent": 50}
    insured(clinic, "N7", copayments=[copayment])
    child = {"number": "N8", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "2011-08-01"}
    clinic.app.do("beneficiaries.add_member", {"group": "F-N7", **child, "relationship": "child"})
    clinic.app.do("beneficiaries.record_death", {"number": "N7", "on": "2021-03-01"})
    for code, day, payable in (("C1", "2021-02-28", "50.00"), ("C2", "2021-03-01", "50.00")):
        clinic.submit(code, "LAB", number="N7", **{"from": day})
        assert clinic.paid(code) == [payable]


def test_a_clerk_who_sees_only_the_patient_gets_the_household_s_copayment(make_app: Any) -> None:
    """Conditions look at the whole household, whoever submits."""
    settings = {"roles": {"desk": {"permissions": ["claims.*", "eligibility.*"], "scope": "provider"}}}
    clinic = Clinic(make_app(settings=settings))
    copayment = {"name": "n", "when": "size = 1 and all(members where age > 30)", "amount": "40"}
    insured(clinic, "N7", copayments=[copayment])
    clerk = clinic.app.as_user("anna", "desk", providers=["HC"])
    asked = {"number": "N7", "provider": "HC", "items": ["LAB"]}
    (item,) = clinic.app.do("eligibility.check", asked, as_=clerk)["items"]
    assert (item["scheme_pays"], item["patient_pays"]) == ("60.00", "40.00")
    clinic.submit("C1", "LAB", number="N7", as_=clerk)
    assert clinic.paid("C1") == ["60.00"]


def test_a_cap_is_of_the_claim_and_its_category(clinic: Clinic) -> None:
    """What earlier lines of the claim used, before the ceiling, is gone; other categories have their own."""
    insured(
        clinic, "N7", category_caps={"surgery": "150", "consultation": "0"},
        ceiling={"level": "treatment", "general": "120"},
    )  # fmt: skip
    clinic.submit("C1", "CUT", "LAB", number="N7")
    assert clinic.paid("C1") == ["100.00", "20.00"]
    assert steps(clinic, "C1", 1)["category_cap"] == "50.00"
    assert clinic.show("C1")["lines"][1]["above_ceiling"] == "30.00"
    clinic.submit("C2", "ADVICE", number="N7")
    clinic.submit("C3", "LAB", number="N7")
    assert (clinic.paid("C2"), clinic.paid("C3")) == (["0.00"], ["100.00"])


@pytest.mark.parametrize(
    ("exclusion", "stay", "left"),
    [
        ("hospital", True, "100.00"), ("hospital", False, "0.00"), ("non_hospital", True, "0.00"),
        ("non_hospital", False, "100.00"), ("both", True, "100.00"), ({"child": "both"}, False, "0.00"),
    ],
)  # fmt: skip
def test_an_excluded_item_uses_no_ceiling(clinic: Clinic, exclusion: Any, stay: bool, left: str) -> None:
    """It is paid in full and leaves the ceiling to the next line."""
    ceiling = {"level": "policy", "general": "100"}
    insured(clinic, "N7", ceiling=ceiling, items={"LAB": {"ceiling_exclusion": exclusion}, "ADVICE": {}})
    clinic.submit("C1", "LAB", "ADVICE", number="N7", **({"to": "2021-02-02"} if stay else {}))
    assert clinic.paid("C1") == ["100.00", left]
    used = clinic.app.rows("SELECT sum(used)::bigint AS used FROM core.cover_usage")[0]["used"]
    assert used == 10_000


def test_a_ceiling_grows_with_members_beyond_the_threshold(clinic: Clinic) -> None:
    """Base + extra members x extra, at most the maximum; those covered on the target date count."""
    app = clinic.app
    named = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
    members = [{"number": f"M{n}", **named, "relationship": "head" if n == 0 else "other"} for n in range(5)]
    app.do("beneficiaries.register_group", {"code": "F-N7", "members": members})
    terms = {
        "insurance_months": 12, "threshold_members": 2, "extra_member_ceiling": "50", "max_policy_ceiling": "220",
        "ceiling": {"level": "policy", "general": "100"}, "items": {"LAB": {}},
    }  # fmt: skip
    clinic.package("P", terms)
    clinic.insure("N7", "P")
    asked = {"number": "M0", "provider": "HC", "items": ["LAB"], "on": "2021-02-01"}
    (coverage,) = app.do("eligibility.check", asked)["coverages"]
    assert coverage["ceiling_left"] == {"general": "220.00"}  # 100 + 3 x 50, at most 220
    app.do("beneficiaries.record_death", {"number": "M4", "on": "2021-02-10"})
    app.do("beneficiaries.record_death", {"number": "M3", "on": "2021-02-20"})
    (coverage,) = app.do("eligibility.check", {**asked, "on": "2021-02-15"})["coverages"]
    assert coverage["ceiling_left"] == {"general": "200.00"}
    for code, day in (("C1", "2021-02-15"), ("C2", "2021-03-01"), ("C3", "2021-02-05")):
        clinic.submit(code, ("LAB", 2, "90"), number="M0", **{"from": day})
    clinic.process("C1")
    clinic.process()
    # 180 of 200; then 220 - 180 for the day with five members; nothing is left of 150 in March.
    assert [clinic.show(code)["payable"] for code in ("C1", "C3", "C2")] == ["180.00", "40.00", "0.00"]
    before = {code: clinic.show(code)["payable"] for code in ("C1", "C2", "C3")}
    clinic.process("C1", "C2", "C3")
    assert {code: clinic.show(code)["payable"] for code in before} == before


def test_the_best_package_s_own_limits_hold(clinic: Clinic) -> None:
    """Each package has its own co-payment and cap: once per claim and package."""
    insured(clinic, "N7", copayments=[{"name": "a", "amount": "30"}], items={"LAB": {}, "DRUG": {"percent": 10}})
    clinic.package("Q", {"insurance_months": 12, "items": {"DRUG": {"percent": 90}}, "category_caps": {"surgery": "5"}})
    clinic.insure("N7", "Q")
    clinic.submit("C1", "LAB", "DRUG", number="N7")
    assert clinic.paid("C1") == ["70.00", "90.00"]


@pytest.mark.parametrize(
    ("currency", "price", "share", "payable"),
    [("JPY", "101", "50", "51"), ("USD", "1.01", "50", "0.51"), ("KWD", "1.001", "50", "0.501")],
)
def test_lines_are_rounded_to_the_currency_s_unit(
    make_app: Any, currency: str, price: str, share: str, payable: str
) -> None:
    """Half up, once per line, in currencies of none, two and three decimals."""
    schemes = {"own": {"type": "health_insurance", "currency": currency}}
    clinic = Clinic(make_app(settings={"schemes": schemes}))
    prices = {"code": "OWN", "valid_from": "2019-01-01", "prices": {"LAB": price}, "currency": currency}
    clinic.app.do("catalogue.define_price_list", prices)
    provider = {"code": "X", "name": "X", "level": "hospital", "care_type": "both", "price_lists": ["OWN"]}
    clinic.app.do("providers.register", provider)
    clinic.package("OWN", {"insurance_months": 12, "items": {"LAB": {"percent": share}}}, scheme="own")
    clinic.insure("N1", "OWN", scheme="own")
    clinic.submit("C1", ("LAB", 1, price), scheme="own", provider="X")
    assert rejections(clinic.show("C1"))[0] is None
    clinic.app.do("claims.process", {"scheme": "own"})
    assert clinic.show("C1")["payable"] == payable
