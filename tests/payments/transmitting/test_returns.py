"""What was paid and comes back: the provider tells it or its list is asked for, and the list alone decides."""

from __future__ import annotations

import base64
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError
from imis_core.jobs_kinds import NoInput
from imis_core.payments.transmitting import asking
from imis_core.payments.transmitting.messages import take_messages
from imis_core.payments.transmitting.mobile_money import read
from imis_core.payments.transmitting.wire import told_of
from imis_core.testing.auditor import audit
from tests.payments.transmitting.conftest import Agency, Line, numbers, without_list
from tests.payments.transmitting.operator import Operator

P1 = "+250788P1"


def posts(operator: Operator) -> int:
    return sum(1 for method, _ in operator.requests if method == "POST")


def paid(agency: Agency) -> list[str]:
    """All are paid and reported, and that was a while ago; the orders' numbers."""
    agency.submit()
    agency.work_out(2)
    agency.clock.move(hours=1)
    assert (set(agency.statuses()), agency.states()) == ({"paid"}, ["reported"])
    return numbers(agency)


def one_came_back(agency: Agency) -> None:
    """The first order is returned with the provider's reason, the ledger has its cash again, nothing was sent twice."""
    assert (agency.statuses(), agency.states()) == ({"returned": 1, "paid": 2}, ["reported"])
    assert agency.debts.orders()[0]["reason"] == "wallet closed"
    assert (agency.cash(), posts(agency.operator)) == ("-2400.00", 1)
    assert agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "conflicts"}) == []
    assert [f for f in audit(agency.app) if f.code.startswith(("transmission", "ledger"))] == []


def test_a_message_about_a_return_has_the_list_of_a_reported_transmission_read(agency: Agency, line: Line) -> None:
    """The list says that it came back: order, ledger and source follow, and the debt can be ordered once more."""
    first, *_ = paid(agency)
    agency.operator.give_back(P1)
    assert line.tell(first, "returned") == 202
    line.read()
    one_came_back(agency)
    assert line.outcomes() == ["asked"]
    assert [(move.state, move.was) for move in agency.debts.settled[-1:]] == [("returned", "paid")]
    agency.app.do("payments.retry", {"order": agency.debts.orders()[0]["id"]})
    agency.submit()
    agency.work_out(2)
    assert (agency.statuses(), agency.cash()) == ({"returned": 1, "paid": 3}, "-3600.00")


def test_a_message_about_a_return_decides_nothing(agency: Agency, line: Line) -> None:
    """The list says that it is paid, and paid it stays; the message is no row of the reconciliation."""
    first, *_ = paid(agency)
    before = len(agency.app.do("payments.reconciliation", {"provider": "MM"}))
    line.tell(first, "returned")
    line.read()
    assert (agency.statuses(), agency.states(), agency.cash()) == ({"paid": 3}, ["reported"], "-3600.00")
    assert line.outcomes() == ["asked"]
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM"})) == before


def test_a_return_that_is_told_as_a_failure_is_found_in_the_list(agency: Agency, line: Line) -> None:
    """The specification's message has no count for it: told as failed it is listed, and the list says what it is."""
    first, *_ = paid(agency)
    agency.operator.give_back(P1)
    line.tell(first, "failed")
    line.read()
    assert (agency.statuses(), line.outcomes()) == ({"returned": 1, "paid": 2}, ["reconciled"])
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "conflicts"})) == 1


@pytest.mark.parametrize("told", sorted(set(itertools.permutations(["completed", "returned", "returned"]))))
def test_the_order_of_messages_does_not_matter(agency: Agency, line: Line, told: tuple[str, ...]) -> None:
    """Returned before paid, paid long after returned, twice: it came back once, and nothing is a conflict."""
    agency.operator.pending.add(P1)
    agency.submit()
    agency.work()
    first, *_ = numbers(agency)
    agency.operator.settle()
    agency.operator.give_back(P1)
    for status in told:
        line.tell(first, status)
        agency.work(minutes=2)
    one_came_back(agency)
    matched = agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "matched"})
    assert Counter(row["status"] for row in matched) == {"paid": 2, "returned": 1}


def test_a_return_told_while_the_list_is_read_is_not_lost(
    agency: Agency, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that is here says paid; the money comes back and is told before it is taken: the list is read again."""
    agency.submit()
    agency.work()
    first, *_ = numbers(agency)
    known = asking._known

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(asking, "_known", known)
        due = known(*arguments)
        agency.operator.give_back(P1)
        line.tell(first, "returned")
        take_messages(agency.app, NoInput())
        return due

    monkeypatch.setattr(asking, "_known", meanwhile)
    agency.work(minutes=2)
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["accepted"])
    agency.work(minutes=2)
    one_came_back(agency)


def test_messages_about_returns_have_a_list_read_once_in_a_while(agency: Agency, line: Line) -> None:
    """Many come back at once: one reading for all of them, as for every message about single payments."""
    orders = paid(agency)
    before = len(agency.operator.requests)
    for number, account in zip(orders, (P1, "+250788P2", "+250788P3"), strict=True):
        agency.operator.give_back(account)
        line.tell(number, "returned")
        line.read()
    agency.work(minutes=2)
    assert (agency.statuses(), agency.states()) == ({"returned": 3}, ["reported"])
    assert len(agency.operator.requests) - before <= 4  # two readings: a page, and one behind it


def statement(agency: Agency) -> str:
    """The operator's books, which name orders as they were sent."""
    said = {"COMPLETED": "paid", "FAILED": "failed", "REVERSED": "returned"}
    rows = [row for batch in agency.operator.batches.values() for row in batch["rows"]]
    lines = [f"{row['requestId']},{said[row['status']]},{row['amount']},{row['transactionId']}" for row in rows]
    return base64.b64encode("\n".join(["order,status,amount,reference", *lines]).encode()).decode()


def differences(agency: Agency) -> list[Any]:
    books = {"provider": "MM", "name": "books.csv", "content": statement(agency)}
    found = agency.app.do("payments.compare_books", books)
    return list(agency.app.do("payments.book_differences", {"comparison": found["id"]}))


def test_a_return_that_nobody_told_is_found_by_comparing_and_asking(agency: Agency) -> None:
    """Its callback was lost: the books differ, the transmission is found by the order, its list is read again."""
    paid(agency)
    agency.operator.give_back(P1)
    agency.work_out(2)
    assert agency.statuses() == {"paid": 3}
    (difference,) = differences(agency)
    assert difference["code"] == "returned_not_reconciled"
    assert "payments.ask" in difference["remedy"]
    (found,) = agency.app.do("payments.transmissions", {"order": difference["order"]})
    asked = agency.app.do("payments.ask", {"transmission": found["id"]})
    assert asked["state"] == "accepted"
    agency.work()
    one_came_back(agency)
    assert differences(agency) == []


def test_the_provider_s_statement_is_reconciled_by_the_numbers_that_were_sent(agency: Agency) -> None:
    """As `compare_books` does, `reconcile_file` takes an order's number for its name; one that was never sent is
    nobody's."""
    paid(agency)
    agency.operator.give_back(P1)
    file = {"provider": "MM", "name": "books.csv", "content": statement(agency)}
    answer = agency.app.do("payments.reconcile_file", file)
    assert (answer["matched"], answer["already_reconciled"], answer["unknown"]) == (1, 2, 0)
    assert agency.statuses() == {"returned": 1, "paid": 2}
    retry = agency.app.do("payments.retry", {"order": agency.debts.orders()[0]["id"]})
    never_sent = agency.app.ids.decode("orders", retry["id"])
    row = {"status": "paid", "amount": "1200.00"}
    rows = [row | {"order": str(never_sent)}, row | {"order": "9" * 18}, row | {"order": "9" * 40}]
    counted = agency.app.do("payments.reconcile", {"provider": "MM", "rows": rows})
    assert (counted["unknown"], counted["matched"]) == (3, 0)


def test_a_list_that_is_gone_by_then_leaves_what_was_reported(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider has thrown its old list away: asked for in vain it stands as it stood, and is not sent again."""
    monkeypatch.setattr(asking, "TRIES_MAX", 3)
    paid(agency)
    agency.operator.batches.clear()
    (sent,) = agency.app.do("payments.transmissions")
    agency.app.do("payments.ask", {"transmission": sent["id"]})
    agency.work_out(4)
    (left,) = agency.app.do("payments.transmissions")
    assert (left["state"], left["reason"], left["remedy"]) == ("reported", asking.FORGOTTEN, None)
    assert (agency.statuses(), posts(agency.operator)) == ({"paid": 3}, 1)


def test_what_no_provider_ever_had_is_not_asked_about(agency: Agency) -> None:
    """All its orders were held before it went out: there is no list, and nothing that could come back."""
    agency.submit()
    agency.debts.move(("submitted",), "held")
    agency.work()
    assert agency.states() == ["reported"]
    (sent,) = agency.app.do("payments.transmissions")
    with pytest.raises(ImisError) as refused:
        agency.app.do("payments.ask", {"transmission": sent["id"]})
    assert refused.value.code == "transmissions.wrong_state"
    assert "never had" in str(refused.value)
    assert agency.operator.requests == []


@pytest.mark.parametrize("told", [("completed", "returned"), ("returned",)])
def test_without_a_list_a_message_about_a_return_is_taken(agency: Agency, line: Line, told: tuple[str, ...]) -> None:
    """There is nothing else: paid and returned, or returned without ever having been told as paid."""
    without_list(agency)
    agency.submit()
    agency.work()
    first, *_ = numbers(agency)
    for status in told:
        line.tell(first, status)
        line.read()
    assert (agency.statuses(), agency.cash()) == ({"returned": 1, "accepted": 2}, "0.00")
    assert agency.debts.orders()[0]["reason"] == "no wallet"


ROW = {"requestId": "17", "amount": "12.00", "currency": "USD", "transactionId": "T1", "statusDetail": "wallet closed"}


@pytest.mark.parametrize("status", ["REVERSED", "RETURNED", "REFUNDED", "reversed"])
def test_the_words_for_what_came_back(status: str) -> None:
    """The specification has none; those of operators are understood in rows of the list, with the reason."""
    told = told_of({**ROW, "status": status})
    assert told is not None
    assert (told.status, told.reason, told.reference) == ("returned", "wallet closed", "T1")


def test_a_return_of_which_not_all_is_told_has_its_batch_asked_about() -> None:
    """No amount, or two counts at once: a message that says too little names its batch at least."""
    body = b'{"requestId": "17", "batchId": "B", "TotalTransactions": 1, "completed": %s, "failed": 0, "returned": 1%s}'
    assert read(body % (b"0", b"")).told is None
    assert read(body % (b"1", b', "returned_amount": 12')).told is None
    told = read(body % (b"0", b', "returned_amount": 12')).told
    assert told is not None
    assert (told.order, told.status) == ("17", "returned")


@pytest.fixture
def four(make_app: Any, operator: Operator) -> Agency:
    return Agency(make_app, operator, count=4, orders_per_transmission=2, failures_max=1000)


ACCOUNTS = tuple(f"+250788P{n}" for n in range(1, 5))
WHO = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), WHO, st.sampled_from(("completed", "returned"))), st.just(("work",)),
        st.tuples(st.just("wait"), st.sampled_from((1, 70, 4000))), st.tuples(st.just("give back"), WHO),
        st.just(("settle",)), st.just(("ask",)),
    ),
    min_size=4, max_size=12,
)  # fmt: skip


# Not shrunk: each example goes through a real server and a real database.
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, pending=st.sets(st.sampled_from(ACCOUNTS)))
def test_in_any_order_we_stand_as_the_provider_s_list(four: Agency, steps: list[Any], pending: set[str]) -> None:
    """Whatever is told, true or not, early, late or never: asked once more at the end, ours is what the list says."""
    agency, operator = four, four.operator
    operator.batches.clear()
    operator.requests.clear()
    operator.pending = set(pending)
    agency.debts.batch += 1
    agency.debts.order()
    before = agency.cash()
    agency.submit()
    with agency.line() as line:
        for step, *more in steps:
            if step == "tell":
                orders = agency.debts.orders()
                line.tell(str(agency.app.ids.decode("orders", orders[more[0]]["id"])), more[1])
            elif step == "work":
                agency.work()
            elif step == "wait":
                agency.clock.move(seconds=more[0])
            elif step == "give back":
                operator.give_back(ACCOUNTS[more[0]])
            elif step == "settle":
                operator.settle()
            else:
                _ask(agency)
    operator.pending = set()
    agency.work_out(2)
    operator.settle()
    agency.work_out(2)
    _ask(agency)
    agency.work_out(2)
    theirs = {row["requestId"]: row["status"] for batch in operator.batches.values() for row in batch["rows"]}
    ours = {str(agency.app.ids.decode("orders", order["id"])): order["status"] for order in agency.debts.orders()}
    assert ours == {number: {"COMPLETED": "paid", "REVERSED": "returned"}[status] for number, status in theirs.items()}
    assert posts(operator) == 2
    assert agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "conflicts"}) == []
    assert _minor(before) - _minor(agency.cash()) == 120_000 * sum(status == "paid" for status in ours.values())


def _ask(agency: Agency) -> None:
    """Has the operator asked about all that it has."""
    for one in agency.app.do("payments.transmissions"):
        if one["correlation"] in agency.operator.batches:
            agency.app.do("payments.ask", {"transmission": one["id"]})


def _minor(amount: str) -> int:
    return int(amount.replace(".", ""))
