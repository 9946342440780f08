"""How large, deep and slow a request may be, before anything of ours reads it. What it means is others' matter.

Bodies are bounded in `bodies`, lists in `commands`; statements and locks of a request in `database.engine`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from imis_core.errors import Refusal
from imis_core.web.problems import RequestRefused

HEAD_MAX: Final = 32 * 1024  # bytes of a request's line and headers
QUERY_MAX: Final = 16 * 1024  # bytes of a query string
STRANGER_BODY_MAX: Final = 64 * 1024  # bytes from somebody who shows neither token nor cookie: a login
HEAD_SECONDS: Final = 20.0  # until a request's line and headers have arrived
_CLOSE: Final = {"Connection": "close"}


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which waits for a request's head only so long: who sends it byte by byte is let go."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Between two requests uvicorn's own keep-alive runs; once bytes of a head have come, this one does."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._let_go)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _let_go(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.close()


def check_head(scope: Scope) -> None:
    """Raises `http.head_too_large` and `http.query_too_long`."""
    query = scope["query_string"]
    if len(query) > QUERY_MAX:
        message = f"the query string has more than {QUERY_MAX // 1024} KiB; ask for less, or in several requests"
        raise RequestRefused(Refusal("http.query_too_long", message), {})
    size = len(scope["raw_path"]) + len(query) + sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size > HEAD_MAX:
        message = f"the line and headers of the request have more than {HEAD_MAX // 1024} KiB"
        raise RequestRefused(Refusal("http.head_too_large", message), {})


class Body:
    """Reads a request's body with patience for `seconds` in all, and little from strangers."""

    def __init__(self, receive: Receive, scope: Scope, seconds: int) -> None:
        self._receive = receive
        self._until = asyncio.get_running_loop().time() + seconds
        self._seconds = seconds
        known = {b"authorization", b"cookie"} & {name for name, _ in scope["headers"]}
        self._left = None if known else STRANGER_BODY_MAX
        self._whole = False

    async def receive(self) -> Any:
        """The next message. Raises `http.too_slow` and `http.too_large`."""
        if self._whole:  # what comes now is only that the client has gone
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            text = f"the request did not arrive within {self._seconds} seconds; send it again, in several parts"
            raise RequestRefused(Refusal("http.too_slow", text), _CLOSE) from None
        if message["type"] != "http.request":
            return message
        self._whole = not message.get("more_body", False)
        if self._left is not None:
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                text = "this is too large for a request without a login; log in and send it again"
                raise RequestRefused(Refusal("http.too_large", text), _CLOSE)
        return message


def patient(seconds: int) -> Any:
    """The middleware that puts `Body` before a request."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                receive = Body(receive, scope, seconds).receive
            await app(scope, receive, send)

        return run

    return middleware
