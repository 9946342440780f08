"""Messages that providers send by themselves, over HTTP: signed, taken once, in any order, and kept as they came."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from imis_core.payments.transmitting.webhook import signature
from imis_core.web.server import make_asgi
from tests.payments.transmitting.conftest import SECRET, Agency
from tests.payments.transmitting.operator import Operator

NONCES = (f"nonce-{number:012d}" for number in itertools.count())


class Line:
    """The provider's way to us."""

    def __init__(self, agency: Agency, client: Any) -> None:
        self.agency, self.client = agency, client

    def post(self, body: Any, *, nonce: str | None = None, late: int = 0, secret: str = SECRET, **headers: str) -> int:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        at = str(int(self.agency.clock.now().timestamp()) + late)
        nonce = nonce or next(NONCES)
        signed = {
            "X-Signature-Time": at, "X-Signature-Nonce": nonce, "X-Signature": signature(secret, at, nonce, raw),
            "Content-Type": "application/json", **headers,
        }  # fmt: skip
        return int(self.client.post("/payments/callbacks/MM", content=raw, headers=signed).status_code)

    def tell(self, order: str, status: str = "completed", amount: str = "1200.00", **more: Any) -> int:
        return self.post(self.told(order, status, amount), **more)

    @staticmethod
    def told(order: str, status: str = "completed", amount: str = "1200.00") -> bytes:
        counted = {"completed": 0, "failed": 0, "ongoing": 0} | {status: 1}
        amounts = {f"{name}_amount": amount if name == status else "0" for name in counted}
        parts = [f'"{name}": {value}' for name, value in {**counted, **amounts, "totalAmount": amount}.items()]
        fixed = f'"requestId": "{order}", "batchId": "B-1", "TotalTransactions": 1, "note": "no wallet"'
        return ("{" + ", ".join([fixed, *parts]) + "}").encode()

    def read(self) -> None:
        self.agency.app.queue.run_due()

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.agency.app.do("payments.messages", {"provider": "MM"})]


@pytest.fixture
def line(agency: Agency) -> Iterator[Line]:
    with TestClient(make_asgi(agency.app)) as client:
        yield Line(agency, client)


def numbers(agency: Agency) -> list[str]:
    return [str(row["id"]) for row in agency.app.rows("SELECT id FROM core.orders ORDER BY id")]


def test_a_message_about_an_order_is_reconciled(agency: Agency, line: Line) -> None:
    """Paid and failed as the provider says, through the one path of reconciliation; the message is kept as it came."""
    agency.operator.pending.update({"+250788P1", "+250788P2", "+250788P3"})
    agency.submit()
    agency.work()
    first, second, _ = numbers(agency)
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


def test_a_message_may_come_before_the_answer(agency: Agency, line: Line) -> None:
    """Paid before the batch was accepted: it is paid, and stays so when the answer comes."""
    agency.submit()

    def early() -> None:
        for number in numbers(agency):
            assert line.tell(number) == 202

    agency.operator.before = early
    agency.operator.plan = ["take and say nothing"]
    agency.work()
    agency.operator.before = lambda: None
    line.read()
    assert agency.statuses() == {"paid": 3}
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
    assert line.outcomes() == ["reconciled", "repeated"]
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "matched"})) == 1
    assert agency.cash() == "-1200.00"


def test_failed_after_paid_is_a_conflict(agency: Agency, line: Line) -> None:
    """What was paid does not fail: both are listed, the ledger keeps what was paid, and the provider's list decides."""
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


def test_a_message_that_tells_another_amount_is_listed_and_the_list_decides(agency: Agency, line: Line) -> None:
    """A wrong amount changes nothing; the provider's own list is asked for and says what is true."""
    agency.submit()
    agency.work()
    (number, *_) = numbers(agency)
    line.tell(number, amount="1200.01")
    line.read()
    assert len(agency.app.do("payments.reconciliation", {"provider": "MM", "outcome": "wrong_amount"})) == 1
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
