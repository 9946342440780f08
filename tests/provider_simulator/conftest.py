"""A simulator as a process of its own, and a real server that takes its callbacks."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from imis_core.provider_simulator.process import Running, start

SECRET = "between the two of us"
PATIENCE_SECONDS = 60.0


class Listener:
    """Takes callbacks; those without a good signature are refused, and `answers` are statuses for the next ones."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.nonces: list[str] = []
        self.answers: list[int] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                at, nonce = self.headers["X-Signature-Time"], self.headers["X-Signature-Nonce"]
                good = hmac.new(SECRET.encode(), f"{at}.{nonce}.".encode() + body, hashlib.sha256).hexdigest()
                fresh = abs(time.time() - int(at)) < 60
                status = 401 if good != self.headers["X-Signature"] or not fresh else 200
                if listener.answers:
                    status = listener.answers.pop(0)
                if status == 200:
                    listener.got.append(json.loads(body))
                    listener.nonces.append(nonce)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callbacks"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


class Provider:
    """A simulator on a folder, started again when it was killed, and a client of it."""

    def __init__(self, folder: Path, watch: Path) -> None:
        self.folder, self.watch = folder, watch
        self.running: Running = self._start()

    def _start(self) -> Running:
        return start(self.folder, watch=self.watch, environment={"IMIS_SIMULATOR_SECRET": SECRET})

    @property
    def url(self) -> str:
        return self.running.url

    def behave(self, **changed: object) -> None:
        self.running.behave(**changed)

    def kill_and_start(self) -> None:
        self.running.kill()
        self.running = self._start()

    def send(self, correlation: str, instructions: Any, callback: str, seconds: float = 30.0) -> httpx.Response:
        return httpx.post(
            f"{self.url}/batchtransactions", params={"type": "raw"}, json=instructions, timeout=seconds,
            headers={"X-CorrelationID": correlation, "Platform-TenantId": "T", "X-Callback-URL": callback},
        )  # fmt: skip

    def details(self, **query: object) -> httpx.Response:
        return httpx.get(
            f"{self.url}/api/v1/batch/detail", params=query, headers={"Platform-TenantId": "T"}, timeout=30
        )  # type: ignore[arg-type]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    provider = Provider(tmp_path / "books", tmp_path / "files")
    yield provider
    assert provider.running.stop() == 0


def payment(name: str, amount: float = 12, currency: str = "USD", account: str = "+23566000000") -> dict[str, Any]:
    return {
        "requestId": name, "creditParty": [{"key": "MSISDN", "value": account}],
        "debitParty": [{"key": "accountNumber", "value": "AGENCY"}], "paymentMode": "mobile money",
        "amount": amount, "currency": currency, "descriptionText": "grant",
    }  # fmt: skip


def payments(count: int, first: int = 1) -> list[dict[str, Any]]:
    return [payment(str(n), 10 + n % 5, account=f"+2356600{n:04d}") for n in range(first, first + count)]


def until(condition: Callable[[], Any]) -> Any:
    """Wait until the condition holds; what it answered."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found
