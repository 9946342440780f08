"""The rules of what is paid too much, and of packages that a renewal converts to."""

from __future__ import annotations

from datetime import date
from typing import Any

from imis_core.testing.app import TestApp
from tests.coverage.test_coverage import books, covered, enrol, family, package, pay, refused
from tests.coverage.test_late_joiners import join, show


def renew(app: TestApp, policy: dict[str, Any], on: date) -> dict[str, Any]:
    renewed: dict[str, Any] = app.do("coverage.renew", {"coverage": policy["id"]}, on=on)
    return renewed


def test_more_than_due_is_kept_where_the_terms_say_so(app: TestApp) -> None:
    """A credit pays what a late joiner adds, and he or she is covered at once; the books balance."""
    package(app, overpayment="credit")
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    answer = pay(app, policy, "1300", "R1", date(2021, 1, 5))
    assert (answer["status"], answer["balance"]) == ("active", "-320.00")
    assert books(app) == {"cash": 130000, "contributions_receivable": -32000, "contributions_income": -98000}
    join(app, "F", "N3", date(2021, 2, 1))
    assert show(app, policy)["balance"] == "-20.00"
    assert covered(app, "N3", "2021-02-01")


def test_a_credit_is_used_by_the_renewal(app: TestApp) -> None:
    """What is left moves to the policy that follows, which it may pay in full; nothing is posted twice."""
    package(app, overpayment="credit")
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    pay(app, policy, "1000", "R1")
    second = renew(app, policy, date(2021, 12, 1))
    assert (second["due"], second["paid"], second["balance"], second["status"]) == ("730.00", "20.00", "710.00", "idle")
    assert (show(app, policy)["paid"], show(app, policy)["balance"]) == ("980.00", "0.00")
    pay(app, second, "2000", "R2")
    third = renew(app, second, date(2022, 12, 1))
    assert (third["balance"], third["status"], third["effective_from"]) == ("-560.00", "active", "2023-01-01")
    due = 98000 + 2 * 73000
    assert books(app) == {
        "cash": 300000, "contributions_receivable": due - 300000, "contributions_income": -due,
    }  # fmt: skip


def test_terminating_a_policy_keeps_its_credit(app: TestApp) -> None:
    """Only what is unpaid is taken back; a credit stays the household's."""
    package(app, overpayment="credit")
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    pay(app, policy, "1000", "R1")
    app.do("coverage.terminate", {"coverage": policy["id"]})
    assert books(app) == {"cash": 100000, "contributions_receivable": -2000, "contributions_income": -98000}


def test_a_renewal_goes_to_the_conversion_package(app: TestApp) -> None:
    """The version of the day names the package that follows; it is quoted as a renewal, never before the end."""
    package(app, conversion_package="NEXT")
    package(app, "NEXT", premium_adult="100")
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    pay(app, policy, "980", "R1")
    second = renew(app, policy, date(2021, 12, 1))
    assert (second["package"], second["starts"], second["due"]) == ("NEXT", "2022-01-01", "330.00")
    data = {"coverage": policy["id"]}
    assert refused(app, "coverage.renew", data).code == "coverage.already_enrolled"


def test_a_package_that_ended_converts_by_the_policy_s_own_version(app: TestApp) -> None:
    """Without a version in force, the version of the enrolment says what follows; unknown packages are named."""
    for code, follows in (("OLD", "NEXT"), ("LOST", "NOWHERE")):
        app.do(
            "benefit_packages.define",
            {"scheme": "chf", "code": code, "name": code, "valid_from": "2019-01-01", "valid_to": "2021-06-30",
             "terms": {"insurance_months": 6, "premium_adult": "10", "conversion_package": follows}},
        )  # fmt: skip
    package(app, "NEXT")
    family(app, "F", "N1")
    old, lost = enrol(app, "F", package="OLD"), enrol(app, "F", package="LOST")
    pay(app, old, "10", "R1")
    pay(app, lost, "10", "R2")
    assert renew(app, old, date(2021, 7, 5))["package"] == "NEXT"
    refusal = refused(app, "coverage.renew", {"coverage": lost["id"]})
    assert (refusal.code, "NOWHERE" in refusal.message) == ("not_found", True)
