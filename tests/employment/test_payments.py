"""Rules of what employers pay for a month of declared wages."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError
from tests.employment.test_wages import balances, declare, mill

__all__ = ["mill"]


def pay(app: Any, amount: str, receipt: str, month: str = "2024-05", **more: Any) -> Any:
    data = {"employer": "E1", "month": month, "amount": amount, "receipt": receipt, **more}
    return app.do("contributions.record", data)


def refused(app: Any, amount: str, receipt: str, **more: Any) -> tuple[str, list[tuple[str, str]]]:
    with pytest.raises(ImisError) as caught:
        pay(app, amount, receipt, **more)
    return caught.value.refusal.code, [(p.path, p.reason) for p in caught.value.refusal.problems]


def test_an_employer_pays_for_a_month(mill: Any) -> None:
    """In parts, up to what is owed by all parties for the declared wages; the ledger settles the receivable."""
    declare(mill, [{"number": "P1", "wage": "1000"}, {"number": "P2", "wage": "500.50"}])
    first = pay(mill, "60", "R1", method="bank", payer="Mill")
    assert (first["balance"], first["status"], first["effective_from"]) == ("0.03", "unpaid", None)
    assert refused(mill, "0.04", "R2") == ("contributions.overpaid", [])
    assert refused(mill, "0.03", "R1") == ("contributions.duplicate_receipt", [])
    assert pay(mill, "0.03", "R2")["status"] == "paid"
    assert balances(mill) == {"cash": "60.03", "contributions_income": "-60.03", "contributions_receivable": "0.00"}


def test_a_declaration_that_grows_is_owed_again(mill: Any) -> None:
    """The month declared anew leaves the difference to pay."""
    declare(mill, [{"number": "P1", "wage": "1000"}])
    pay(mill, "40", "R1")
    declare(mill, [{"number": "P1", "wage": "1500"}])
    assert pay(mill, "5", "R2")["balance"] == "15.00"


def test_a_payment_of_an_employer_is_taken_back(mill: Any) -> None:
    """By another person; it is owed again."""
    declare(mill, [{"number": "P1", "wage": "1000"}])
    pay(mill, "40", "R1")
    other = mill.as_user("ben", "administrator")
    answer = mill.do("contributions.reverse", {"receipt": "R1", "reason": "bounced"}, as_=other)
    assert (answer["status"], answer["coverage"], answer["amount"]) == ("reversed", None, "40.00")
    assert balances(mill)["contributions_receivable"] == "40.00"
    assert pay(mill, "40", "R2")["status"] == "paid"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"month": "2024-13"}, ("input.invalid", [("month", "format")])),
        ({"month": "2024-04"}, ("input.invalid", [("month", "not_declared")])),
        ({"employer": "NONE"}, ("not_found", [("employer", "not_found")])),
        ({"scheme": "none"}, ("input.invalid", [("scheme", "unknown")])),
        ({"coverage": "x"}, ("input.invalid", [("coverage", "required")])),
        ({"on": "2024-07-01"}, ("input.invalid", [("on", "future")])),
    ],
)
def test_a_wrong_payment_is_refused(mill: Any, data: dict[str, str], expected: Any) -> None:
    """A month without wages, unknown names, two things at once, a day to come: refused with the path."""
    declare(mill, [{"number": "P1", "wage": "1000"}])
    assert refused(mill, "1", "R1", **data) == expected
    assert "cash" not in balances(mill)
