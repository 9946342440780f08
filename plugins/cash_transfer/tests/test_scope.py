"""Whoever answers for a place sees and moves its households only, and never overfills what they share with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

PACKAGE = {"scheme": "safe", "package": "P"}
TERMS = {
    "max_beneficiaries": 2,
    "score": {"base": "0", "variables": [{"name": "size", "kind": "continuous", "of": "size", "weight": "1"}]},
}


@pytest.fixture
def two_places(cash: TestApp, define: Callable[..., None], register: Callable[..., None]) -> TestApp:
    for code in ("L1", "L2"):
        cash.do("locations.add", {"code": code, "name": code, "level": "region"})
    define(cash, **TERMS)
    register(cash, "H1", "H2", location="L1")
    register(cash, "H3", "H4", location="L2")
    return cash


def officer(app: TestApp, name: str, place: str) -> Any:
    return app.as_user(name, "officer", places=[place])


def test_a_place_s_officer_works_on_its_households(two_places: TestApp) -> None:
    """Scores, previews, enrols and lists those of the place; others are not found."""
    app, anna, bea = two_places, officer(two_places, "anna", "L1"), officer(two_places, "bea", "L1")
    assert app.do("targeting.score", PACKAGE, as_=anna)["scored"] == 2
    with pytest.raises(ImisError) as caught:
        app.do("targeting.score", {**PACKAGE, "groups": ["H3"]}, as_=anna)
    assert caught.value.code == "not_found"
    enrolment = app.do("targeting.enrol", PACKAGE, as_=anna)
    assert (enrolment["candidates"], enrolment["selected"]) == (2, 2)
    with pytest.raises(ImisError) as caught:
        app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_=officer(app, "cleo", "L2"))
    assert caught.value.code == "not_found"
    assert app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_=bea)["enrolled"] == 2
    assert [b["beneficiary"] for b in app.do("targeting.beneficiaries", PACKAGE, as_=bea)] == ["H1", "H2"]
    assert app.do("targeting.beneficiaries", PACKAGE, as_=officer(app, "cleo", "L2")) == []


def test_places_that_others_fill_are_taken(two_places: TestApp) -> None:
    """Who does not see the other place's beneficiaries still cannot take their places."""
    app, cleo = two_places, officer(two_places, "cleo", "L2")
    for code in ("H1", "H2"):
        app.do("targeting.change_state", {**PACKAGE, "beneficiary": code, "state": "active", "reason": "first"})
    app.do("targeting.score", PACKAGE, as_=cleo)
    shown = app.do("targeting.preview", PACKAGE, as_=cleo)
    assert (shown["candidates"], shown["selected"], shown["waiting"]) == (2, 0, 2)
    with pytest.raises(ImisError) as caught:
        app.do("targeting.change_state", {**PACKAGE, "beneficiary": "H3", "state": "active", "reason": "r"}, as_=cleo)
    assert caught.value.code == "targeting.no_place"


def test_an_enrolment_of_everywhere_is_not_approved_from_a_place(two_places: TestApp) -> None:
    """Nobody agrees to households that he or she may not see."""
    app = two_places
    app.do("targeting.score", PACKAGE)
    enrolment = app.do("targeting.enrol", PACKAGE)
    with pytest.raises(ImisError) as caught:
        app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_=officer(app, "anna", "L1"))
    assert caught.value.code == "not_found"


def test_row_security_is_the_second_wall(two_places: TestApp) -> None:
    """Also a SELECT without a condition sees only the caller's own scores, lines and beneficiaries."""
    app, anna = two_places, officer(two_places, "anna", "L1")
    app.do("targeting.score", PACKAGE)
    enrolment = app.do("targeting.enrol", PACKAGE)
    app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_="ben")
    import sqlalchemy as sa

    for table, own in (("scores", 2), ("score_current", 2), ("enrolment_lines", 2), ("beneficiaries", 2)):
        with app.database.query(anna) as connection:
            assert connection.execute(sa.text(f"SELECT count(*) FROM cash_transfer.{table}")).scalar() == own
        with app.database.query(app.system) as connection:
            assert connection.execute(sa.text(f"SELECT count(*) FROM cash_transfer.{table}")).scalar() == 4
