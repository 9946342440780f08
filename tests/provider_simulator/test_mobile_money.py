"""The simulated provider of mobile money over real sockets: it keeps what it took, and misbehaves as it is told."""

from __future__ import annotations

import csv
import io
from collections import Counter
from decimal import Decimal

import httpx
import pytest

from tests.provider_simulator.conftest import Listener, Provider, payment, payments, until


def by_status(provider: Provider) -> dict[str, tuple[int, str]]:
    return {p["status"]: (p["payments"], p["amount"]) for p in provider.running.books()["payments"]}


def settled(provider: Provider) -> bool:
    return "pending" not in by_status(provider)


def test_a_batch_is_taken_paid_and_told(provider: Provider, listener: Listener) -> None:
    """202 with an id, details of every payment page by page, one signed callback when all of it is known."""
    answer = provider.send("C1", payments(25), listener.url)
    assert answer.status_code == 202
    batch = answer.json()["batchId"]
    (told,) = until(lambda: listener.got)
    assert (told["requestId"], told["batchId"]) == ("C1", batch)
    assert (told["TotalTransactions"], told["completed"], told["failed"], told["ongoing"]) == (25, 25, 0, 0)
    pages = [provider.details(batchId=batch, pageNo=page, pageSize=10).json() for page in range(4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    rows = [row for page in pages for row in page]
    assert [row["requestId"] for row in rows] == [str(n) for n in range(1, 26)]
    assert {row["status"] for row in rows} == {"COMPLETED"}
    assert len({row["transactionId"] for row in rows}) == 25
    assert provider.details(**{"X-CorrelationID": "C1"}).json() == rows
    assert provider.details(batchId="unknown").status_code == 404
    assert by_status(provider) == {"paid": (25, "300.00")}


def test_who_has_no_address_for_callbacks_asks(provider: Provider) -> None:
    """A batch without one is taken; its details say what came of it, and nobody is called."""
    assert provider.send("C1", payments(3), "").status_code == 202
    until(lambda: settled(provider))
    assert [row["status"] for row in provider.details(**{"X-CorrelationID": "C1"}).json()] == ["COMPLETED"] * 3
    assert provider.running.books()["callbacks"] == {}


def test_a_correlation_id_is_taken_once(provider: Provider, listener: Listener) -> None:
    """Sent again, a batch has the same id and nothing is paid anew; another id with the same orders pays twice."""
    first = provider.send("C1", payments(3), listener.url)
    again = provider.send("C1", payments(3), listener.url)
    assert (again.status_code, again.json()) == (202, first.json())
    until(lambda: settled(provider))
    assert by_status(provider)["paid"][0] == 3
    assert provider.running.books()["paid_twice"] == []
    provider.send("C2", payments(1), listener.url)
    until(lambda: provider.running.books()["paid_twice"] == ["1"])


@pytest.mark.parametrize("share", ["timeouts", "cuts", "errors_after"])
def test_taken_without_a_good_answer(provider: Provider, listener: Listener, share: str) -> None:
    """The client hears nothing, or an error, and the batch is taken; asked again, the provider says so."""
    provider.behave(**{share: 1.0})
    if share == "errors_after":
        assert provider.send("C1", payments(3), listener.url).status_code == 500
    else:
        with pytest.raises(httpx.TransportError):
            provider.send("C1", payments(3), listener.url, seconds=1)
    assert len(provider.details(**{"X-CorrelationID": "C1"}).json()) == 3
    assert provider.send("C1", payments(3), listener.url).status_code == 202
    until(lambda: settled(provider))
    assert by_status(provider)["paid"][0] == 3


@pytest.mark.parametrize(("share", "status"), [("busy", 429), ("errors", 503), ("refusals", 400)])
def test_refused_and_nothing_taken(provider: Provider, listener: Listener, share: str, status: int) -> None:
    """An answer that says that nothing was taken is true."""
    provider.behave(**{share: 1.0})
    assert provider.send("C1", payments(3), listener.url).status_code == status
    assert provider.details(**{"X-CorrelationID": "C1"}).status_code == 404
    assert provider.running.books()["batches"] == 0


def test_what_was_acknowledged_outlives_a_kill(provider: Provider, listener: Listener) -> None:
    """Killed by -9 after each answer: the books hold every batch, what is not known yet comes later, and is told."""
    provider.behave(delay_seconds=0.2, delay_spread_seconds=0.5, failures=0.3, single_callbacks=1.0)
    for batch in range(3):
        assert provider.send(f"C{batch}", payments(200, 1 + 200 * batch), listener.url).status_code == 202
        provider.kill_and_start()
    until(lambda: settled(provider))
    counted = by_status(provider)
    assert sum(count for count, _ in counted.values()) == 600
    assert 100 < counted["failed"][0] < 260
    until(lambda: provider.running.books()["callbacks"] == {"done": 603})
    told = Counter(one["requestId"] for one in listener.got)
    assert set(told) == {str(n) for n in range(1, 601)} | {"C0", "C1", "C2"}


def test_the_same_seed_gives_the_same_fate(provider: Provider, listener: Listener) -> None:
    """What comes of a payment depends on the seed and on the payment, not on the batch it came in."""
    provider.behave(failures=0.5, seed=7)
    provider.send("C1", payments(100), listener.url)
    provider.send("C2", list(reversed(payments(100))), listener.url)
    until(lambda: settled(provider))
    fates = [
        {row["requestId"]: row["statusDetail"] for row in provider.details(**{"X-CorrelationID": one}).json()}
        for one in ("C1", "C2")
    ]
    assert fates[0] == fates[1]
    assert len(set(fates[0].values())) == 5  # paid, and four reasons


def test_callbacks_are_lost_doubled_late_and_tried_again(provider: Provider, listener: Listener) -> None:
    """A lost one never comes; a doubled one comes twice, with the same nonce or another; a refused one comes again."""
    listener.answers = [500, 503]
    provider.behave(single_callbacks=1.0, lost=0.3, duplicates=0.3, late=0.5, late_seconds=0.5, batch_callbacks=False)
    provider.send("C1", payments(200), listener.url)
    until(lambda: settled(provider) and "waiting" not in provider.running.books()["callbacks"])
    books = provider.running.books()
    assert books["callbacks"]["done"] + books["callbacks"]["lost"] > 220
    assert 30 < books["callbacks"]["lost"] < 100
    assert len(listener.got) == books["callbacks"]["done"] == books["callback_tries"] - 2
    told = Counter(one["requestId"] for one in listener.got)
    assert len(told) == 200 - books["callbacks"]["lost"]
    assert set(told.values()) == {1, 2}
    doubled = sum(count == 2 for count in told.values())
    assert 0 < len(listener.nonces) - len(set(listener.nonces)) < doubled
    assert [one["requestId"] for one in listener.got] != sorted(told, key=int)


def test_callbacks_lie_and_details_do_not(provider: Provider, listener: Listener) -> None:
    """Lies: a failed payment told as paid, a paid one with another amount. Details and books tell the truth."""
    provider.behave(failures=0.5, single_callbacks=1.0, batch_callbacks=False, lies_status=0.5, lies_amount=0.2)
    provider.send("C1", payments(100), listener.url)
    until(lambda: len(listener.got) == 100)
    truth = {row["requestId"]: row for row in provider.details(**{"X-CorrelationID": "C1"}).json()}
    paid = {name for name, row in truth.items() if row["status"] == "COMPLETED"}
    said_paid = {one["requestId"] for one in listener.got if one["completed"] == 1}
    assert paid < said_paid
    wrong = [one for one in listener.got if one["totalAmount"] != truth[one["requestId"]]["amount"]]
    assert 5 < len(wrong) < 50
    assert by_status(provider)["paid"][0] == len(paid)


def test_amounts_are_exact(provider: Provider, listener: Listener) -> None:
    """Amounts come back to the minor unit in currencies of none, two and three decimals; more decimals are refused."""
    exact = b"""[{"requestId": "1", "amount": 90071992547409.93, "currency": "USD", %s},
                 {"requestId": "2", "amount": 5, "currency": "XAF", %s},
                 {"requestId": "3", "amount": 0.001, "currency": "TND", %s}]"""
    parties = b""""creditParty": [{"key": "MSISDN", "value": "1"}], "paymentMode": "mobile money",
                  "debitParty": [{"key": "accountNumber", "value": "1"}]"""
    answer = httpx.post(
        f"{provider.url}/batchtransactions?type=raw", content=exact % (parties, parties, parties),
        headers={"X-CorrelationID": "C1", "Platform-TenantId": "T", "X-Callback-URL": listener.url},
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    text = provider.details(**{"X-CorrelationID": "C1"}).text
    for amount in ("90071992547409.93", "5", "0.001"):
        assert f'"amount":{amount},' in text
    until(lambda: settled(provider))
    rows = list(csv.DictReader(io.StringIO(provider.running.statement().decode())))
    assert [Decimal(row["amount"]) for row in rows] == [Decimal("90071992547409.93"), 5, Decimal("0.001")]
    assert [row["status"] for row in rows] == ["paid"] * 3
    refused = provider.send("C2", [payment("1", 0.001)], listener.url)
    assert (refused.status_code, "decimals" in refused.text) == (400, True)


@pytest.mark.parametrize(
    "wrong",
    [
        [], {}, [{}], [1], [payment("1") | {"amount": 0}], [payment("1") | {"amount": "12"}],
        [payment("1") | {"requestId": "12345678901234567"}], [payment("1") | {"currency": "xyz"}],
        [payment("1") | {"creditParty": []}], [payment("1") | {"debitParty": None}], [payment("1"), payment("1")],
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_as_a_whole(provider: Provider, listener: Listener, wrong: object) -> None:
    """400 with what is wrong, and nothing is taken."""
    answer = provider.send("C1", wrong, listener.url)
    assert answer.status_code == 400
    assert answer.json()["errorDescription"]
    assert provider.running.books()["batches"] == 0


def test_accounts_are_checked(provider: Provider, listener: Listener) -> None:
    """The accounts that the check does not find are those to which nothing can be paid."""
    provider.behave(unknown_accounts=0.4)
    asked = payments(50)
    answer = httpx.post(
        f"{provider.url}/beneficiaries", params={"command": "validate"},
        json={"batchId": "B", "destinationDFSPID": "X", "creditInstructions": [
            {"instructionID": one["requestId"], "financialAddress": one["creditParty"][0]["value"]} for one in asked]},
        headers={"X-Client-Correlation-ID": "V1", "X-Registering-Institution-ID": "I", "X-Callback-URL": listener.url},
    )  # fmt: skip
    assert answer.status_code == 202
    (told,) = until(lambda: listener.got)
    assert (told["clientCorrelationId"], told["batchId"]) == ("V1", "B")
    missing = {case["instructionID"] for case in told["failedAccountLookups"]}
    assert told["numberOfFailedCases"] == len(missing) > 5
    provider.send("C1", asked, listener.url)
    until(lambda: settled(provider))
    rows = provider.details(**{"X-CorrelationID": "C1", "status": "FAILED"}).json()
    assert {row["requestId"]: row["errorInformation"] for row in rows} == dict.fromkeys(missing, "account not found")


def test_thousands_of_payments_a_second(provider: Provider, listener: Listener) -> None:
    """Twenty thousand payments in batches of 2,000, with failures and callbacks, are all known soon."""
    provider.behave(failures=0.1)
    for batch in range(10):
        assert provider.send(f"C{batch}", payments(2000, 1 + 2000 * batch), listener.url).status_code == 202
    until(lambda: settled(provider) and len(listener.got) == 10)
    assert sum(count for count, _ in by_status(provider).values()) == 20_000
    assert len(provider.running.statement().splitlines()) == 20_001


def test_behaviour_that_cannot_be_is_refused(provider: Provider) -> None:
    """Shares above one, negative times and unknown names change nothing; what is set outlives the process."""
    provider.behave(failures=0.25)
    for wrong in ({"failures": 1.5}, {"delay_seconds": -1}, {"nothing": 1}, {"failures": "many"}):
        with pytest.raises(ValueError, match=r"behaviour has|input\.invalid|is no float"):
            provider.behave(**wrong)
    provider.kill_and_start()
    assert provider.running.behave()["failures"] == 0.25
