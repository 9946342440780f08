"""The cases of payroll: generated and approved for households with conditions, floors by INSERT..SELECT."""

from __future__ import annotations

from typing import Any, Final

from imis_core.testing.app import TestApp
from tests.bench.cases import BATCH, places
from tests.bench.floors import insert_floor
from tests.bench.measure import Bench, Figure, compare

MAKER: Final = "administrator:ann"
APPROVER: Final = "administrator:ben"
NAMED: Final = {"scheme": "nafa", "package": "CCT"}


def _household(n: int) -> dict[str, Any]:
    births = ("1980-02-01", "2012-03-01", "2016-07-01")
    members = [
        {
            "number": f"{n:07d}{position}", "given_name": f"Given{position}", "family_name": f"Family{n}",
            "sex": "FMF"[position], "birth_date": born, "relationship": ("head", "child", "child")[position],
            "attributes": {"attends_school": (n + position) % 3 > 0},
        }
        for position, born in enumerate(births)
    ]  # fmt: skip
    return {"code": f"H{n:07d}", "location": f"V{n % 100:03d}", "members": members}


def enrolled_households(app: TestApp, count: int) -> None:
    """Households of three that were selected and approved, and a cycle."""
    places(app)
    for start in range(0, count, BATCH):
        app.do_all("beneficiaries.register_group", [_household(n) for n in range(start, min(start + BATCH, count))])
    conditions = [{"name": "school", "when": "all(members where age < 15 and attends_school)", "amount": "200"},
                  {"name": "small child", "when": "any(members where age < 6)", "amount": "300"}]  # fmt: skip
    terms = {
        "unit": "household", "criteria": "count(members where age < 18) >= 1",
        "amount": {"base": "1000", "per_person": "100", "max_persons": 4, "conditions": conditions},
        "ceiling_per_beneficiary": "1600", "deductions": [{"name": "card", "amount": "5"}],
    }  # fmt: skip
    package = {"scheme": "nafa", "code": "CCT", "name": "CCT", "valid_from": "2020-01-01", "terms": terms}
    app.do("benefit_packages.define", package)
    selection = app.do("targeting.enrol", NAMED, as_=MAKER)
    assert app.do("targeting.approve", {"enrolment": selection["id"]}, as_=APPROVER)["enrolled"] == count
    app.do("cycles.open", {"scheme": "nafa", "code": "C1", "starts": "2021-06-01", "ends": "2021-06-30"})


def generate(at: Bench, count: int, runs: int) -> list[Figure]:
    """`payroll.generate` and `payroll.approve` of everybody: steps, states, orders, ledger, audit and all."""
    prepared = at.clone(at.template())
    with at.app(prepared) as app:
        enrolled_households(app, count)

    def generated(app: TestApp) -> None:
        payroll = app.do("payroll.generate", {**NAMED, "cycle": "C1"}, as_=MAKER)
        assert payroll["beneficiaries"] == count

    def approved(app: TestApp) -> None:
        (payroll,) = app.do("payroll.list", {"scheme": "nafa"})
        assert app.do("payroll.approve", {"payroll": payroll["id"]}, as_=APPROVER)["by_state"] == {"approved": count}

    figures = [
        compare(at, "payroll generated", count, runs, prepared, generated, floor=insert_floor, called="INSERT..SELECT")
    ]
    with at.app(prepared) as app:
        generated(app)
    # The present states are changed in place: the floor is that of the rows that approval adds.
    changed = frozenset({"core.payrolls", "core.entitlement_current", "core.budgets"})
    figures.append(
        compare(
            at,
            "payroll approved",
            count,
            runs,
            prepared,
            approved,
            floor=insert_floor,
            called="INSERT..SELECT",
            updated=changed,
        )
    )
    return figures


def statements(at: Bench) -> list[str]:
    """Statements of one `payroll.generate` and one `payroll.approve` for payrolls of different sizes."""
    lines = []
    for size in (1, 100, BATCH):
        prepared = at.clone(at.template())
        with at.app(prepared) as app:
            enrolled_households(app, size)
            maker, approver = app.as_user(MAKER), app.as_user(APPROVER)
            before = app.database.statements
            payroll = app.do("payroll.generate", {**NAMED, "cycle": "C1"}, as_=maker)
            generated = app.database.statements
            app.do("payroll.approve", {"payroll": payroll["id"]}, as_=approver)
            lines.append(f"| {size:,} | {generated - before} | {app.database.statements - generated} |")
        at.drop(prepared)
    return lines
