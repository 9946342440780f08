"""Payrolls on their way to a simulated provider of mobile money, and who gets in their way: trouble, and a clerk."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.exc import OperationalError

from imis_core.provider_simulator.process import Running, simulator
from tests.faults.fault_database import stop_at_once
from tests.faults.harness import Deployment, Hands, until
from tests.faults.world import all_done

PAYMENTS = int(os.environ.get("IMIS_FAULT_PAYMENTS", "100000"))
KILL_SECONDS = float(os.environ.get("IMIS_FAULT_KILL_SECONDS", str(min(20.0, max(5.0, PAYMENTS / 2_500)))))
TRANSMISSIONS = 100  # into which the payroll is cut: enough for shares of a hundredth
AT_ONCE = 2_000  # items of a command
PATIENCE_SECONDS = 600.0 + PAYMENTS / 50  # of the whole payment; a provider's slow answers and our pauses are in it
HELD = max(20, PAYMENTS // 500)  # orders that somebody holds before they are sent; half of them are released
REJECTED = 4 * max(20, PAYMENTS // TRANSMISSIONS)  # payees of a payroll that is rejected on its way: four transmissions
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


@contextmanager
def provider(deployment: Deployment, folder: Path, port: int, payees: int, **behaviour: float) -> Iterator[Running]:
    """A simulated provider that calls back to a port, and the settings to reach it."""
    with simulator(folder, environment={"IMIS_SIMULATOR_SECRET": SECRET}) as running:
        running.behave(**behaviour)
        orders = max(20, payees // TRANSMISSIONS)
        with (deployment.folder / "imis.toml").open("a", encoding="utf-8") as settings:
            settings.write(GATEWAY.format(url=running.url, callback=f"http://127.0.0.1:{port}", orders=orders))
        yield running


def prepare(hands: Hands, payees: int = PAYMENTS) -> str:
    """Everybody is registered, has an account and is selected; the payroll is approved. Its id."""
    hands.do("payments.register_provider", {"code": "WALLET", "name": "Wallet", "channel": "mobile_money"})
    hands.do("cycles.open", {"scheme": "nafa", "code": "C1", "starts": "2021-06-01", "ends": "2021-06-30"})
    register(hands, "W", payees, sex="F", dial="+23566")
    return payroll_of(hands, "GRANT", {"amount": {"base": "100", "per_person": "10"}})


def prepare_rejected(hands: Hands) -> str:
    """A payroll of other people, approved; some of its orders are held before they are sent. Its id."""
    register(hands, "R", REJECTED, sex="M", dial="+23577")
    terms = {"amount": {"base": "100", "per_person": "10"}, "criteria": "count(members where sex = 'M') >= 1"}
    payroll = payroll_of(hands, "OTHER", terms)
    hold(hands, payroll, 10)
    return payroll


def register(hands: Hands, mark: str, payees: int, *, sex: str, dial: str) -> None:
    """Households of one, numbered from 0 behind a mark, each with a wallet."""
    person = {"given_name": "A", "family_name": "B", "sex": sex, "birth_date": "1980-01-01", "relationship": "head"}
    for start in range(0, payees, AT_ONCE):
        chosen = range(start, min(start + AT_ONCE, payees))
        groups = [{"code": f"{mark}{n}", "members": [{**person, "number": f"{mark}{n}"}]} for n in chosen]
        all_done(hands.do_all("beneficiaries.register_group", groups))
        paid = [{"number": f"{mark}{n}", "provider": "WALLET", "account": f"{dial}{n:06d}"} for n in chosen]
        all_done(hands.do_all("payments.enrol_recipient", paid))


def payroll_of(hands: Hands, package: str, terms: Mapping[str, Any]) -> str:
    """Everybody whom the package's terms take is enrolled and ordered to be paid; the payroll's id."""
    second = Hands(hands.app, "second")
    named = {"scheme": "nafa", "package": package}
    defined = {"scheme": "nafa", "code": package, "name": package, "valid_from": "2020-01-01", "terms": terms}
    hands.do("benefit_packages.define", defined)
    enrolment = hands.do("targeting.enrol", {**named, "on": "2021-06-01"})
    second.do("targeting.approve", {"enrolment": enrolment["id"]})
    payroll = hands.do("payroll.generate", {**named, "cycle": "C1"})["id"]
    second.do("payroll.approve", {"payroll": payroll})
    return str(payroll)


def hold(hands: Hands, payroll: str, count: int) -> list[str]:
    """Hold so many of a payroll's orders that somebody could be paid; their ids."""
    with hands.app.database.query(hands.app.system) as connection:
        asked = (
            "SELECT o.id FROM core.orders o JOIN core.recipients r ON r.person = o.person WHERE o.source_kind = "
            f"'payroll' AND o.source = {hands.app.ids.decode('payrolls', payroll)} ORDER BY o.id LIMIT {count}"
        )
        numbers = [row.id for row in connection.exec_driver_sql(asked)]
    chosen = list(hands.app.ids.encode_all("orders", numbers))
    all_done(hands.do_all("payments.hold", [{"order": one, "reason": "somebody complained"} for one in chosen]))
    return chosen


def insist(http: httpx.Client, name: str, data: Mapping[str, Any]) -> Any:
    """A command's answer, asked for again under one key while the database, or the way to it, is away."""
    path, key = f"/api/{name.replace('.', '/')}", {"Idempotency-Key": f"{name} {time.monotonic()}"}

    def once() -> httpx.Response | None:
        try:
            answer = http.post(path, json=data, headers=key)
        except httpx.TransportError:
            return None
        return None if answer.status_code >= 500 else answer

    answer = until(once, name)
    assert answer.status_code == 200, answer.text
    return answer.json()


class Trouble:
    """Kills a worker again and again, and stops PostgreSQL once, while orders are on their way."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.kills = 0
        self.stopped = False
        self.worker = deployment.worker()
        self._killed_at = time.monotonic()

    def step(self) -> bool:
        """Kill the worker if it lived long enough; another one goes on. Nobody waits for an end of that."""
        if time.monotonic() - self._killed_at >= KILL_SECONDS:
            self.worker.kill()
            self.kills += 1
            if self.kills == 2 and not self.stopped:
                stop_at_once(self.deployment)
                self.stopped = True
            self.worker = self.deployment.worker()
            self._killed_at = time.monotonic()
        return True


class Clerk:
    """Works meanwhile: once the first results are there, orders that were held are released and sent behind the
    others, and another payroll is sent; once the provider has something of that one, it is rejected."""

    def __init__(
        self, deployment: Deployment, http: httpx.Client, payroll: str, held: list[str], rejected: str
    ) -> None:
        self.deployment, self.http = deployment, http
        self.payroll, self.held, self.rejected = payroll, held, rejected
        with deployment.application() as hands:
            self._source = hands.app.ids.decode("payrolls", rejected)
        self._left = [self._release, self._reject]

    def step(self) -> bool:
        """Do what there is to do now; whether all of it is done."""
        if self._left and self._left[0]():
            self._left.pop(0)
        return not self._left

    def _release(self) -> bool:
        if not count(self.deployment, "SELECT count(*) AS n FROM core.transmission_current WHERE state = 'reported'"):
            return False
        for order in self.held:
            insist(self.http, "payments.release", {"order": order, "reason": "it was unfounded"})
        assert insist(self.http, "payments.submit", {"payroll": self.payroll})["submitted"] == len(self.held)
        insist(self.http, "payments.submit", {"payroll": self.rejected})
        return True

    def _reject(self) -> bool:
        accepted = (
            "SELECT count(*) AS n FROM core.transmission_current c JOIN core.transmissions t ON t.id = c.transmission "
            f"WHERE t.source_kind = 'payroll' AND t.source = {self._source} AND c.state IN ('accepted', 'reported')"
        )
        if not count(self.deployment, accepted):
            return False
        insist(self.http, "payroll.reject", {"payroll": self.rejected, "reason": "the wrong list"})
        return True


def pay(deployment: Deployment, http: httpx.Client, payroll: str, *meanwhile: Callable[[], bool]) -> float:
    """Send the payroll's orders and wait until something final is known of each, and those who have their hands in it
    meanwhile are done; seconds."""
    begun = time.monotonic()
    insist(http, "payments.submit", {"payroll": payroll})
    while True:
        done = [step() for step in meanwhile]
        if all(done) and not open_transmissions(deployment):
            return time.monotonic() - begun
        time.sleep(0.5)
        assert time.monotonic() - begun < PATIENCE_SECONDS, deployment.rows(STATES)


STATES = (
    "SELECT state, count(*) AS n, min(reason) AS reason FROM core.transmission_current GROUP BY state ORDER BY state"
)
_OPEN = "SELECT count(*) AS n FROM core.transmission_current WHERE state NOT IN ('reported', 'refused', 'parked')"


def open_transmissions(deployment: Deployment) -> int:
    """How many are not done; the server may be on its way back."""
    found = count(deployment, _OPEN)
    return 1 if found is None else found


def count(deployment: Deployment, sql: str) -> int | None:
    """What a statement counts (`n`); None while the server is away."""
    try:
        return int(deployment.rows(sql)[0]["n"])
    except OperationalError:
        return None


def heard(deployment: Deployment, running: Running) -> bool:
    """Whether all that the provider has to say was taken and read, and what it made us ask was answered."""
    books = running.books()
    if books["to_come_back"] or "waiting" in books["callbacks"]:
        return False
    unread = count(deployment, "SELECT count(*) AS n FROM core.provider_messages_waiting")
    return unread == 0 and not open_transmissions(deployment)


def answer_for_parked(deployment: Deployment, hands: Hands, running: Running) -> int:
    """Do what is said of parked transmissions: what is held, and not in the provider's books, is reported as failed,
    and the provider is asked again; how many there were."""
    parked = hands.do("payments.transmissions", {"state": "parked"})
    there = {row["order"] for row in csv.DictReader(io.StringIO(running.statement().decode()))}
    numbers = [hands.app.ids.decode("transmissions", one["id"]) for one in parked]
    held = deployment.rows(
        'SELECT o.id, o.amount_minor FROM core.transmission_orders m JOIN core.orders o ON o.id = m."order" '
        "JOIN core.order_current t ON t.\"order\" = o.id WHERE m.transmission = ANY(:numbers) AND t.state = 'held'",
        numbers=numbers,
    )
    rows = [
        {"order": str(row["id"]), "status": "failed", "amount": f"{row['amount_minor'] / 100:.2f}",
         "reason": "the provider has none of it"}
        for row in held
        if str(row["id"]) not in there
    ]  # fmt: skip
    if rows:
        assert hands.do("payments.reconcile", {"provider": "WALLET", "rows": rows})["matched"] == len(rows)
    for one in parked:
        hands.do("payments.ask", {"transmission": one["id"]})
    return len(parked)
