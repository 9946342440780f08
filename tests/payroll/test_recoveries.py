"""Rules of recoveries: what was paid too much is taken from later payments, instalment by instalment, and no more."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from imis_core.errors import Refusal
from tests.payroll.conftest import Office

pytestmark = pytest.mark.audited


def recover(office: Office, code: str = "R1", as_: Any = "anna", **more: Any) -> Any:
    data = {"scheme": "g", "code": code, "reason": "paid twice", **more}
    return office.app.do("payroll.recover", data, as_=as_)


def shown(office: Office, code: str = "R1") -> Any:
    return next(r for r in office.app.do("payroll.recoveries", {"scheme": "g"}) if r["code"] == code)


def of(office: Office, payroll: Any, beneficiary: str) -> Any:
    return next(e for e in office.entitlements(payroll) if e["beneficiary"] == beneficiary)


def steps(entitlement: Any) -> list[tuple[str, str]]:
    return [(step["name"], step["amount"]) for step in entitlement["steps"]]


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


LINES = st.lists(st.integers(1, 2000), min_size=1, max_size=3)
DEBT = st.tuples(
    st.integers(1, 3000), st.one_of(st.none(), st.integers(1, 900)), st.one_of(st.none(), st.integers(1, 10000))
).filter(lambda debt: debt[1] is not None or debt[2] is not None)


class Ledger:
    """The rule, line by line: who owes what back, oldest first, and what each line of a payroll gives for it."""

    def __init__(self, debts: list[tuple[int, int | None, int | None]]) -> None:
        self.debts, self.left = debts, [debt[0] for debt in debts]

    def take(self, lines: list[int]) -> list[int]:
        """What is taken of each line of one payroll."""
        chosen = next((n for n, left in enumerate(self.left) if left > 0), None)
        taken = []
        for amount in lines:
            most = 0
            if chosen is not None:
                _, instalment, share = self.debts[chosen]
                most = min(amount, self.left[chosen])
                if instalment is not None:
                    most = min(most, instalment)
                if share is not None:
                    most = min(most, amount * share // 10000)
                self.left[chosen] -= most
            taken.append(most)
        return taken


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    debts=st.lists(DEBT, max_size=3),
    payrolls=st.lists(st.tuples(LINES, st.sampled_from(("kept", "rejected", "deleted"))), min_size=1, max_size=4),
    number=st.integers(0, 10**9),
)
def test_what_is_taken_is_what_a_plain_walk_takes(
    bare: Office, debts: list[Any], payrolls: list[tuple[list[int], str]], number: int
) -> None:
    """Whatever the debts, payments and rejections: each line gives what a walk over them gives, and the sums tie."""
    mark = f"{number}-{len(bare.app.do('payroll.recoveries', {'scheme': 'g'}))}-{_count(bare)}"
    house = f"H{mark}"
    bare.household(house)  # after the cycle: it is owed nothing but its lumps
    for n, (amount, instalment, share) in enumerate(debts):
        more = {} if instalment is None else {"instalment": f"{instalment / 100:.2f}"}
        more |= {} if share is None else {"share": f"{share / 100:.2f}"}
        recover(bare, f"{mark}-{n}", group=house, amount=f"{amount / 100:.2f}", **more)
    oracle = Ledger(debts)
    for n, (lines, fate) in enumerate(payrolls):
        package = f"P{mark}-{n}"
        lumps = [
            {"source": place + 1, "group": house, "amount": f"{minor / 100:.2f}", "once": False}
            for place, minor in enumerate(lines)
        ]
        bare.package(package, amount="0", lumps=lumps)
        if n == 0 and not bare.app.do("cycles.list", {"scheme": "g"}):
            bare.cycle(1)
        payroll = bare.generate(package=package)
        before = list(oracle.left)
        taken = oracle.take(lines)
        mine = [e for e in bare.entitlements(payroll) if e["beneficiary"] == house]
        found = [sum(-int(Decimal(s["amount"]) * 100) for s in e["steps"] if s["name"].startswith("rec")) for e in mine]
        assert found == taken
        nets = [round(float(e["amount"]) * 100) for e in mine]
        assert nets == [gross - back for gross, back in zip(lines, taken, strict=True)]
        assert min(nets) >= 0
        if fate == "kept":
            bare.approve(payroll)
        else:
            end = {"payroll": payroll["id"]} | ({"reason": "x"} if fate == "rejected" else {})
            bare.app.do("payroll.reject" if fate == "rejected" else "payroll.delete", end)
            oracle.left = before
    balances = [r for r in bare.app.do("payroll.recoveries", {"scheme": "g"}) if r["code"].startswith(f"{mark}-")]
    assert [round(float(r["balance"]) * 100) for r in balances] == oracle.left
    owed = sum(round(float(r["balance"]) * 100) for r in bare.app.do("payroll.recoveries", {"scheme": "g"}))
    assert bare.balances().get("recoveries_receivable", "0.00") == f"{owed / 100:.2f}"


def _count(office: Office) -> int:
    return len(office.app.do("payroll.list", {"scheme": "g"}))
