"""Orders of 0.00, of which all was taken back before: no service and no bank is told to pay them."""

from __future__ import annotations

from typing import Any

from imis_core.testing.app import TestApp
from tests.payments.debts import Debts
from tests.payments.transmitting.conftest import Agency


def test_an_order_of_nothing_goes_into_no_transmission(agency: Agency) -> None:
    """It is paid at submission, with no cash in the ledger; the others are sent and paid as ever."""
    agency.debts.batch = 8
    agency.debts.order(nothing=("P2",))
    assert agency.submit() == {"submitted": 3, "failed": 0}
    assert agency.statuses() == {"paid": 1, "submitted": 2}
    assert agency.debts.submitted == [8]
    assert [(move.state, move.was, move.amount_minor) for move in agency.debts.settled] == [("paid", "submitted", 0)]
    agency.work_out()
    assert agency.statuses() == {"paid": 3}
    assert [amount for _, amount in agency.operator.paid] == ["1200.00"] * 2
    assert agency.cash() == "-2400.00"


def test_what_became_of_it_is_kept(agency: Agency) -> None:
    """Both moves stand in its history, the second with the reason; it was in no transmission."""
    agency.debts.batch = 8
    agency.debts.order(nothing=("P1", "P2", "P3"))
    agency.submit()
    history = agency.app.rows(
        "SELECT s.version, s.state, s.reason, count(*) AS n "
        'FROM core.order_states s JOIN core.orders o ON o.id = s."order" '
        "WHERE o.source = 8 GROUP BY 1, 2, 3 ORDER BY 1"
    )
    assert [(row["version"], row["state"], row["reason"], row["n"]) for row in history] == [
        (1, "approved", None, 3), (2, "submitted", None, 3), (3, "paid", "nothing_to_pay", 3),
    ]  # fmt: skip
    current = agency.app.rows(
        'SELECT c.version FROM core.order_current c JOIN core.orders o ON o.id = c."order" WHERE o.source = 8'
    )
    assert {row["version"] for row in current} == {3}
    assert agency.app.rows("SELECT 1 FROM core.transmissions") == []


def test_a_bank_file_leaves_it_out(app: TestApp) -> None:
    """A bank refuses a file with an amount of 0: the order is paid when the file is made."""
    debts = Debts(app, ("P1", "P2"))
    app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "bank_file"})
    app.do_all("payments.enrol_recipient", [{"number": n, "provider": "BANK", "account": n} for n in ("P1", "P2")])
    app.do("payments.set_bank", {"provider": "BANK", "debtor": "Agency", "account": "DE89370400440532013000"})
    debts.order(nothing=("P2",))
    assert app.do("payments.submit", {"payroll": "B7"}) == {"submitted": 2, "failed": 0}
    assert [order["status"] for order in debts.orders()] == ["submitted", "submitted"]
    made: Any = app.do("payments.bank_files", {"payroll": "B7"})["files"]
    assert [(file["orders"], file["amount"]) for file in made] == [(1, "1200.00")]
    assert [order["status"] for order in debts.orders()] == ["submitted", "paid"]


def test_who_is_told_by_hand_reports_it_like_any_other(app: TestApp) -> None:
    """A cash list names it, and the report of it is matched."""
    debts = Debts(app, ("P1",))
    app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    app.do("payments.enrol_recipient", {"number": "P1", "provider": "POST"})
    debts.order(nothing=("P1",))
    app.do("payments.submit", {"payroll": "B7"})
    (order,) = debts.orders()
    assert (order["status"], order["amount"]) == ("submitted", "0.00")
    rows = [{"order": order["id"], "status": "paid", "amount": "0"}]
    assert app.do("payments.reconcile", {"provider": "POST", "rows": rows})["matched"] == 1
