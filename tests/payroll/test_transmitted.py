"""Payrolls whose orders go to a provider's service: rejected, held and failed on the way, with budget and ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from imis_core.testing.auditor import assert_sound
from imis_core.testing.plugin import AppMaker
from tests.payments.transmitting.conftest import Ticking
from tests.payments.transmitting.operator import Operator, running_operator
from tests.payroll.conftest import Office
from tests.payroll.grants import GrantsPlugin


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    monkeypatch.setenv("TEST_MM_TOKEN", "t0ken-of-tests")
    with running_operator() as operator:
        yield operator


class Agency(Office):
    """The office whose three households are paid through the wallet MM."""

    def __init__(self, make_app: AppMaker, operator: Operator) -> None:
        settings = {
            "plugins": {"enabled": ["grants"]},
            "schemes": {"g": {"type": "grant"}},
            "payment_gateways": {"MM": operator.settings(secret_variable=None)},
        }
        settings["payment_gateways"]["MM"].pop("secret_variable")
        super().__init__(
            make_app(today=date(2021, 1, 1), settings=settings, extra={"grants": GrantsPlugin()}, plugins=())
        )
        self.clock = Ticking()
        self.app.clock = self.clock
        self.app.do("payments.register_provider", {"code": "MM", "name": "M", "channel": "mobile_money"})
        self.package()
        self.cycle(1)
        for code in ("H1", "H2", "H3"):
            self.household(code, enrolled=False)
            self.app.do("payments.enrol_recipient", {"number": f"N{code}", "provider": "MM", "account": f"+{code}"})
        self.app.do("payroll.set_budget", {"scheme": "g", "package": "P", "amount": "100"})
        self.clock.move(days=60)

    def work(self) -> None:
        self.clock.move(minutes=5)
        self.app.queue.enqueue_due()
        self.app.queue.run_due()

    def order_states(self, payroll: Any) -> list[str]:
        return [order["status"] for order in self.orders(payroll)]


@pytest.fixture
def agency(make_app: AppMaker, operator: Operator) -> Agency:
    return Agency(make_app, operator)


def test_a_payroll_is_paid_and_reconciled(agency: Agency, operator: Operator) -> None:
    """Accepted by the provider the payroll is still being paid; paid and failed it is reconciled, budget and ledger."""
    operator.failing.add("+H2")
    payroll = agency.submitted()
    agency.app.queue.run_due()
    assert (agency.order_states(payroll), agency.status(payroll)) == (["accepted"] * 3, "paying")
    assert agency.budget()["reserved"] == "30.00"
    agency.work()
    assert agency.states(payroll) == [("H1", "paid"), ("H2", "failed"), ("H3", "paid")]
    assert (agency.status(payroll), agency.budget()["spent"], agency.budget()["reserved"]) == (
        "reconciled", "20.00", "0.00",
    )  # fmt: skip
    assert_sound(agency.app)


def test_rejected_before_it_went_out_nobody_is_paid(agency: Agency, operator: Operator) -> None:
    """Submitted and not yet transmitted: held, then failed: it was never sent, and the budget is free again."""
    payroll = agency.submitted()
    agency.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "wrong list"}, as_="anna")
    assert agency.order_states(payroll) == ["held"] * 3
    agency.work()
    assert operator.requests == []
    assert [(o["status"], o["reason"]) for o in agency.orders(payroll)] == [("failed", "held_before_sending")] * 3
    assert (agency.budget()["reserved"], agency.budget()["spent"]) == ("0.00", "0.00")
    assert_sound(agency.app)


def test_rejected_on_the_way_what_is_paid_is_paid(agency: Agency, operator: Operator) -> None:
    """Accepted by the provider: held by the rejection; what the provider has paid is taken as paid."""
    operator.pending.update({"+H1", "+H2", "+H3"})
    payroll = agency.submitted()
    agency.app.queue.run_due()
    agency.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "wrong list"}, as_="anna")
    assert agency.order_states(payroll) == ["held"] * 3
    agency.work()
    assert agency.order_states(payroll) == ["held"] * 3
    operator.settle()
    agency.work()
    assert (agency.order_states(payroll), agency.status(payroll)) == (["paid"] * 3, "rejected")
    assert agency.budget()["spent"] == "30.00"
    assert_sound(agency.app)


def test_what_comes_back_is_owed_again(agency: Agency, operator: Operator) -> None:
    """A wallet is closed after the payroll was reconciled: read in the provider's list, the debt is open again, and
    paid once more to where the household is paid now."""
    payroll = agency.submitted()
    agency.work()
    agency.work()
    assert agency.status(payroll) == "reconciled"
    operator.give_back("+H2")
    (sent,) = agency.app.do("payments.transmissions")
    agency.app.do("payments.ask", {"transmission": sent["id"]})
    agency.work()
    assert agency.states(payroll) == [("H1", "paid"), ("H2", "failed"), ("H3", "paid")]
    assert (agency.budget()["spent"], agency.balances()["cash"]) == ("20.00", "-20.00")
    agency.app.do("payments.enrol_recipient", {"number": "NH2", "provider": "MM", "account": "+H2-new"})
    (returned,) = [order for order in agency.orders(payroll) if order["status"] == "returned"]
    assert returned["reason"] == "wallet closed"
    agency.app.do("payments.retry", {"order": returned["id"]})
    assert agency.status(payroll) == "paying"
    agency.app.do("payments.submit", {"payroll": payroll["id"]})
    agency.work()
    agency.work()
    assert (agency.status(payroll), agency.balances()["cash"]) == ("reconciled", "-30.00")
    assert operator.paid[-1][1] == "10.00"
    assert_sound(agency.app)


def test_an_order_on_its_way_cannot_be_held_or_cancelled(agency: Agency) -> None:
    """Neither waiting to be transmitted nor accepted: it may be paid."""
    payroll = agency.submitted()
    for _ in range(2):
        order = agency.orders(payroll)[0]["id"]
        for command in ("payments.hold", "payments.cancel"):
            assert agency.code(command, {"order": order, "reason": "x"}) == "payments.wrong_state"
        assert agency.code("payments.retry", {"order": order}) == "payments.not_failed"
        agency.app.queue.run_due()
