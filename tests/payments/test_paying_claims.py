"""From valuated claims to paid ones: request, second person, orders, submission, reconciliation, and the ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from imis_core.errors import ImisError
from tests.payments.conftest import PERIOD, Office

OWED = {"benefits_expense": "100.00", "benefits_payable": "-100.00"}
PAID = {"benefits_expense": "100.00", "cash": "-100.00"}


def test_the_whole_way_of_a_payment(office: Office) -> None:
    """Each step posts what the contract says: valuated expense +, payable -; paid payable +, cash -; else nothing."""
    claim = office.claim()
    assert office.ledger() == OWED
    request = office.request()
    assert (request["claims"], request["amount"], request["status"]) == (1, "100.00", "requested")
    assert office.approve(request) == {"status": "approved", "orders": 1, "amount": "100.00"}
    office.account("HC1")
    assert office.submit(request["id"]) == {"submitted": 1, "failed": 0}
    (order,) = office.orders(request["id"])
    assert (order["recipient"], order["amount"], order["status"]) == ("HC1", "100.00", "submitted")
    assert (office.ledger(), office.status(claim)) == (OWED, "valuated")
    assert office.report((order["id"], "paid", "100.00")) == {"matched": 1}
    assert (office.ledger(), office.status(claim)) == (PAID, "paid")
    assert office.orders(request["id"])[0]["status"] == "paid"


def test_whoever_asks_does_not_approve(office: Office) -> None:
    """The maker is refused as approver; the request stays for somebody else, who approves it once."""
    office.claim()
    request = office.request()
    asked = {"request": request["id"]}
    assert office.refusal("claims.approve_payment", asked, as_="anna") == "claims.same_person"
    office.approve(request)
    assert office.refusal("claims.approve_payment", asked, as_="ben") == "claims.wrong_state"
    assert office.refusal("claims.reject_payment", {**asked, "reason": "late"}, as_="ben") == "claims.wrong_state"


def test_a_facility_has_one_order_with_the_sum_of_its_claims(office: Office) -> None:
    """One order per facility above 0, by recipient; a request may name one facility, and a period by target date."""
    for facility, quantity in (("HC2", 1), ("HC1", 2), ("HC1", 3)):
        office.claim(facility, quantity=quantity)
    nothing = office.app.do("claims.request_payment", PERIOD | {"from": "2021-01-02"})
    assert (nothing["claims"], nothing["amount"]) == (0, "0.00")
    only = office.request(provider="HC2")
    assert (only["claims"], only["amount"]) == (1, "100.00")
    rest = office.request()
    assert (rest["claims"], rest["amount"]) == (2, "500.00")
    assert office.approve(rest)["orders"] == 1
    assert [(o["recipient"], o["amount"]) for o in office.orders(rest["id"])] == [("HC1", "500.00")]


def test_claims_of_nothing_are_paid_at_the_approval(office: Office) -> None:
    """A claim of payable 0 needs no order and becomes paid when its request is approved."""
    free, worth = office.claim(item="FREE"), office.claim("HC2")
    request = office.request()
    assert office.status(free) == "valuated"
    assert office.approve(request) == {"status": "approved", "orders": 1, "amount": "100.00"}
    assert (office.status(free), office.status(worth)) == ("paid", "valuated")


def test_a_rejected_request_frees_its_claims(office: Office) -> None:
    """Claims are in one open request at a time; a rejected request lets them go."""
    office.claim()
    request = office.request()
    assert office.request()["claims"] == 0
    rejected = office.app.do("claims.reject_payment", {"request": request["id"], "reason": "not yet"}, as_="ben")
    assert rejected == {"status": "rejected"}
    assert office.refusal("claims.approve_payment", {"request": request["id"]}, as_="ben") == "claims.wrong_state"
    assert office.refusal("payments.submit", {"claims_batch": request["id"]}) == "claims.wrong_state"
    assert office.request()["claims"] == 1


def test_two_requests_at_once_share_no_claim(office: Office) -> None:
    """Of two requests for the same claims at the same moment one takes them all, the other finds nothing."""
    office.app.as_user("anna")
    for _ in range(5):
        codes = [office.claim() for _ in range(3)]
        barrier = Barrier(2)

        def ask(_: int, barrier: Barrier = barrier) -> Any:
            barrier.wait()
            return office.request()["claims"]

        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(ask, range(2))) == {len(codes), 0}


def test_an_order_without_account_stays_with_its_reason(office: Office) -> None:
    """No account: it counts as failed and stays approved with the reason; with an account it goes, once."""
    office.claim()
    office.claim("HC2")
    office.account("HC2")
    batch = office.approved()
    assert office.submit(batch) == {"submitted": 1, "failed": 1}
    assert [(o["status"], o["reason"]) for o in office.orders(batch)] == [
        ("approved", "no_account"),
        ("submitted", None),
    ]
    office.account("HC1")
    assert office.submit(batch) == {"submitted": 1, "failed": 0}
    assert [(o["status"], o["reason"]) for o in office.orders(batch)] == [("submitted", None), ("submitted", None)]
    assert office.submit(batch) == {"submitted": 0, "failed": 0}


def test_orders_of_no_batch_named_are_all(office: Office) -> None:
    """Both filters of `payments.orders` may be left out: then it lists every order that the caller may see."""
    office.claim()
    office.claim("HC2")
    batch = office.approved()
    assert office.app.do("payments.orders") == office.orders(batch)
    assert office.refusal("payments.orders", {"claims_batch": batch, "payroll": "P"}) == "input.invalid"


def test_orders_are_submitted_after_the_approval_only(office: Office) -> None:
    """A request that waits for its second person has no orders to send."""
    office.claim()
    request = office.request()
    assert office.refusal("payments.submit", {"claims_batch": request["id"]}) == "claims.wrong_state"
    assert office.orders(request["id"]) == []
    assert office.refusal("payments.submit", {"claims_batch": "nothing"}) == "not_found"


def test_what_a_provider_reports_row_by_row(office: Office) -> None:
    """Unknown order or another provider's; another amount; the same again; another end: nothing moves."""
    claim = office.claim()
    order = office.submitted()["id"]
    unknown, wrong = ("nothing", "paid", "100.00"), (order, "paid", "99.99")
    assert office.report(unknown, wrong) == {"unknown": 1, "wrong_amount": 1}
    assert office.report((order, "paid", "100.001")) == {"wrong_amount": 1}
    assert office.report((order, "paid", "100.00"), provider="POST") == {"unknown": 1}
    assert (office.ledger(), office.status(claim)) == (OWED, "valuated")
    rows = [(order, "paid", "100.00"), (order, "paid", "100.00"), (order, "failed", "100.00"), (order, "paid", "1")]
    assert office.report(*rows) == {"matched": 1, "already_reconciled": 1, "conflicts": 1, "wrong_amount": 1}
    assert (office.ledger(), office.status(claim)) == (PAID, "paid")
    outcomes = [row["outcome"] for row in office.app.rows("SELECT outcome FROM core.reconciliation_rows ORDER BY id")]
    assert len(outcomes) == 8


def test_what_comes_back_before_it_was_paid_is_still_owed(office: Office) -> None:
    """Returned without having been paid: matched, no cash moves, and the order is paid once more by another."""
    claim = office.claim()
    order = office.submitted()["id"]
    assert office.report((order, "returned", "100.00")) == {"matched": 1}
    assert (office.ledger(), office.status(claim)) == (OWED, "valuated")
    assert office.report((order, "paid", "100.00"), (order, "returned", "1")) == {"conflicts": 1, "wrong_amount": 1}
    assert office.app.do("payments.retry", {"order": order})["status"] == "approved"


def test_a_returned_payment_is_owed_again(office: Office) -> None:
    """Paid and then returned: cash comes back, the claim stands as valuated; the same file may bring both."""
    claim = office.claim()
    order = office.submitted()["id"]
    assert office.report((order, "paid", "100.00"), (order, "returned", "100.00")) == {"matched": 2}
    assert (office.ledger(), office.status(claim)) == (OWED, "valuated")
    assert office.report((order, "paid", "100.00")) == {"conflicts": 1}
    assert office.request()["claims"] == 0


def test_a_paid_row_for_a_held_order_is_matched(office: Office) -> None:
    """What was held after it had been sent may have been paid all the same."""
    claim = office.claim()
    order = office.submitted()["id"]
    with office.app.database.command(office.app.system) as (connection, _):
        connection.exec_driver_sql("UPDATE core.order_current SET state = 'held', version = version + 1")
    assert office.report((order, "paid", "100.00")) == {"matched": 1}
    assert (office.ledger(), office.status(claim)) == (PAID, "paid")


@pytest.mark.parametrize("end", ["failed", "returned"])
def test_what_did_not_arrive_is_paid_by_a_retry(office: Office, end: str) -> None:
    """A failed or returned order is ordered once more, linked to the first; its payment pays the claims."""
    claim = office.claim()
    first = office.submitted()["id"]
    before = [] if end == "failed" else [(first, "paid", "100.00")]
    office.report(*before, (first, end, "100.00"))
    assert (office.ledger(), office.status(claim)) == (OWED, "valuated")
    retried = office.app.do("payments.retry", {"order": first, "reason": "account mended"})
    assert (retried["retries"], retried["status"]) == (first, "approved")
    (batch,) = office.app.rows("SELECT source FROM core.orders WHERE attempt = 2")
    batch_id = office.app.ids.encode("payment_requests", batch["source"])
    listed = [(o["id"], o["status"], o["retries"], o["amount"]) for o in office.orders(batch_id)]
    assert listed == [(first, end, None, "100.00"), (retried["id"], "approved", first, "100.00")]
    assert office.submit(batch_id) == {"submitted": 1, "failed": 0}
    assert office.report((retried["id"], "paid", "100.00")) == {"matched": 1}
    assert (office.ledger(), office.status(claim)) == (PAID, "paid")
    assert office.report((first, "paid", "100.00")) == {"conflicts": 1}


def test_only_failed_orders_are_retried_and_each_once(office: Office) -> None:
    """An order that is still on its way, an unknown one, and one that was retried are refused."""
    office.claim()
    order = office.submitted()["id"]
    assert office.refusal("payments.retry", {"order": "nothing"}) == "not_found"
    assert office.refusal("payments.retry", {"order": order}) == "payments.not_failed"
    office.report((order, "failed", "100.00"))
    first, second = office.app.do_all("payments.retry", [{"order": order}, {"order": order}])
    assert (first["status"], second.code) == ("approved", "payments.already_retried")
    assert office.refusal("payments.retry", {"order": order}) == "payments.already_retried"
    assert office.refusal("payments.retry", {"order": first["id"]}) == "payments.not_failed"


def test_two_retries_at_once_make_one_order(office: Office) -> None:
    """The second waits for the first and then is told that it was retried already."""
    office.claim()
    order = office.submitted()["id"]
    office.report((order, "failed", "100.00"))
    barrier = Barrier(2)

    def again(_: int) -> str:
        barrier.wait()
        try:
            return str(office.app.do("payments.retry", {"order": order})["status"])
        except ImisError as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(again, range(2))) == ["approved", "payments.already_retried"]


def test_a_paid_claim_is_not_valuated_again(office: Office) -> None:
    """Computing again is for unpaid claims only; a paid one that is named refuses the run."""
    claim = office.claim()
    named = {"scheme": "chf", "claims": [claim]}
    assert office.app.do("claims.process", named)["valuated"] == 1
    order = office.submitted()["id"]
    assert office.app.do("claims.process", named)["valuated"] == 1
    office.report((order, "paid", "100.00"))
    assert office.refusal("claims.process", named) == "claims.wrong_state"
    assert (office.ledger(), office.status(claim)) == (PAID, "paid")
