"""Any trouble in any order: the provider misbehaves, workers die, somebody holds and reports; the books agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from imis_core.payments.transmitting import asking, running
from imis_core.payments.transmitting.running import Transmit, transmit
from imis_core.testing.auditor import audit
from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.operator import Operator

SENT = st.sampled_from(
    ("take", "take and say nothing", "cut", 400, (400, "taken"), 401, 429, 500, (500, "taken"), 503, (503, "taken"),
     408, (409, "taken"), 404, (201, "taken"), 422)
)  # fmt: skip
ASKED = st.sampled_from((None, None, "cut", 500, 429, 401))
POINTS = ("_begin", "_note", "_finish", "_refuse", "_known", "_asked", "_not_known", "take_told", "_given_up")
DEATHS = st.tuples(st.sampled_from(POINTS), st.booleans())
STEPS = st.lists(
    st.one_of(
        st.just(("work",)), st.tuples(st.just("die"), DEATHS), st.just(("meet",)),
        st.tuples(st.just("wait"), st.sampled_from((1, 20, 90, 4000))), st.just(("hold",)), st.just(("retry",)),
        st.just(("give back",)), st.just(("ask",)),
    ),
    max_size=12,
)  # fmt: skip


class Died(BaseException):
    """As kill -9: nothing catches it."""


class Worker:
    """Takes every open transmission's next step, and may die in the middle of one."""

    def __init__(self, agency: Agency) -> None:
        self.agency = agency

    def work(self) -> None:
        for row in self.agency.app.rows(
            "SELECT transmission AS id FROM core.transmission_current "
            "WHERE state IN ('waiting', 'sending', 'unknown', 'accepted') ORDER BY 1"
        ):
            transmit(self.agency.app, Transmit(transmission=row["id"]))

    def die(self, point: str, before: bool) -> None:
        module = running if hasattr(running, point) else asking
        original: Callable[..., Any] = getattr(module, point)

        def dies(*arguments: Any, **named: Any) -> Any:
            if not before:
                original(*arguments, **named)
            raise Died

        setattr(module, point, dies)
        try:
            self.work()
        except Died:
            pass
        finally:
            setattr(module, point, original)

    def meet(self) -> None:
        """A second worker takes the same steps while the first one's request is on its way."""

        def second() -> None:
            self.agency.operator.before = lambda: None
            self.work()

        self.agency.operator.before = second
        self.work()
        self.agency.operator.before = lambda: None


@pytest.fixture
def agency(make_app: Any, operator: Operator) -> Agency:
    return Agency(make_app, operator, count=4, orders_per_transmission=2, failures_max=1000)


# Not shrunk: each example goes through a real server and a real database.
@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=st.lists(SENT, max_size=6), asked=st.lists(ASKED, max_size=6), steps=STEPS, failing=st.booleans())
def test_each_payee_is_paid_once_or_listed(
    agency: Agency, sent: list[Any], asked: list[Any], steps: list[Any], failing: bool
) -> None:
    """Whatever happens, a debt is paid by one order at most, at the operator and in our books alike; in the end all is
    known, what came back too, and what was not paid has its reason."""
    operator, debts = agency.operator, agency.debts
    operator.batches.clear()
    operator.plan, operator.asks = list(sent), list(asked)
    operator.failing = {"+250788P3"} if failing else set()
    debts.batch += 1
    debts.order()
    agency.submit()
    worker = Worker(agency)
    before = agency.cash()
    for step, *more in steps:
        if step == "work":
            worker.work()
        elif step == "die":
            worker.die(*more[0])
        elif step == "meet":
            worker.meet()
        elif step == "wait":
            agency.clock.move(seconds=more[0])
        elif step == "hold":
            debts.move(("submitted", "accepted"), "held")
        elif step == "give back":
            operator.give_back("+250788P1")
        elif step == "ask":
            _ask_again(agency)
        else:
            _retry(agency)
    operator.plan, operator.asks = [], []
    _come_to_rest(agency, worker)
    _ask_again(agency)  # what came back after its transmission was reported
    _come_to_rest(agency, worker)
    orders = agency.app.rows(
        "SELECT o.id, o.entitlement, t.state, t.reason FROM core.orders o "
        'JOIN core.order_current t ON t."order" = o.id WHERE o.source = :source ORDER BY o.id', source=debts.batch,
    )  # fmt: skip
    paid = {str(o["id"]) for o in orders if o["state"] == "paid"}
    theirs = Counter(instruction for instruction, _ in operator.paid)
    assert set(theirs) == paid
    assert set(theirs.values()) <= {1}
    assert max(Counter(o["entitlement"] for o in orders if o["state"] == "paid").values(), default=0) <= 1
    assert {o["state"] for o in orders} <= {"paid", "failed", "returned", "approved"}
    assert all(o["reason"] for o in orders if o["state"] in ("failed", "returned"))
    assert _minor(before) - _minor(agency.cash()) == 120_000 * len(paid)
    assert [f for f in audit(agency.app) if f.code.startswith("transmission")] == []


def _come_to_rest(agency: Agency, worker: Worker) -> None:
    while set(agency.states()) - {"reported", "refused"}:
        agency.clock.move(minutes=70)
        worker.work()
        _person(agency)


def _ask_again(agency: Agency) -> None:
    """Has the operator asked about all that it has."""
    for one in agency.app.do("payments.transmissions"):
        if one["correlation"] in agency.operator.batches and one["state"] != "refused":
            agency.app.do("payments.ask", {"transmission": one["id"]})


def _person(agency: Agency) -> None:
    """Does what is said of a parked transmission: what is held, and the operator confirms not to have, is reported as
    failed; then the operator is asked again."""
    parked = agency.app.do("payments.transmissions", {"state": "parked"})
    there = {row["requestId"] for batch in agency.operator.batches.values() for row in batch["rows"]}
    for order in agency.debts.orders() if parked else ():
        if order["status"] == "held" and str(agency.app.ids.decode("orders", order["id"])) not in there:
            row = {"order": order["id"], "status": "failed", "amount": "1200.00", "reason": "the operator has none"}
            agency.app.do("payments.reconcile", {"provider": "MM", "rows": [row]})
    for one in parked:
        agency.app.do("payments.ask", {"transmission": one["id"]})


def _retry(agency: Agency) -> None:
    """Whatever failed or came back is ordered once more and sent."""
    orders = agency.debts.orders()
    retried = {order["retries"] for order in orders}
    for order in orders:
        if order["status"] in ("failed", "returned") and order["id"] not in retried:
            agency.app.do("payments.retry", {"order": order["id"]})
    agency.submit()


def _minor(amount: str) -> int:
    return int(amount.replace(".", ""))
