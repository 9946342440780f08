"""Lists of vouchers as other providers may give them: with other words, without pages, without all rows; over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from imis_core.gateway_settings import GatewayTable
from imis_core.payments.transmitting.service import Gateway
from imis_core.payments.transmitting.vouchers import ask, cancel


class Shop:
    """A provider with a list of rows that it gives whole, whatever page it is asked for."""

    def __init__(self, *rows: tuple[str, str, Any]) -> None:
        self.rows = [{"requestId": n, "status": s, "serialNumber": serial, "amount": 1} for n, s, serial in rows]
        self.requests: list[str] = []
        self.names: list[str] = []
        self.activated: list[str] = []

    def take(self, method: str, content: Any) -> tuple[int, Any]:
        self.requests.append(method)
        if method == "GET":
            return 200, self.rows
        self.names.append(content.get("requestID") or content.get("RequestID"))
        serials = [one["serialNumber"] for one in content.get("voucherInstructions") or content["VoucherInstructions"]]
        if method == "PUT":
            self.activated = serials
        else:
            self.rows = [r | {"status": "FAILED"} if str(r["serialNumber"]) in serials else r for r in self.rows]
        return 200, {}


@pytest.fixture
def shop() -> Shop:
    return Shop(("1", "PENDING", "11"), ("2", "in_progress", 12), ("3", "COMPLETED", "13"), ("4", "IN_PROGRESS", "14"))


@pytest.fixture
def gateway(shop: Shop) -> Iterator[Gateway]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = shop.take(self.command, json.loads(body) if body else None)
            said = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield Gateway("SH", GatewayTable(url=url, tenant="us", debit_account="1", callback_url="http://127.0.0.1:1"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def no_wait() -> None:
    """Each request goes at once."""


def test_whatever_is_called_pending_is_cancelled_once(shop: Shop, gateway: Gateway) -> None:
    """All words for what is not decided count, in any case; the list is read whole before it changes, so that it ends;
    each request has a name of its own."""
    assert cancel(gateway, "B", None, no_wait, {"1", "2", "3"}) is None
    assert [row["status"] for row in shop.rows] == ["FAILED", "FAILED", "COMPLETED", "IN_PROGRESS"]
    assert shop.requests == ["GET", "GET", "POST"]
    assert cancel(gateway, "B", None, no_wait, {"4"}) is None
    assert len(set(shop.names)) == 2
    assert {len(name) for name in shop.names} == {12}


def test_what_cannot_be_cancelled_says_why(shop: Shop, gateway: Gateway) -> None:
    """An order that stands in no row, or in one without a serial number."""
    reason = cancel(gateway, "B", None, no_wait, {"4", "7"})
    assert reason is not None
    assert "the provider's list says nothing of 1 of them" in reason
    shop.rows = [row | {"serialNumber": None} for row in shop.rows]
    reason = cancel(gateway, "B", None, no_wait, {"1"})
    assert reason is not None
    assert "serial numbers" in reason


def test_all_that_wait_are_activated_but_those_stopped(shop: Shop, gateway: Gateway) -> None:
    """What the batch is called is told only when none is left out."""
    shop.rows = [row | {"batchId": "N1"} for row in shop.rows]
    pages = list(ask(gateway, "B", None, no_wait, {"2"}))
    assert shop.activated == ["11", "14"]
    assert [(one.order, one.status) for page in pages for one in page.rows] == [
        ("1", "pending"), ("2", "pending"), ("3", "paid"), ("4", "pending"),
    ]  # fmt: skip
    assert {page.batch for page in pages} == {None}
    assert list(ask(gateway, "B", None, no_wait, {"3"}))[-1].batch == "N1"
    assert shop.activated == ["11", "12", "14"]
