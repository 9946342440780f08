"""What eligibility said a moment ago, the claim gets: allowed or not, why not, and what is paid."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application
from tests.claims.oracle import Claim, World
from tests.claims.worlds import FACILITY_CODES, ITEM_CODES, TODAY, Told, claims_of, days, worlds

examples = count()


@pytest.fixture(scope="module")
def app(playground: Playground) -> Iterator[TestApp]:
    with test_application(playground, TODAY) as opened:
        opened.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        yield opened


@st.composite
def questions(draw: st.DrawFn) -> tuple[World, list[Claim], tuple[str, str, date]]:
    """A world, claims that came before, and who asks where and of which day."""
    world = draw(worlds())
    numbers = sorted(world["persons"])
    claims = [draw(claims_of(f"C{i}", numbers)) for i in range(draw(st.integers(0, 6)))]
    asked = draw(st.sampled_from(numbers)), draw(st.sampled_from(FACILITY_CODES)), draw(days(date(2021, 1, 1), TODAY))
    return world, claims, asked


@settings(
    max_examples=12, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(questions())
def test_what_eligibility_allows_the_claim_gets(
    app: TestApp, question: tuple[World, list[Claim], tuple[str, str, date]]
) -> None:
    """Each item asked about, then claimed as the only line of a claim of that day, one after the other."""
    world, claims, (number, facility, on) = question
    told = Told(app, f"E{next(examples):04d}", world)
    if claims:
        app.do_all("claims.submit", [told.submission(claim) for claim in claims])
        app.do("claims.process", {"scheme": "chf"})
    for item in (told.name(code) for code in ITEM_CODES):
        asked = {"number": told.name(number), "provider": told.name(facility), "on": on}
        (said,) = app.do("eligibility.check", {**asked, "items": [item]})["items"]
        claim = one_line(asked, said, f"{item}-ASKED")
        (line,) = app.do("claims.submit", claim)["lines"]
        assert (line["status"] == "passed", line["rejection"]) == (said["allowed"], said["reason"])
        if said["allowed"]:
            if said["quantity_left"] is not None:
                assert Fraction(line["quantity_approved"]) == min(1, Fraction(said["quantity_left"]))
            app.do("claims.process", {"scheme": "chf", "claims": [claim["code"]]})
            assert app.do("claims.show", {"claim": claim["code"]})["payable"] == said["scheme_pays"]


def one_line(asked: dict[str, Any], said: dict[str, Any], code: str) -> dict[str, Any]:
    """The item at its price, as the only line of a claim of the day."""
    price = Decimal(1) if said["patient_pays"] is None else Decimal(said["patient_pays"]) + Decimal(said["scheme_pays"])
    line = {"item": said["code"], "quantity": 1, "price": str(price)}
    return {
        "code": code, "provider": asked["provider"], "number": asked["number"], "from": asked["on"],
        "diagnosis": "A09", "lines": [line],
    }  # fmt: skip
