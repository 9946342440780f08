"""Rules of recoveries: what was paid too much is taken from later payments, instalment by instalment, and no more."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from imis_core.errors import Refusal
from tests.payroll.conftest import Office
from tests.payroll.recoveries import of, recover, shown, steps

pytestmark = pytest.mark.audited


def test_an_instalment_is_taken_of_each_later_payment_until_nothing_is_left(office: Office) -> None:
    """Each payment is lower by the instalment, the last one by what is left; then the recovery is at its end."""
    opened = recover(office, group="H1", amount="7", instalment="3")
    assert (opened["amount"], opened["status"]) == ("7.00", "open")
    assert office.balances() == {"recoveries_receivable": "7.00", "benefits_expense": "-7.00"}
    for cycle, taken, left in (("C1", "3.00", "4.00"), ("C2", "3.00", "1.00"), ("C3", "1.00", "0.00")):
        payroll = office.approved(cycle)
        entitlement = of(office, payroll, "H1")
        assert steps(entitlement) == [("base", "10.00"), ("recovery R1", f"-{taken}")]
        assert entitlement["amount"] == f"{10 - Decimal(taken):.2f}"
        assert steps(of(office, payroll, "H2")) == [("base", "10.00")]
        assert shown(office)["balance"] == left
        assert office.balances().get("recoveries_receivable", "0.00") == left
    assert (shown(office)["status"], shown(office)["recovered"]) == ("recovered", "7.00")
    # What was taken is a benefit as well: 90.00 in all, of which 7.00 paid the debt that had lowered the expense.
    assert office.balances() == {"benefits_expense": "83.00", "benefits_payable": "-83.00"}
    office.cycle(4)
    assert steps(of(office, office.generate("C4"), "H1")) == [("base", "10.00")]
    taken_from = office.app.do("payroll.recovery_instalments", {"recovery": "R1"})
    assert [(t["cycle"], t["amount"], t["counts"]) for t in taken_from] == [
        ("C1", "3.00", True), ("C2", "3.00", True), ("C3", "1.00", True),
    ]  # fmt: skip


def test_a_share_is_at_most_so_much_of_a_payment(bare: Office) -> None:
    """A share is rounded down; of a share and an amount the lower one is taken; never more than the payment."""
    office = bare
    office.package()
    office.cycle(7)
    for code, amount in (("H1", 1001), ("H2", 1000), ("H3", 1000)):
        office.household(code, amount=amount)
    office.app.clock.set(date(2021, 7, 28))
    recover(office, "A", group="H1", amount="100", share="33.33")
    recover(office, "B", group="H2", amount="100", share="50", instalment="2")
    recover(office, "C", group="H3", amount="100", instalment="50")
    payroll = office.approved("C7")
    amounts = {e["beneficiary"]: (e["amount"], steps(e)[-1]) for e in office.entitlements(payroll)}
    assert amounts == {
        "H1": ("6.68", ("recovery A", "-3.33")),
        "H2": ("8.00", ("recovery B", "-2.00")),
        "H3": ("0.00", ("recovery C", "-10.00")),
    }


def test_a_payment_of_nothing_is_a_payment(office: Office) -> None:
    """All of it was taken back: its order of 0.00 is sent and reported like the others, and posts no cash."""
    recover(office, group="H3", amount="100", instalment="50")
    payroll = office.submitted()
    assert {o["beneficiary"]: (o["amount"], o["status"]) for o in office.orders(payroll)} == {
        "H1": ("10.00", "submitted"), "H2": ("10.00", "submitted"), "H3": ("0.00", "submitted"),
    }  # fmt: skip
    assert office.report("paid", *office.orders(payroll))["matched"] == 3
    assert (office.status(payroll), office.balances()["cash"]) == ("reconciled", "-20.00")
    credited = office.app.do("payroll.credited", {"payroll": payroll["id"]})
    assert [(c["beneficiary"], c["amount"], c.get("provider")) for c in credited] == [
        ("H1", "10.00", "BANK"), ("H2", "10.00", "BANK"), ("H3", "0.00", "BANK"),
    ]  # fmt: skip
    # A reversal gives back what was taken, as of any other payment.
    order = next(o for o in office.orders(payroll) if o["beneficiary"] == "H3")
    office.app.do("payments.reverse", {"order": order["id"], "reason": "x"}, as_="anna")
    assert shown(office)["balance"] == "100.00"


def test_a_payroll_of_nothing_is_reconciled_when_it_is_reported(office: Office) -> None:
    """Whoever pays by lists reports amounts of 0 as well; sent again, nothing happens."""
    for house in ("H1", "H2", "H3"):
        recover(office, house, group=house, amount="10", instalment="10")
    payroll = office.approved()
    submit = {"payroll": payroll["id"]}
    assert office.app.do("payments.submit", submit) == {"submitted": 3, "failed": 0}
    assert office.status(payroll) == "paying"
    assert office.report("paid", *office.orders(payroll))["matched"] == 3
    assert office.status(payroll) == "reconciled"
    assert office.app.do("payments.submit", submit) == {"submitted": 0, "failed": 0}


def test_several_recoveries_follow_each_other(office: Office) -> None:
    """The oldest is taken first; the next one begins with the payroll after it ended."""
    recover(office, "A", group="H1", amount="4", instalment="3")
    recover(office, "B", group="H1", amount="4", instalment="3")
    taken = [steps(of(office, office.approved(cycle), "H1"))[1:] for cycle in ("C1", "C2", "C3")]
    assert taken == [[("recovery A", "-3.00")], [("recovery A", "-1.00")], [("recovery B", "-3.00")]]


def test_what_is_given_up_gives_its_instalment_back(office: Office) -> None:
    """A rejected payroll, a cancelled and a reversed payment give back what they took; it is taken later."""
    recover(office, group="H1", amount="9", instalment="3")
    rejected = office.approved("C1")
    assert shown(office)["balance"] == "6.00"
    office.app.do("payroll.reject", {"payroll": rejected["id"], "reason": "x"})
    assert (shown(office)["balance"], shown(office)["pending"]) == ("9.00", "0.00")
    again = office.generate("C1")
    assert (shown(office)["balance"], shown(office)["pending"]) == ("9.00", "3.00")
    office.approve(again)
    office.app.do("payroll.cancel", {"entitlement": of(office, again, "H1")["id"], "reason": "x"})
    assert shown(office)["balance"] == "9.00"
    paid = office.submitted("C2")
    order = next(o for o in office.orders(paid) if o["beneficiary"] == "H1")
    office.report("paid", order)
    assert (order["amount"], shown(office)["balance"]) == ("7.00", "6.00")
    office.app.do("payments.reverse", {"order": order["id"], "reason": "x"}, as_="anna")
    assert shown(office)["balance"] == "9.00"
    states = [(t["state"], t["counts"]) for t in office.app.do("payroll.recovery_instalments", {"recovery": "R1"})]
    assert states == [("cancelled", False), ("cancelled", False), ("reversed", False)]


def test_a_payment_that_failed_keeps_its_instalment(office: Office) -> None:
    """A failed order is paid once more: the debt stays, and so does what was taken of it."""
    recover(office, group="H1", amount="9", instalment="3")
    payroll = office.submitted()
    order = next(o for o in office.orders(payroll) if o["beneficiary"] == "H1")
    office.report("failed", order)
    assert shown(office)["balance"] == "6.00"
    retry = office.app.do("payments.retry", {"order": order["id"]})
    office.app.do("payments.submit", {"payroll": payroll["id"]})
    office.report("paid", {"id": retry["id"], "amount": "7.00"})
    assert shown(office)["balance"] == "6.00"


def test_an_ended_recovery_is_taken_no_more(office: Office) -> None:
    """Ending gives up what is left, as an expense; a second time there is nothing, unless a payroll gave back."""
    recover(office, group="H1", amount="9", instalment="3")
    payroll = office.approved()
    ended = office.app.do("payroll.end_recovery", {"recovery": "R1", "reason": "hardship"})
    assert (ended["written_off"], ended["status"]) == ("6.00", "ended")
    end = {"recovery": "R1", "reason": "x"}
    assert office.code("payroll.end_recovery", end) == "payroll.wrong_state"
    assert office.code("payroll.end_recovery", {**end, "recovery": "R9"}) == "not_found"
    assert "recoveries_receivable" not in office.balances()
    assert len(steps(of(office, office.approved("C2"), "H1"))) == 1
    office.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "x"})
    assert (shown(office)["balance"], shown(office)["status"]) == ("3.00", "ended")
    assert office.app.do("payroll.end_recovery", end)["written_off"] == "3.00"
    assert shown(office)["balance"] == "0.00"


def test_what_is_wrong_with_a_recovery_is_told(office: Office) -> None:
    """One beneficiary, an amount, an instalment or a share; codes are unique; unknown ones are not found."""
    good = {"scheme": "g", "code": "R1", "reason": "x", "group": "H1", "amount": "5", "instalment": "1"}
    office.app.do("payroll.recover", good)
    wrong = [
        ({"code": "R1"}, "payroll.duplicate_code"), ({"group": "H9"}, "not_found"), ({"amount": "0"}, "input.invalid"),
        ({"instalment": None}, "input.invalid"), ({"share": "100.01"}, "input.invalid"),
        ({"share": "0.001"}, "input.invalid"), ({"number": "NH1"}, "input.invalid"),
        ({"amount": None}, "input.invalid"), ({"reason": " "}, "input.invalid"), ({"scheme": "x"}, "input.invalid"),
        ({"amount": "0.001"}, "input.invalid"),
    ]  # fmt: skip
    for change, code in wrong:
        data = {name: value for name, value in ({**good, "code": "R2"} | change).items() if value is not None}
        assert office.code("payroll.recover", data) == code, change
    batch = office.app.do_all("payroll.recover", [{**good, "code": "R2"}, {**good, "code": "R2"}])
    assert [isinstance(outcome, Refusal) for outcome in batch] == [False, True]


def test_who_sees_the_beneficiary_sees_the_whole_recovery(bare: Office) -> None:
    """A user of the household's place is told the same sums as everybody, also if its recipient lives elsewhere."""
    office, do = bare, bare.app.do
    office.package()
    office.cycle(1)
    office.cycle(2)
    office.app.clock.set(date(2021, 1, 1))
    for place in ("R1", "R2"):
        do("locations.add", {"code": place, "name": place, "level": "region"})
    member = {
        "number": "NH1", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01",
        "relationship": "head", "location": "R2",
    }  # fmt: skip
    do("beneficiaries.register_group", {"code": "H1", "location": "R1", "members": [member]})
    do("payments.enrol_recipient", {"number": "NH1", "provider": "BANK"})
    office.app.clock.set(date(2021, 6, 15))
    recover(office, group="H1", amount="9", instalment="3")
    office.approved("C1")
    held = office.generate("C2")
    do("payroll.hold", {"entitlement": of(office, held, "H1")["id"], "reason": "x"})
    clerk = office.app.as_user("cr1", "clerk", ("R1",))
    (seen,) = do("payroll.recoveries", {"scheme": "g"}, as_=clerk)
    assert (seen["recovered"], seen["pending"], seen["balance"]) == ("3.00", "3.00", "6.00")
    assert seen == shown(office)
