"""Vouchers that are to be worth nothing any more: their days are over, or somebody cancels them; with the simulator."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from imis_core.errors import ImisError
from imis_core.operations.doctor_payments import look_at_payments
from imis_core.payments.transmitting import asking
from imis_core.payments.transmitting.running import Transmit, transmit
from imis_core.provider_simulator.process import Running, simulator
from imis_core.testing.auditor import audit
from tests.payments.transmitting.office import PATIENCE_SECONDS, Office


class Died(BaseException):
    """As kill -9: nothing catches it."""


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Running]:
    with simulator(tmp_path / "books", environment={"IMIS_SIMULATOR_SECRET": "s"}) as running:
        running.behave(unredeemed=1.0)
        yield running


def made(make_app: Any, provider: Running, count: int = 3, **more: Any) -> Office:
    """An office whose vouchers were made; nobody has asked about them, so they are not activated yet."""
    office = Office(make_app, provider, count, **more)
    office.app.queue.run_due()
    assert office.statuses() == ["accepted"] * count
    return office


def orders(office: Office) -> list[str]:
    return [order["id"] for order in office.debts.orders()]


def reasons(office: Office) -> list[tuple[str, str | None]]:
    return sorted((order["status"], order["reason"]) for order in office.debts.orders())


def cancel(office: Office, *chosen: str, **more: Any) -> Any:
    return office.app.do("payments.cancel_vouchers", {"orders": chosen or orders(office), "reason": "left"}, **more)


def findings(office: Office) -> set[str]:
    with office.app.database.query(office.app.system) as connection:
        return {found.code for found in look_at_payments(connection, office.app.settings)}


def states(office: Office, provider: Running) -> list[int]:
    """What the provider has of our vouchers: 1 made, 2 activated, 3 cancelled, 5 redeemed; by order."""
    (sent,) = office.app.do("payments.transmissions")
    asked = {"X-CorrelationID": sent["correlation"]}
    listed = httpx.get(f"{provider.url}/api/v1/batch/detail", params=asked, headers={"Platform-TenantId": "agency"})
    serials = [row["serialNumber"] for row in sorted(listed.json(), key=lambda row: int(row["requestId"]))]
    return [httpx.get(f"{provider.url}/vouchers/{one}?fields=status").json()["status"] for one in serials]


def differences(office: Office, provider: Running) -> Any:
    """How our orders differ from the provider's books."""
    content = base64.b64encode(provider.statement()).decode()
    found = office.app.do("payments.compare_books", {"provider": "VE", "name": "books.csv", "content": content})
    return office.app.do("payments.book_differences", {"comparison": found["id"]})


def test_vouchers_whose_days_are_over_are_cancelled_and_fail(make_app: Any, provider: Running) -> None:
    """Good on the tenth day after the one on which they were made, and not on the eleventh: then the provider cancels
    them first, the orders fail, the books agree, and each can be ordered once more."""
    office = made(make_app, provider, voucher_days=10)
    office.work(days=10)
    assert office.statuses() == ["accepted"] * 3
    office.work(days=1)
    office.until(["failed"] * 3)
    assert reasons(office) == [("failed", "voucher_expired")] * 3
    assert [(p["status"], p["payments"]) for p in provider.books()["payments"]] == [("failed", 3)]
    assert differences(office, provider) == []
    assert [found for found in audit(office.app) if found.code.startswith("transmission")] == []
    assert [sent["state"] for sent in office.app.do("payments.transmissions")] == ["reported"]
    office.app.do("payments.retry", {"order": orders(office)[0]})
    office.app.do("payments.submit", {"payroll": "B7"})
    office.app.queue.run_due()
    assert office.statuses() == ["accepted", "failed", "failed", "failed"]


def test_without_days_vouchers_stay_good(make_app: Any, provider: Running) -> None:
    """Nothing ends by itself that nobody gave an end."""
    office = made(make_app, provider)
    office.work(days=400)
    assert office.statuses() == ["accepted"] * 3
    assert office.app.rows("SELECT 1 FROM core.voucher_cancellations") == []


def test_a_voucher_that_was_redeemed_meanwhile_is_paid(make_app: Any, provider: Running) -> None:
    """Who cancels does not know yet what was redeemed: the provider's list decides, for each voucher by itself."""
    provider.behave(unredeemed=0.5)
    office = made(make_app, provider, 8)
    office.work()  # they are activated, and the list that was read then says of none that it was redeemed
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (redeemed := {p["status"]: p["payments"] for p in provider.books()["payments"]}.get("paid", 0)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    open_ = [order["id"] for order in office.debts.orders() if order["status"] == "accepted"]
    assert cancel(office, *open_) == {"orders": len(open_)}
    office.until(["failed"] * (8 - redeemed) + ["paid"] * redeemed)
    assert {reason for status, reason in reasons(office) if status == "failed"} == {"voucher_cancelled"}
    assert differences(office, provider) == []


def test_only_those_that_are_named_are_cancelled(make_app: Any, provider: Running) -> None:
    """The others stay good; the list is read in pages, and naming an order again changes nothing."""
    office = made(make_app, provider, 5, rows_per_page=2)
    first, *_, last = orders(office)
    assert cancel(office, first, last, first) == {"orders": 2}
    assert cancel(office, first) == {"orders": 1}
    office.until(["accepted"] * 3 + ["failed"] * 2)
    assert {o["id"] for o in office.debts.orders() if o["status"] == "failed"} == {first, last}
    noted = office.app.rows("SELECT reason, note FROM core.voucher_cancellations")
    assert [tuple(row.values()) for row in noted] == [("voucher_cancelled", "left")] * 2


@pytest.mark.parametrize("trouble", ["cuts", "errors_after", "busy"])
def test_a_cancellation_without_an_answer_is_asked_about(make_app: Any, provider: Running, trouble: str) -> None:
    """It may have arrived, or not: no order fails before the list says so, which is read in the same look."""
    office = made(make_app, provider)
    provider.behave(**{trouble: 1.0})
    cancel(office)
    office.app.queue.run_due()
    if trouble == "busy":  # nothing has arrived
        assert office.statuses() == ["accepted"] * 3
    provider.behave(**{trouble: 0.0})
    office.until(["failed"] * 3)
    assert {reason for _, reason in reasons(office)} == {"voucher_cancelled"}


def test_a_cancellation_that_is_refused_is_told_and_tried_again(make_app: Any, provider: Running) -> None:
    """The orders stay as they are, the transmission says why; once the provider takes it, they fail."""
    office = made(make_app, provider)
    provider.behave(refusals=1.0)
    cancel(office)
    office.work()
    (sent,) = office.app.do("payments.transmissions")
    assert (sent["state"], office.statuses()) == ("accepted", ["accepted"] * 3)
    assert "are to be cancelled, and are not: the provider answered 400" in sent["reason"]
    provider.behave(refusals=0.0)
    office.until(["failed"] * 3)


def test_what_is_to_be_cancelled_or_held_is_never_activated(make_app: Any, provider: Running) -> None:
    """Vouchers that were made only are worth nothing: nobody makes those redeemable that nobody is to redeem, as long
    as their cancellation is refused; the others of the batch are activated."""
    office = made(make_app, provider, 4, rows_per_page=2)
    gone, held, *_ = orders(office)
    office.debts.move(("accepted",), "held", entitlements=[entitlement(office, held)])
    provider.behave(refusals=1.0)
    cancel(office, gone)
    office.work()
    assert states(office, provider) == [1, 1, 2, 2]
    provider.behave(refusals=0.0)
    office.until(["accepted", "accepted", "failed", "held"])
    assert states(office, provider) == [3, 1, 2, 2]
    assert office.app.do("payments.transmissions")[0]["batch"] is None  # they are not all activated
    cancel(office, held)
    office.until(["accepted", "accepted", "failed", "failed"])
    office.work(days=1)
    assert (states(office, provider), bool(office.app.do("payments.transmissions")[0]["batch"])) == ([3, 3, 2, 2], True)


def entitlement(office: Office, order: str) -> int:
    number = office.app.ids.decode("orders", order)
    (row,) = office.app.rows("SELECT entitlement FROM core.orders WHERE id = :number", number=number)
    return int(row["entitlement"])


def test_what_was_made_without_an_answer_and_stopped_is_never_activated(make_app: Any, provider: Running) -> None:
    """Nobody knew whether the vouchers were made when their payroll was rejected and they were cancelled: found by our
    name, they are cancelled without ever having been good."""
    provider.behave(cuts=1.0)
    office = Office(make_app, provider, 2)
    office.app.queue.run_due()
    assert office.app.do("payments.transmissions")[0]["state"] == "unknown"
    provider.behave(cuts=0.0)
    office.debts.move(("submitted",), "held")
    cancel(office)
    office.work()
    assert set(states(office, provider)) <= {1, 3}
    office.until(["failed"] * 2)
    assert states(office, provider) == [3, 3]


def test_a_cancellation_that_fails_lastingly_hides_no_redemption(make_app: Any, provider: Running) -> None:
    """The list is read all the same, and the line is well: what others redeem is paid."""
    office = made(make_app, provider, 2)
    (gone, _) = orders(office)
    provider.behave(unredeemed=0.0, errors=1.0)
    cancel(office, gone)
    office.until(["accepted", "paid"])
    (sent,) = office.app.do("payments.transmissions")
    assert "are to be cancelled, and are not: the provider answered 503" in sent["reason"]
    (line,) = office.app.do("payments.providers")
    assert line["line"] == "closed"
    provider.behave(errors=0.0)
    office.until(["failed", "paid"])


@pytest.mark.parametrize("before", [True, False])
def test_a_worker_that_dies_loses_no_cancellation(
    make_app: Any, provider: Running, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """It is written down before anything leaves; whoever comes next has it cancelled, once more or at all."""
    office = made(make_app, provider)
    cancel(office)
    original = asking._cancelled

    def dies(*arguments: Any) -> None:
        if not before:
            original(*arguments)
        raise Died

    monkeypatch.setattr(asking, "_cancelled", dies)
    (sent,) = office.app.rows("SELECT id FROM core.transmissions")
    with pytest.raises(Died):
        transmit(office.app, Transmit(transmission=sent["id"]))
    monkeypatch.undo()
    assert office.statuses() == ["accepted"] * 3
    office.until(["failed"] * 3)


def test_a_hold_does_not_stop_who_has_the_voucher(make_app: Any, provider: Running) -> None:
    """An order that is held after its voucher was made: the doctor says so, it is not sent again, and what is redeemed
    is paid; cancelled, it fails."""
    office = made(make_app, provider, 2)
    kept, gone = orders(office)
    office.debts.move(("accepted",), "held")
    assert "payments.held_vouchers" in findings(office)
    for wanted in ("payments.release", "payments.cancel"):
        with pytest.raises(ImisError, match="was sent"):
            office.app.do(wanted, {"order": kept, "reason": "so"})
    cancel(office, gone)
    office.until(["failed", "held"])
    provider.behave(unredeemed=0.0)
    office.until(["failed", "held"])
    assert office.app.do("payments.submit", {"payroll": "B7"}) == {"submitted": 0, "failed": 0}
    row = {"order": kept, "status": "paid", "amount": "1200.00"}
    assert office.app.do("payments.reconcile", {"provider": "VE", "rows": [row]})["matched"] == 1


def test_what_has_no_voucher_is_refused(make_app: Any, provider: Running) -> None:
    """With what is wrong and what to do; nothing of the item is cancelled then."""
    office = Office(make_app, provider, 2)
    one, other = orders(office)

    def refused(*chosen: str, **more: Any) -> str:
        with pytest.raises(ImisError) as raised:
            office.app.do("payments.cancel_vouchers", {"orders": chosen, "reason": "so"}, **more)
        return raised.value.refusal.line()

    assert "nobody knows yet whether its voucher was made" in refused(one)
    office.app.queue.run_due()
    assert "name the orders" in refused()
    assert "not_found" in refused(one, "nothing")
    with pytest.raises(ImisError, match="permission"):
        cancel(office, one, as_=office.app.as_user("nobody", "nobody"))
    row = {"order": one, "status": "paid", "amount": "1200.00"}
    office.app.do("payments.reconcile", {"provider": "VE", "rows": [row]})
    assert "payments.reverse" in refused(other, one)
    row = {"order": other, "status": "failed", "amount": "1200.00", "reason": "lost"}
    office.app.do("payments.reconcile", {"provider": "VE", "rows": [row]})
    assert "worth nothing any more" in refused(other)
    again = office.app.do("payments.retry", {"order": other})
    assert "there is no voucher" in refused(again["id"])
    assert office.app.rows("SELECT 1 FROM core.voucher_cancellations") == []


def test_cancelling_takes_a_constant_number_of_statements(make_app: Any, provider: Running) -> None:
    """However many orders are named, in however many items."""
    office = made(make_app, provider, 12)
    chosen = orders(office)

    def statements(items: list[list[str]]) -> int:
        before = office.app.database.statements
        office.app.do_all("payments.cancel_vouchers", [{"orders": o, "reason": "so"} for o in items])
        return office.app.database.statements - before

    assert statements([chosen[:1]]) == statements([chosen[1:6], chosen[6:]])


def test_days_of_what_is_no_voucher_are_told(make_app: Any, provider: Running) -> None:
    """Only vouchers have days: the doctor says that the setting means nothing elsewhere."""
    office = Office(make_app, provider, 1, voucher_days=3)
    assert "payments.voucher_days" not in findings(office)
    with office.app.database.command(office.app.system) as (connection, _):
        connection.exec_driver_sql("UPDATE core.payment_providers SET channel = 'mobile_money'")
    assert "payments.voucher_days" in findings(office)
