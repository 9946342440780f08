"""The rules of defining packages and their versions, on a real database with the health-insurance type."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp


def define(app: TestApp, valid_from: str = "2019-01-01", **changes: Any) -> Any:
    data = {
        "scheme": "chf", "code": "BASIC", "name": "Basic", "valid_from": valid_from,
        "terms": {"insurance_months": 12, "premium_adult": "100"},
    }  # fmt: skip
    return app.do("benefit_packages.define", {**data, **changes})


def refusal_of(app: TestApp, **changes: Any) -> Refusal:
    with pytest.raises(ImisError) as caught:
        define(app, **changes)
    return caught.value.refusal


def enrol(app: TestApp) -> Any:
    member = {
        "number": "N1", "given_name": "A", "family_name": "B", "sex": "M", "birth_date": "1980-01-01",
        "relationship": "head",
    }  # fmt: skip
    app.do("beneficiaries.register_group", {"code": "F", "members": [member]})
    return app.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "F"})


def test_versions_count_in_the_order_of_definition(app: TestApp) -> None:
    """Another valid_from makes the next version, also an earlier one; each day has the version in force."""
    answers = [define(app, day) for day in ("2020-01-01", "2021-01-01", "2019-01-01")]
    assert [a["version"] for a in answers] == [1, 2, 3]
    assert len({a["id"] for a in answers}) == 1
    shown = {
        on: app.do("benefit_packages.show", {"scheme": "chf", "package": "BASIC", "on": on})["version"]
        for on in ("2019-12-31", "2020-12-31", "2021-01-01")
    }
    assert shown == {"2019-12-31": 3, "2020-12-31": 1, "2021-01-01": 2}


def test_the_same_content_changes_nothing(app: TestApp) -> None:
    """Loading a file twice writes nothing the second time."""
    first = define(app)
    assert define(app) == first
    assert len(app.rows("SELECT 1 AS one FROM core.package_versions_history")) == 1


def test_other_content_replaces_a_version_that_nothing_uses(app: TestApp) -> None:
    """The version keeps its number; enrolment takes the new terms."""
    define(app)
    assert define(app, terms={"insurance_months": 6, "premium_adult": "70"})["version"] == 1
    policy = enrol(app)
    assert (policy["due"], policy["ends"]) == ("70.00", "2021-06-30")


def test_a_version_in_use_is_not_replaced(app: TestApp) -> None:
    """`in_use` says what differs; the same content stays welcome."""
    define(app)
    enrol(app)
    refusal = refusal_of(
        app, name="New", terms={"insurance_months": 12, "premium_adult": "100", "items": {}, "lump_sum": 3}
    )
    assert refusal.code == "benefit_packages.in_use"
    assert refusal.details["differs"] == ["name", "terms.items", "terms.lump_sum"]
    assert define(app)["version"] == 1
    assert define(app, "2021-01-01", name="New")["version"] == 2


def test_a_version_stays_in_use_when_its_policy_moves_on(app: TestApp) -> None:
    """A policy that was paid since, and so was written more than once, keeps its package version in use."""
    define(app)
    policy = enrol(app)
    app.do("contributions.record", {"coverage": policy["id"], "amount": "100", "receipt": "R1"})
    assert refusal_of(app, name="New").code == "benefit_packages.in_use"
    define(app, code="SPARE")
    assert define(app, code="SPARE", name="Replaced")["version"] == 1


def test_a_policy_keeps_the_version_it_was_enrolled_in(app: TestApp) -> None:
    """A renewal takes the version of its day; the policy before it keeps its own."""
    define(app)
    policy = enrol(app)
    app.do("contributions.record", {"coverage": policy["id"], "amount": "100", "receipt": "R"})
    define(app, "2021-06-01", terms={"insurance_months": 12, "premium_adult": "150"})
    renewed = app.do("coverage.renew", {"coverage": policy["id"]}, on=date(2021, 12, 1))
    assert renewed["due"] == "150.00"
    assert app.do("coverage.show", {"coverage": policy["id"]})["due"] == "100.00"


def test_a_version_that_ended_is_not_in_force(app: TestApp) -> None:
    """After `valid_to` nobody can be enrolled."""
    define(app, valid_to="2020-12-31")
    with pytest.raises(ImisError) as caught:
        enrol(app)
    assert caught.value.code == "not_found"


def test_wrong_terms_are_told_all_at_once(app: TestApp) -> None:
    """Mistakes of form, of meaning and unknown items come in one answer with their paths."""
    app.do("catalogue.define_item", {"code": "DRUG", "name": "Drug", "kind": "product", "price": "1"})
    terms = {
        "insurance_months": "12", "premium_adult": "1.005", "premium_child": 1.5, "lump": 3, "max_visits": 3,
        "items": {"DRUG": {"percent": 101}, "NONE": {}, "X": {"waiting_months": 1}},
    }  # fmt: skip
    refusal = refusal_of(app, terms=terms)
    assert refusal.code == "benefit_packages.invalid_terms"
    found = {(p.path, p.reason) for p in refusal.problems}
    assert {
        ("terms.insurance_months", "type"), ("terms.premium_child", "float"), ("terms.lump", "unknown"),
        ("terms.items.DRUG.percent", "range"),
    } <= found  # fmt: skip
    refusal = refusal_of(app, terms={**terms, "insurance_months": 12})
    assert {(p.path, p.reason) for p in refusal.problems} == {
        ("terms.premium_adult", "not_exact"), ("terms.premium_child", "float"), ("terms.lump", "unknown"),
        ("terms.items.DRUG.percent", "range"), ("terms.items.NONE", "not_found"), ("terms.items.X", "not_found"),
    }  # fmt: skip
    assert app.rows("SELECT 1 AS one FROM core.packages") == []


def test_a_term_of_a_feature_that_is_off_is_refused(make_app: Any) -> None:
    """Features are switched per scheme in the configuration."""
    app = make_app(settings={"schemes": {"chf": {"type": "health_insurance", "features": {"capitation": False}}}})
    refusal = refusal_of(app, terms={"insurance_months": 12, "capitation": {"share": 10}})
    assert [(p.path, p.reason) for p in refusal.problems] == [("terms.capitation", "feature_off")]


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"scheme": "none"}, "input.invalid", "scheme"),
        ({"location": "NONE"}, "not_found", "location"),
        ({"valid_to": "2018-01-01"}, "input.invalid", "valid_to"),
        ({"code": ""}, "input.invalid", "code"),
        ({"terms": {}}, "benefit_packages.invalid_terms", "terms.insurance_months"),
    ],
)
def test_a_definition_names_what_is_wrong(app: TestApp, changes: dict[str, Any], code: str, path: str) -> None:
    """Unknown scheme or place, an end before the beginning, no code, no required term."""
    refusal = refusal_of(app, **changes)
    assert (refusal.code, refusal.problems[0].path) == (code, path)


def test_items_of_one_batch_follow_each_other(app: TestApp) -> None:
    """Two versions of a new package and a change of the first, in one request, with a wrong one in between."""
    base = {"scheme": "chf", "code": "B", "name": "B", "terms": {"insurance_months": 12}}
    outcomes = app.do_all(
        "benefit_packages.define",
        [
            {**base, "valid_from": "2019-01-01"},
            {**base, "valid_from": "2020-01-01"},
            {**base, "valid_from": "2020-01-01", "terms": {"insurance_months": 0}},
            {**base, "valid_from": "2019-01-01", "name": "Better"},
        ],
    )
    assert [getattr(o, "code", None) or o["version"] for o in outcomes] == [1, 2, "benefit_packages.invalid_terms", 1]
    shown = app.do("benefit_packages.show", {"scheme": "chf", "package": "B", "on": "2019-06-01"})
    assert (shown["name"], [v["version"] for v in shown["versions"]]) == ("Better", [1, 2])
    (listed,) = app.do("benefit_packages.list", {"scheme": "chf"})
    assert (listed["code"], listed["version"], listed["id"]) == ("B", 2, shown["id"])


def test_a_replaced_version_pays_by_its_new_terms(app: TestApp) -> None:
    """The flattened terms follow the version: items and limits of the replaced content are gone."""
    for code in ("DRUG", "XRAY"):
        app.do("catalogue.define_item", {"code": code, "name": code, "kind": "product", "price": "1"})
    define(app, terms={"insurance_months": 12, "items": {"DRUG": {}}, "ceiling": {"level": "policy", "general": "9"}})
    terms = {
        "insurance_months": 12,
        "items": {"XRAY": {
            "limit": "fixed", "amount": {"adult": "60"},
            "visit_types": {"emergency": {"limit": "coinsurance", "percent": {"adult": "12.5", "child": 0}}},
        }},
        "deductible": {"level": "person", "inpatient": "1", "outpatient": "2"}, "ceiling_interpretation": "facility",
    }  # fmt: skip
    define(app, terms=terms)
    rows = app.rows(
        "SELECT i.code, t.visit_type, t.adult, t.fixed_limit_minor, t.share_micro FROM health_insurance.item_terms t "
        "JOIN core.items i ON i.id = t.item WHERE t.visit_type IN ('other', 'emergency') ORDER BY 2, 3"
    )
    whole = 100 * 10**6
    assert [tuple(row.values()) for row in rows] == [
        ("XRAY", "emergency", False, None, 0),
        ("XRAY", "emergency", True, None, 12_500_000),
        ("XRAY", "other", False, 0, whole),
        ("XRAY", "other", True, 6000, whole),
    ]
    (limits,) = app.rows("SELECT * FROM health_insurance.package_limits")
    assert (limits["deductible_level"], limits["deductible_inpatient"], limits["deductible_outpatient"]) == (
        "person",
        100,
        200,
    )
    assert (limits["ceiling_level"], limits["ceiling_general"], limits["hospital_by_facility"]) == (None, None, True)
