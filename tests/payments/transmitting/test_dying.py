"""Workers that die, meet or come twice: at each point at which one can die, each payee is paid once in the end."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.database.engine import driver_url
from imis_core.opening import Playground
from imis_core.payments.transmitting import asking, running
from imis_core.payments.transmitting.running import Transmit, transmit
from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.operator import Operator


class Died(BaseException):
    """As kill -9: nothing catches it."""


def dying(monkeypatch: pytest.MonkeyPatch, name: str, *, before: bool) -> None:
    """The next call of a function of `running` or `asking` is where the worker dies: before it began, or after it."""
    module = running if hasattr(running, name) else asking
    original = getattr(module, name)

    def dies(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(module, name, original)
        if not before:
            original(*arguments, **named)
        raise Died

    monkeypatch.setattr(module, name, dies)


def the(agency: Agency) -> Transmit:
    (row,) = agency.app.rows("SELECT id FROM core.transmissions")
    return Transmit(transmission=row["id"])


def posts(operator: Operator) -> int:
    return sum(1 for method, _ in operator.requests if method == "POST")


def paid_once(agency: Agency, count: int = 3) -> None:
    agency.work_out()
    assert (agency.statuses(), agency.states()) == ({"paid": count}, ["reported"])
    assert agency.cash() == f"-{1200 * count}.00"
    assert set(Counter(instruction for instruction, _ in agency.operator.paid).values()) == {1}
    assert len({name for _, name in agency.operator.requests}) == 1


def test_a_submission_that_does_not_commit_sends_nothing(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transmission and its job go with it; submitted again it goes out once."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("before the commit")

    monkeypatch.setattr(agency.app.queue, "defer", broken)
    with pytest.raises(ZeroDivisionError):
        agency.submit()
    monkeypatch.undo()
    monkeypatch.setenv("TEST_MM_TOKEN", "t0ken-of-tests")
    agency.work(minutes=5)
    assert (agency.statuses(), agency.states(), agency.operator.requests) == ({"approved": 3}, [], [])
    agency.submit()
    paid_once(agency)


@pytest.mark.parametrize(
    ("where", "before", "sent"),
    [
        ("_begin", True, 0),  # the job was taken, nothing written
        ("_begin", False, 0),  # `sending` is committed, no byte has left
        ("_note", True, 1),  # the answer is here, nothing written of it
        ("_finish", True, 1),
        ("_finish", False, 1),  # accepted is committed
    ],
)
def test_a_worker_that_dies_sends_nothing_twice(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, where: str, before: bool, sent: int
) -> None:
    """Whatever was written of it, the next one asks or sends, and each payee is paid once."""
    agency.submit()
    dying(monkeypatch, where, before=before)
    with pytest.raises(Died):
        transmit(agency.app, the(agency))
    assert posts(agency.operator) == sent
    transmit(agency.app, the(agency))
    if (where, before) != ("_begin", True):
        assert posts(agency.operator) == sent  # what may have arrived is not sent before the provider has answered
    paid_once(agency)


@pytest.mark.parametrize(("where", "before"), [("_known", True), ("_known", False), ("take_told", True),
                                               ("take_told", False), ("_asked", True), ("_asked", False)])  # fmt: skip
def test_a_worker_that_dies_while_it_asks_reconciles_nothing_twice(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, where: str, before: bool
) -> None:
    """What was taken stays taken, what was not is asked for again."""
    agency.operator.plan = ["take and say nothing"]
    agency.submit()
    transmit(agency.app, the(agency))
    agency.clock.move(minutes=5)
    dying(monkeypatch, where, before=before)
    with pytest.raises(Died):
        transmit(agency.app, the(agency))
    paid_once(agency)
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM"})) == 3


def test_a_worker_that_dies_while_it_sends_is_not_followed_at_once(agency: Agency) -> None:
    """As long as a sender may live nobody asks; then the provider is asked first, and what it has is not sent."""
    agency.submit()
    agency.operator.before = lambda: transmit(agency.app, the(agency))  # another worker, in the middle of the request
    transmit(agency.app, the(agency))
    assert posts(agency.operator) == 1
    agency.operator.before = lambda: None
    paid_once(agency)
    assert posts(agency.operator) == 1


def test_a_late_answer_counts_if_it_says_that_the_provider_has_it(agency: Agency) -> None:
    """A sender that was taken for dead comes back with "taken": accepted, whatever was asked meanwhile."""
    agency.submit()

    def meanwhile() -> None:
        agency.clock.move(minutes=5)
        agency.operator.asks = [500]
        transmit(agency.app, the(agency))  # gives the sender up, asks, hears nothing
        assert agency.states() == ["unknown"]

    agency.operator.before = meanwhile
    transmit(agency.app, the(agency))
    assert agency.states() == ["accepted"]
    agency.operator.before = lambda: None
    paid_once(agency)
    assert posts(agency.operator) == 1


def test_a_late_refusal_counts_for_nothing(agency: Agency) -> None:
    """A sender that was taken for dead comes back with "no": by then another one has sent, and that answer holds."""
    agency.submit()

    def meanwhile() -> None:
        agency.operator.before = lambda: None
        agency.clock.move(minutes=5)
        agency.operator.plan = ["take"]
        transmit(agency.app, the(agency))  # asks, hears that nobody has it, sends
        assert agency.states() == ["accepted"]
        agency.operator.plan = [429]

    agency.operator.before = meanwhile
    transmit(agency.app, the(agency))
    assert agency.states() == ["accepted"]
    paid_once(agency)


def test_workers_that_meet_send_once(make_app: Any, operator: Operator) -> None:
    """Eight workers take the same job at the same moment, and again while it is asked about."""
    agency = Agency(make_app, operator, count=20)
    agency.submit()
    for _ in range(3):
        workers = [threading.Thread(target=transmit, args=(agency.app, the(agency))) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        agency.clock.move(minutes=2)
    assert posts(operator) == 1
    paid_once(agency, 20)


def test_two_submissions_at_once_send_each_order_once(make_app: Any, operator: Operator) -> None:
    """Each order goes into one transmission, whoever submits."""
    agency = Agency(make_app, operator, count=50, orders_per_transmission=10)
    workers = [threading.Thread(target=agency.submit) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    agency.work_out()
    assert agency.statuses() == {"paid": 50}
    assert len(operator.paid) == 50


def test_a_restored_database_sends_under_the_same_name(agency: Agency, playground: Playground) -> None:
    """A database that has forgotten what it sent and sends it again uses the name that the provider knows."""
    agency.submit()
    agency.work_out()
    (first,) = agency.app.do("payments.transmissions")
    _forget(agency, playground)
    assert agency.submit() == {"submitted": 3, "failed": 0}
    agency.work_out()
    (again,) = agency.app.do("payments.transmissions")
    assert again["correlation"] == first["correlation"]
    assert (agency.statuses(), len(agency.operator.paid)) == ({"paid": 3}, 3)


def _forget(agency: Agency, playground: Playground) -> None:
    """As a restore of a backup from before the submission."""
    admin = playground.databases._admin.set(database=agency.app.database.url.database)
    engine = sa.create_engine(driver_url(admin.render_as_string(hide_password=False)), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table in ("transmission_orders", "transmission_states", "transmission_current", "transmissions"):
            connection.execute(sa.text(f"DELETE FROM core.{table}"))
        connection.execute(sa.text("DELETE FROM core.order_states WHERE version > 1"))
        connection.execute(
            sa.text("UPDATE core.order_current SET state = 'approved', version = 1, payment_provider = NULL, "
                    "recipient = NULL, reason = NULL")
        )  # fmt: skip
    engine.dispose()
