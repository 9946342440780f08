"""Rules of a cycle's reports: missed payments in a row, and what became of the funds."""

from __future__ import annotations

from datetime import date
from typing import Any

from tests.payroll.conftest import Office


def _pay(office: Office, cycle: str, *paid: str) -> Any:
    """Approve and submit a cycle's payroll; the households named are paid, the others fail."""
    payroll = office.submitted(cycle)
    for order in office.orders(payroll):
        office.report("paid" if order["beneficiary"] in paid else "failed", order)
    return payroll


def test_three_missed_in_a_row(office: Office) -> None:
    """Listed: unpaid and never paid in each of the last three cycles with an approved payroll; fewer: nobody."""
    _pay(office, "C1", "H3")
    _pay(office, "C2")
    assert office.app.do("payments.missed", {"scheme": "g"}) == []
    office.generate("C3")
    assert office.app.do("payments.missed", {"scheme": "g"}) == []  # not approved yet
    office.approve(office.app.do("payroll.list", {"scheme": "g"})[-1])
    codes = ["C1", "C2", "C3"]
    assert office.app.do("payments.missed", {"scheme": "g"}) == [
        {"beneficiary": "H1", "cycles": codes}, {"beneficiary": "H2", "cycles": codes},
    ]  # fmt: skip
    two = office.app.do("payments.missed", {"scheme": "g", "cycles": 2})
    assert [(m["beneficiary"], m["cycles"]) for m in two] == [(f"H{n}", ["C2", "C3"]) for n in (1, 2, 3)]
    assert office.code("payments.missed", {"scheme": "x"}) == "input.invalid"
    assert office.code("payments.missed", {"scheme": "g", "cycles": 0}) == "input.invalid"


def test_missed_payments_by_place_and_provider(bare: Office) -> None:
    """Counted at the place and the provider of the last cycle: whom it went through, else whom the recipient has now;
    together they are those of `payments.missed`, and what they are owed."""
    bare.package()
    for month in (1, 2, 3):
        bare.cycle(month)
    bare.app.clock.set(date(2021, 1, 1))
    do = bare.app.do
    do("locations.add", {"code": "D", "name": "District", "level": "district"})
    for code in ("V1", "V2"):
        do("locations.add", {"code": code, "name": code, "level": "village", "parent": "D"})
    point = {"code": "PP", "name": "Counter"}
    do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list", "pay_points": [point]})
    for code, place in (("H1", "V1"), ("H2", "V1"), ("H3", "V2"), ("H4", "V2"), ("H5", "V2"), ("H6", "V2")):
        bare.household(code, location=place, enrolled=code not in ("H4", "H5"))
    do("payments.enrol_recipient", {"number": "NH1", "provider": "POST", "pay_point": "PP", "scheme": "g"})
    bare.app.clock.set(date(2021, 6, 15))
    for cycle in ("C1", "C2", "C3"):
        payroll = bare.submitted(cycle)
        bare.report("paid", *[o for o in bare.orders(payroll) if o["beneficiary"] == "H6"])
    bare.report("failed", *[o for o in bare.orders(payroll) if o["beneficiary"] == "H3"])
    do("payments.enrol_recipient", {"number": "NH5", "provider": "BANK"})  # since then: it would be paid by the bank
    rows = do("payments.missed_by", {"scheme": "g"})
    assert [tuple(row.values()) for row in rows] == [
        ("V1", "BANK", None, 1, "30.00"), ("V1", "POST", "PP", 1, "30.00"),
        ("V2", None, None, 1, "30.00"), ("V2", "BANK", None, 2, "60.00"),
    ]  # fmt: skip
    assert sum(row["beneficiaries"] for row in rows) == len(do("payments.missed", {"scheme": "g"}))
    above = do("payments.missed_by", {"scheme": "g", "cycles": 2, "level": "district"})
    assert [(row["location"], row["provider"], row["beneficiaries"], row["owed"]) for row in above] == [
        ("D", None, 1, "20.00"), ("D", "BANK", 3, "60.00"), ("D", "POST", 1, "20.00"),
    ]  # fmt: skip
    assert do("reports.payments_missed_by", {"scheme": "g"}) == rows
    assert bare.code("payments.missed_by", {"scheme": "g", "level": "village?"}) == "input.invalid"
    assert bare.code("payments.missed_by", {"scheme": "g", "cycles": 0}) == "input.invalid"


def test_cycles_of_their_own_count_by_themselves(office: Office) -> None:
    """A package with cycles of its own has its own row of them: another package's do not come in between."""
    office.package("Q")
    for month in (7, 8, 9):
        office.cycle(month, package="Q")
    for cycle in ("C1", "C2", "C3"):
        _pay(office, cycle, "H1", "H2")
    assert [m["beneficiary"] for m in office.app.do("payments.missed", {"scheme": "g"})] == ["H3"]


def test_funds_tell_what_arrived_and_why_the_rest_did_not(office: Office) -> None:
    """Requested is credited and not credited, with reasons, by provider; a retried debt counts once."""
    office.household("H4", enrolled=False)
    payroll = office.generate("C3")
    office.app.clock.set(office.app.clock.today())
    payroll = office.approve(payroll)
    office.app.do("payments.submit", {"payroll": payroll["id"]})
    first, second, third = office.orders(payroll)
    office.report("paid", first)
    office.report("failed", second)
    shown = office.app.do("payroll.funds", {"payroll": payroll["id"]})
    assert (shown["orders"], shown["requested"], shown["credited"], shown["not_credited"]) == (
        3, "30.00", "10.00", "20.00",
    )  # fmt: skip
    assert shown["lines"] == [
        {
            "provider": "BANK", "pay_point": None, "orders": 3, "requested": "30.00", "credited": "10.00",
            "not_credited": "20.00", "reasons": {"failed": "10.00", "submitted": "10.00"},
        }
    ]  # fmt: skip
    retry = office.app.do("payments.retry", {"order": second["id"]})
    office.app.do("payments.submit", {"payroll": payroll["id"]})
    office.report("paid", retry | {"amount": "10.00"}, third)
    by_cycle = office.app.do("payroll.funds", {"scheme": "g", "cycle": "C3"})
    assert (by_cycle["orders"], by_cycle["requested"], by_cycle["credited"]) == (3, "30.00", "30.00")
    assert office.code("payroll.funds", {"scheme": "g"}) == "input.invalid"
