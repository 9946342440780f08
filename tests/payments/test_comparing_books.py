"""Our orders against the books of a payment provider: every difference is found and told, none is settled here."""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError
from imis_core.payments.comparing import REMEDIES
from imis_core.testing.app import TestApp
from tests.payments.debts import Debts

PEOPLE = 24
OPEN = ("submitted", "accepted", "held")
COLUMNS = ("order", "status", "amount", "currency", "reference")


@pytest.fixture
def debts(app: TestApp) -> Debts:
    """Persons with accounts, owed 1200.00 each, their orders sent through WALLET."""
    debts = Debts(app, [f"P{n}" for n in range(PEOPLE)])
    for code in ("WALLET", "OTHER"):
        app.do("payments.register_provider", {"code": code, "name": code, "channel": "voucher"})
    app.do_all(
        "payments.enrol_recipient",
        [{"number": f"P{n}", "provider": "OTHER" if n == PEOPLE - 1 else "WALLET"} for n in range(PEOPLE)],
    )
    debts.order()
    app.do("payments.submit", {"payroll": "B7"})
    return debts


def statement(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    write = csv.DictWriter(out, COLUMNS)
    write.writeheader()
    write.writerows(rows)
    return base64.b64encode(out.getvalue().encode()).decode()


def compare(debts: Debts, rows: list[dict[str, Any]], **more: Any) -> Any:
    given = {"provider": "WALLET", "name": "books.csv", "content": statement(rows), **more}
    return debts.app.do("payments.compare_books", given)


def row(order: Any, status: str = "paid", amount: str = "1200.00", **more: str) -> dict[str, Any]:
    return {"order": order["id"], "status": status, "amount": amount, **more}


def by_recipient(debts: Debts) -> dict[str, Any]:
    return {order["recipient"]: order for order in debts.orders() if order["retries"] is None}


def reconcile(debts: Debts, *rows: dict[str, Any]) -> None:
    debts.app.do("payments.reconcile", {"provider": "WALLET", "rows": list(rows)})


def test_each_difference_is_found_with_what_to_do(debts: Debts) -> None:
    """A code and a remedy for each order and row that differs, none for the others; the totals of all sides."""
    app, orders = debts.app, by_recipient(debts)
    o = [orders[f"P{n}"] for n in range(PEOPLE)]
    reconcile(
        debts,
        *[row(o[n]) for n in (0, 1, 8, 9, 10, 12, 18)],  # paid here
        *[row(o[n], "failed", reason="closed") for n in (2, 5, 6, 11, 13)],
        row(o[7], "returned"),
    )
    app.do("payments.retry", {"order": o[6]["id"]})
    app.do("payments.reverse", {"order": o[18]["id"], "reason": "wrong"}, as_="second")
    rows = [
        row(o[0], reference="T0"), row(o[0], reference="T0"),  # said twice, paid once
        row(o[1], reference="A"), row(o[1], reference="B"),
        row(o[2], "failed"),
        row(o[3]),
        row(o[4], "failed"),
        row(o[5]),
        row(o[6]),
        row(o[7]),
        row(o[8], "failed"),
        row(o[9], "returned"),
        row(o[10], "pending"),
        row(o[11], "pending"),
        row(o[12], amount="1200.01"),
        row(o[13], "returned"),
        row(o[14], currency="EUR"),
        row(o[15], "pending"),
        row(o[18]),
        row(o[23]),
        row({"id": "nobody's"}, amount="7.00"),
        row({"id": "9" * 17}, amount="8.00"),
    ]  # fmt: skip
    found = compare(debts, rows)
    expected = {
        "P1": "paid_twice", "P3": "paid_not_reconciled", "P4": "failed_not_reconciled", "P5": "paid_there_failed_here",
        "P6": "paid_and_retried", "P7": "paid_there_returned_here", "P8": "failed_there_paid_here",
        "P9": "returned_not_reconciled", "P10": "pending_there_paid_here", "P11": "pending_there_failed_here",
        "P12": "amount_differs", "P14": "amount_differs", "P23": "other_provider",
        **{f"P{n}": "missing_there" for n in (16, 17, 19, 20, 21, 22)},
    }  # fmt: skip
    listed = app.do("payments.book_differences", {"comparison": found["id"]})
    ids = {order["id"]: name for name, order in orders.items()}
    assert {ids[d["order"]]: d["code"] for d in listed if d["order"] in ids} == expected
    assert [d["row_names"] for d in listed if d["code"] == "unknown_order"] == ["nobody's", "9" * 17]
    assert all(d["remedy"] == REMEDIES[d["code"]] for d in listed)
    counted = Counter(d["code"] for d in listed)
    assert {d["code"]: d["payments"] for d in found["differences"]} == counted
    assert found["rows"] == len(rows)
    assert found["orders"] == PEOPLE - 1
    assert found["equal"] == 5  # P0, P2, P13, P15, P18
    theirs = {(t["status"], t["amount"]) for t in found["theirs"]}
    assert ("returned", "2400.00") in theirs
    (ledger,) = found["ledger"]
    assert (ledger["scheme"], ledger["orders"], ledger["ledger"], ledger["ties"]) == ("chf", "8400.00", "8400.00", True)
    assert {order["id"]: order["status"] for order in debts.orders()}[o[3]["id"]] == "submitted"  # nothing moved


def test_every_code_is_documented() -> None:
    """The page about payments names each code of a difference."""
    text = (Path(__file__).parents[2] / "docs" / "data-flow-payments.md").read_text("utf-8")
    assert [code for code in REMEDIES if f"`{code}`" not in text] == []


def test_what_is_missing_though_paid_and_what_was_never_sent(debts: Debts) -> None:
    """The most serious ones: paid here and not in their books; in their books and never sent."""
    app = debts.app
    orders = by_recipient(debts)
    reconcile(debts, row(orders["P0"]))
    app.do("payments.reconcile", {"provider": "WALLET", "rows": [row(orders["P1"], "failed")]})
    retry = app.do("payments.retry", {"order": orders["P1"]["id"]})
    found = compare(debts, [row(retry), *[row(orders[f"P{n}"], "pending") for n in range(2, PEOPLE - 1)]])
    codes = {d["code"]: d["payments"] for d in found["differences"]}
    assert codes == {"missing_there_paid_here": 1, "never_sent": 1}
    only = app.do("payments.book_differences", {"comparison": found["id"], "code": "never_sent"})
    assert [d["order"] for d in only] == [retry["id"]]


def test_the_ways_to_name_an_order(debts: Debts) -> None:
    """By its id with dashes or without; a number only if it was sent (test_returns.py), so that a column of numbers
    names nobody by chance."""
    orders = by_recipient(debts)
    with debts.inside() as context:
        number = context.ids.decode("orders", orders["P2"]["id"])
    rows = [
        row(orders["P0"]), row({"id": orders["P1"]["id"].replace("-", "").upper()}), row({"id": str(number)}),
        *[row(orders[f"P{n}"], "pending") for n in range(2, PEOPLE - 1)],
    ]  # fmt: skip
    found = compare(debts, rows)
    codes = [(d["code"], d["payments"]) for d in found["differences"]]
    assert codes == [("paid_not_reconciled", 2), ("unknown_order", 1)]


def test_rows_that_say_nothing_are_named(debts: Debts) -> None:
    """With their places and fields; a file without the columns is refused."""
    order = by_recipient(debts)["P0"]
    rows = [
        row(order, "somehow"), row(order, amount="many"), row(order, amount="-1"), row(order, amount="1e40"),
        row({"id": ""}), row(order, currency="XYZ"), row(order, amount="NaN"),
    ]  # fmt: skip
    found = compare(debts, rows)
    assert [(u["row"], u["field"]) for u in found["unreadable_rows"]] == [
        (1, "status"), (2, "amount"), (3, "amount"), (4, "amount"), (5, "order"), (6, "currency"), (7, "amount"),
    ]  # fmt: skip
    assert (found["rows"], found["unreadable"]) == (0, 7)
    given = {"provider": "WALLET", "name": "x.csv", "content": base64.b64encode(b"a,b\n1,2\n").decode()}
    with pytest.raises(ImisError) as refused:
        debts.app.do("payments.compare_books", given)
    assert refused.value.code == "input.invalid"


def test_orders_from_before_a_day_count_where_they_are_named(debts: Debts) -> None:
    """`since` leaves out what another statement has; a row about an earlier order is still judged."""
    orders = by_recipient(debts)
    later = (debts.app.clock.today() + timedelta(days=1)).isoformat()
    found = compare(debts, [row(orders["P0"])], since=later)
    assert [(d["code"], d["payments"]) for d in found["differences"]] == [("paid_not_reconciled", 1)]
    assert found["orders"] == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_as_a_plain_reading_of_both_books(debts: Debts, data: st.DataObject) -> None:
    """Random states here and random statements there: the same differences as a reading order by order."""
    orders = [order for order in debts.orders() if order["recipient"] != f"P{PEOPLE - 1}"]
    rows = []
    for order in orders:
        for _ in range(data.draw(st.integers(0, 2))):
            status = data.draw(st.sampled_from(["paid", "failed", "returned", "pending"]))
            amount = data.draw(st.sampled_from(["1200", "1200.00", "1199.99"]))
            rows.append(row(order, status, amount, reference=data.draw(st.sampled_from(["A", "B", ""]))))
    with debts.inside() as context:
        for order in orders:
            state = data.draw(st.sampled_from([*OPEN, "paid", "failed", "returned", "reversed"]))
            number = context.ids.decode("orders", order["id"])
            context.execute(
                sa.text('UPDATE core.order_current SET state = :state WHERE "order" = :order'),
                {"state": state, "order": number},
            )
    now = {order["id"]: order["status"] for order in debts.orders()}
    found = compare(debts, rows)
    listed = {d["order"]: d["code"] for d in debts.app.do("payments.book_differences", {"comparison": found["id"]})}
    expected = {}
    for order in orders:
        code = plain(now[order["id"]], [r for r in rows if r["order"] == order["id"]])
        if code:
            expected[order["id"]] = code
    assert listed == expected


def plain(here: str, rows: list[dict[str, Any]]) -> str | None:
    """One order's difference, by the rules as they are written down."""
    said = [r["status"] for r in rows]
    if not rows:
        return "missing_there" if here in OPEN else "missing_there_paid_here" if here in ("paid", "reversed") else None
    references = {r["reference"] or str(place) for place, r in enumerate(rows) if r["status"] == "paid"}
    if len(references) > 1:
        return "paid_twice"
    if any(Decimal(r["amount"]) != 1200 for r in rows):
        return "amount_differs"
    there = next(status for status in ("returned", "paid", "pending", "failed") if status in said)
    if here in OPEN:
        return None if there == "pending" else f"{there}_not_reconciled"
    if here == "reversed" and there == "returned":
        return "returned_there_reversed_here"
    if here in ("paid", "reversed"):
        return {"paid": None, "failed": "failed_there_paid_here", "returned": "returned_not_reconciled",
                "pending": "pending_there_paid_here"}[there]  # fmt: skip
    if there == "paid":
        return f"paid_there_{here}_here"
    return "pending_there_failed_here" if there == "pending" else None


def test_statements_do_not_grow_with_the_rows(debts: Debts) -> None:
    """A comparison of all orders takes as many statements as one of a single order."""
    counted = []
    for orders in (debts.orders()[:1], debts.orders()):
        rows = [row(order) for order in orders if order["recipient"] != f"P{PEOPLE - 1}"]
        before = debts.app.database.statements
        compare(debts, rows)
        counted.append(debts.app.database.statements - before)
    assert counted[0] == counted[1]
