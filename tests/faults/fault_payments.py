"""A payroll paid by mobile money while all goes wrong at once: each payee is paid once, or listed with the reason.

The provider is the simulator, a process with books of its own. IMIS_FAULT_PAYMENTS says how many are paid (100,000),
IMIS_FAULT_KILL_SECONDS how long a worker lives (20, less where few are paid).
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from imis_core.provider_simulator.process import Running, simulator
from imis_core.testing.auditor import assert_sound
from tests.faults.fault_database import stop_at_once
from tests.faults.harness import Deployment, Hands, client, free_port, until
from tests.faults.world import PEOPLE, all_done

PAYMENTS = int(os.environ.get("IMIS_FAULT_PAYMENTS", "100000"))
KILL_SECONDS = float(os.environ.get("IMIS_FAULT_KILL_SECONDS", str(min(20.0, max(5.0, PAYMENTS / 2_500)))))
TRANSMISSIONS = 100  # into which the payroll is cut: enough for shares of a hundredth
REGISTERED_AT_ONCE = 2_000
PATIENCE_SECONDS = 600.0 + PAYMENTS / 50  # of the whole payment; a provider's slow answers and our pauses are in it
BEHAVIOUR = {
    "failures": 0.10, "timeouts": 0.05, "cuts": 0.02, "errors": 0.02, "duplicates": 0.05, "lost": 0.05, "late": 0.3,
    "late_seconds": 10.0, "single_callbacks": 0.10, "delay_seconds": 1.0, "delay_spread_seconds": 5.0,
}  # fmt: skip
SECRET = "between the two of us"
GATEWAY = """
[payment_gateways.WALLET]
url = "{url}"
callback_url = "{callback}"
tenant = "imis"
institution = "agency"
debit_account = "GRANTS"
secret_variable = "IMIS_FAULT_SECRET"
timeout_seconds = 3
orders_per_transmission = {orders}
requests_per_minute = 100000
ask_after_seconds = 10
pause_seconds = 2
"""


def prepare(hands: Hands, payees: int = PAYMENTS) -> str:
    """Everybody is registered, has an account and is selected; the payroll is approved. Its id."""
    do = hands.do
    do("payments.register_provider", {"code": "WALLET", "name": "Wallet", "channel": "mobile_money"})
    for start in range(0, payees, REGISTERED_AT_ONCE):
        chosen = range(start, min(start + REGISTERED_AT_ONCE, payees))
        person = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", "relationship": "head"}
        groups = [{"code": f"W{n}", "members": [{**person, "number": f"W{n}"}]} for n in chosen]
        all_done(hands.do_all("beneficiaries.register_group", groups))
        paid = [{"number": f"W{n}", "provider": "WALLET", "account": f"+23566{n:06d}"} for n in chosen]
        all_done(hands.do_all("payments.enrol_recipient", paid))
    terms = {"amount": {"base": "100", "per_person": "10"}}
    package = {"scheme": "nafa", "code": "GRANT", "name": "Grant", "valid_from": "2020-01-01", "terms": terms}
    do("benefit_packages.define", package)
    second = Hands(hands.app, "second")
    enrolment = do("targeting.enrol", {"scheme": "nafa", "package": "GRANT", "on": "2021-06-01"})
    second.do("targeting.approve", {"enrolment": enrolment["id"]})
    do("cycles.open", {"scheme": "nafa", "code": "C1", "starts": "2021-06-01", "ends": "2021-06-30"})
    payroll = do("payroll.generate", {"scheme": "nafa", "package": "GRANT", "cycle": "C1"})["id"]
    second.do("payroll.approve", {"payroll": payroll})
    return str(payroll)


class Trouble:
    """Kills a worker again and again, and stops PostgreSQL once, while orders are on their way."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.kills = 0
        self.stopped = False
        self.worker = deployment.worker()
        self._killed_at = time.monotonic()

    def step(self) -> None:
        """Kill the worker if it lived long enough; another one goes on."""
        if time.monotonic() - self._killed_at < KILL_SECONDS:
            return
        self.worker.kill()
        self.kills += 1
        if self.kills == 2 and not self.stopped:
            stop_at_once(self.deployment)
            self.stopped = True
        self.worker = self.deployment.worker()
        self._killed_at = time.monotonic()


def pay(deployment: Deployment, url: str, payroll: str, trouble: Trouble | None = None) -> float:
    """Send the payroll's orders and wait, in trouble, until something final is known of each; seconds."""
    begun = time.monotonic()
    with client(url) as http:
        answer = http.post("/api/payments/submit", json={"payroll": payroll}, headers={"Idempotency-Key": f"{begun}"})
        assert answer.status_code == 200, answer.text
        while open_transmissions(deployment):
            if trouble is not None:
                trouble.step()
            time.sleep(0.5)
            assert time.monotonic() - begun < PATIENCE_SECONDS, deployment.rows(_STATES)
    return time.monotonic() - begun


_STATES = (
    "SELECT state, count(*) AS n, min(reason) AS reason FROM core.transmission_current GROUP BY state ORDER BY state"
)
_ASKED_ABOUT = "SELECT count(DISTINCT transmission) AS n FROM core.transmission_states WHERE state = 'unknown'"
_MESSAGES = "SELECT count(*) AS n FROM core.provider_messages"
_OPEN = "SELECT count(*) AS n FROM core.transmission_current WHERE state NOT IN ('reported', 'refused', 'parked')"


def open_transmissions(deployment: Deployment) -> int:
    """How many are not done; the server may be on its way back."""
    try:
        return int(deployment.rows(_OPEN)[0]["n"])
    except OperationalError:
        return 1


@contextmanager
def provider(deployment: Deployment, folder: Path, port: int, payees: int, **behaviour: float) -> Iterator[Running]:
    """A simulated provider that calls back to a port, and the settings to reach it."""
    with simulator(folder, environment={"IMIS_SIMULATOR_SECRET": SECRET}) as running:
        running.behave(**behaviour)
        orders = max(20, payees // TRANSMISSIONS)
        with (deployment.folder / "imis.toml").open("a", encoding="utf-8") as settings:
            settings.write(GATEWAY.format(url=running.url, callback=f"http://127.0.0.1:{port}", orders=orders))
        yield running


def heard(deployment: Deployment, running: Running) -> bool:
    """Whether all that the provider has to say was taken and read."""
    waiting = deployment.rows("SELECT count(*) AS n FROM core.provider_messages_waiting")[0]["n"]
    return not waiting and "waiting" not in running.books()["callbacks"]


def test_a_payroll_through_everything(own_server: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments fail, answers and callbacks are lost, workers die, PostgreSQL stops; what failed is ordered again: each
    payee is paid once or listed with the reason, and all books agree."""
    monkeypatch.setenv("IMIS_FAULT_SECRET", SECRET)
    deployment, port = own_server, free_port()
    with provider(deployment, tmp_path / "books", port, PAYMENTS, **BEHAVIOUR) as running:
        with deployment.application() as hands:
            begun = time.monotonic()
            payroll = prepare(hands)
            print(f"{PAYMENTS:,} payees prepared in {time.monotonic() - begun:.0f} s")
        _, url = deployment.web(port=port)
        trouble = Trouble(deployment)
        seconds = pay(deployment, url, payroll, trouble)
        print(f"paid in {seconds:.0f} s, {trouble.kills} workers killed, callbacks: {running.books()['callbacks']}")
        until(lambda: heard(deployment, running), "the last callbacks")
        assert deployment.rows(_MESSAGES)[0]["n"] >= TRANSMISSIONS * 0.8  # one for each batch, but those that are lost
        with deployment.application() as hands:
            failed = check(deployment, hands, running)
            assert 0.05 * PAYMENTS < len(failed) < 0.15 * PAYMENTS
            assert trouble.kills >= 2
            assert trouble.stopped
            assert deployment.rows(_ASKED_ABOUT)[0]["n"] >= 3  # by time-outs and dead workers
            for start in range(0, len(failed), REGISTERED_AT_ONCE):
                again = [{"order": o, "reason": "once more"} for o in failed[start : start + REGISTERED_AT_ONCE]]
                all_done(hands.do_all("payments.retry", again))
        seconds = pay(deployment, url, payroll, trouble)
        print(f"{len(failed):,} retried in {seconds:.0f} s; {deployment.rows(_STATES)}")
        with deployment.application() as hands:
            left = check(deployment, hands, running)
            assert 0 < len(left) < 0.3 * len(failed)
            assert_sound(hands.app)


_LAST = """
    SELECT o.id, o.entitlement, o.attempt, t.state, t.reason FROM core.orders o
    JOIN core.order_current t ON t."order" = o.id WHERE o.scheme = 'nafa' ORDER BY o.entitlement, o.attempt
"""


def check(deployment: Deployment, hands: Hands, running: Running) -> list[str]:
    """Who is paid is paid once, who is not is listed with the reason, and all books agree; the failed last attempts."""
    by_entitlement: dict[int, list[Any]] = {}
    for row in deployment.rows(_LAST):
        by_entitlement.setdefault(row["entitlement"], []).append(row)
    assert len(by_entitlement) == PAYMENTS + PEOPLE
    failed = []
    without_account = 0
    for attempts in by_entitlement.values():
        assert [row["state"] for row in attempts[:-1]] == ["failed"] * (len(attempts) - 1), attempts
        last = attempts[-1]
        if last["state"] == "paid":
            continue
        assert last["reason"], last
        assert last["state"] == "failed" or (last["state"], last["reason"]) == ("approved", "no_account"), last
        without_account += last["state"] == "approved"
        if last["state"] == "failed":
            failed.append(last["id"])
    assert without_account == PEOPLE  # of the world, who have no accounts
    books = running.books()
    assert books["paid_twice"] == []
    compared = compare(hands, running)
    assert compared["differences"] == [], compared
    assert compared["unreadable"] == 0
    theirs = {(p["status"], p["payments"], p["amount"]) for p in books["payments"]}
    assert {(t["status"], t["payments"], t["amount"]) for t in compared["ours"]} == theirs
    (ledger,) = [one for one in compared["ledger"] if one["scheme"] == "nafa"]
    assert ledger["ties"], ledger
    assert [ledger["ledger"]] == [p["amount"] for p in books["payments"] if p["status"] == "paid"]
    return [hands.app.ids.encode("orders", number) for number in failed]


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
        pay(deployment, url, payroll)
        until(lambda: heard(deployment, running), "the last callbacks")
        with deployment.application() as hands:
            compared = compare(hands, running)
            assert compared["differences"] == []
            theirs = {(p["status"], p["payments"], p["amount"]) for p in running.books()["payments"]}
            assert {(t["status"], t["payments"], t["amount"]) for t in compared["ours"]} == theirs
            assert deployment.rows(_MESSAGES)[0]["n"] >= 100
            assert_sound(hands.app)
