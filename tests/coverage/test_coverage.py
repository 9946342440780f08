"""The rules of policies and contributions, on a real database."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp

TERMS = {
    "insurance_months": 12, "grace_payment_months": 1, "premium_adult": "300", "premium_child": "200",
    "registration_lump_sum": "250", "assembly_lump_sum": "130",
}  # fmt: skip


def package(app: TestApp, code: str = "BASIC", **terms: Any) -> None:
    app.do(
        "benefit_packages.define",
        {"scheme": "chf", "code": code, "name": code, "valid_from": "2019-01-01", "terms": {**TERMS, **terms}},
    )


def person(number: str, relationship: str = "head", born: str = "1980-01-01") -> dict[str, Any]:
    return {
        "number": number, "given_name": "A", "family_name": "B", "sex": "F", "birth_date": born,
        "relationship": relationship,
    }  # fmt: skip


def family(app: TestApp, code: str, *numbers: str) -> dict[str, Any]:
    members = [person(n, "head" if i == 0 else "other") for i, n in enumerate(numbers or (f"{code}-1", f"{code}-2"))]
    return app.do("beneficiaries.register_group", {"code": code, "members": members})


def enrol(app: TestApp, group: str, on: date | None = None, package: str = "BASIC", **more: Any) -> dict[str, Any]:
    return app.do("coverage.enrol", {"scheme": "chf", "package": package, "group": group, **more}, on=on)


def pay(app: TestApp, policy: dict[str, Any], amount: str, receipt: str, on: date | None = None, **more: Any) -> Any:
    return app.do(
        "contributions.record", {"coverage": policy["id"], "amount": amount, "receipt": receipt, **more}, on=on
    )


def refused(app: TestApp, name: str, data: dict[str, Any], **more: Any) -> Refusal:
    with pytest.raises(ImisError) as caught:
        app.do(name, data, **more)
    return caught.value.refusal


def books(app: TestApp) -> dict[str, int]:
    rows = app.rows("SELECT account, sum(amount)::bigint AS amount FROM core.ledger_postings GROUP BY account")
    return {row["account"]: row["amount"] for row in rows if row["amount"]}


def covered(app: TestApp, number: str, on: str) -> bool:
    return bool(app.do("eligibility.check", {"number": number, "on": on})["eligible"])


def test_a_family_is_enrolled_and_paid(app: TestApp) -> None:
    """Enrolment tells dates, dues and members; paid in full, the policy is active from the payment on."""
    package(app)
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    told = ("status", "starts", "ends", "due", "value", "subsidy", "last_payment", "effective_from")
    assert {k: policy[k] for k in told} == {
        "status": "idle", "starts": "2021-01-01", "ends": "2021-12-31", "due": "980.00", "value": "980.00",
        "subsidy": "0.00", "last_payment": "2021-01-31", "effective_from": None,
    }  # fmt: skip
    assert [m["number"] for m in policy["members"]] == ["N1", "N2"]
    assert books(app) == {"contributions_receivable": 98000, "contributions_income": -98000}
    answer = pay(app, policy, "980.00", "R1", date(2021, 1, 12))
    assert (answer["balance"], answer["status"], answer["effective_from"]) == ("0.00", "active", "2021-01-12")
    shown = app.do("coverage.show", {"coverage": policy["id"]})
    assert (shown["status"], shown["paid"], shown["balance"], shown["package"]) == ("active", "980.00", "0.00", "BASIC")
    assert [m["id"] for m in shown["members"]] == [m["id"] for m in policy["members"]]
    assert {m["effective_from"] for m in shown["members"]} == {"2021-01-12"}
    assert books(app) == {"cash": 98000, "contributions_income": -98000}
    assert not covered(app, "N1", "2021-01-11")
    assert covered(app, "N1", "2021-01-12")
    assert covered(app, "N2", "2021-12-31")
    assert not covered(app, "N2", "2022-01-01")


def test_instalments_leave_a_policy_idle_until_the_last(app: TestApp) -> None:
    """Less than due stays idle; the payment that completes the contribution makes it active."""
    package(app)
    family(app, "F")
    policy = enrol(app, "F")
    assert pay(app, policy, "500", "R1")["status"] == "idle"
    last = pay(app, policy, "480", "R2", date(2021, 1, 31))
    assert (last["status"], last["balance"], last["effective_from"]) == ("active", "0.00", "2021-01-31")


@pytest.mark.parametrize("underpaid", ["active", "suspended"])
def test_a_policy_paid_in_part_is_what_the_terms_say(app: TestApp, underpaid: str) -> None:
    """`underpaid` active covers from the first part on; suspended covers from the last."""
    package(app, underpaid=underpaid)
    family(app, "F", "N1")
    policy = enrol(app, "F")
    first = pay(app, policy, "1", "R1", date(2021, 1, 5))
    assert first["status"] == underpaid
    assert covered(app, "N1", "2021-01-05") == (underpaid == "active")
    last = pay(app, policy, "679", "R2", date(2021, 1, 9))
    assert last["effective_from"] == ("2021-01-05" if underpaid == "active" else "2021-01-09")
    assert last["status"] == "active"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"amount": "980.01", "receipt": "R"}, "contributions.overpaid"),
        ({"amount": "0", "receipt": "R"}, "input.invalid"),
        ({"amount": "-1", "receipt": "R"}, "input.invalid"),
        ({"amount": "1.001", "receipt": "R"}, "input.invalid"),
        ({"amount": "1", "receipt": " "}, "input.invalid"),
        ({"amount": "1", "receipt": "R", "on": "2021-01-02"}, "input.invalid"),
    ],
)
def test_a_refused_contribution_changes_nothing(app: TestApp, data: dict[str, Any], code: str) -> None:
    """Too much, nothing, too many decimals, no receipt, a day to come: refused, and the receipt is free."""
    package(app)
    family(app, "F")
    policy = enrol(app, "F")
    assert refused(app, "contributions.record", {"coverage": policy["id"], **data}).code == code
    assert books(app) == {"contributions_receivable": 98000, "contributions_income": -98000}
    assert pay(app, policy, "980", "R")["status"] == "active"
    assert (
        refused(app, "contributions.record", {"coverage": policy["id"], "amount": "1", "receipt": "R2"}).code
        == "contributions.overpaid"
    )


def test_a_receipt_counts_once_in_a_scheme(app: TestApp) -> None:
    """A receipt that was recorded is refused for any other policy, in the same batch too."""
    package(app)
    family(app, "F")
    family(app, "G")
    first, second = enrol(app, "F"), enrol(app, "G")
    outcomes = app.do_all(
        "contributions.record",
        [{"coverage": p["id"], "amount": "980", "receipt": "R"} for p in (first, second)],
    )
    assert outcomes[0]["status"] == "active"
    assert outcomes[1].code == "contributions.duplicate_receipt"
    assert refused(app, "contributions.record", {"coverage": second["id"], "amount": "980", "receipt": "R"}).code == (
        "contributions.duplicate_receipt"
    )
    assert books(app)["cash"] == 98000


def test_contributions_of_one_batch_are_judged_in_order(app: TestApp) -> None:
    """Two parts of one policy in a batch complete it; a third is too much."""
    package(app)
    family(app, "F")
    policy = enrol(app, "F")
    outcomes = app.do_all(
        "contributions.record",
        [{"coverage": policy["id"], "amount": a, "receipt": r} for a, r in (("900", "A"), ("80", "B"), ("1", "C"))],
    )
    assert [o["status"] for o in outcomes[:2]] == ["idle", "active"]
    assert outcomes[2].code == "contributions.overpaid"


def test_paying_late_needs_a_reason_and_a_permission(make_app: Any) -> None:
    """After the last payment date a contribution is refused, unless it is overridden by who may."""
    app = make_app(settings={"roles": {"clerk": {"permissions": ["contributions.record"]}}})
    package(app)
    family(app, "F")
    policy = enrol(app, "F")
    late = {"coverage": policy["id"], "amount": "980", "receipt": "R"}
    app.clock.set(date(2021, 2, 1))
    assert refused(app, "contributions.record", late).code == "contributions.overdue"
    clerk = app.as_user("anna", "clerk")
    assert (
        refused(app, "contributions.record", {**late, "override_reason": "flood"}, as_=clerk).code
        == "permission.denied"
    )
    answer = app.do("contributions.record", {**late, "override_reason": "flood"})
    assert (answer["status"], answer["effective_from"]) == ("active", "2021-02-01")


def test_more_instalments_than_allowed_are_refused(app: TestApp) -> None:
    """With `max_installments` 2 the third part is refused, even if it would complete the contribution."""
    package(app, max_installments=2)
    family(app, "F")
    policy = enrol(app, "F")
    pay(app, policy, "1", "A")
    assert pay(app, policy, "1", "B")["status"] == "idle"
    data = {"coverage": policy["id"], "amount": "978", "receipt": "C"}
    assert refused(app, "contributions.record", data).code == "contributions.too_many_installments"


def test_nothing_due_is_active_at_enrolment(app: TestApp) -> None:
    """A free policy is active from the enrolment date, or from its start if that is later."""
    app.do(
        "benefit_packages.define",
        {
            "scheme": "chf",
            "code": "FREE",
            "name": "Free",
            "valid_from": "2019-01-01",
            "terms": {"insurance_months": 12, "cycles": ["07-01"]},
        },
    )
    family(app, "F", "N1")
    policy = enrol(app, "F", package="FREE")
    assert (policy["status"], policy["effective_from"], policy["due"]) == ("active", "2021-07-01", "0.00")
    assert books(app) == {}
    check = app.do("eligibility.check", {"number": "N1"})
    assert (check["eligible"], check["reason"]) == (False, "not_yet_effective")


def test_nobody_is_enrolled_twice_in_a_package_for_the_same_days(app: TestApp) -> None:
    """The same person, package and days are refused, in the same batch too; another package is not."""
    package(app)
    package(app, "OTHER")
    family(app, "F")
    asked = {"scheme": "chf", "package": "BASIC", "group": "F"}
    first, second, other = app.do_all("coverage.enrol", [asked, asked, {**asked, "package": "OTHER"}])
    assert second.code == "coverage.already_enrolled"
    assert other["status"] == "idle"
    refusal = refused(app, "coverage.enrol", asked)
    assert refusal.code == "coverage.already_enrolled"
    assert refusal.details["coverage"] == first["id"]
    assert len(app.rows("SELECT id FROM core.coverages")) == 2


def test_an_idle_policy_blocks_until_its_last_payment_date(app: TestApp) -> None:
    """Unpaid and overdue, a policy blocks no longer; it cannot come back once the person has another one."""
    package(app)
    family(app, "F")
    first = enrol(app, "F")
    app.clock.set(date(2021, 1, 31))
    assert (
        refused(app, "coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "F"}).code
        == "coverage.already_enrolled"
    )
    second = enrol(app, "F", on=date(2021, 2, 1))
    pay(app, second, "980", "R1")
    data = {"coverage": first["id"], "amount": "980", "receipt": "R2", "override_reason": "mistake"}
    assert refused(app, "contributions.record", data).code == "coverage.already_enrolled"


def test_a_lapsed_policy_that_is_paid_after_all_holds_its_days_again(app: TestApp) -> None:
    """Paid late with an override, a policy blocks another enrolment again."""
    package(app)
    family(app, "F")
    first = enrol(app, "F")
    second = enrol(app, "F", on=date(2021, 2, 1))
    app.do("coverage.terminate", {"coverage": second["id"]})
    assert pay(app, first, "980", "R", override_reason="mistake")["status"] == "active"
    assert (
        refused(app, "coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "F"}).code
        == "coverage.already_enrolled"
    )


def test_terminated_policies_never_block_and_owe_nothing(app: TestApp) -> None:
    """Termination takes the unpaid rest back; that day is the last day of cover."""
    package(app, underpaid="active")
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    pay(app, policy, "180", "R1", date(2021, 1, 10))
    ended = app.do("coverage.terminate", {"coverage": policy["id"], "reason": "moved"}, on=date(2021, 1, 20))
    assert (ended["status"], ended["balance"], ended["terminated_on"]) == ("terminated", "0.00", "2021-01-20")
    assert books(app) == {"cash": 18000, "contributions_income": -18000}
    assert enrol(app, "F")["status"] == "idle"
    answer = app.do("eligibility.check", {"number": "N1", "on": "2021-01-20"})
    assert [(c["id"], c["status"]) for c in answer["coverages"]] == [(policy["id"], "active")]
    assert app.do("eligibility.check", {"number": "N1", "on": "2021-01-21"})["reason"] == "idle"
    for command in ("suspend", "resume", "terminate"):
        assert refused(app, f"coverage.{command}", {"coverage": policy["id"]}).code == "coverage.wrong_state"
    data = {"coverage": policy["id"], "amount": "1", "receipt": "R2"}
    assert refused(app, "contributions.record", data).code == "coverage.wrong_state"


def test_a_suspended_policy_covers_nobody_until_it_is_resumed(app: TestApp) -> None:
    """From the day of suspension to the day before it is resumed nobody is covered; other days stand."""
    package(app)
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    assert refused(app, "coverage.suspend", {"coverage": policy["id"]}).code == "coverage.wrong_state"
    pay(app, policy, "980", "R1")
    assert app.do("coverage.suspend", {"coverage": policy["id"]}, on=date(2021, 3, 1))["status"] == "suspended"
    check = app.do("eligibility.check", {"number": "N1"})
    assert (check["reason"], check["coverages"][0]["status"]) == ("suspended", "suspended")
    assert app.do("coverage.resume", {"coverage": policy["id"]}, on=date(2021, 3, 10))["status"] == "active"
    days = {"2021-02-28": True, "2021-03-01": False, "2021-03-09": False, "2021-03-10": True}
    assert {day: covered(app, "N1", day) for day in days} == days
    assert refused(app, "coverage.resume", {"coverage": policy["id"]}).code == "coverage.wrong_state"


def test_who_dies_or_leaves_is_covered_to_that_day(app: TestApp) -> None:
    """The day of death and the last day in the group are covered; the others stay covered."""
    package(app)
    family(app, "F", "N1", "N2", "N3")
    pay(app, enrol(app, "F"), "1280", "R1")
    app.do("beneficiaries.record_death", {"number": "N2"}, on=date(2021, 4, 1))
    app.do("beneficiaries.remove_member", {"group": "F", "number": "N3"}, on=date(2021, 5, 1))
    days = [
        ("N2", "2021-04-01"),
        ("N2", "2021-04-02"),
        ("N3", "2021-05-01"),
        ("N3", "2021-05-02"),
        ("N1", "2021-05-02"),
    ]
    assert [covered(app, *day) for day in days] == [True, False, True, False, True]


def test_a_renewal_follows_the_policy_that_was_paid(app: TestApp) -> None:
    """A renewal starts the day after the previous end, without registration; unpaid policies cannot be renewed."""
    package(app)
    family(app, "F", "N1", "N2")
    policy = enrol(app, "F")
    assert refused(app, "coverage.renew", {"coverage": policy["id"]}).code == "coverage.wrong_state"
    pay(app, policy, "980", "R1")
    renewed = app.do("coverage.renew", {"coverage": policy["id"]}, on=date(2021, 12, 1))
    assert (renewed["starts"], renewed["ends"], renewed["due"]) == ("2022-01-01", "2022-12-31", "730.00")
    assert renewed["last_payment"] == "2022-01-31"
    assert refused(app, "coverage.renew", {"coverage": policy["id"]}).code == "coverage.already_enrolled"
    assert pay(app, renewed, "730", "R2")["effective_from"] == "2022-01-01"
    app.clock.set(date(2022, 1, 1))
    assert app.do("coverage.show", {"coverage": policy["id"]})["status"] == "expired"
    assert covered(app, "N1", "2021-12-31")
    assert covered(app, "N1", "2022-01-01")


def test_a_single_person_can_be_enrolled(app: TestApp) -> None:
    """A policy of one person, by number; it is found by its member."""
    package(app)
    app.do("beneficiaries.register_person", {k: v for k, v in person("N9").items() if k != "relationship"})
    policy = app.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "number": "N9"})
    assert policy["due"] == "680.00"
    assert [p["id"] for p in app.do("coverage.list", {"number": "N9"})] == [policy["id"]]


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        ({"scheme": "none"}, "input.invalid", "scheme"),
        ({"package": "NONE"}, "not_found", "package"),
        ({"group": "NONE"}, "not_found", "group"),
        ({"number": "N1"}, "input.invalid", "group"),
        ({"on": "2021-01-02"}, "input.invalid", "on"),
        ({"on": "2018-12-31"}, "not_found", "package"),
    ],
)
def test_enrolment_names_what_is_wrong(app: TestApp, data: dict[str, Any], code: str, path: str) -> None:
    """Unknown names, two holders, a day to come and a day without a package in force are refused with their paths."""
    package(app)
    family(app, "F", "N1")
    refusal = refused(app, "coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "F", **data})
    assert (refusal.code, refusal.problems[0].path) == (code, path)


def test_a_group_of_which_nobody_is_left_is_refused(app: TestApp) -> None:
    """Who died or left by the enrolment day is neither counted nor charged."""
    package(app)
    family(app, "F", "N1", "N2")
    app.do("beneficiaries.remove_member", {"group": "F", "number": "N2"})
    assert [m["number"] for m in enrol(app, "F")["members"]] == ["N1"]
    family(app, "G", "N3")
    app.do("beneficiaries.record_death", {"number": "N3"})
    assert refused(app, "coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "G"}).code == "input.invalid"


def test_a_batch_takes_the_same_number_of_statements_whatever_its_size(app: TestApp) -> None:
    """Enrolling and paying is set-based: 60 families or 120 cost the same number of statements."""
    package(app)
    family(app, "FIRST")
    enrol(app, "FIRST")  # terms are parsed once
    counts = {}
    for size in (60, 120):
        codes = [f"B{size}-{i}" for i in range(size)]
        app.do_all(
            "beneficiaries.register_group", [{"code": c, "members": [person(f"{c}-1")]} for c in codes], atomic=True
        )
        before = app.database.statements
        policies = app.do_all("coverage.enrol", [{"scheme": "chf", "package": "BASIC", "group": c} for c in codes])
        middle = app.database.statements
        paid = app.do_all(
            "contributions.record",
            [
                {"coverage": p["id"], "amount": p["due"], "receipt": f"R-{c}"}
                for p, c in zip(policies, codes, strict=True)
            ],
        )
        assert {p["status"] for p in paid} == {"active"}
        counts[size] = (middle - before, app.database.statements - middle)
    assert counts[60] == counts[120]
