"""A payroll paid by mobile money while all goes wrong at once: each payee is paid once, or listed with the reason.

The provider is the simulator, a process with books of its own. IMIS_FAULT_PAYMENTS says how many are paid (100,000),
IMIS_FAULT_KILL_SECONDS how long a worker lives (20, less where few are paid).
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imis_core.payments.transmitting.store import HELD as HELD_BEFORE
from imis_core.provider_simulator.process import Running
from imis_core.testing.auditor import assert_sound
from tests.faults.harness import Deployment, Hands, client, free_port, until
from tests.faults.paying import (
    AT_ONCE,
    HELD,
    PAYMENTS,
    REJECTED,
    SECRET,
    STATES,
    TRANSMISSIONS,
    Clerk,
    Trouble,
    answer_for_parked,
    heard,
    hold,
    pay,
    prepare,
    prepare_rejected,
    provider,
)
from tests.faults.world import PEOPLE, all_done

LAST_SECONDS = 300.0  # until the last callbacks are in, and the lists that they had asked for
BEHAVIOUR = {
    "failures": 0.10, "timeouts": 0.05, "cuts": 0.02, "errors": 0.02, "duplicates": 0.05, "lost": 0.05, "late": 0.3,
    "late_seconds": 10.0, "single_callbacks": 0.10, "delay_seconds": 1.0, "delay_spread_seconds": 5.0,
    "returns": 0.01, "return_seconds": 2.0, "return_spread_seconds": 30.0,
}  # fmt: skip
_ASKED_ABOUT = "SELECT count(DISTINCT transmission) AS n FROM core.transmission_states WHERE state = 'unknown'"
_MESSAGES = "SELECT count(*) AS n FROM core.provider_messages"


def test_a_payroll_through_everything(own_server: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments fail and come back, answers and callbacks are lost, orders are held, a payroll is rejected on its way,
    workers die, PostgreSQL stops; what failed or came back is ordered again: each payee is paid once or listed with the
    reason, and all books agree."""
    monkeypatch.setenv("IMIS_FAULT_SECRET", SECRET)
    deployment, port = own_server, free_port()
    with provider(deployment, tmp_path / "books", port, PAYMENTS, **BEHAVIOUR) as running:
        with deployment.application() as hands:
            begun = time.monotonic()
            payroll, rejected = prepare(hands), prepare_rejected(hands)
            held = hold(hands, payroll, HELD)
            print(f"{PAYMENTS:,} payees prepared in {time.monotonic() - begun:.0f} s")
        _, url = deployment.web(port=port)
        trouble = Trouble(deployment)
        with client(url) as http:
            clerk = Clerk(deployment, http, payroll, held[::2], rejected)
            seconds = pay(deployment, http, payroll, trouble.step, clerk.step)
        print(f"paid in {seconds:.0f} s, {trouble.kills} workers killed, callbacks: {running.books()['callbacks']}")
        settle(deployment, running)
        assert deployment.rows(_MESSAGES)[0]["n"] >= TRANSMISSIONS * 0.8  # one for each batch, but those that are lost
        with deployment.application() as hands:
            again = check(deployment, hands, running)
            assert 0.05 * PAYMENTS < len(again) < 0.16 * PAYMENTS
            assert trouble.kills >= 2
            assert trouble.stopped
            assert deployment.rows(_ASKED_ABOUT)[0]["n"] >= 3  # by time-outs and dead workers
            for start in range(0, len(again), AT_ONCE):
                asked = [{"order": o, "reason": "once more"} for o in again[start : start + AT_ONCE]]
                all_done(hands.do_all("payments.retry", asked))
        with client(url) as http:
            seconds = pay(deployment, http, payroll, trouble.step)
        print(f"{len(again):,} retried in {seconds:.0f} s; {deployment.rows(STATES)}")
        settle(deployment, running)
        with deployment.application() as hands:
            left = check(deployment, hands, running)
            assert 0 < len(left) < 0.3 * len(again)
            assert_sound(hands.app)


def settle(deployment: Deployment, running: Running) -> None:
    """Wait until the provider has said all; what is parked, and what came back and was not told, is asked about."""
    until(lambda: heard(deployment, running), "the last callbacks", LAST_SECONDS)
    with deployment.application() as hands:
        while answer_for_parked(deployment, hands, running):
            until(lambda: heard(deployment, running), "what was parked", LAST_SECONDS)
        compared = compare(hands, running)
        if compared["differences"]:
            codes = {one["code"]: one["payments"] for one in compared["differences"]}
            assert set(codes) == {"returned_not_reconciled"}, compared
            print(f"{codes} of which no message came")
            ask_again(hands, compared["id"])
            until(lambda: heard(deployment, running), "the lists", LAST_SECONDS)


def ask_again(hands: Hands, comparison: str) -> None:
    """Have the provider asked about the transmissions of all orders that differ."""
    found = hands.do("payments.book_differences", {"comparison": comparison})
    asked = {
        one["id"] for row in found for one in hands.do("payments.transmissions", {"order": row["order"]})
    }  # fmt: skip
    for transmission in sorted(asked):
        hands.do("payments.ask", {"transmission": transmission})


_ATTEMPTS = """
    SELECT o.id, o.entitlement, o.attempt, t.state, t.reason, p.state AS payroll FROM core.orders o
    JOIN core.order_current t ON t."order" = o.id JOIN core.payrolls p ON p.id = o.source
    WHERE o.scheme = 'nafa' ORDER BY o.entitlement, o.attempt
"""


def check(deployment: Deployment, hands: Hands, running: Running) -> list[str]:
    """Who is paid is paid once, who is not is listed with the reason, and all books agree; the last attempts that
    failed or came back and may be tried again."""
    by_entitlement: dict[int, list[Any]] = {}
    for row in deployment.rows(_ATTEMPTS):
        by_entitlement.setdefault(row["entitlement"], []).append(row)
    assert len(by_entitlement) == PAYMENTS + REJECTED + PEOPLE
    again, standing = [], Counter[tuple[str, str]]()
    for attempts in by_entitlement.values():
        assert {row["state"] for row in attempts[:-1]} <= {"failed", "returned"}, attempts
        last = attempts[-1]
        standing[last["payroll"], last["state"]] += 1
        if last["state"] != "paid":
            assert last["reason"], last
        if last["state"] in ("failed", "returned") and last["payroll"] != "rejected":
            again.append(last["id"])
    print(dict(standing))
    waiting = {state: n for (payroll, state), n in standing.items() if payroll == "paying"}
    assert set(waiting) - {"returned"} == {"paid", "failed", "approved", "held"}
    assert waiting["approved"] == PEOPLE  # of the world, who have no accounts
    assert waiting["held"] == HELD - len(range(0, HELD, 2))
    stopped = {state for payroll, state in standing if payroll == "rejected"}
    assert stopped <= {"paid", "failed", "returned", "cancelled"}
    assert standing["rejected", "cancelled"] == 10  # held before they were sent
    books_agree(deployment, hands, running)
    return [hands.app.ids.encode("orders", number) for number in again]


def books_agree(deployment: Deployment, hands: Hands, running: Running) -> None:
    """The provider's books, ours and the ledger say the same."""
    books = running.books()
    assert books["paid_twice"] == []
    compared = compare(hands, running)
    assert compared["differences"] == [], compared
    assert compared["unreadable"] == 0
    theirs = {p["status"]: (p["payments"], p["amount"]) for p in books["payments"]}
    ours = {t["status"]: (t["payments"], t["amount"]) for t in compared["ours"]}
    for status in ("paid", "returned"):
        assert ours[status] == theirs[status]
    # Of a rejected payroll some were held before they left: the provider never had them.
    never_left = deployment.rows(_NEVER_LEFT, reason=HELD_BEFORE)[0]["n"]
    assert ours["failed"][0] - never_left == theirs["failed"][0]
    (ledger,) = [one for one in compared["ledger"] if one["scheme"] == "nafa"]
    assert ledger["ties"], ledger
    assert ledger["ledger"] == theirs["paid"][1]


_NEVER_LEFT = """
    SELECT count(*) AS n FROM core.order_current WHERE state = 'failed' AND reason IN (:reason,
    'the provider has none of it')
"""


def compare(hands: Hands, running: Running) -> Any:
    content = base64.b64encode(running.statement()).decode()
    return hands.do("payments.compare_books", {"provider": "WALLET", "name": "books.csv", "content": content})


LIES: dict[str, float] = {"failures": 0.3, "single_callbacks": 1.0, "lies_status": 0.5, "lies_amount": 0.2}


def test_a_provider_whose_messages_lie_is_not_believed(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callbacks tell failed payments as paid, and other amounts: the list decides, and the books agree with ours."""
    monkeypatch.setenv("IMIS_FAULT_SECRET", SECRET)
    port = free_port()
    with provider(deployment, tmp_path / "books", port, 300, **LIES) as running:
        with deployment.application() as hands:
            payroll = prepare(hands, 300)
        _, url = deployment.web(port=port)
        deployment.worker()
        with client(url) as http:
            pay(deployment, http, payroll)
        until(lambda: heard(deployment, running), "the last callbacks", LAST_SECONDS)
        with deployment.application() as hands:
            compared = compare(hands, running)
            assert compared["differences"] == []
            theirs = {(p["status"], p["payments"], p["amount"]) for p in running.books()["payments"]}
            assert {(t["status"], t["payments"], t["amount"]) for t in compared["ours"]} == theirs
            assert deployment.rows(_MESSAGES)[0]["n"] >= 100
            assert_sound(hands.app)
