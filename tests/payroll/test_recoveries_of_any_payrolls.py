"""Any debts and any payrolls: what recoveries take is what a plain walk over them takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.payroll.conftest import Office
from tests.payroll.recoveries import recover

pytestmark = pytest.mark.audited

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
        nets = [int(Decimal(e["amount"]) * 100) for e in mine]
        assert nets == [gross - back for gross, back in zip(lines, taken, strict=True)]
        assert min(nets) >= 0
        if fate == "kept":
            bare.approve(payroll)
        else:
            end = {"payroll": payroll["id"]} | ({"reason": "x"} if fate == "rejected" else {})
            bare.app.do("payroll.reject" if fate == "rejected" else "payroll.delete", end)
            oracle.left = before
    balances = [r for r in bare.app.do("payroll.recoveries", {"scheme": "g"}) if r["code"].startswith(f"{mark}-")]
    assert [int(Decimal(r["balance"]) * 100) for r in balances] == oracle.left
    owed = sum(int(Decimal(r["balance"]) * 100) for r in bare.app.do("payroll.recoveries", {"scheme": "g"}))
    assert bare.balances().get("recoveries_receivable", "0.00") == f"{owed / 100:.2f}"


def _count(office: Office) -> int:
    return len(office.app.do("payroll.list", {"scheme": "g"}))
