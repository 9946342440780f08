"""A cash list comes back filled in: what it says is compared with what was written; also in several turns."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
import xlsxwriter

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from tests.payments.debts import Debts
from tests.payments.test_cash_lists import made, sheet

Rows = list[list[Any]]
STATUS, REFERENCE, REASON = 7, 8, 9


@pytest.fixture
def debts(app: TestApp) -> Debts:
    """P1 to P3 are paid in cash by the post, P4 by the treasury; all are sent."""
    debts = Debts(app, ("P1", "P2", "P3", "P4"))
    for code, paid in (("POST", ("P1", "P2", "P3")), ("TREASURY", ("P4",))):
        app.do("payments.register_provider", {"code": code, "name": code.title(), "channel": "cash_list"})
        for number in paid:
            app.do("payments.enrol_recipient", {"number": number, "provider": code})
    debts.order()
    app.do("payments.submit", {"payroll": "B7"})
    return debts


def listed(debts: Debts, provider: str = "POST") -> Rows:
    return sheet(debts, next(one["xlsx"] for one in made(debts) if one["provider"] == provider))


def back(debts: Debts, rows: Rows, provider: str = "POST") -> Any:
    """The workbook with these rows, uploaded."""
    memory = io.BytesIO()
    book = xlsxwriter.Workbook(memory)
    page = book.add_worksheet()
    for number, row in enumerate(rows):
        page.write_row(number, 0, row)
    book.close()
    data = {"provider": provider, "name": "list.xlsx", "content": base64.b64encode(memory.getvalue()).decode()}
    return debts.app.do("payments.reconcile_file", data)


def states(debts: Debts) -> dict[str, str]:
    return {order["recipient"]: order["status"] for order in debts.orders()}


def test_a_list_comes_back_as_often_as_its_payments_are_made(debts: Debts) -> None:
    """Rows without a status are pending; uploaded again with more, what was taken is already reconciled."""
    rows = listed(debts)
    rows[1][STATUS], rows[1][REFERENCE] = "Paid", "slip 7"
    first = back(debts, rows)
    assert (first["matched"], first["pending"], first["rows"]) == (1, 2, [])
    assert states(debts) == {"P1": "paid", "P2": "submitted", "P3": "submitted", "P4": "submitted"}
    rows[2][STATUS], rows[2][REASON] = "failed", "did not come"
    second = back(debts, rows)
    assert (second["matched"], second["already_reconciled"], second["pending"]) == (1, 1, 1)
    kept = debts.app.do("payments.reconciliation", {"provider": "POST", "outcome": "matched"})
    assert [(row["reference"], row["reason"]) for row in kept] == [("slip 7", None), (None, "did not come")]


def changed(column: int, value: Any) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[1][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        (changed(4, "1200.01"), "amount", "changed"),
        (changed(4, "a lot"), "amount", "changed"),
        (changed(1, "P9"), "recipient", "changed"),
        (changed(2, "Somebody Else"), "name", "changed"),
        (changed(5, "EUR"), "currency", "changed"),
        (changed(0, "made up"), "order", "not_on_list"),
        (changed(STATUS, "perhaps"), "status", "choice"),
        (lambda rows: rows.insert(1, list(rows[1])), "order", "not_unique"),
    ],
)
def test_a_row_that_says_something_else_is_listed_and_not_taken(
    debts: Debts, change: Callable[[Rows], None], field: str, code: str
) -> None:
    """The other rows are taken all the same."""
    rows = listed(debts)
    rows[1][STATUS] = rows[2][STATUS] = "paid"
    change(rows)
    answer = back(debts, rows)
    at = 2 if code == "not_unique" else 1
    assert answer["rows"] == [{"row": at, "field": field, "code": code}]
    assert answer["matched"] == (2 if code == "not_unique" else 1)
    assert states(debts)["P2"] == "paid"


def test_an_amount_may_be_written_as_a_spreadsheet_does(debts: Debts) -> None:
    """A number that is the same amount is no change."""
    rows = listed(debts)
    rows[1][4], rows[1][STATUS] = 1200, "paid"
    assert back(debts, rows)["matched"] == 1


def test_the_list_of_somebody_else_is_not_taken(debts: Debts) -> None:
    """Of another provider, of nobody (another digest), or with rows of another list: all listed, nothing moves."""
    other = listed(debts, "TREASURY")
    other[1][STATUS] = "paid"
    assert back(debts, other)["rows"] == [{"row": 1, "field": None, "code": "other_provider"}]
    mine = listed(debts)
    mine[1] = other[1]
    assert back(debts, mine)["rows"] == [{"row": 1, "field": "order", "code": "not_on_list"}]
    forged = listed(debts)
    forged[1][STATUS], forged[-1][0] = "paid", "digest " + "0" * 64
    assert [row["code"] for row in back(debts, forged)["rows"]] == ["unknown_list"] * 3
    assert set(states(debts).values()) == {"submitted"}


def test_a_list_without_its_digest_is_refused(debts: Debts) -> None:
    """The line with the digest belongs to the list; without it nothing of it can be checked."""
    rows = listed(debts)
    rows[1][STATUS] = "paid"
    with pytest.raises(ImisError) as refused:
        back(debts, rows[:-1])
    assert [problem.reason for problem in refused.value.refusal.problems] == ["unsigned"]
    assert set(states(debts).values()) == {"submitted"}
