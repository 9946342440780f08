"""Who sees and moves what of payments: a caller of a place has to do with the persons of that place only."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker
from tests.payments.debts import Debts


@pytest.fixture
def app(make_app: AppMaker) -> TestApp:
    return make_app(settings={"roles": {"clerk": {"permissions": ["*"], "scope": "place"}}})


@pytest.fixture
def clerk(app: TestApp) -> Caller:
    """A clerk of the north, where P1 lives; P2 lives in the south. Both are enrolled and owed."""
    for code in ("N", "S"):
        app.do("locations.add", {"code": code, "name": code, "level": "region"})
    app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    debts = Debts(app, ())
    person = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
    for number, place in (("P1", "N"), ("P2", "S")):
        app.do("beneficiaries.register_person", {"number": number, "location": place, **person})
        app.do("payments.enrol_recipient", {"number": number, "provider": "POST"})
    debts.order()
    return app.as_user("carla", "clerk", places=["N"])


def orders(app: TestApp) -> list[str]:
    return [order["id"] for order in app.do("payments.orders", {"payroll": "B7"})]


def test_a_caller_of_a_place_lists_what_concerns_its_people(app: TestApp, clerk: Caller) -> None:
    """Orders, recipients and reported rows of other places are not there for such a caller."""
    app.do("payments.submit", {"payroll": "B7"})
    rows = [{"order": order, "status": "failed", "amount": "1200"} for order in (*orders(app), "X9")]
    app.do("payments.reconcile", {"provider": "POST", "rows": rows})
    assert [o["recipient"] for o in app.do("payments.orders", {"payroll": "B7"}, as_=clerk)] == ["P1"]
    assert [r["number"] for r in app.do("payments.recipients", as_=clerk)] == ["P1"]
    seen = app.do("payments.reconciliation", {"provider": "POST"}, as_=clerk)
    assert [row["order"] for row in seen] == orders(app)[:1]
    assert len(app.do("payments.reconciliation", {"provider": "POST"})) == 3


@pytest.mark.parametrize("verb", ["hold", "release", "cancel", "reverse", "retry"])
def test_orders_of_other_places_are_not_found(app: TestApp, clerk: Caller, verb: str) -> None:
    """A command on an order that the caller does not see answers as if there were none, and changes nothing."""
    before = app.do("payments.orders", {"payroll": "B7"})
    with pytest.raises(ImisError) as caught:
        app.do(f"payments.{verb}", {"order": before[1]["id"], "reason": "mine?"}, as_=clerk)
    assert caught.value.code == "not_found"
    assert app.do("payments.orders", {"payroll": "B7"}) == before


def test_a_report_of_a_caller_of_a_place_reaches_its_orders_only(app: TestApp, clerk: Caller) -> None:
    """Another place's order is unknown to whoever does not see it; submission sends what the caller sees."""
    assert app.do("payments.submit", {"payroll": "B7"}, as_=clerk) == {"submitted": 1, "failed": 0}
    assert app.do("payments.submit", {"payroll": "B7"}) == {"submitted": 1, "failed": 0}
    rows: list[Any] = [{"order": order, "status": "paid", "amount": "1200"} for order in orders(app)]
    answer = app.do("payments.reconcile", {"provider": "POST", "rows": rows}, as_=clerk)
    assert (answer["matched"], answer["unknown"]) == (1, 1)
    assert [o["status"] for o in app.do("payments.orders", {"payroll": "B7"})] == ["paid", "submitted"]


def test_who_sees_a_place_compares_no_books(app: TestApp, clerk: Caller) -> None:
    """A comparison names every order: to a caller of a place it is refused, and not there to be listed."""
    app.do("payments.submit", {"payroll": "B7"})
    content = base64.b64encode(f"order,status,amount\n{orders(app)[0]},paid,1200\nX9,paid,1\n".encode()).decode()
    given = {"provider": "POST", "name": "books.csv", "content": content}
    with pytest.raises(ImisError) as caught:
        app.do("payments.compare_books", given, as_=clerk)
    assert caught.value.code == "permission.denied"
    compared = app.do("payments.compare_books", given)
    asked = {"comparison": compared["id"]}
    assert [d["code"] for d in app.do("payments.book_differences", asked)] == [
        "paid_not_reconciled", "unknown_order", "missing_there",
    ]  # fmt: skip
    with pytest.raises(ImisError) as caught:
        app.do("payments.book_differences", asked, as_=clerk)
    assert caught.value.code == "not_found"
