"""Rules of two entitlements of one beneficiary in one payroll: what it gets each cycle, and a lump sum beside it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.payroll.conftest import Office

CYCLES = {"C6": 6, "C7": 7}


@pytest.fixture
def both(bare: Office) -> Office:
    """H1 is owed 10.00 each cycle and 500.00 once, H2 the 10.00 only; the cycles C6 and C7 are open."""
    bare.household("H1")
    bare.household("H2")
    bare.package(lumps=[{"source": 7, "group": "H1", "amount": "500"}])
    for month in CYCLES.values():
        bare.cycle(month)
    return bare


def test_each_is_an_entitlement_with_an_order_of_its_own(both: Office) -> None:
    """Listed by beneficiary, then as they were made; three entitlements and orders, two beneficiaries."""
    payroll = both.approved("C6")
    assert (payroll["beneficiaries"], payroll["amount"], payroll["by_state"]) == (2, "520.00", {"approved": 3})
    listed = [(e["beneficiary"], e["source"], e["amount"]) for e in both.entitlements(payroll)]
    assert listed == [("H1", "regular", "10.00"), ("H1", "lump", "500.00"), ("H2", "regular", "10.00")]
    assert [(o["recipient"], o["amount"]) for o in both.orders(payroll)] == [
        ("NH1", "10.00"), ("NH1", "500.00"), ("NH2", "10.00"),
    ]  # fmt: skip
    assert both.balances() == {"benefits_expense": "520.00", "benefits_payable": "-520.00"}


def test_each_goes_its_own_way(both: Office) -> None:
    """One is paid, the other is held and cancelled with its payroll: the beneficiary counts as long as one stands."""
    payroll = both.approved("C6")
    regular, lump, _ = both.entitlements(payroll)
    both.app.do("payroll.hold", {"entitlement": lump["id"], "reason": "complaint"})
    both.app.do("payments.submit", {"payroll": payroll["id"]})
    both.report("paid", *[o for o in both.orders(payroll) if o["status"] == "submitted"])
    assert (both.status(payroll), both.show(payroll)["by_state"]) == ("paying", {"held": 1, "paid": 2})
    rejected = both.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "wrong"})
    assert (rejected["beneficiaries"], rejected["amount"], rejected["by_state"]) == (
        2, "20.00", {"cancelled": 1, "paid": 2},
    )  # fmt: skip
    assert both.balances() == {"benefits_expense": "20.00", "cash": "-20.00"}
    assert (both.budget()["reserved"], both.budget()["spent"]) == ("0.00", "20.00")
    # Only the lump sum is owed anew, with the same id, so that it stands first; in whichever cycle comes first.
    following = both.generate("C7")
    assert [(e["beneficiary"], e["source"]) for e in both.entitlements(following)] == [
        ("H1", "lump"), ("H1", "regular"), ("H2", "regular"),
    ]  # fmt: skip
    assert lump["id"] in {e["id"] for e in both.entitlements(following)}
    assert regular["id"] not in {e["id"] for e in both.entitlements(following)}
    assert both.generate("C6")["beneficiaries"] == 0


def test_a_lump_sum_that_was_paid_never_comes_again(both: Office) -> None:
    """Paid once in all cycles, failed or not."""
    payroll = both.submitted("C6")
    both.report("failed", *both.orders(payroll))
    assert both.generate("C7")["amount"] == "20.00"


def test_paid_in_one_kind_is_not_missed(both: Office) -> None:
    """Who was paid anything in a cycle did not miss it, also by a payroll that was rejected afterwards."""
    payroll = both.approved("C6")
    lump = both.entitlements(payroll)[1]
    both.app.do("payroll.hold", {"entitlement": lump["id"], "reason": "complaint"})
    both.app.do("payments.submit", {"payroll": payroll["id"]})
    first, _, second = both.orders(payroll)
    both.report("paid", first)
    asked: Any = {"scheme": "g", "cycles": 1}
    assert both.app.do("payments.missed", asked) == [{"beneficiary": "H2", "cycles": ["C6"]}]
    both.report("failed", second)
    both.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "wrong"})
    assert both.app.do("payments.missed", asked) == []
    both.approved("C6")  # the lump sum again
    assert both.app.do("payments.missed", asked) == []
