"""Covers of single persons: each with the days on which the own cover stands."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

TERMS = {"insurance_months": 12, "premium_adult": "100"}


@pytest.fixture
def policy(app: TestApp) -> Any:
    """A paid policy of three persons from 1 January 2021."""
    definition = {"scheme": "chf", "code": "BASIC", "name": "Basic", "valid_from": "2019-01-01", "terms": TERMS}
    app.do("benefit_packages.define", definition)
    members = [
        {"number": f"N{i}", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01",
         "relationship": "head" if i == 1 else "other"}
        for i in (1, 2, 3)
    ]  # fmt: skip
    app.do("beneficiaries.register_group", {"code": "G1", "members": members})
    made = app.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "G1"})
    app.do("contributions.record", {"coverage": made["id"], "amount": made["due"], "receipt": "R1"})
    return made


def covered(app: TestApp, **asked: Any) -> list[tuple[str, str, str]]:
    return [(c["number"], c["status"], c["effective_to"]) for c in app.do("coverage.list_covered", asked)]


def test_each_person_has_a_cover(app: TestApp, policy: Any) -> None:
    """A policy gives every member one, found by person, group, policy and its own id."""
    everybody = [(number, "active", "2021-12-31") for number in ("N1", "N2", "N3")]
    assert covered(app) == covered(app, group="G1") == covered(app, coverage=policy["id"]) == everybody
    [one] = app.do("coverage.list_covered", {"person": "N2"})
    assert (one["coverage"], one["package"], one["group"], one["effective_from"]) == (
        policy["id"], "BASIC", "G1", "2021-01-01",
    )  # fmt: skip
    assert app.do("coverage.list_covered", {"id": one["id"]}) == [one]
    assert covered(app, id=policy["id"]) == []
    with pytest.raises(ImisError) as caught:
        covered(app, person="N9")
    assert caught.value.code == "not_found"


def test_death_and_leaving_end_the_own_cover(app: TestApp, policy: Any) -> None:
    """The last day is the day of death or leaving; the others' covers stand; a passed end counts as a change."""
    [before] = app.do("coverage.list_covered", {"person": "N2"})
    app.do("beneficiaries.record_death", {"number": "N2", "on": "2021-03-05"}, on=date(2021, 3, 5))
    app.do("beneficiaries.remove_member", {"group": "G1", "number": "N3", "on": "2021-03-05"})
    app.clock.set(date(2021, 3, 6))
    assert covered(app) == [
        ("N1", "active", "2021-12-31"), ("N2", "expired", "2021-03-05"), ("N3", "expired", "2021-03-05"),
    ]  # fmt: skip
    [after] = app.do("coverage.list_covered", {"person": "N2"})
    assert after["version"] > before["version"]


def test_termination_ends_every_cover(app: TestApp, policy: Any) -> None:
    """After a termination the covers end with it."""
    app.clock.set(date(2021, 2, 1))
    app.do("coverage.terminate", {"coverage": policy["id"]})
    assert {status for _, status, _ in covered(app)} == {"terminated"}
