"""Messages that providers send by themselves, over HTTP: signed, taken once, in any order, and kept as they came."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from litestar.testing import TestClient

from imis_core.errors import ImisError
from imis_core.jobs_kinds import NoInput
from imis_core.payments.transmitting import messages
from imis_core.payments.transmitting.webhook import signature
from imis_core.retention import forget
from imis_core.web.server import make_asgi
from tests.payments.transmitting.conftest import NONCES, SECRET, Agency, Line, numbers, without_list
from tests.payments.transmitting.operator import Operator


def test_a_message_about_an_order_has_the_list_asked_for(agency: Agency, line: Line) -> None:
    """What it says decides nothing, neither paid nor failed: the list says what is true, and nothing can be retried
    before. The message is kept as it came."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    first, second, _ = numbers(agency)
    assert (line.tell(first), line.tell(second, "failed")) == (202, 202)
    line.read()
    assert (agency.statuses(), agency.cash()) == ({"accepted": 3}, "0.00")
    assert line.outcomes() == ["asked", "asked"]
    kept = agency.app.do("payments.messages", {"provider": "MM"})
    assert kept[0]["body"] == line.told(first).decode()
    with pytest.raises(ImisError) as refused:
        agency.app.do("payments.retry", {"order": agency.debts.orders()[1]["id"]})
    assert refused.value.code == "payments.not_failed"
    agency.operator.settle()
    agency.work(minutes=2)
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])
    assert agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "conflicts"}) == []


def test_single_messages_have_the_list_asked_for_once_in_a_while(agency: Agency, line: Line) -> None:
    """A list of ten thousand is not read ten thousand times: once for all messages of a minute."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    asked = len(agency.operator.requests)
    for number in numbers(agency):
        line.tell(number)
        line.read()
    assert len(agency.operator.requests) == asked + 2  # a page, and one behind it
    agency.operator.settle()
    agency.work(minutes=1)
    assert (len(agency.operator.requests), agency.statuses()) == (asked + 4, {"paid": 3})


def test_a_message_about_a_decided_order_is_listed(agency: Agency, line: Line) -> None:
    """The list said failed, and long afterwards the provider says paid: a conflict for somebody to look at."""
    agency.operator.failing.add("+250788P1")
    agency.submit()
    agency.work_out()
    assert agency.states() == ["reported"]
    first, second, _ = numbers(agency)
    line.tell(first)
    line.tell(second)
    line.read()
    assert line.outcomes() == ["reconciled", "asked"]
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "conflicts"})) == 1
    assert (agency.statuses(), agency.cash()) == ({"failed": 1, "paid": 2}, "-2400.00")


def test_a_message_wakes_what_was_parked(agency: Agency, line: Line) -> None:
    """The provider was silent for days, and speaks: its list is asked for at once."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    agency.operator.asks = [500] * 200
    for _ in range(130):
        agency.work(hours=1, seconds=1)
    assert agency.states() == ["parked"]
    agency.operator.asks = []
    agency.operator.settle()
    line.tell(numbers(agency)[0])
    line.read()
    agency.work(hours=1)
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])


def test_a_message_about_what_waits_to_be_sent_again_has_it_asked_about_first(agency: Agency, line: Line) -> None:
    """The provider said that it never had it and speaks of it now: it is not sent a second time."""
    agency.operator.plan = ["take and say nothing", 401]
    agency.operator.asks = [404]
    agency.submit()
    agency.work()
    agency.work(minutes=1)
    assert agency.states() == ["waiting"]
    line.tell(numbers(agency)[0])
    line.read()
    agency.work_out()
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])
    assert [method for method, _ in agency.operator.requests].count("POST") == 2


def test_without_a_list_what_messages_say_is_taken(agency: Agency, line: Line) -> None:
    """Paid and failed as the provider says, through the one path of reconciliation; what is in doubt is parked."""
    without_list(agency)
    agency.submit()
    agency.work()
    first, second, third = numbers(agency)
    assert (line.tell(first), line.tell(second, "failed")) == (202, 202)
    line.read()
    assert agency.statuses() == {"paid": 1, "failed": 1, "accepted": 1}
    assert agency.cash() == "-1200.00"
    assert line.outcomes() == ["reconciled", "reconciled"]
    kept = agency.app.do("payments.messages", {"provider": "MM"})
    assert kept[0]["body"] == line.told(first).decode()
    rows = agency.app.do("payments.reconciliation", {"provider": "MM"})
    assert [(row["outcome"], row["file"], row["reason"]) for row in rows] == [
        ("matched", kept[0]["id"], None), ("matched", kept[0]["id"], "no wallet"),
    ]  # fmt: skip
    agency.work_out()
    assert agency.states() == ["accepted"]
    line.tell(third)
    line.read()
    for _ in range(30):
        agency.work(hours=1)
    assert (agency.states(), [m for m, _ in agency.operator.requests]) == (["reported"], ["POST"])


def test_without_a_list_doubt_is_a_person_s_matter(agency: Agency, line: Line) -> None:
    """Nobody can be asked whether it arrived: nothing is sent again, and nothing fails."""
    without_list(agency)
    agency.operator.plan = ["cut"]
    agency.submit()
    agency.work_out()
    (parked,) = agency.app.do("payments.transmissions")
    assert (parked["state"], parked["reason"]) == ("parked", "the provider has no list that could be asked")
    assert (agency.statuses(), len(agency.operator.requests)) == ({"submitted": 3}, 1)


def test_a_message_may_come_before_the_answer(agency: Agency, line: Line) -> None:
    """Told of before the batch was accepted, and the answer never comes: it is asked about, and paid once."""
    agency.submit()

    def early() -> None:
        for number in numbers(agency):
            assert line.tell(number) == 202

    agency.operator.before = early
    agency.operator.plan = ["take and say nothing"]
    agency.work()
    agency.operator.before = lambda: None
    line.read()
    agency.work_out()
    assert (agency.statuses(), agency.states(), agency.cash()) == ({"paid": 3}, ["reported"], "-3600.00")
    assert len([m for m, _ in agency.operator.requests if m == "POST"]) == 1


def test_a_message_comes_once(agency: Agency, line: Line) -> None:
    """The same nonce again is answered and changes nothing; the same words under another nonce neither."""
    agency.submit()
    agency.work()
    (number, *_) = numbers(agency)
    assert line.tell(number, nonce="nonce-of-sixteen-1") == 202
    assert line.tell(number, nonce="nonce-of-sixteen-1") == 200
    assert line.tell(number, "failed", nonce="nonce-of-sixteen-1") == 200
    assert line.tell(number) == 202
    line.read()
    assert line.outcomes() == ["asked", "repeated"]
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM"})) == 3
    assert agency.cash() == "-3600.00"


def test_what_could_not_be_read_is_read_when_it_comes_again(
    agency: Agency, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first copy met a mistake of ours: sent again after the mend it counts."""
    agency.submit()
    agency.work()
    (number, *_) = numbers(agency)

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(messages, "_take_of", broken)
    line.tell(number)
    line.read()
    assert line.outcomes() == ["failed"]
    monkeypatch.undo()
    monkeypatch.setenv("TEST_MM_TOKEN", "t0ken-of-tests")
    monkeypatch.setenv("TEST_MM_SECRET", SECRET)
    line.tell(number)
    line.read()
    assert line.outcomes() == ["failed", "asked"]
    assert agency.statuses() == {"paid": 3}


def test_one_message_that_cannot_be_taken_costs_a_search_not_the_queue(
    make_app: Any, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by halving; every other one is taken, most of them together."""
    agency = Agency(make_app, operator, count=60)
    agency.submit()
    agency.work()
    poisoned, real, takings = numbers(agency)[50], messages._take_of, []

    def take(context: Any, read: Any) -> Any:
        takings.append(len(read))
        if any(one.notice.told is not None and one.notice.told.order == poisoned for one in read):
            raise ZeroDivisionError("a mistake")
        return real(context, read)

    monkeypatch.setattr(messages, "_take_of", take)
    with TestClient(make_asgi(agency.app)) as client:
        line = Line(agency, client)
        for number in numbers(agency):
            line.tell(number)
        line.read()
    assert Counter(line.outcomes()) == {"failed": 1, "asked": 59}
    assert len(takings) <= 20


def test_failed_after_paid_is_a_conflict(agency: Agency, line: Line) -> None:
    """What was paid does not fail: the message is listed, the ledger keeps what was paid, as the provider's list."""
    agency.submit()
    agency.work()
    (number, *_) = numbers(agency)
    line.tell(number)
    line.read()
    line.tell(number, "failed")
    line.read()
    assert agency.debts.orders()[0]["status"] == "paid"
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "conflicts"})) == 1
    agency.work_out()
    assert agency.statuses() == {"paid": 3}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Signature": ""}, {"X-Signature": "00"}, {"X-Signature": "é" * 64}, {"X-Signature-Nonce": "short"},
        {"X-Signature-Nonce": "another-nonce-0001"}, {"X-Signature-Time": "soon"}, {"X-Signature-Time": "1"},
        {"X-Signature-Time": "9" * 30}, {"X-Signature-Time": "999999999999"}, {"X-Signature-Time": "-5"},
    ],
)  # fmt: skip
def test_a_message_without_a_good_signature_is_refused(agency: Agency, line: Line, headers: dict[str, str]) -> None:
    """401 whatever is wrong, and nothing is kept."""
    agency.submit()
    (number, *_) = numbers(agency)
    encoded: Any = {name: value.encode("utf-8") for name, value in headers.items()}
    assert line.tell(number, **encoded) == 401
    assert line.outcomes() == []


def test_another_secret_another_time_another_provider(agency: Agency, line: Line) -> None:
    """Signed by somebody else, too old, too new, or for a provider that has no service: the same answer."""
    (number, *_) = numbers(agency)
    assert line.tell(number, secret="guessed") == 401
    assert line.tell(number, late=-301) == 401
    assert line.tell(number, late=301) == 401
    assert line.tell(number, late=-290) == 202
    body = line.told(number)
    at, nonce = str(int(agency.clock.now().timestamp())), next(NONCES)
    headers = {"X-Signature-Time": at, "X-Signature-Nonce": nonce, "X-Signature": signature(SECRET, at, nonce, body)}
    assert line.client.post("/payments/callbacks/OTHER", content=body, headers=headers).status_code == 401


def test_without_a_secret_every_message_is_refused(agency: Agency, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that forgot to set the variable takes nothing, and no empty secret opens it."""
    monkeypatch.delenv("TEST_MM_SECRET")
    (number, *_) = numbers(agency)
    assert (line.tell(number), line.tell(number, secret="")) == (401, 401)


def test_a_short_secret_takes_nothing(agency: Agency, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guesses it speaks as the provider: messages are refused as without one."""
    monkeypatch.setenv("TEST_MM_SECRET", "fifteen-letters")
    assert line.tell(numbers(agency)[0], secret="fifteen-letters") == 401


def test_a_message_about_a_batch_has_it_asked_about_at_once(agency: Agency, line: Line) -> None:
    """The provider says that something came of a batch, by our name or by its own: its list is read then."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    agency.operator.settle()
    (sent,) = agency.app.do("payments.transmissions")
    body = {"requestId": sent["correlation"], "batchId": sent["batch"], "TotalTransactions": 3, "completed": 3}
    assert line.post(body) == 202
    line.read()
    assert (agency.statuses(), agency.states()) == ({"paid": 3}, ["reported"])


def test_a_message_that_tells_another_amount_changes_nothing(agency: Agency, line: Line) -> None:
    """The provider's own list is asked for and says what is true."""
    agency.submit()
    agency.work()
    (number, *_) = numbers(agency)
    line.tell(number, amount="1200.01")
    line.read()
    assert (agency.statuses(), agency.cash()) == ({"paid": 3}, "-3600.00")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"requestId": 5}', b"\xff\xfe", b"[" * 10_000])
def test_words_that_say_nothing_are_kept_as_unreadable(agency: Agency, line: Line, body: bytes) -> None:
    """Signed and not to be understood: kept, listed, and nobody is hurt."""
    agency.submit()
    agency.work()
    assert line.post(body) == 202
    line.read()
    assert line.outcomes() == ["unreadable"]
    assert agency.statuses() == {"accepted": 3}


def test_an_order_of_nobody_is_unknown(agency: Agency, line: Line) -> None:
    """A number that is no order, or one that did not go through this provider, is listed as unknown."""
    agency.submit()
    agency.work()
    for number in ("999999", "99999999999999999999999", "0"):
        line.tell(number)
    line.read()
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "unknown"})) == 3


def test_many_messages_are_read_together(make_app: Any, operator: Operator) -> None:
    """A thousand messages are no thousand transactions: statements grow with the messages' chunks, not with them."""
    agency = Agency(make_app, operator, count=200)
    agency.submit()
    agency.work()
    with TestClient(make_asgi(agency.app)) as client:
        line = Line(agency, client)
        for number in numbers(agency):
            assert line.tell(number) == 202
        before = agency.app.database.statements
        line.read()
    assert agency.statuses() == {"paid": 200}
    assert agency.app.database.statements - before < 80


def test_old_words_are_forgotten_and_the_message_is_known_for_ever(agency: Agency, line: Line) -> None:
    """After `provider_message_days` the body of what was read is empty; nonce, digest and outcome stay: the same words
    are repeated still, the same nonce is not taken again. What nobody has read yet, or could not be read, is kept."""
    agency.submit()
    agency.work()
    first = numbers(agency)[0]
    told, nonce = line.told(first), next(NONCES)
    line.post(told, nonce=nonce)
    line.post(b"not to be read")
    line.read()
    agency.clock.move(days=366)
    line.post(b"not read yet")
    agency.clock.move(days=366)
    forget(agency.app, NoInput())
    forget(agency.app, NoInput())
    kept = agency.app.do("payments.messages", {"provider": "MM"})
    assert [(one["outcome"], one["body"]) for one in kept] == [
        ("asked", ""), ("unreadable", "not to be read"), (None, "not read yet"),
    ]  # fmt: skip
    assert line.post(told, nonce=nonce) == 200
    assert line.post(told) == 202
    line.read()
    assert line.outcomes() == ["asked", "unreadable", "unreadable", "repeated"]
