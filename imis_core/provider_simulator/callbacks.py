"""Callbacks of a simulated provider: what they say, and the sending, signed, again and again until they are taken.

The signature: `X-Signature-Time` (seconds since 1970), `X-Signature-Nonce`, and `X-Signature`, the hexadecimal
HMAC-SHA256 of time, nonce and body with a point between them, under the secret that both sides share.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec

from imis_core.provider_simulator.behaviour import Behaviour
from imis_core.provider_simulator.books import FAILED, PAID, PENDING, RETURNED, Books, NewCallback
from imis_core.values import minor_text

SENDERS: Final = 8  # at once
WAITING_MAX: Final = 500  # taken from the books at once
TIMEOUT_SECONDS: Final = 10.0
TRIES_MAX: Final = 8
PAUSE_SECONDS: Final = 0.5  # after the first try; each further pause is twice as long
LOOK_SECONDS: Final = 0.02


def number(minor: int, currency: str) -> msgspec.Raw:
    """An amount as an exact number in JSON."""
    return msgspec.Raw(minor_text(minor, currency).encode())


def signature(secret: bytes, at: str, nonce: str, body: bytes) -> str:
    """What `X-Signature` says."""
    return hmac.new(secret, f"{at}.{nonce}.".encode() + body, hashlib.sha256).hexdigest()


def status_update(
    request: str, batch_id: str, currency: str, sums: Mapping[str, tuple[int, int]], note: str, now: float
) -> bytes:
    """The body of BulkPaymentStatusUpdate; `sums` are number and minor units of payments by status.

    What came back has no count of its own in the specification: `returned` and `returned_amount` stand in the message
    only if something did.
    """
    counts = [sums.get(status, (0, 0)) for status in (PENDING, PAID, FAILED, RETURNED)]
    (ongoing, ongoing_minor), (completed, completed_minor), (failed, failed_minor), (returned, returned_minor) = counts
    more = {"returned": returned, "returned_amount": number(returned_minor, currency)} if returned else {}
    return msgspec.json.encode(
        {
            "requestId": request, "batchId": batch_id, "TotalTransactions": sum(count for count, _ in counts),
            "ongoing": ongoing, "failed": failed, "completed": completed,
            "totalAmount": number(sum(minor for _, minor in counts), currency),
            "completed_amount": number(completed_minor, currency), "ongoing_amount": number(ongoing_minor, currency),
            "failed_amount": number(failed_minor, currency), "result_file": None,
            "resultGeneratedAt": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "note": note, **more,
        }
    )  # fmt: skip


def callbacks_of(
    books: Books, behaviour: Behaviour, settled: Sequence[sqlite3.Row], now: float
) -> Iterator[NewCallback]:
    """What is told of payments that were settled just now: of single ones, and of batches that are complete."""
    batches = _batches(books, settled)
    for row in settled:
        batch = batches[row["batch"]]
        if batch["callback_url"] and behaviour.falls("single_callbacks", row["request_id"]):
            body = _told_of_one(behaviour, row, batch, now)
            yield from posted(behaviour, batch["callback_url"], batch["correlation"], row["request_id"], body, now)
    for batch in batches.values():
        if batch["callback_url"] and behaviour.batch_callbacks and batch["open"] == 0:
            sums: dict[str, tuple[int, int]] = {}
            currency = ""
            for row in books.rows(
                "SELECT status, min(currency) AS currency, count(*) AS n, sum(amount_minor) AS minor FROM payments "
                "WHERE batch = ? GROUP BY status", batch["number"],
            ):  # fmt: skip
                sums[row["status"]], currency = (row["n"], row["minor"]), row["currency"]
            body = status_update(batch["correlation"], batch["batch_id"], currency, sums, "all is known", now)
            yield from posted(behaviour, batch["callback_url"], batch["correlation"], batch["batch_id"], body, now)


def callbacks_of_returns(
    books: Books, behaviour: Behaviour, returned: Sequence[sqlite3.Row], now: float
) -> Iterator[NewCallback]:
    """What is told of payments that came back just now: each by a message of its own."""
    batches = _batches(books, returned)
    for row in returned:
        batch = batches[row["batch"]]
        if batch["callback_url"]:
            sums = {RETURNED: (1, row["amount_minor"])}
            note = row["reason"] or ""
            body = status_update(row["request_id"], batch["batch_id"], row["currency"], sums, note, now)
            about = f"{row['request_id']}/returned"
            yield from posted(behaviour, batch["callback_url"], batch["correlation"], about, body, now)


def _batches(books: Books, payments: Sequence[sqlite3.Row]) -> dict[int, sqlite3.Row]:
    """The batches of payments, by number."""
    found: dict[int, sqlite3.Row] = {}
    for row in payments:
        if row["batch"] not in found:
            batch = books.row("SELECT * FROM batches WHERE number = ?", row["batch"])
            assert batch is not None
            found[row["batch"]] = batch
    return found


def _told_of_one(behaviour: Behaviour, row: sqlite3.Row, batch: sqlite3.Row, now: float) -> bytes:
    """One payment's outcome, true or not."""
    status, minor = row["status"], row["amount_minor"]
    if status == FAILED and behaviour.falls("lies_status", row["request_id"]):
        status = PAID
    if behaviour.falls("lies_amount", row["request_id"]):
        minor += 1
    note = (row["reason"] or "") if status == FAILED else "paid"
    return status_update(row["request_id"], batch["batch_id"], row["currency"], {status: (1, minor)}, note, now)


def posted(
    behaviour: Behaviour, url: str, correlation: str, about: str, body: bytes, now: float
) -> Iterator[NewCallback]:
    """A message as it is sent: on time, late, twice, or never."""
    late = behaviour.chance("how late", about) * behaviour.late_seconds if behaviour.falls("late", about) else 0.0
    nonce = hashlib.sha256(f"{about}/{now}".encode()).hexdigest()[:32]
    lost = behaviour.falls("lost", about)
    yield NewCallback(url, correlation, body, nonce, now + late, "lost" if lost else "waiting")
    if not lost and behaviour.falls("duplicates", about):
        # Half are the same message once more, half say the same in another message.
        again = nonce if behaviour.chance("same nonce", about) < 0.5 else nonce[::-1]
        yield NewCallback(url, correlation, body, again, now + late + behaviour.chance("again", about))


class Sender:
    """Sends the callbacks that are due until it is stopped; each is marked in the books when it was taken."""

    def __init__(self, books: Books, secret: bytes) -> None:
        self._books, self._secret = books, secret
        self._queue: asyncio.Queue[sqlite3.Row] = asyncio.Queue()
        self._in_hand: set[int] = set()
        self._sent: list[tuple[str, float, str, int]] = []

    async def run(self) -> None:
        """Feed the senders and write down what became of each callback."""
        limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False) as client:
            senders = [asyncio.create_task(self._send_all(client)) for _ in range(SENDERS)]
            try:
                while True:
                    self._step(time.time())
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                for one in senders:
                    one.cancel()
                await asyncio.gather(*senders, return_exceptions=True)
                self._write()

    def _step(self, now: float) -> None:
        self._write()
        if len(self._in_hand) >= WAITING_MAX // 2:
            return
        for row in self._books.rows(
            "SELECT number, url, correlation, body, nonce, tries FROM callbacks WHERE state = 'waiting' AND due_at <= ?"
            " ORDER BY due_at LIMIT ?", now, WAITING_MAX,
        ):  # fmt: skip
            if row["number"] not in self._in_hand:
                self._in_hand.add(row["number"])
                self._queue.put_nowait(row)

    def _write(self) -> None:
        sent, self._sent = self._sent, []
        if sent:
            with self._books.transaction():
                self._books.change_all(
                    "UPDATE callbacks SET state = ?, due_at = ?, answer = ?, tries = tries + 1 WHERE number = ?", sent
                )
            self._in_hand.difference_update(number for *_, number in sent)

    async def _send_all(self, client: httpx.AsyncClient) -> None:
        while True:
            row = await self._queue.get()
            answer, taken = await self._send(client, row)
            tries = row["tries"] + 1
            state = "done" if taken else "waiting" if tries < TRIES_MAX else "given_up"
            self._sent.append((state, time.time() + PAUSE_SECONDS * 2 ** (tries - 1), answer, row["number"]))

    async def _send(self, client: httpx.AsyncClient, row: Any) -> tuple[str, bool]:
        at = str(int(time.time()))
        headers = {
            "Content-Type": "application/json", "X-CorrelationID": row["correlation"], "X-Signature-Time": at,
            "X-Signature-Nonce": row["nonce"], "X-Signature": signature(self._secret, at, row["nonce"], row["body"]),
        }  # fmt: skip
        try:
            answer = await client.post(row["url"], content=row["body"], headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{type(error).__name__}: {error}"[:200], False
        return str(answer.status_code), answer.is_success
