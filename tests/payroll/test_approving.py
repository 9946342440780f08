"""Rules of approving, rejecting and paying payrolls: states, orders, ledger and budgets move together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import pairwise
from typing import Any

from imis_core.errors import ImisError
from tests.payroll.conftest import Office


def owed(amount: str) -> dict[str, str]:
    return {"benefits_expense": amount, "benefits_payable": f"-{amount}"}


def paid(amount: str) -> dict[str, str]:
    return {"benefits_expense": amount, "cash": f"-{amount}"}


def test_the_maker_does_not_approve(office: Office) -> None:
    """Whoever generated a payroll does not approve it, administrator or not."""
    payroll = office.generate()
    assert office.code("payroll.approve", {"payroll": payroll["id"]}, as_="anna") == "payroll.same_person"
    assert office.status(payroll) == "awaiting_approval"


def test_an_approval_orders_reserves_and_posts(office: Office) -> None:
    """Approved: each entitlement has an approved order to its recipient, the budget is reserved, the debt is posted."""
    payroll = office.approved()
    assert (payroll["status"], payroll["by_state"]) == ("approved", {"approved": 3})
    orders = [(o["recipient"], o["beneficiary"], o["amount"], o["status"]) for o in office.orders(payroll)]
    assert orders == [(f"NH{n}", f"H{n}", "10.00", "approved") for n in (1, 2, 3)]
    assert {o["entitlement"] for o in office.orders(payroll)} == {e["id"] for e in office.entitlements(payroll)}
    assert office.balances() == owed("30.00")
    assert office.budget() == {"budget": None, "reserved": "30.00", "spent": "0.00", "available": None}
    assert office.code("payroll.approve", {"payroll": payroll["id"]}, as_="ben") == "payroll.wrong_state"


def test_a_payroll_is_paid_and_reconciled(office: Office) -> None:
    """Paying from the first submission, reconciled when the last order is paid, then closed; the ledger ties."""
    payroll = office.approved()
    assert office.code("payments.submit", {"payroll": office.generate("C2")["id"]}) == "payroll.wrong_state"
    assert office.app.do("payments.submit", {"payroll": payroll["id"]}) == {"submitted": 3, "failed": 0}
    assert office.status(payroll) == "paying"
    assert office.code("payroll.close", {"payroll": payroll["id"]}) == "payroll.wrong_state"
    first, *others = office.orders(payroll)
    office.report("paid", first)
    assert office.status(payroll) == "paying"
    assert (office.budget()["reserved"], office.budget()["spent"]) == ("20.00", "10.00")
    office.report("paid", *others)
    assert office.show(payroll)["by_state"] == {"paid": 3}
    assert office.status(payroll) == "reconciled"
    assert office.balances() == paid("30.00")
    assert office.budget() == {"budget": None, "reserved": "0.00", "spent": "30.00", "available": None}
    assert office.app.do("payments.submit", {"payroll": payroll["id"]}) == {"submitted": 0, "failed": 0}
    assert office.app.do("payroll.close", {"payroll": payroll["id"]})["status"] == "closed"


def test_a_failure_is_retried_until_the_payroll_is_closed(office: Office) -> None:
    """Failed without a retry settles a payroll; a retry sets it back to paying and reserves again; closed: refused."""
    payroll = office.submitted()
    first, *others = office.orders(payroll)
    office.report("paid", *others)
    office.report("failed", first)
    assert (office.status(payroll), office.states(payroll)[0]) == ("reconciled", ("H1", "failed"))
    assert (office.budget()["reserved"], office.budget()["spent"]) == ("0.00", "20.00")
    assert office.balances() == {"benefits_expense": "30.00", "benefits_payable": "-10.00", "cash": "-20.00"}
    retry = office.app.do("payments.retry", {"order": first["id"]})
    assert (office.status(payroll), office.states(payroll)[0]) == ("paying", ("H1", "approved"))
    assert office.budget()["reserved"] == "10.00"
    office.app.do("payments.submit", {"payroll": payroll["id"]})
    office.report("failed", retry | {"amount": "10.00"})
    office.app.do("payroll.close", {"payroll": payroll["id"]})
    assert office.code("payments.retry", {"order": retry["id"]}) == "payroll.wrong_state"


def test_what_comes_back_is_failed_and_no_longer_spent(office: Office) -> None:
    """A return makes its entitlement failed and lowers what is spent; the debt stands again."""
    payroll = office.submitted()
    orders = office.orders(payroll)
    office.report("paid", *orders)
    office.report("returned", orders[0])
    assert (office.states(payroll)[0], office.status(payroll)) == (("H1", "failed"), "reconciled")
    assert office.budget() == {"budget": None, "reserved": "0.00", "spent": "20.00", "available": None}
    assert office.balances() == {"benefits_expense": "30.00", "benefits_payable": "-10.00", "cash": "-20.00"}


def test_a_reversal_takes_the_expense_back(office: Office) -> None:
    """A reversed payment takes its expense back and is no longer spent; not by who approved."""
    payroll = office.submitted()
    orders = office.orders(payroll)
    office.report("paid", *orders)
    wrong = {"order": orders[0]["id"], "reason": "paid to a stranger"}
    assert office.code("payments.reverse", wrong, as_="ben") == "payments.same_person"
    office.app.do("payments.reverse", wrong, as_="anna")
    assert office.states(payroll)[0] == ("H1", "reversed")
    assert office.budget()["spent"] == "20.00"
    assert office.balances() == {"benefits_expense": "20.00", "benefits_payable": "10.00", "cash": "-30.00"}


def test_rejected_before_anything_is_sent(office: Office) -> None:
    """Rejected: what was never sent is cancelled with its order; reservation and ledger are taken back."""
    payroll = office.approved()
    shown = office.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "wrong list"}, as_="anna")
    assert (shown["status"], shown["by_state"], shown["amount"]) == ("rejected", {"cancelled": 3}, "0.00")
    assert [(o["status"], o["reason"]) for o in office.orders(payroll)] == [("cancelled", "wrong list")] * 3
    assert office.balances() == {}
    assert office.budget()["reserved"] == "0.00"
    assert office.code("payroll.reject", {"payroll": payroll["id"], "reason": "x"}) == "payroll.wrong_state"
    assert office.code("payments.submit", {"payroll": payroll["id"]}) == "payroll.wrong_state"


def test_rejected_while_it_is_paid(office: Office) -> None:
    """Sent: entitlement and order held; paid stays paid, failed stays failed; a paid row for a held order matches."""
    office.household("H4", enrolled=False)
    office.app.do("payroll.generate", {"scheme": "g", "package": "P", "cycle": "C3"})
    bare = office.app.do("payroll.list", {"scheme": "g"})[0]
    office.approve(bare)
    office.app.do("payments.submit", {"payroll": bare["id"]})
    orders = office.orders(bare)
    office.report("paid", orders[0])
    office.report("failed", orders[1])
    shown = office.app.do("payroll.reject", {"payroll": bare["id"], "reason": "wrong"})
    assert shown["by_state"] == {"failed": 1, "held": 1, "paid": 1}
    assert [o["status"] for o in office.orders(bare)] == ["paid", "failed", "held"]
    assert (office.budget()["reserved"], office.budget()["spent"]) == ("10.00", "10.00")
    held = {"entitlement": office.entitlements(bare)[2]["id"], "reason": "x"}
    assert office.code("payroll.release", held) == "payroll.wrong_state"
    assert office.code("payments.retry", {"order": orders[1]["id"]}) == "payroll.wrong_state"
    assert office.report("paid", orders[2])["matched"] == 1
    assert office.show(bare)["by_state"] == {"failed": 1, "paid": 2}
    assert (office.budget()["reserved"], office.budget()["spent"]) == ("0.00", "20.00")
    assert office.balances() == {"benefits_expense": "30.00", "benefits_payable": "-10.00", "cash": "-20.00"}
    assert office.generate("C3")["beneficiaries"] == 0  # paid, held and failed ones never move on


def test_above_the_budget_nothing_is_approved(office: Office) -> None:
    """Above what the budget has left an approval is refused, and the payroll stays awaiting approval."""
    budget = {"scheme": "g", "package": "P", "amount": "29.99"}
    assert office.app.do("payroll.set_budget", budget)["available"] == "29.99"
    payroll = office.generate()
    assert office.code("payroll.approve", {"payroll": payroll["id"]}, as_="ben") == "payroll.over_budget"
    assert office.show(payroll)["by_state"] == {"generated": 3}
    assert (office.status(payroll), office.balances()) == ("awaiting_approval", {})
    office.app.do("payroll.set_budget", budget | {"amount": "30"})
    assert office.approve(payroll)["status"] == "approved"
    assert office.budget() == {"budget": "30.00", "reserved": "30.00", "spent": "0.00", "available": "0.00"}
    second = office.generate("C2")
    assert office.code("payroll.approve", {"payroll": second["id"]}, as_="ben") == "payroll.over_budget"
    office.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "x"})
    assert office.approve(second)["status"] == "approved"


def test_an_entitlement_above_the_limit_is_approved_by_itself(bare: Office) -> None:
    """It waits when its payroll is approved, holds up the reconciliation, and is approved by another than the maker."""
    bare.package(approval_limit="15")
    bare.cycle(6)
    bare.household("H1", amount=2000)
    bare.household("H2")
    payroll = bare.generate("C6")
    waiting = {"entitlement": bare.entitlements(payroll)[0]["id"]}
    assert bare.code("payroll.approve_entitlement", waiting, as_="ben") == "payroll.wrong_state"
    assert bare.approve(payroll)["by_state"] == {"approved": 1, "awaiting_approval": 1}
    assert bare.balances() == owed("10.00")
    bare.app.do("payments.submit", {"payroll": payroll["id"]})
    bare.report("paid", *bare.orders(payroll))
    assert bare.status(payroll) == "paying"
    assert bare.code("payroll.approve_entitlement", waiting, as_="anna") == "payroll.same_person"
    bare.app.do("payroll.set_budget", {"scheme": "g", "package": "P", "amount": "29"})
    assert bare.code("payroll.approve_entitlement", waiting, as_="ben") == "payroll.over_budget"
    bare.app.do("payroll.set_budget", {"scheme": "g", "package": "P", "amount": "30"})
    assert bare.app.do("payroll.approve_entitlement", waiting, as_="ben") == {"state": "approved"}
    assert bare.code("payroll.approve_entitlement", waiting, as_="ben") == "payroll.wrong_state"
    assert [(o["recipient"], o["status"]) for o in bare.orders(payroll)] == [("NH1", "approved"), ("NH2", "paid")]
    assert bare.budget() == {"budget": "30.00", "reserved": "20.00", "spent": "10.00", "available": "0.00"}


def test_one_batch_of_approvals_shares_the_budget(bare: Office) -> None:
    """Entitlements approved in one batch are judged one after another against one budget; twice the same: refused."""
    bare.package(approval_limit="5")
    bare.cycle(6)
    for code in ("H1", "H2", "H3"):
        bare.household(code)
    payroll = bare.generate("C6")
    bare.approve(payroll)
    bare.app.do("payroll.set_budget", {"scheme": "g", "package": "P", "amount": "25"})
    named = [{"entitlement": e["id"]} for e in bare.entitlements(payroll)]
    answers = bare.app.do_all("payroll.approve_entitlement", [named[0], named[0], *named[1:]], as_="ben")
    assert [a["state"] if isinstance(a, dict) else a.code for a in answers] == [
        "approved", "payroll.wrong_state", "approved", "payroll.over_budget",
    ]  # fmt: skip
    assert bare.budget()["available"] == "5.00"


def test_two_approvals_at_once_stay_within_the_budget(office: Office) -> None:
    """Of two payrolls approved at the same moment only one fits into the budget."""
    office.app.do("payroll.set_budget", {"scheme": "g", "package": "P", "amount": "45"})
    payrolls = [office.generate("C1"), office.generate("C2")]
    ben = office.app.as_user("ben")

    def approve(payroll: Any) -> str:
        try:
            return str(office.app.do("payroll.approve", {"payroll": payroll["id"]}, as_=ben)["status"])
        except ImisError as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(approve, payrolls)) == ["approved", "payroll.over_budget"]
    assert office.budget()["reserved"] == "30.00"


def test_two_approvals_of_one_payroll_order_once(office: Office) -> None:
    """Of two approvals of one payroll at the same moment the second finds it approved."""
    payroll = office.generate()
    callers = [office.app.as_user(name) for name in ("ben", "cara")]

    def approve(caller: Any) -> str:
        try:
            return str(office.app.do("payroll.approve", {"payroll": payroll["id"]}, as_=caller)["status"])
        except ImisError as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(approve, callers)) == ["approved", "payroll.wrong_state"]
    assert len(office.orders(payroll)) == 3
    assert office.balances() == owed("30.00")


def test_two_generations_at_once_give_each_one_entitlement(office: Office) -> None:
    """Of two payrolls generated at the same moment one has everybody and the other nobody."""
    anna = office.app.as_user("anna")
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: office.generate(as_=anna)["beneficiaries"], range(2)))
    assert sorted(made) == [0, 3]


def test_work_does_not_grow_with_the_payroll(office: Office) -> None:
    """Generating, approving, submitting and rejecting 4 or 300 beneficiaries take the same number of statements."""

    def counted(cycle: str) -> list[int]:
        counts = [office.app.database.statements]
        payroll = office.generate(cycle, as_=anna)
        counts.append(office.app.database.statements)
        office.approve(payroll, as_=ben)
        counts.append(office.app.database.statements)
        office.app.do("payments.submit", {"payroll": payroll["id"]}, as_=ben)
        counts.append(office.app.database.statements)
        office.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "x"}, as_=ben)
        counts.append(office.app.database.statements)
        return [after - before for before, after in pairwise(counts)]

    anna, ben = office.app.as_user("anna"), office.app.as_user("ben")
    office.app.clock.set(date(2021, 1, 1))
    office.household("H4", enrolled=False)
    office.app.clock.set(date(2021, 6, 15))
    office.generate("C1")  # the first one also parses the terms
    few = counted("C2")
    member = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", "relationship": "head"}
    groups = [{"code": f"G{n}", "members": [{**member, "number": f"G{n}"}]} for n in range(300)]
    office.app.do_all("beneficiaries.register_group", groups)
    office.cycle(6)
    assert counted("C6") == few
