"""The rules of subsidies: who owes which part of a contribution, and how that part is settled."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from imis_core.testing.app import TestApp
from tests.coverage.test_coverage import books, covered, enrol, package, pay, person, refused
from tests.coverage.test_late_joiners import join, show


def household(app: TestApp, code: str, category: str | None = None, *members: dict[str, Any]) -> None:
    attributes = {} if category is None else {"category": category}
    rows = members or (person(f"{code}-1"), person(f"{code}-2", "spouse"))
    app.do("beneficiaries.register_group", {"code": code, "attributes": attributes, "members": list(rows)})


def subsidy(app: TestApp, category: str, amount: str, receipt: str, **more: Any) -> Any:
    return app.do(
        "contributions.record_subsidy",
        {"scheme": "chf", "category": category, "amount": amount, "receipt": receipt, **more},
    )


@pytest.mark.parametrize(
    ("category", "subsidised", "due", "status"),
    [
        ("ultra_poor", "980.00", "0.00", "active"),
        ("poor", "735.00", "245.00", "idle"),
        ("odd", "326.66", "653.34", "idle"),
        ("rich", "0.00", "980.00", "idle"),
        (None, "0.00", "980.00", "idle"),
    ],
)
def test_a_category_of_households_is_subsidised(
    app: TestApp, category: str | None, subsidised: str, due: str, status: str
) -> None:
    """due = value x (100 - subsidy) / 100, rounded half up; nothing due is active at enrolment."""
    package(app, subsidies={"ultra_poor": 100, "poor": 75, "odd": "33.333"})
    household(app, "F", category)
    policy = enrol(app, "F")
    assert (policy["value"], policy["subsidy"], policy["due"]) == ("980.00", subsidised, due)
    assert policy["status"] == status
    wanted = {"contributions_income": -98000, "subsidies_receivable": int(Decimal(subsidised) * 100)}
    wanted["contributions_receivable"] = 98000 - wanted["subsidies_receivable"]
    assert books(app) == {name: amount for name, amount in wanted.items() if amount}


def test_another_attribute_may_name_the_category(app: TestApp) -> None:
    """`subsidy_attribute` names the attribute; of a person who is enrolled alone it is the person's."""
    package(app, subsidies={"true": 50, "3": 10}, subsidy_attribute="poor")
    alone = {k: v for k, v in person("N1").items() if k != "relationship"}
    app.do("beneficiaries.register_person", {**alone, "attributes": {"poor": True}})
    app.do("beneficiaries.register_person", {**alone, "number": "N2", "attributes": {"poor": 3}})
    for number, due in (("N1", "340.00"), ("N2", "612.00")):
        assert app.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "number": number})["due"] == due


def test_the_first_rule_that_holds_for_a_household_subsidises_it(app: TestApp) -> None:
    """A list of rules: conditions over the household, the first that is met."""
    rules = [
        {"name": "large", "when": "size >= 3", "percent": 50},
        {"name": "old", "when": "any(members where age >= 60)", "percent": 30},
        {"name": "widow", "when": "head.sex = 'F' and size < 3", "percent": 10},
    ]
    package(app, subsidies=rules)
    household(app, "A", None, person("A1"), person("A2", "spouse"), person("A3", "child", "1950-01-01"))
    household(app, "B", None, person("B1", born="1950-01-01"))
    household(app, "C", None, person("C1"))
    household(app, "D", None, {**person("D1"), "sex": "M"})
    assert [enrol(app, code)["subsidy"] for code in "ABCD"] == ["640.00", "204.00", "68.00", "0.00"]


def test_a_rule_about_members_subsidises_their_own_part(app: TestApp) -> None:
    """Of a member: his or her own premium and fees; lump sums belong to the household."""
    rules = [{"name": "old", "when": "age >= 60", "percent": 50, "of": "member"}]
    package(app, subsidies=rules, assembly_lump_sum="0", assembly_fee="11")
    household(
        app, "A", None, person("A1", born="1950-01-01"), person("A2", "spouse"), person("A3", "child", "2015-01-01")
    )
    policy = enrol(app, "A")
    # 300 + 300 + 200 + 3 x 11 + registration 250 = 1083; the old one's 311 are halved.
    assert (policy["value"], policy["subsidy"], policy["due"]) == ("1083.00", "155.50", "927.50")


def test_rules_about_households_and_members_come_in_order(app: TestApp) -> None:
    """For each part the first rule that holds: the member's before the household's, if it comes first."""
    rules = [
        {"name": "old", "when": "age >= 60", "percent": 100, "of": "member"},
        {"name": "all", "when": "size >= 1", "percent": 10},
    ]
    package(app, subsidies=rules)
    household(app, "A", None, person("A1", born="1950-01-01"), person("A2", "spouse"))
    policy = enrol(app, "A")
    assert policy["subsidy"] == "368.00"  # 300 + 10 % of the other 680
    rows = app.rows("SELECT category, owed_minor FROM core.subsidy_accounts ORDER BY category")
    assert [tuple(r.values()) for r in rows] == [("all", 6800), ("old", 30000)]


def test_a_discount_goes_before_the_subsidy(app: TestApp) -> None:
    """value = total less discount, rounded; due = value less subsidy, rounded."""
    package(
        app, subsidies={"poor": "50"}, cycles=["06-01"], enrolment_discount={"percent": "3.333", "months": 1},
        premium_adult="0.01", registration_lump_sum="0", assembly_lump_sum="1.00",
    )  # fmt: skip
    household(app, "F", "poor", person("N1"))
    policy = enrol(app, "F")
    # 1.01 x 0.96667 = 0.9763 -> 0.98; half of it 0.49
    assert (policy["value"], policy["subsidy"], policy["due"]) == ("0.98", "0.49", "0.49")


def test_a_subsidy_is_settled_by_category(app: TestApp) -> None:
    """What was paid settles the receivable of the category; not more than is owed, and each receipt once."""
    package(app, subsidies={"poor": 75})
    for code in "FG":
        household(app, code, "poor")
        pay(app, enrol(app, code), "245", f"R-{code}")
    first = subsidy(app, "poor", "1000", "S1", payer="Treasury")
    assert (first["category"], first["balance"]) == ("poor", "470.00")
    data = {"scheme": "chf", "category": "poor", "amount": "470.01", "receipt": "S2"}
    assert refused(app, "contributions.record_subsidy", data).code == "contributions.overpaid"
    for receipt in ("S1", "R-F"):
        again = {**data, "amount": "1", "receipt": receipt}
        assert refused(app, "contributions.record_subsidy", again).code == "contributions.duplicate_receipt"
    assert refused(app, "contributions.record_subsidy", {**data, "category": "none"}).code == "not_found"
    assert subsidy(app, "poor", "470", "S2")["balance"] == "0.00"
    assert books(app) == {"cash": 2 * 98000, "contributions_income": -2 * 98000}
    other = app.as_user("ben", "administrator")
    app.do("contributions.reverse", {"receipt": "S2", "reason": "returned"}, as_=other)
    assert books(app)["subsidies_receivable"] == 47000
    assert subsidy(app, "poor", "470", "S3")["balance"] == "0.00"


def test_a_late_joiner_is_subsidised_too(app: TestApp) -> None:
    """The recomputed contribution is shared as the whole is; a free family stays free, and the joiner covered."""
    package(app, subsidies={"poor": 75, "ultra_poor": 100})
    household(app, "F", "poor")
    policy = enrol(app, "F")
    pay(app, policy, "245", "R1")
    join(app, "F", "F-3", date(2021, 3, 1))
    shown = show(app, policy)
    assert (shown["value"], shown["subsidy"], shown["due"], shown["balance"]) == (
        "1280.00",
        "960.00",
        "320.00",
        "75.00",
    )
    household(app, "G", "ultra_poor")
    free = enrol(app, "G")
    join(app, "G", "G-3", date(2021, 3, 5))
    assert (show(app, free)["subsidy"], show(app, free)["balance"]) == ("1280.00", "0.00")
    assert covered(app, "G-3", "2021-03-05")
    assert books(app)["subsidies_receivable"] == 96000 + 128000


def test_a_policy_that_never_covered_anybody_is_owed_by_nobody(app: TestApp) -> None:
    """Terminated unpaid: the household's part and the subsidised part are taken back."""
    package(app, subsidies={"poor": 75})
    household(app, "F", "poor")
    app.do("coverage.terminate", {"coverage": enrol(app, "F")["id"]})
    assert books(app) == {}
    assert app.rows("SELECT owed_minor FROM core.subsidy_accounts")[0]["owed_minor"] == 0


def test_conditions_are_asked_once_for_a_batch(app: TestApp) -> None:
    """10 or 20 households with conditions cost the same number of statements."""
    package(app, subsidies=[{"name": "large", "when": "size >= 2", "percent": 50},
                            {"name": "old", "when": "age >= 60", "percent": 30, "of": "member"}])  # fmt: skip
    household(app, "FIRST")
    enrol(app, "FIRST")
    counts = []
    for size in (10, 20):
        codes = [f"B{size}-{i}" for i in range(size)]
        for code in codes:
            household(app, code)
        before = app.database.statements
        app.do_all("coverage.enrol", [{"scheme": "chf", "package": "BASIC", "group": c} for c in codes])
        counts.append(app.database.statements - before)
    assert counts[0] == counts[1]
