"""The simulated provider itself: which request gets which answer, and the clockwork that lets come of payments what is
due.

Addresses of the GovStack payments building block (G2P and voucher APIs): `/batchtransactions`, `/api/v1/batch/detail`,
`/beneficiaries?command=validate`, `/vouchers`. Of its own: `/behaviour`, `/books`, `/books/statement`.
"""

from __future__ import annotations

import asyncio
import csv
import hmac
import io
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from attrs import asdict, field, fields, frozen

from imis_core.errors import ImisError, Refusal, Unavailable
from imis_core.provider_simulator import vouchers
from imis_core.provider_simulator.behaviour import NO_ACCOUNT, Behaviour
from imis_core.provider_simulator.books import FAILED, PAID, PENDING, RETURNED, Books, NewBatch, transaction_id
from imis_core.provider_simulator.callbacks import Sender, callbacks_of, callbacks_of_returns, number, posted
from imis_core.provider_simulator.folder import Folder
from imis_core.provider_simulator.http import Answer, Request, Server, Silence
from imis_core.provider_simulator.taking import (
    Malformed,
    bulk_instructions,
    coming_back,
    decided,
    read_json,
    take,
)
from imis_core.values import minor_text

TICK_SECONDS: Final = 0.02
PAGE_SIZE: Final = 1_000
PAGE_MAX: Final = 10_000
STATEMENT_COLUMNS: Final = ("order", "status", "amount", "currency", "reference", "reason", "account", "batch", "kind")
STATEMENT_STATUS: Final = {PENDING: "pending", PAID: "paid", FAILED: "failed", RETURNED: "returned"}
_READ_AT_ONCE: Final = 5_000
_VOUCHER_COMMANDS: Final = {"cancel": vouchers.cancel, "redeem": vouchers.redeem}


@frozen(kw_only=True)
class Options:
    """Where the books are, where it listens, the secret of callbacks and the token of requests ('' for none)."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    watch: Path | None = None
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


class Simulator:
    """Answers requests on one set of books."""

    def __init__(self, books: Books, token: str = "") -> None:
        self._books, self._token = books, token
        self._asked: Counter[str] = Counter()  # how often each batch was asked to be taken
        self._behaviour = books.behaviour

    async def answer(self, request: Request) -> Answer | Silence:
        """The answer to a request, or the lack of one that its behaviour wants."""
        if not request.path.startswith(("/books", "/behaviour")) and not self._allowed(request):
            return _refused(401, "the token is not the provider's")
        try:
            return await self._answer(request)
        except Malformed as problem:
            return _refused(400, str(problem))

    async def _answer(self, request: Request) -> Answer | Silence:
        asked = (request.method, request.path)
        command = request.query.get("command")
        if asked == ("POST", "/batchtransactions"):
            return await self._bulk(request)
        if asked == ("GET", "/api/v1/batch/detail"):
            return self._details(request)
        if asked == ("POST", "/beneficiaries") and command == "validate":
            return self._validate(request)
        if asked == ("POST", "/vouchers"):
            if command is None:
                return await self._misbehaving(vouchers.named(request), partial(vouchers.create, self._books, request))
            if command not in _VOUCHER_COMMANDS:
                raise Malformed(f"there is no command {command!r} for vouchers")
            return _VOUCHER_COMMANDS[command](self._books, request)
        if asked == ("PUT", "/vouchers") and command == "activate":
            return vouchers.activate(self._books, request)
        if request.method == "GET" and request.path.startswith("/vouchers/"):
            return vouchers.status(self._books, request.path.rpartition("/")[2])
        if request.path == "/behaviour":
            return self._behave(request)
        if asked == ("GET", "/books"):
            return Answer(200, _json(totals(self._books)))
        if asked == ("GET", "/books/statement"):
            return Answer(200, statement(self._books), media_type="text/csv; charset=utf-8")
        return _refused(404, f"nothing is at {request.path}")

    def _allowed(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return not self._token or hmac.compare_digest(given.encode(), self._token.encode())

    def _behave(self, request: Request) -> Answer:
        """Fields that are given change, the others stay; a GET only tells."""
        if request.method == "POST":
            given = read_json(request.body)
            known = {one.name: str(one.type) for one in fields(Behaviour)}
            if not isinstance(given, dict) or not given.keys() <= known.keys():
                raise Malformed(f"behaviour has the fields {', '.join(known)}")
            try:
                wanted = self._behaviour.changed(**{name: _as(known[name], value) for name, value in given.items()})
            except ImisError as error:
                raise Malformed(error.refusal.line()) from None
            with self._books.transaction():
                self._books.behaviour = wanted
            self._behaviour = wanted
        return Answer(200, _json(asdict(self._behaviour)))

    async def _bulk(self, request: Request) -> Answer | Silence:
        """BulkPayment."""
        if request.query.get("type") != "raw":
            raise Malformed('type is "raw"')
        correlation = _header(request, "x-correlationid", 20)
        url = _header(request, "x-callback-url", 100, needed=False)  # who has no address for callbacks asks
        new = NewBatch(
            kind="mobile", tenant=_header(request, "platform-tenantid", 20), correlation=correlation,
            program=request.headers.get("x-program-id"),
            institution=request.headers.get("x-registering-institution-id"), callback_url=url or None,
        )  # fmt: skip

        def taken() -> Answer:
            now = time.time()
            asked = bulk_instructions(request.body)
            with self._books.transaction():
                batch_id, _ = take(self._books, new, decided(self._behaviour, asked, now), now)
            return Answer(202, _json({"batchId": batch_id}))

        return await self._misbehaving(correlation, taken)

    async def _misbehaving(self, name: str, take_it: Callable[[], Answer]) -> Answer | Silence:
        """Take the batch of a correlation id, or not, and answer, or not, as the behaviour wants it."""
        self._asked[name] += 1
        times = self._asked[name]
        behaviour = self._behaviour
        if behaviour.falls("busy", name, times):
            return _refused(429, "too many requests; come back later", {"Retry-After": "1"})
        if behaviour.falls("errors", name, times):
            return _refused(503, "out of order; nothing was taken")
        if behaviour.falls("refusals", name):
            return _refused(400, "the batch is refused: the programme's account is closed")
        answer = take_it()
        if answer.status < 300 and times == 1:  # whoever asks again is answered
            if behaviour.falls("timeouts", name):
                return "hang"
            if behaviour.falls("cuts", name):
                return "cut"
            if behaviour.falls("errors_after", name):
                return _refused(500, "something broke; nobody knows what was taken")
        await asyncio.sleep(behaviour.answer_seconds)
        return answer

    def _details(self, request: Request) -> Answer:
        """BatchDetails: pages of rows, the truth."""
        batch = self._batch_of(request)
        if batch is None:
            return _refused(404, "there is no such batch")
        page = _whole(request, "pageNo", 0, 10**9)
        size = _whole(request, "pageSize", PAGE_SIZE, PAGE_MAX)
        wanted = request.query.get("status")
        rows = self._books.rows(
            "SELECT p.*, v.serial FROM payments p LEFT JOIN vouchers v ON v.payment = p.number "
            "WHERE p.batch = ?1 AND (?2 IS NULL OR p.status = ?2) ORDER BY p.number LIMIT ?3 OFFSET ?4",
            batch["number"], wanted, size, page * size,
        )  # fmt: skip
        return Answer(200, _json([_detail(row, batch) for row in rows]))

    def _batch_of(self, request: Request) -> Any:
        tenant = _header(request, "platform-tenantid", 20)
        given = request.query.get("batchId"), request.query.get("X-CorrelationID")
        if not any(given):
            raise Malformed("name the batch by batchId or X-CorrelationID")
        return self._books.row(
            "SELECT * FROM batches WHERE tenant IN (?1, '') AND (?2 IS NULL OR batch_id = ?2) "
            "AND (?3 IS NULL OR correlation = ?3)", tenant, given[0] or None, given[1] or None,
        )  # fmt: skip

    def _validate(self, request: Request) -> Answer:
        """BulkValidateAccountRequest; who is not found is told by callback."""
        given = read_json(request.body)
        asked = given.get("creditInstructions") if isinstance(given, dict) else None
        if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
            raise Malformed("creditInstructions is a list of instructions")
        correlation = _header(request, "x-client-correlation-id", 20)
        url = _header(request, "x-callback-url", 100)
        missing = [
            {"instructionID": str(one.get("instructionID", "")), "failureReason": NO_ACCOUNT}
            for one in asked
            if self._behaviour.falls("unknown_accounts", str(one.get("financialAddress", "")))
        ]
        said = {
            "clientCorrelationId": correlation, "batchId": str(given.get("batchId", "")),
            "numberOfFailedCases": len(missing), "failedAccountLookups": missing,
        }  # fmt: skip
        now = time.time()
        with self._books.transaction():
            told = posted(self._behaviour, url, correlation, f"{correlation}/{now}", _json(said), now)
            self._books.add_callbacks(list(told))
        return Answer(202, _json({"message": "validation is under way"}))

    def settle(self, now: float) -> int:
        """Let come of payments what is due, and plan what is told of it; how many were settled, or came back."""
        due = self._books.row(
            f"SELECT 1 FROM payments WHERE status = '{PENDING}' AND outcome IS NOT NULL AND due_at <= ?1 UNION ALL "
            "SELECT 1 FROM returns WHERE returned_at IS NULL AND due_at <= ?1 LIMIT 1",
            now,
        )
        if due is None:
            return 0
        with self._books.transaction():
            settled = self._books.settle(now)
            self._books.plan_returns(coming_back(self._behaviour, settled, now))
            returned = self._books.take_back(now)
            self._books.add_callbacks(list(callbacks_of(self._books, self._behaviour, settled, now)))
            self._books.add_callbacks(list(callbacks_of_returns(self._books, self._behaviour, returned, now)))
        return len(settled) + len(returned)


def totals(books: Books) -> dict[str, Any]:
    """What the books say: batches, payments by kind, status and currency, what was paid twice, how many will come back,
    callbacks by state."""
    (batches,) = books.rows("SELECT count(*) AS n FROM batches")
    (coming,) = books.rows("SELECT count(*) AS n FROM returns WHERE returned_at IS NULL")
    by_status = books.rows(
        "SELECT b.kind, p.status, p.currency, count(*) AS n, sum(p.amount_minor) AS minor FROM payments p "
        "JOIN batches b ON b.number = p.batch GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    twice = books.rows(
        f"SELECT request_id FROM payments WHERE status = '{PAID}' GROUP BY request_id HAVING count(*) > 1 "
        "ORDER BY request_id"
    )
    told = books.rows("SELECT state, count(*) AS n, sum(tries) AS tries FROM callbacks GROUP BY state ORDER BY state")
    return {
        "batches": batches["n"],
        "payments": [
            {"kind": r["kind"], "status": STATEMENT_STATUS[r["status"]], "currency": r["currency"], "payments": r["n"],
             "amount": minor_text(r["minor"], r["currency"])}
            for r in by_status
        ],
        "paid_twice": [row["request_id"] for row in twice],
        "to_come_back": coming["n"],
        "callbacks": {row["state"]: row["n"] for row in told},
        "callback_tries": sum(row["tries"] for row in told),
    }  # fmt: skip


def statement(books: Books) -> Iterator[bytes]:
    """Every payment as CSV, in the order in which they were taken; for comparison by whoever ordered them."""
    last = 0
    head = True
    while True:
        rows = books.rows(
            "SELECT p.*, b.batch_id, b.kind FROM payments p JOIN batches b ON b.number = p.batch WHERE p.number > ? "
            "ORDER BY p.number LIMIT ?", last, _READ_AT_ONCE,
        )  # fmt: skip
        out = io.StringIO()
        write = csv.writer(out)
        if head:
            write.writerow(STATEMENT_COLUMNS)
        write.writerows(
            (
                r["request_id"], STATEMENT_STATUS[r["status"]], minor_text(r["amount_minor"], r["currency"]),
                r["currency"], transaction_id(r["number"]), (r["reason"] or "") if r["status"] != PAID else "",
                r["account"], r["batch_id"], r["kind"],
            )
            for r in rows
        )  # fmt: skip
        if rows or head:
            yield out.getvalue().encode()
        if not rows:
            return
        head, last = False, rows[-1]["number"]


async def run(options: Options, announce: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets one JSON line with the address when it is ready."""
    books = Books(options.folder)
    simulator = Simulator(books, options.token)
    server = Server(simulator.answer)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    try:
        try:
            port = await server.listen(options.host, options.port)
        except OSError as error:
            message = f"cannot listen at {options.host} port {options.port}: {error}; choose others"
            raise Unavailable(Refusal("serve.address", message)) from None
        works = [_clockwork(simulator), Sender(books, options.secret.encode()).run()]
        if options.watch is not None:
            works.append(Folder(books, options.watch).run())
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work) for work in works]
        waiting: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        announce(_json({"url": f"http://{options.host}:{port}", "folder": str(options.folder)}).decode())
        done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        await server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()  # a work that ended by itself failed
    finally:
        books.close()


async def _clockwork(simulator: Simulator) -> None:
    while True:
        settled = simulator.settle(time.time())
        await asyncio.sleep(0 if settled else TICK_SECONDS)


def _detail(row: Any, batch: Any) -> dict[str, Any]:
    known = row["status"] != PENDING
    return {
        "requestId": row["request_id"], "transactionId": transaction_id(row["number"]), "status": row["status"],
        "statusDetail": (row["reason"] or "paid") if known else "", "batchId": batch["batch_id"],
        "errorInformation": row["reason"] if row["status"] == FAILED else None,
        "amount": number(row["amount_minor"], row["currency"]), "currency": row["currency"],
        "payeePartyId": row["account"],
        "payeePartyIdType": "MSISDN" if batch["kind"] == "mobile" else "PERSONAL_ID",
        "direction": "OUTGOING", "startedAt": _instant(batch["received_at"]),
        "completedAt": _instant(row["completed_at"]) if known else None,
        **({} if row["serial"] is None else {"serialNumber": row["serial"]}),
    }  # fmt: skip


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _header(request: Request, name: str, longest: int, *, needed: bool = True) -> str:
    found = request.headers.get(name, "")
    if len(found) > longest or (needed and not found):
        raise Malformed(f"the header {name} has 1 to {longest} characters")
    return found


def _whole(request: Request, name: str, default: int, most: int) -> int:
    given = request.query.get(name, str(default))
    if not given.isascii() or not given.isdigit() or int(given) > most:
        raise Malformed(f"{name} is a whole number up to {most}")
    return int(given)


def _as(kind: str, value: Any) -> Any:
    """A value of JSON for a field of Behaviour."""
    with suppress(TypeError, ValueError):
        if kind == "bool" and isinstance(value, bool):
            return value
        if kind == "int" and not isinstance(value, bool):
            return int(value)
        if kind == "float" and not isinstance(value, bool):
            return float(value)
    raise Malformed(f"{value!r} is no {kind}")


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, _json({"errorDescription": message}), headers or {})


def _json(said: Any) -> bytes:
    return msgspec.json.encode(said)
