"""A mobile-money operator as a real HTTP server with its own books, that does wrong what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Operator:
    """What it has: batches by their sender's name, and what each instruction came to.

    `plan` holds, for the next requests to hand over a batch, what it does: "take", "take and say nothing", "cut" (it
    closes the connection without having taken anything), a status that it answers without having taken anything, or
    (status, "taken"). `asks` is the same for requests for details. Without a plan it behaves.
    """

    def __init__(self) -> None:
        self.batches: dict[str, dict[str, Any]] = {}
        self.plan: list[Any] = []
        self.asks: list[Any] = []
        self.requests: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        self.checks: list[Any] = []  # of accounts
        self.failing: set[str] = set()  # accounts
        self.pending: set[str] = set()  # accounts
        self.amounts: dict[str, str] = {}  # account -> another amount that it says it paid
        self.before: Callable[[], None] = lambda: None  # run when a batch has been read, before anything is decided
        self.page_max = 10_000  # rows, whatever it is asked for
        self.turns_pages = True
        self.port = 0
        self.lock = threading.Lock()

    @property
    def paid(self) -> list[tuple[str, str]]:
        """(instruction, amount) of each payment that was made, in their order."""
        return [
            (row["requestId"], str(row["amount"]))
            for batch in self.batches.values()
            for row in batch["rows"]
            if row["status"] == "COMPLETED"
        ]

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "url": f"http://127.0.0.1:{self.port}", "tenant": "agency", "debit_account": "0001", "callback_url": "http://127.0.0.1:1",
            "token_variable": "TEST_MM_TOKEN", "secret_variable": "TEST_MM_SECRET", "timeout_seconds": 1, **more,
        }  # fmt: skip

    def take(self, correlation: str, instructions: list[Any]) -> str:
        """Take a batch, once; what it is called."""
        with self.lock:
            if correlation not in self.batches:
                batch = f"B-{len(self.batches) + 1}"
                rows = [self._row(batch, one) for one in instructions]
                self.batches[correlation] = {"batchId": batch, "rows": rows}
            return str(self.batches[correlation]["batchId"])

    def _row(self, batch: str, one: Any) -> dict[str, Any]:
        account = one["creditParty"][0]["value"]
        status = "FAILED" if account in self.failing else "IN_PROGRESS" if account in self.pending else "COMPLETED"
        return {
            "requestId": one["requestId"], "transactionId": f"T{one['requestId']}", "status": status,
            "amount": self.amounts.get(account, one["amount"]), "currency": one["currency"], "batchId": batch,
            "payeePartyId": account, "errorInformation": "no such wallet" if status == "FAILED" else None,
        }  # fmt: skip

    def give_back(self, account: str, reason: str = "wallet closed") -> None:
        """What was paid to an account comes back."""
        for batch in self.batches.values():
            for row in batch["rows"]:
                if row["payeePartyId"] == account and row["status"] == "COMPLETED":
                    row.update(status="REVERSED", statusDetail=reason)

    def settle(self) -> None:
        """Everything pending is paid."""
        for batch in self.batches.values():
            for row in batch["rows"]:
                if row["status"] == "IN_PROGRESS":
                    row["status"] = "COMPLETED"


class _Handler(BaseHTTPRequestHandler):
    operator: Operator

    def do_POST(self) -> None:
        operator = self.operator
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])), parse_float=str)
        if self.path == "/beneficiaries?command=validate":
            operator.checks.append(body)
            self._say(202, {})
            return
        correlation = self.headers["X-CorrelationID"]
        operator.requests.append(("POST", correlation))
        operator.headers = dict(self.headers)
        operator.before()
        what = operator.plan.pop(0) if operator.plan else "take"
        if what == "cut":
            self.close_connection = True
            return
        if what == "take and say nothing":
            operator.take(correlation, body)
            self.close_connection = True
            return
        if isinstance(what, tuple):
            operator.take(correlation, body)
            self._say(what[0], {})
        elif isinstance(what, int):
            self._say(what, {"message": "no"})
        else:
            self._say(202, {"batchId": operator.take(correlation, body)})

    def do_GET(self) -> None:
        operator = self.operator
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        operator.requests.append(("GET", asked.get("X-CorrelationID", "")))
        what = operator.asks.pop(0) if operator.asks else None
        if what == "cut":
            self.close_connection = True
            return
        if isinstance(what, int):
            self._say(what, {})
            return
        if what == "empty":
            self._say(200, [])
            return
        batch = operator.batches.get(asked["X-CorrelationID"])
        if batch is None:
            self._say(404, {"message": "unknown"})
            return
        size, page = min(int(asked["pageSize"]), operator.page_max), int(asked["pageNo"])
        page = page if operator.turns_pages else 0
        self._say(200, batch["rows"][page * size : (page + 1) * size])

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@contextmanager
def running_operator() -> Iterator[Operator]:
    """An operator that listens on a port of its own."""
    operator = Operator()
    handler = type("Handler", (_Handler,), {"operator": operator})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    operator.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield operator
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
