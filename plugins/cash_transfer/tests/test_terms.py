"""The terms of a package: every mistake is told once, with its path, and what is right is taken."""

from __future__ import annotations

from typing import Any

import pytest
from imis_cash_transfer.terms import CashTransferTerms

from imis_core.api import parse
from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

SETTINGS = {"plugins": {"enabled": ["cash_transfer"]}, "schemes": {"nafa": {"type": "cash_transfer"}}}


@pytest.fixture(scope="module")
def app(playground: Any) -> Any:
    from datetime import date

    from imis_core.testing.app import test_application

    with test_application(playground, date(2023, 1, 1), SETTINGS, plugins=["cash_transfer"]) as app:
        app.do("locations.add", {"code": "L1", "name": "Here", "level": "region"})
        yield app


def problems(app: TestApp, terms: dict[str, Any]) -> set[tuple[str, str]]:
    with pytest.raises(ImisError) as caught:
        app.do("benefit_packages.define", {
            "scheme": "nafa", "code": "X", "name": "X", "valid_from": "2022-01-01", "terms": terms,
        })  # fmt: skip
    assert caught.value.code == "benefit_packages.invalid_terms"
    return {(p.path, p.reason) for p in caught.value.refusal.problems}


def score(**fields: Any) -> dict[str, Any]:
    variable = {"name": "a", "kind": "continuous", "of": "rooms", "weight": "1"}
    return {"score": {"base": "0", "variables": [variable], **fields}}


def variable(**fields: Any) -> dict[str, Any]:
    return score(variables=[{"name": "a", "weight": "1", **fields}])


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"unti": "person"}, ("terms.unti", "unknown")),
        ({"unit": "village"}, ("terms.unit", "choice")),
        ({"max_beneficiaries": -1}, ("terms.max_beneficiaries", "range")),
        ({"max_beneficiaries": "5"}, ("terms.max_beneficiaries", "type")),
        ({"criteria": "size >"}, ("terms.criteria", "expression")),
        ({"criteria": "size"}, ("terms.criteria", "expression")),
        ({"unit": "person", "criteria": "size > 1 and count(members) > 1"}, ("terms.criteria", "expression")),
        ({"cutoff": "5"}, ("terms.cutoff", "score")),
        ({"quota": {"others": 1}}, ("terms.quota.places", "required")),
        ({"quota": {"places": {"L1": -1}}}, ("terms.quota.places.L1", "range")),
        ({"quota": {"places": {"L2": 1}}}, ("terms.quota.places.L2", "not_found")),
        ({"amount": {"base": "10.001"}}, ("terms.amount.base", "not_exact")),
        ({"amount": {"base": "-1"}}, ("terms.amount.base", "negative")),
        ({"amount": {"count": "count(members) > 1"}}, ("terms.amount.count", "expression")),
        ({"amount": {"max_persons": -1}}, ("terms.amount.max_persons", "range")),
        ({"amount": {"conditions": [{"name": "n", "amount": "1"}]}}, ("terms.amount.conditions.0.when", "required")),
        ({"amount": {"conditions": [{"name": " ", "when": "true", "amount": "1"}]}},
         ("terms.amount.conditions.0.name", "required")),
        ({"ceiling_per_beneficiary": "1.001"}, ("terms.ceiling_per_beneficiary", "not_exact")),
        ({"ceiling_per_beneficiary": "100000000000000"}, ("terms.ceiling_per_beneficiary", "range")),
        ({"arrears": {"early": True}}, ("terms.arrears.early", "unknown")),
        ({"deductions": [{"name": "fee", "amount": "x"}]}, ("terms.deductions.0.amount", "format")),
        ({"deductions": [{"name": "fee", "when": "size +", "amount": "1"}]}, ("terms.deductions.0.when", "expression")),
        ({"approval_limit": "-1"}, ("terms.approval_limit", "negative")),
        ({"frequency": {"every": "month", "nth": 1}}, ("terms.frequency.weekday", "required")),
        ({"exits": [{"name": "old", "when": "true", "state": "active"}]}, ("terms.exits.0.state", "choice")),
        ({"exits": [{"name": "old", "when": "head.", "state": "exited"}]}, ("terms.exits.0.when", "expression")),
        ({"score": {"base": "0"}}, ("terms.score.variables", "required")),
        (score(base={"urban": "1"}), ("terms.score.base", "area")),
        (score(base={}), ("terms.score.base", "required")),
        (score(base=1.5), ("terms.score.base", "float")),
        (score(decimals=21), ("terms.score.decimals", "range")),
        (score(round="half_even"), ("terms.score.round", "choice")),
        (score(missing="ignore"), ("terms.score.missing", "choice")),
        (score(missing={"add": "x"}), ("terms.score.missing.add", "format")),
        (score(area="size >"), ("terms.score.area", "expression")),
        (variable(of="rooms"), ("terms.score.variables.0.kind", "required")),
        (variable(of="rooms", kind="equal"), ("terms.score.variables.0.kind", "choice")),
        (variable(of="code", kind="continuous"), ("terms.score.variables.0.of", "expression")),
        (variable(of="size", kind="equals", value="four"), ("terms.score.variables.0.of", "expression")),
        (variable(of="size", kind="equals", value=[1]), ("terms.score.variables.0.value", "type")),
        (variable(of="size", kind="equals", value=1.5), ("terms.score.variables.0.value", "float")),
        (variable(of="size", kind="yes_no"), ("terms.score.variables.0.of", "expression")),
        (variable(of="size", kind="yes_no", bands=[]), ("terms.score.variables.0.bands", "unknown")),
        (variable(over="size", under="size", kind="ratio", under_min="0"),
         ("terms.score.variables.0.under_min", "range")),
        (score(variables=[{"name": "a", "kind": "banded", "of": "size", "bands": []}]),
         ("terms.score.variables.0.bands", "required")),
        (score(variables=[{"name": "a", "kind": "banded", "of": "size", "bands": [{"from": 2, "to": 1, "add": "1"}]}]),
         ("terms.score.variables.0.bands.0.to", "order")),
        (score(variables=[{"name": "a", "kind": "lookup", "of": "water", "table": {}}]),
         ("terms.score.variables.0.table", "required")),
        (score(variables=2 * [{"name": "a", "kind": "yes_no", "of": "poor", "weight": "1"}]),
         ("terms.score.variables.1.name", "duplicate")),
    ],
)  # fmt: skip
def test_wrong_terms_are_refused_with_their_path(
    app: TestApp, terms: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Each mistake is told once, where it is."""
    assert problems(app, terms) == {expected}


def test_all_mistakes_are_told_at_once(app: TestApp) -> None:
    """Who mends terms sees everything that is wrong with them."""
    wrong = {"unti": 1, "max_beneficiaries": -1, "criteria": "size >", "amount": {"base": "0.001"}, "cutoff": "1"}
    assert problems(app, wrong) == {
        ("terms.unti", "unknown"), ("terms.max_beneficiaries", "range"), ("terms.criteria", "expression"),
        ("terms.amount.base", "not_exact"), ("terms.cutoff", "score"),
    }  # fmt: skip


def test_every_term_has_a_default() -> None:
    """Terms of nothing are a package for every household, of nothing."""
    terms = parse({}, CashTransferTerms)
    assert terms.unit == "household"
    assert (terms.max_beneficiaries, terms.criteria, terms.quota, terms.score) == (None, None, None, None)
    assert terms.amount.base == terms.amount.per_person == terms.approval_limit == 0


def test_a_declared_schema_makes_other_names_errors(make_app: Any) -> None:
    """Without a schema any other name is an attribute; with one it is a mistake, with a suggestion."""
    settings = {**SETTINGS, "deployment": {
        "name": "test", "country": "XX", "currency": "USD",
        "attributes": {"water": {"type": "text", "of": "group"}, "rooms": {"type": "decimal", "of": "group"}},
    }}  # fmt: skip
    app = make_app(settings=settings, plugins=["cash_transfer"])
    assert problems(app, {"criteria": "wather = 'well'"}) == {("terms.criteria", "expression")}
    terms = {"criteria": "water = 'well'", **variable(of="rooms", kind="equals", value="1.50")}
    app.do("benefit_packages.define", {
        "scheme": "nafa", "code": "OK", "name": "OK", "valid_from": "2020-01-01", "terms": terms,
    })  # fmt: skip
