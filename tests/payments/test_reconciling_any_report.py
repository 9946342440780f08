"""Any report of a payment provider, in any order and as often as a row comes, against a plain reading of the rules."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.testing.app import TestApp
from tests.payments.debts import Debts

OWED = "1200.00"

ROWS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(("paid", "failed", "returned")), st.sampled_from((OWED, OWED, OWED, "1199"))
    ),
    max_size=8,
)


@pytest.fixture
def debts(app: TestApp) -> Debts:
    debts = Debts(app, ("P1", "P2", "P3"))
    app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    for number in ("P1", "P2"):
        app.do("payments.enrol_recipient", {"number": number, "provider": "POST"})
    return debts


def plainly(rows: list[tuple[int, str, str]]) -> tuple[Counter[str], list[str], int, dict[int, str]]:
    """Row by row: how many of each outcome, the states at the end, what left the till (whole units), and what the
    source was told last of each debt: what came back without having been paid has failed."""
    states, counted, paid = ["submitted", "submitted", "approved"], Counter[str](), 0
    told: dict[int, str] = {}
    for order, status, amount in rows:
        state = states[order]
        if amount != OWED:
            outcome = "wrong_amount"
        elif state == status:
            outcome = "already_reconciled"
        elif state == "submitted" or (state, status) == ("paid", "returned"):
            outcome = "matched"
            states[order] = status
            told[order] = "failed" if (state, status) == ("submitted", "returned") else status
            paid += {"paid": 1200, "failed": 0, "returned": -1200 if state == "paid" else 0}[status]
        else:
            outcome = "conflicts"
        counted[outcome] += 1
    return counted, states, paid, told


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_any_report_does_what_its_rows_say_one_after_the_other(debts: Debts, rows: list[tuple[int, str, str]]) -> None:
    """Counts, states and cash are those of the plain reading; the source hears of every move, in order per debt."""
    debts.batch += 1
    debts.settled.clear()
    debts.order()
    debts.app.do("payments.submit", {"payroll": "B7"})
    ids = [order["id"] for order in debts.orders()]
    cash = debts.app.do("ledger.balances", {"scheme": "chf"})["accounts"].get("cash", "0")
    answer = debts.app.do(
        "payments.reconcile",
        {
            "provider": "POST",
            "rows": [{"order": ids[order], "status": status, "amount": amount} for order, status, amount in rows],
        },
    )
    counted, states, paid, told = plainly(rows)
    assert {name: count for name, count in answer.items() if count} == dict(counted)
    assert [order["status"] for order in debts.orders()] == states
    after = debts.app.do("ledger.balances", {"scheme": "chf"})["accounts"].get("cash", "0")
    assert Decimal(cash) - Decimal(after) == paid
    assert len(debts.settled) == counted["matched"]
    last = {move.order: move.state for move in debts.settled}
    assert sorted(last.values()) == sorted(told.values())
