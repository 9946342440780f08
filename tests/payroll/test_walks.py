"""Rules that hold after every move of payrolls, whatever came before: random walks, audited from orders alone."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any, Final

import pytest

from imis_core.errors import Refusal
from tests.payroll.conftest import Office

pytestmark = pytest.mark.audited
STEPS: Final = 50
OPEN: Final = ("approved", "submitted", "accepted", "held")
# What a payroll's entitlement may be, by the state of its latest order.
FOLLOWS: Final = {
    "approved": "approved", "submitted": "approved", "accepted": "approved", "held": "held", "paid": "paid",
    "failed": "failed", "returned": "failed", "cancelled": "cancelled", "reversed": "reversed",
}  # fmt: skip


class Walk:
    """Moves payrolls at random; refused moves are part of it, as long as the refusal has a code of its own."""

    def __init__(self, office: Office, seed: int) -> None:
        self.office, self.random = office, Random(seed)
        self.payrolls: list[Any] = []
        self.recoveries = self.done = 0

    def step(self) -> None:
        name, data = self.random.choice(self._moves())()
        result = self.office.app.do_all(name, [data], as_=self.random.choice(("anna", "ben")))[0]
        if isinstance(result, Refusal):
            assert result.code.split(".")[0] in ("payroll", "payments"), f"{name}: {result}"
            return
        self.done += 1
        if name == "payroll.generate":
            self.payrolls.append(result)
        elif name == "payroll.delete":
            self.payrolls = [p for p in self.payrolls if p["id"] != data["payroll"]]

    def _moves(self) -> list[Any]:
        moves = [self._generate, self._budget, self._recover]
        if self.payrolls:
            moves += [self._payroll, self._payroll, self._submit, self._submit]
            if any(self.office.entitlements(p) for p in self.payrolls):
                moves += [self._entitlement] * 2
            if self._orders():
                moves += [self._order, self._report, self._report, self._report]
        return moves

    def _generate(self) -> Any:
        return "payroll.generate", {"scheme": "g", "package": "P", "cycle": self.random.choice(("C1", "C2", "C3"))}

    def _budget(self) -> Any:
        return "payroll.set_budget", {"scheme": "g", "package": "P", "amount": str(self.random.randrange(50, 3000))}

    def _recover(self) -> Any:
        if self.recoveries and self.random.random() < 0.3:
            chosen = f"R{self.random.randint(1, self.recoveries)}"
            return "payroll.end_recovery", {"recovery": chosen, "reason": "x"}
        self.recoveries += 1
        taken = {"instalment": "4"} if self.random.random() < 0.5 else {"share": "33.3"}
        group, amount = f"H{self.random.randint(1, 4)}", str(self.random.randint(1, 20))
        code = f"R{self.recoveries}"
        return "payroll.recover", {
            "scheme": "g",
            "code": code,
            "reason": "x",
            "group": group,
            "amount": amount,
            **taken,
        }

    def _payroll(self) -> Any:
        name = self.random.choice(("approve", "approve", "approve", "reject", "delete", "close"))
        reason = {"reason": "x"} if name == "reject" else {}
        return f"payroll.{name}", {"payroll": self.random.choice(self.payrolls)["id"], **reason}

    def _submit(self) -> Any:
        return "payments.submit", {"payroll": self.random.choice(self.payrolls)["id"]}

    def _entitlement(self) -> Any:
        name = self.random.choice(("hold", "release", "approve_entitlement", "cancel"))
        reason = {} if name == "approve_entitlement" else {"reason": "x"}
        chosen = self.random.choice([e for p in self.payrolls for e in self.office.entitlements(p)])
        return f"payroll.{name}", {"entitlement": chosen["id"], **reason}

    def _orders(self) -> list[Any]:
        return [o for p in self.payrolls for o in self.office.orders(p)]

    def _order(self) -> Any:
        name = self.random.choice(("hold", "release", "cancel", "reverse", "retry", "retry"))
        return f"payments.{name}", {"order": self.random.choice(self._orders())["id"], "reason": "x"}

    def _report(self) -> Any:
        orders = self._orders()
        rows = [
            {
                "order": o["id"],
                "status": self.random.choice(("paid", "paid", "failed", "returned")),
                "amount": o["amount"],
            }
            for o in self.random.choices(orders, k=self.random.randint(1, 4))
        ]
        return "payments.reconcile", {"provider": "BANK", "rows": rows}


def audit(office: Office, payrolls: list[Any]) -> None:
    """Budget, ledger, entitlements and payrolls follow from the orders."""
    owed = cash = reserved = spent = taken = 0
    held_by: dict[str, int] = {}
    for payroll in payrolls:
        shown, listed, orders = office.show(payroll), office.entitlements(payroll), office.orders(payroll)
        for entitlement in listed:
            attempts = [o for o in orders if o["entitlement"] == entitlement["id"]]
            if attempts:
                assert entitlement["state"] == FOLLOWS[attempts[-1]["status"]], (shown, entitlement, attempts)
                minor = int(Decimal(entitlement["amount"]) * 100)
                last = attempts[-1]["status"]
                owed += minor * (last not in ("cancelled", "reversed"))
                taken += _taken(entitlement) * (last not in ("cancelled", "reversed"))
                reserved += minor * (last in OPEN)
                spent += minor * (last == "paid")
                cash += minor * (last in ("paid", "reversed"))
            else:
                assert entitlement["state"] in ("generated", "awaiting_approval", "held", "cancelled")
            if entitlement["state"] != "cancelled":
                held_by[entitlement["id"]] = held_by.get(entitlement["id"], 0) + 1
        counted = {state: [e["state"] for e in listed].count(state) for state in {e["state"] for e in listed}}
        standing = [e for e in listed if e["state"] != "cancelled"]
        assert (shown["by_state"], shown["beneficiaries"]) == (counted, len(standing))
        assert shown["amount"] == f"{sum(int(Decimal(e['amount']) * 100) for e in standing) / 100:.2f}"
        unsettled = set(counted) & {"generated", "awaiting_approval", "approved", "held"}
        assert not (unsettled and shown["status"] in ("reconciled", "closed")), shown
        assert not (not unsettled and listed and shown["status"] == "paying"), shown
        if shown["status"] == "awaiting_approval":
            assert not orders
    assert set(held_by.values()) <= {1}
    budget = office.budget()
    assert (budget["reserved"], budget["spent"]) == (f"{reserved / 100:.2f}", f"{spent / 100:.2f}")
    recoveries = office.app.do("payroll.recoveries", {"scheme": "g"})
    opened, given_up = (sum(int(Decimal(r[name]) * 100) for r in recoveries) for name in ("amount", "written_off"))
    left = opened - given_up - taken
    assert sum(int(Decimal(r["balance"]) * 100) for r in recoveries) == left
    # What waits is taken already: it never comes to more than was owed back, and nothing was taken below zero.
    assert all(Decimal(r["balance"]) >= Decimal(r["pending"]) for r in recoveries)
    accounts = {
        "benefits_expense": owed - left, "cash": -cash, "benefits_payable": cash - owed, "recoveries_receivable": left
    }  # fmt: skip
    assert office.balances() == {name: f"{minor / 100:.2f}" for name, minor in accounts.items() if minor}


def _taken(entitlement: Any) -> int:
    minor = {step["name"]: int(Decimal(step["amount"]) * 100) for step in entitlement["steps"]}
    assert sum(minor.values()) == int(Decimal(entitlement["amount"]) * 100) >= 0
    return -sum(amount for name, amount in minor.items() if name.startswith("recovery "))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_money_and_states_follow_from_the_orders(bare: Office, seed: int) -> None:
    """After every move: budget and ledger are the sums of the orders, entitlements and payrolls follow them."""
    bare.package(approval_limit="15")
    for month in (1, 2, 3):
        bare.cycle(month)
    bare.app.clock.set(bare.app.clock.today().replace(month=1, day=1))
    for number in range(1, 5):
        bare.household(f"H{number}", enrolled=number != 4, amount=500 * number)
    bare.app.clock.set(bare.app.clock.today().replace(month=6, day=15))
    walk = Walk(bare, seed)
    for _ in range(STEPS):
        walk.step()
        audit(bare, walk.payrolls)
    assert walk.done > STEPS // 4
