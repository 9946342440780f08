"""A small HTTP/1.1 server on asyncio that can also misbehave: answer late, never, or cut the connection.

It knows nothing of what is served: a handler turns each request into an answer, a cut or a silence.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
from attrs import field, frozen

BODY_MAX: Final = 256 * 1024 * 1024  # bytes of a request
READ_SIZE: Final = 256 * 1024


@frozen
class Request:
    """A request; names of headers are small letters."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@frozen
class Answer:
    """What is answered; a body in pieces is sent as it is made."""

    status: int
    body: bytes | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(factory=dict)
    media_type: str = "application/json"


Silence = Literal["cut", "hang"]  # the connection is closed at once, or kept open without a word until the client goes
Handler = Callable[[Request], Awaitable[Answer | Silence]]


class Server:
    """Serves a handler until it is closed."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Begin to serve; the port (a free one if 0 was asked). Raises OSError if it cannot be had."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=READ_SIZE)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Stop listening and let go of every connection, also of those that wait in silence."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Kept here: a task that nobody holds may be collected while it waits.
        task = asyncio.create_task(self._talk(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = writer.get_extra_info("socket")
        carrier.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = h11.Connection(h11.SERVER)
        try:
            while (request := await _received(connection, reader, writer)) is not None:
                answer = await self._handler(request)
                if answer == "cut":
                    writer.transport.abort()
                    return
                if answer == "hang":
                    while await reader.read(READ_SIZE):
                        pass  # until the client gives up
                    return
                assert isinstance(answer, Answer)
                await _sent(connection, writer, answer, request.method)
                if connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()
        except (ConnectionError, h11.ProtocolError, asyncio.CancelledError):
            return  # the client has gone, or speaks something else
        finally:
            writer.close()


async def _received(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    head: h11.Request | None = None
    body: list[bytes] = []
    size = 0
    while True:
        event: Any = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(await reader.read(READ_SIZE))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
            size += len(event.data)
            if size > BODY_MAX:
                raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            target = urlsplit(head.target.decode("latin-1"))
            return Request(
                head.method.decode(), unquote(target.path), dict(parse_qsl(target.query, keep_blank_values=True)),
                {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}, b"".join(body),
            )  # fmt: skip
        else:  # closed, between two requests or in the middle of one
            return None


async def _sent(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer, method: str) -> None:
    pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body
    framing = (
        ("content-length", str(len(answer.body)))
        if isinstance(answer.body, bytes)
        else ("transfer-encoding", "chunked")
    )
    headers = [("content-type", answer.media_type), *answer.headers.items(), framing]
    writer.write(connection.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
    for piece in pieces if method != "HEAD" else ():
        writer.write(connection.send(h11.Data(data=piece)) or b"")
        await writer.drain()
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
