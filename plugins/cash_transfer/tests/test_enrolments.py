"""What stands around an enrolment: who approves sees it, terms in use stay, two persons who are one are paid once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

PACKAGE = {"scheme": "safe", "package": "P"}


def test_who_approves_sees_the_list_as_it_was_proposed(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """What changed since does not change the list."""
    define(cash, criteria="size = 1", amount={"base": "5"})
    register(cash, "H1", "H2")
    proposed = cash.do("targeting.enrol", PACKAGE)
    register(cash, "H3")
    cash.do("registry.self_exclude", {"group": "H1"})
    assert cash.do("targeting.show", {"enrolment": proposed["id"]}, as_="ben") == proposed
    (listed,) = cash.do("targeting.enrolments", {"scheme": "safe", "status": "awaiting_approval"}, as_="ben")
    assert {k: listed[k] for k in ("id", "package", "on", "candidates", "cost_per_cycle", "proposed_by")} == {
        "id": proposed["id"], "package": "P", "on": "2023-01-01", "candidates": 2, "cost_per_cycle": "10.00",
        "proposed_by": "administrator",
    }  # fmt: skip
    cash.do("targeting.approve", {"enrolment": proposed["id"]}, as_="ben")
    assert cash.do("targeting.enrolments", {"scheme": "safe", "status": "awaiting_approval"}) == []


def test_terms_by_which_somebody_was_enrolled_are_not_replaced(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """Other content on the same first day replaces a version until something was decided by it."""
    define(cash, amount={"base": "5"})
    define(cash, amount={"base": "6"})
    register(cash, "H1")
    cash.do("targeting.enrol", PACKAGE)
    with pytest.raises(ImisError) as caught:
        define(cash, amount={"base": "7"})
    assert caught.value.code == "benefit_packages.in_use"


def test_nobody_is_paid_where_nobody_is_left(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None], approved: Callable[..., Any]
) -> None:
    """A household whose last member died, and a person who died, are neither candidates nor paid."""
    define(cash, amount={"base": "5"})
    cash.do("benefit_packages.define", {
        "scheme": "safe", "code": "ONE", "name": "ONE", "valid_from": "2022-01-01",
        "terms": {"unit": "person", "amount": {"per_person": "5"}},
    })  # fmt: skip
    register(cash, "H1", "H2")
    approved(cash)
    persons = cash.do("targeting.enrol", {"scheme": "safe", "package": "ONE"})
    cash.do("targeting.approve", {"enrolment": persons["id"]}, as_="ben")
    cash.do("cycles.open", {"scheme": "safe", "code": "C1", "starts": "2023-01-01", "ends": "2023-01-31"})
    group = cash.do("beneficiaries.show_group", {"group": "H1"})
    cash.do("beneficiaries.record_death", {"number": group["members"][0]["number"]})
    for package in ("P", "ONE"):
        payroll = cash.do("payroll.generate", {"scheme": "safe", "package": package, "cycle": "C1"})
        assert (payroll["beneficiaries"], payroll["amount"]) == (1, "5.00")
    define_other = {"scheme": "safe", "code": "Q", "name": "Q", "valid_from": "2022-01-01", "terms": {}}
    cash.do("benefit_packages.define", define_other)
    assert cash.do("targeting.preview", {"scheme": "safe", "package": "Q"})["candidates"] == 1


def test_schemes_of_another_kind_are_refused(cash: TestApp) -> None:
    """And so are schemes that are not configured, and packages that are not there."""
    for name in ("targeting.preview", "targeting.enrol", "targeting.review", "targeting.beneficiaries"):
        with pytest.raises(ImisError) as caught:
            cash.do(name, {"scheme": "sfae", "package": "P"})
        assert (caught.value.code, caught.value.refusal.problems[0].path) == ("input.invalid", "scheme")
        with pytest.raises(ImisError) as caught:
            cash.do(name, PACKAGE)
        assert caught.value.code == "not_found"


def test_a_cash_transfer_has_no_cover(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """`coverage.enrol` is for schemes with coverages."""
    define(cash)
    register(cash, "H1")
    with pytest.raises(ImisError) as caught:
        cash.do("coverage.enrol", {**PACKAGE, "group": "H1"})
    assert (caught.value.code, caught.value.refusal.problems[0].path) == ("input.invalid", "scheme")


def test_the_report_is_the_list_of_beneficiaries(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None], approved: Callable[..., Any]
) -> None:
    """By code, with package, state and its first day."""
    define(cash)
    register(cash, "H1")
    approved(cash)
    assert cash.do("reports.cash_transfer_beneficiaries", {"scheme": "safe"}) == [
        {"package": "P", "beneficiary": "H1", "state": "active", "since": "2023-01-01"}
    ]


def test_two_persons_who_are_one_are_paid_once(cash: TestApp, define: Callable[..., None]) -> None:
    """The kept person takes over the place, and cycles that the dropped one had are neither paid again nor arrears."""
    define(cash, unit="person", amount={"base": "5"}, arrears={"missed": True})
    for number, born in (("N1", "1980-01-01"), ("N2", "1980-01-02")):
        cash.do("beneficiaries.register_person", {
            "number": number, "given_name": "A", "family_name": "B", "sex": "F", "birth_date": born,
        })  # fmt: skip
    enrolment = cash.do("targeting.enrol", {**PACKAGE, "persons": ["N2"]})
    cash.do("targeting.approve", {"enrolment": enrolment["id"]}, as_="ben")
    for code, starts, ends in (("C1", "2023-01-01", "2023-01-31"), ("C2", "2023-02-01", "2023-02-28")):
        cash.do("cycles.open", {"scheme": "safe", "code": code, "starts": starts, "ends": ends})
    assert cash.do("payroll.generate", {**PACKAGE, "cycle": "C1"})["amount"] == "5.00"
    cash.do("beneficiaries.merge", {"keep": "N1", "drop": "N2"})
    assert [b["beneficiary"] for b in cash.do("targeting.beneficiaries", PACKAGE)] == ["N1"]
    assert cash.do("payroll.generate", {**PACKAGE, "cycle": "C1"})["beneficiaries"] == 0
    cash.clock.set(date(2023, 2, 1))
    second = cash.do("payroll.generate", {**PACKAGE, "cycle": "C2"})
    assert (second["beneficiaries"], second["amount"]) == (1, "5.00")
