"""The rules of contributions that are taken back."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.testing.app import TestApp
from tests.coverage.test_coverage import books, covered, enrol, family, package, pay, refused
from tests.coverage.test_late_joiners import join, show


def take_back(app: TestApp, receipt: str, **more: Any) -> Any:
    other = app.as_user("ben", "administrator")
    return app.do("contributions.reverse", {"receipt": receipt, "reason": "bounced", **more}, as_=other)


@pytest.fixture
def policy(app: TestApp) -> dict[str, Any]:
    package(app)
    family(app, "F", "N1", "N2")
    return enrol(app, "F")


def test_a_contribution_is_taken_back_by_somebody_else(app: TestApp, policy: dict[str, Any]) -> None:
    """Whoever recorded it does not; the policy is idle again, the debt is back, the receipt stays used."""
    pay(app, policy, "980", "R1", date(2021, 1, 12))
    data = {"receipt": "R1", "reason": "bounced"}
    assert refused(app, "contributions.reverse", data).code == "contributions.same_person"
    answer = take_back(app, "R1")
    assert (answer["status"], answer["balance"], answer["coverage"]) == ("idle", "980.00", policy["id"])
    assert show(app, policy)["effective_from"] is None
    assert not covered(app, "N1", "2021-01-12")
    assert books(app) == {"contributions_receivable": 98000, "contributions_income": -98000}
    other = app.as_user("ben", "administrator")
    assert refused(app, "contributions.reverse", data, as_=other).code == "contributions.wrong_state"
    again = {"coverage": policy["id"], "amount": "980", "receipt": "R1"}
    assert refused(app, "contributions.record", again).code == "contributions.duplicate_receipt"
    assert pay(app, policy, "980", "R2", date(2021, 1, 20))["effective_from"] == "2021-01-20"


def test_the_first_day_follows_what_is_left(app: TestApp, policy: dict[str, Any]) -> None:
    """State and dates are what they would be had the payment never been made."""
    pay(app, policy, "500", "R1", date(2021, 1, 5))
    pay(app, policy, "480", "R2", date(2021, 1, 10))
    assert take_back(app, "R1")["status"] == "idle"
    assert pay(app, policy, "500", "R3", date(2021, 1, 25))["effective_from"] == "2021-01-25"


def test_a_late_joiner_is_uncovered_again(app: TestApp, policy: dict[str, Any]) -> None:
    """Taking back what was paid for a late joiner leaves the others covered."""
    pay(app, policy, "980", "R1", date(2021, 1, 12))
    join(app, "F", "N3", date(2021, 5, 10))
    pay(app, policy, "300", "R2", date(2021, 5, 12))
    assert covered(app, "N3", "2021-05-12")
    answer = take_back(app, "R2")
    assert (answer["status"], answer["balance"], answer["effective_from"]) == ("active", "300.00", "2021-01-12")
    assert not covered(app, "N3", "2021-05-12")
    assert covered(app, "N1", "2021-05-12")


def test_a_suspended_policy_that_is_not_paid_any_more_cannot_be_resumed(app: TestApp, policy: dict[str, Any]) -> None:
    """It becomes idle; paid again, it is suspended as it was, and can be resumed."""
    pay(app, policy, "980", "R1")
    app.do("coverage.suspend", {"coverage": policy["id"]}, on=date(2021, 1, 5))
    assert take_back(app, "R1")["status"] == "idle"
    assert refused(app, "coverage.resume", {"coverage": policy["id"]}).code == "coverage.wrong_state"
    assert pay(app, policy, "980", "R2")["status"] == "suspended"
    assert app.do("coverage.resume", {"coverage": policy["id"]}, on=date(2021, 1, 9))["status"] == "active"


def test_a_terminated_policy_owes_nothing_when_a_payment_is_taken_back(app: TestApp, policy: dict[str, Any]) -> None:
    """The unpaid rest of a terminated policy is owed no longer, also what becomes unpaid later."""
    pay(app, policy, "980", "R1")
    app.do("coverage.terminate", {"coverage": policy["id"]})
    answer = take_back(app, "R1")
    assert (answer["status"], answer["balance"]) == ("terminated", "0.00")
    assert books(app) == {}


@pytest.mark.parametrize(
    ("data", "code"),
    [({"receipt": "NONE"}, "not_found"), ({"reason": " "}, "input.invalid"), ({"scheme": "none"}, "not_found")],
)
def test_a_wrong_reversal_changes_nothing(
    app: TestApp, policy: dict[str, Any], data: dict[str, str], code: str
) -> None:
    """An unknown receipt, no reason, another scheme: refused."""
    pay(app, policy, "980", "R1")
    other = app.as_user("ben", "administrator")
    asked = {"receipt": "R1", "reason": "bounced", **data}
    assert refused(app, "contributions.reverse", asked, as_=other).code == code
    assert show(app, policy)["status"] == "active"


def test_two_schemes_with_one_receipt(make_app: Any) -> None:
    """Where two schemes have the receipt, the scheme must be named."""
    app = make_app(settings={"schemes": {"chf": {"type": "health_insurance"}, "two": {"type": "health_insurance"}}})
    package(app)
    app.do(
        "benefit_packages.define",
        {"scheme": "two", "code": "B", "name": "B", "valid_from": "2019-01-01",
         "terms": {"insurance_months": 12, "premium_adult": "5"}},
    )  # fmt: skip
    family(app, "F", "N1")
    pay(app, enrol(app, "F"), "680", "R1")
    pay(app, app.do("coverage.enrol", {"scheme": "two", "package": "B", "group": "F"}), "5", "R1")
    other = app.as_user("ben", "administrator")
    refusal = refused(app, "contributions.reverse", {"receipt": "R1", "reason": "x"}, as_=other)
    assert [(p.path, p.reason) for p in refusal.problems] == [("scheme", "required")]
    assert take_back(app, "R1", scheme="two")["amount"] == "5.00"


def test_a_batch_is_taken_back_in_one_set(app: TestApp) -> None:
    """One payment twice in a batch: the second is refused; statements do not grow with the batch."""
    package(app)
    counts = []
    other = app.as_user("ben", "administrator")
    for size in (10, 20):
        for i in range(size):
            family(app, f"B{size}-{i}", f"B{size}-{i}-1")
            pay(app, enrol(app, f"B{size}-{i}"), "680", f"B{size}-{i}")
        before = app.database.statements
        asked = [{"receipt": f"B{size}-{i}", "reason": "x"} for i in range(size)]
        outcomes = app.do_all("contributions.reverse", [*asked, asked[0]], as_=other)
        counts.append(app.database.statements - before)
        assert {o["status"] for o in outcomes[:-1]} == {"idle"}
        assert outcomes[-1].code == "contributions.wrong_state"
    assert counts[0] == counts[1]
