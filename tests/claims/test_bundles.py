"""Services that are bundles of others: claimed as one line, at one price or at that of what they hold."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.eligibility.prices import Prices
from imis_core.errors import ImisError
from tests.claims.conftest import Clinic, rejections

CONTENT = {"LAB": 1, "DRUG": "2.5"}


@pytest.fixture
def bundles(clinic: Clinic) -> Clinic:
    """OPEN is paid by its content (350.00 at first), CLOSED at its own price, HOLLOW holds something unlisted."""
    for code, kind, content in (
        ("OPEN", "fee_for_service", CONTENT),
        ("CLOSED", "flat", CONTENT),
        ("HOLLOW", "fee_for_service", {"UNLISTED": 1}),
    ):
        item = {"code": code, "name": code, "kind": "service", "price": "999"}
        clinic.app.do("catalogue.define_item", {**item, "bundle": {"kind": kind, "content": content}})
    prices = {"LAB": "100", "DRUG": "100", "CLOSED": "320", "HOLLOW": "10"}
    clinic.app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2021-01-15", "prices": prices})
    clinic.app.do(
        "catalogue.define_price_list", {"code": "PL", "valid_from": "2021-03-01", "prices": {**prices, "DRUG": "60"}}
    )
    covered = {code: {} for code in ("OPEN", "CLOSED", "HOLLOW", "LAB")}
    clinic.package("BUNDLES", {"insurance_months": 12, "items": {**covered, "OPEN": {"percent": 80}}})
    clinic.person("N7")
    clinic.insure("N7", "BUNDLES")
    return clinic


def line(code: str, price: str, **more: Any) -> dict[str, Any]:
    return {"item": code, "quantity": 1, "price": price, **more}


def test_a_bundle_is_paid_by_its_content_or_at_its_own_price(bundles: Clinic) -> None:
    """By the list's prices of what it holds on the target date, at most what was asked; the terms are the bundle's."""
    for code, item, asked, day, paid in (
        ("C1", "OPEN", "500", "2021-02-01", "280.00"),
        ("C2", "OPEN", "500", "2021-03-01", "200.00"),
        ("C3", "OPEN", "300", "2021-02-01", "240.00"),
        ("C4", "CLOSED", "500", "2021-02-01", "320.00"),
    ):
        bundles.submit(code, (item, 1, asked), number="N7", **{"from": day})
        assert bundles.paid(code) == [paid]


def test_a_bundle_with_a_part_that_has_no_price_has_none(bundles: Clinic) -> None:
    """Its own price in the list does not help it (2)."""
    answer = bundles.submit("C1", ("HOLLOW", 1, "10"), "LAB", number="N7")
    assert rejections(answer) == (None, ["not_in_price_list", None])


def test_eligibility_knows_what_a_bundle_costs(bundles: Clinic) -> None:
    """The same price as a claim of today."""
    asked = {"number": "N7", "provider": "HC", "items": ["OPEN", "CLOSED", "HOLLOW"], "on": "2021-06-30"}
    answers = bundles.app.do("eligibility.check", asked)["items"]
    assert [(a["scheme_pays"], a["patient_pays"], a["reason"]) for a in answers] == [
        ("200.00", "50.00", None), ("320.00", "0.00", None), ("0.00", None, "not_in_price_list"),
    ]  # fmt: skip


def test_what_a_bundle_held_may_be_named_and_must_match(bundles: Clinic) -> None:
    """In any writing of the quantities; only of bundles that are paid by their content."""
    right = bundles.claim("C1", number="N7") | {"lines": [line("OPEN", "500", content={"DRUG": "2.500", "LAB": "1"})]}
    assert bundles.app.do("claims.submit", right)["status"] == "checked"
    for item, content, path, reason in (
        ("OPEN", {"LAB": 1, "DRUG": 2}, "lines.0.content", "differs"),
        ("OPEN", {"LAB": 1}, "lines.0.content", "differs"),
        ("OPEN", {**CONTENT, "NONE": 1}, "lines.0.content.NONE", "not_found"),
        ("OPEN", {"LAB": "0.0001", "DRUG": 2}, "lines.0.content.LAB", "decimals"),
        ("CLOSED", CONTENT, "lines.0.content", "excluded"),
        ("LAB", {"LAB": 1}, "lines.0.content", "excluded"),
    ):
        wrong = bundles.claim("C2", number="N7") | {"lines": [line(item, "500", content=content)]}
        with pytest.raises(ImisError) as caught:
            bundles.app.do("claims.submit", wrong)
        assert (caught.value.code, [(p.path, p.reason) for p in caught.value.refusal.problems]) == (
            "input.invalid",
            [(path, reason)],
        )


parts = st.dictionaries(st.integers(1, 6), st.integers(1, 9_999), min_size=1)
prices = st.dictionaries(st.integers(1, 6), st.integers(0, 10**9))


@given(parts, prices)
def test_the_price_of_a_content_is_exact(content: dict[int, int], listed: dict[int, int]) -> None:
    """The sum of quantity x price over what it holds, rounded once, half up; none if a part has none."""
    day = date(2021, 1, 1)
    known = Prices(
        "USD", {7: [1]}, {1: ([day], [5])}, {(5, item): price for item, price in listed.items()}, {}, {99: content}
    )
    expected = None
    if content.keys() <= listed.keys():
        exact = sum((Fraction(q, 1000) * listed[item] for item, q in content.items()), Fraction(0))
        expected = (exact + Fraction(1, 2)).__floor__()
    assert known.at(7, 99, day) == expected
