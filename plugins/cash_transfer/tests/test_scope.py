"""Whoever answers for a place sees and moves its households only, and never overfills what they share with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


MEMBERSHIP_TERMS: Mapping[str, Any] = {
    **TERMS,
    "arrears": {"late": True},
    "amount": {"base": "10", "per_person": "5"},
    "exits": [{"name": "small", "when": "size < 2", "state": "exited"}],
}


@pytest.fixture
def divided(cash: TestApp, define: Callable[..., None], register: Callable[..., None]) -> TestApp:
    """H1 of L1 has a second member who lives in L2; of H2, with two members, both live in L1."""
    for code in ("L1", "L2"):
        cash.do("locations.add", {"code": code, "name": code, "level": "region"})
    define(cash, **MEMBERSHIP_TERMS)
    register(cash, "H1", "H2", location="L1")
    for household in ("H1", "H2"):
        member = {"number": f"{household}-2", "given_name": "C", "family_name": "B", "sex": "F"}
        born = {"birth_date": "1985-01-01", "relationship": "spouse"}
        cash.do("beneficiaries.add_member", {"group": household, **member, **born})
    cash.do("beneficiaries.change_person", {"number": "H1-2", "location": "L2"})
    return cash


def test_a_review_leaves_a_household_alone_of_which_a_member_is_hidden(
    divided: TestApp, approved: Callable[..., dict[str, Any]]
) -> None:
    """Nobody exits because a member lives where the caller does not look; who sees all of them decides."""
    app, anna = divided, officer(divided, "anna", "L1")
    app.do("targeting.score", PACKAGE)
    assert approved(app)["enrolled"] == 2
    assert app.do("targeting.review", PACKAGE, as_=anna) == {"graduated": 0, "exited": 0}
    app.do("beneficiaries.remove_member", {"group": "H2", "person": "H2-2"})
    assert app.do("targeting.review", PACKAGE, as_=anna) == {"graduated": 0, "exited": 1}
    assert app.do("targeting.review", PACKAGE) == {"graduated": 0, "exited": 0}


def test_a_household_with_a_hidden_member_is_not_scored_and_keeps_its_score(divided: TestApp) -> None:
    """`members` is missing; the score that somebody computed who sees all of them still counts."""
    app, anna = divided, officer(divided, "anna", "L1")
    shown = app.do("targeting.score", PACKAGE, as_=anna)
    assert (shown["scored"], shown["refused"]) == (1, 1)
    assert shown["refusals"] == [{"beneficiary": "H1", "missing": ["members"]}]
    app.do("targeting.score", PACKAGE)
    app.do("targeting.score", PACKAGE, as_=anna)
    assert [line["score"] for line in app.do("targeting.preview", PACKAGE)["list"]] == ["2", "2"]


def test_a_household_with_a_hidden_member_is_neither_selected_nor_approved(divided: TestApp) -> None:
    """Its reason is `hidden_members`, its amount is in no cost; an enrolment with it needs who sees all of it."""
    app, anna = divided, officer(divided, "anna", "L1")
    app.do("targeting.score", PACKAGE)
    shown = app.do("targeting.preview", PACKAGE, as_=anna)
    assert (shown["selected"], shown["cost_per_cycle"]) == (1, "20.00")
    assert [(line["outcome"], line["reason"]) for line in shown["list"]] == [
        ("not_selected", "hidden_members"), ("selected", None),
    ]  # fmt: skip
    enrolment = app.do("targeting.enrol", PACKAGE)
    with pytest.raises(ImisError) as caught:
        app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_=anna)
    assert caught.value.code == "targeting.hidden_members"
    assert app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_="ben")["enrolled"] == 2


def test_a_payroll_of_one_place_pays_its_households_whole(
    divided: TestApp, approved: Callable[..., dict[str, Any]]
) -> None:
    """Only those of the place, with arrears, and for all of their members, wherever these live."""
    app = divided
    app.do("targeting.score", PACKAGE)
    approved(app)
    for code, starts, ends in (("C0", "2022-12-01", "2022-12-31"), ("C1", "2023-01-01", "2023-01-31")):
        app.do("cycles.open", {"scheme": "safe", "code": code, "starts": starts, "ends": ends})
    paymaster = app.as_user("pia", "paymaster", places=["L1"])
    elsewhere = app.as_user("lou", "paymaster", places=["L2"])
    assert app.do("payroll.generate", {**PACKAGE, "cycle": "C1"}, as_=elsewhere)["beneficiaries"] == 0
    made = app.do("payroll.generate", {**PACKAGE, "cycle": "C1"}, as_=paymaster)
    assert (made["beneficiaries"], made["amount"]) == (2, "80.00")
