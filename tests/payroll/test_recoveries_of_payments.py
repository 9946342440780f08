"""Recoveries of payments that are reversed or come back: what is owed, by whom, and where it stands in the ledger."""

from __future__ import annotations

import pytest

from tests.payroll.conftest import Office
from tests.payroll.recoveries import of, recover, shown, steps

pytestmark = pytest.mark.audited


def test_a_reversed_payment_is_owed_back_as_it_stands_in_the_ledger(office: Office) -> None:
    """A reversed order is no expense any more: what is owed back leaves the payable account; at most the payment."""
    payroll = office.submitted()
    order = next(o for o in office.orders(payroll) if o["beneficiary"] == "H1")
    office.report("paid", *office.orders(payroll))
    office.app.do("payments.reverse", {"order": order["id"], "reason": "dead"}, as_="anna")
    before = office.balances()
    assert before["benefits_payable"] == "10.00"
    too_much = {"scheme": "g", "code": "R1", "reason": "x", "order": order["id"], "amount": "10.01", "instalment": "1"}
    assert office.code("payroll.recover", too_much) == "input.invalid"
    recover(office, "R1", order=order["id"], amount="4", instalment="4")
    opened = recover(office, "R2", order=order["id"], instalment="4")
    assert opened["amount"] == "6.00"
    after = office.balances()
    assert after == {"recoveries_receivable": "10.00", "benefits_expense": "20.00", "cash": "-30.00"}
    assert office.code("payroll.recover", {**too_much, "code": "R3", "amount": "0.01"}) == "input.invalid"
    assert steps(of(office, office.approved("C2"), "H1"))[1:] == [("recovery R1", "-4.00")]


def test_a_payment_that_is_taken_back_is_not_reversed_as_well(office: Office) -> None:
    """An overpaid order of which something is recovered stays paid; one that was never paid is not recovered."""
    payroll = office.submitted()
    first, second, _ = office.orders(payroll)
    office.report("paid", first)
    recover(office, order=first["id"], amount="2", share="100")
    reverse = {"order": first["id"], "reason": "x"}
    assert office.code("payments.reverse", reverse, as_="anna") == "payroll.wrong_state"
    unpaid = {"scheme": "g", "code": "R2", "reason": "x", "order": second["id"], "instalment": "1"}
    assert office.code("payroll.recover", unpaid) == "payroll.wrong_state"


def test_a_payment_that_comes_back_is_not_taken_back_any_longer(office: Office) -> None:
    """Who has nothing of a payment owes nothing of it: the rest is written off, and what was taken is listed."""
    payroll = office.submitted()
    order = next(o for o in office.orders(payroll) if o["beneficiary"] == "H1")
    office.report("paid", *office.orders(payroll))
    recover(office, order=order["id"], instalment="3")
    assert of(office, office.approved("C2"), "H1")["amount"] == "7.00"
    office.report("returned", order)
    found = shown(office)
    assert (found["status"], found["recovered"], found["written_off"], found["balance"]) == (
        "returned", "3.00", "7.00", "0.00",
    )  # fmt: skip
    assert "the payment came back" in found["reason"]
    assert "recoveries_receivable" not in office.balances()
    assert [r["code"] for r in office.app.do("payroll.recoveries", {"scheme": "g", "status": "returned"})] == ["R1"]
    assert of(office, office.approved("C3"), "H1")["amount"] == "10.00"
    # Two cycles of 30.00 and the returned payment are owed; 3.00 were taken for a debt that there is not.
    assert office.balances() == {"benefits_expense": "87.00", "benefits_payable": "-67.00", "cash": "-20.00"}
    retry = office.app.do("payments.retry", {"order": order["id"]})
    office.app.do("payments.submit", {"payroll": payroll["id"]})
    office.report("paid", {"id": retry["id"], "amount": "10.00"})
    assert office.balances()["cash"] == "-30.00"
    assert shown(office)["status"] == "returned"


def test_what_is_given_back_after_a_return_is_not_taken_again(office: Office) -> None:
    """Also a recovery that was taken whole ends with the return: a rejected payroll leaves nothing to take."""
    payroll = office.submitted()
    order = next(o for o in office.orders(payroll) if o["beneficiary"] == "H1")
    office.report("paid", order)
    recover(office, order=order["id"], amount="3", instalment="3")
    second = office.approved("C2")
    office.report("returned", order)
    assert (shown(office)["status"], shown(office)["written_off"]) == ("returned", "0.00")
    office.app.do("payroll.reject", {"payroll": second["id"], "reason": "x"})
    assert (shown(office)["status"], shown(office)["balance"]) == ("returned", "3.00")
    assert of(office, office.generate("C2"), "H1")["amount"] == "10.00"
    ended = office.app.do("payroll.end_recovery", {"recovery": "R1", "reason": "x"})
    assert (ended["status"], ended["written_off"]) == ("returned", "3.00")
    assert "recoveries_receivable" not in office.balances()


def test_paid_and_returned_in_one_file_is_taken_back_by_nobody(office: Office) -> None:
    """One report may say both; whatever was opened between two reports ends with the second."""
    payroll = office.submitted()
    order = office.orders(payroll)[0]
    rows = [{"order": order["id"], "status": status, "amount": "10"} for status in ("paid", "returned")]
    office.app.do("payments.reconcile", {"provider": "BANK", "rows": rows})
    again = {"scheme": "g", "code": "R1", "reason": "x", "order": order["id"], "instalment": "1"}
    assert office.code("payroll.recover", again) == "payroll.wrong_state"


def test_cash_of_a_reversed_payment_that_comes_back_ends_its_recovery(office: Office) -> None:
    """A reversed order never becomes returned: the cash is booked where the debt stands, and no more is taken."""
    payroll = office.submitted()
    order = next(o for o in office.orders(payroll) if o["beneficiary"] == "H1")
    office.report("paid", *office.orders(payroll))
    office.app.do("payments.reverse", {"order": order["id"], "reason": "dead"}, as_="anna")
    assert office.report("returned", order)["conflicts"] == 1
    recover(office, order=order["id"], instalment="3")
    assert office.balances() == {"recoveries_receivable": "10.00", "benefits_expense": "20.00", "cash": "-30.00"}
    end = {"recovery": "R1", "reason": "the bank sent it back", "repaid": True}
    ended = office.app.do("payroll.end_recovery", end)
    assert (ended["written_off"], ended["status"]) == ("10.00", "ended")
    assert office.balances() == {"benefits_expense": "20.00", "cash": "-20.00"}
    assert of(office, office.approved("C2"), "H1")["amount"] == "10.00"


def test_a_payment_whose_recovery_was_given_up_is_reversed_as_any_other(office: Office) -> None:
    """Nothing was taken and nothing will be: the debt can be reversed, and owed back after that."""
    payroll = office.submitted()
    first, second, _ = office.orders(payroll)
    office.report("paid", *office.orders(payroll))
    recover(office, order=first["id"], instalment="3")
    office.app.do("payroll.end_recovery", {"recovery": "R1", "reason": "opened by mistake"})
    office.app.do("payments.reverse", {"order": first["id"], "reason": "x"}, as_="anna")
    assert office.balances() == {"benefits_expense": "20.00", "benefits_payable": "10.00", "cash": "-30.00"}
    assert recover(office, "R2", order=first["id"], instalment="3")["amount"] == "10.00"
    # What was repaid in cash, or taken in part, is not reversed as well.
    recover(office, "R3", order=second["id"], instalment="3")
    office.app.do("payroll.end_recovery", {"recovery": "R3", "reason": "x", "repaid": True})
    reverse = {"order": second["id"], "reason": "x"}
    assert office.code("payments.reverse", reverse, as_="anna") == "payroll.wrong_state"
    more = {"scheme": "g", "code": "R4", "reason": "x", "order": second["id"], "instalment": "1"}
    assert office.code("payroll.recover", more) == "input.invalid"
