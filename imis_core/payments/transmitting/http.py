"""One exchange over HTTP with a payment provider: bounded in time and size, and clear about what may have arrived."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import msgspec
from attrs import field, frozen

from imis_core.payments.transmitting.service import Gateway

PIECE: Final = 64 * 1024  # bytes that are written at once
ANSWER_MAX: Final = 16 * 1024 * 1024  # bytes of an answer
# Failures before the first byte of a request has left; after any other one it may have arrived.
_NEVER_LEFT: Final = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL,
)  # fmt: skip


class NeverLeft(Exception):
    """The request was not sent: nothing can have arrived."""


class NoAnswer(Exception):
    """The request may have arrived; no whole answer came."""


@frozen
class Answered:
    """An answer: its status, its body, and for how many seconds the provider asks to be left alone."""

    status: int
    body: bytes = field(repr=False)
    retry_after: int | None = None


def client_of(gateway: Gateway) -> httpx.Client:
    """A client with our token. Raises `NoSecret`."""
    headers = {"Platform-TenantId": gateway.settings.tenant, "Accept": "application/json"}
    token = gateway.token()
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.Client(headers=headers, timeout=gateway.settings.timeout_seconds, follow_redirects=False)


def exchange(
    client: httpx.Client, gateway: Gateway, method: str, path: str, *,
    parameters: Mapping[str, str], headers: Mapping[str, str] | None = None, body: bytes | None = None,
) -> Answered:  # fmt: skip
    """One request and its whole answer. Raises `NeverLeft` and `NoAnswer`.

    Each operation has the gateway's time-out, and none begins after it but reading what is said then: connecting, the
    last write, and the answer take three times as long at most.

    What is told of a failure is its kind: libraries and servers may put addresses and secrets into their texts.
    """
    until = time.monotonic() + gateway.settings.timeout_seconds
    sent = dict(headers or {})
    if body is not None:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    url = gateway.settings.url.rstrip("/") + path
    try:
        with client.stream(
            method, url, params=dict(parameters), headers=sent, content=None if body is None else _parts(body, until)
        ) as answer:
            content = bytearray()
            for part in answer.iter_bytes():
                content += part
                if len(content) > ANSWER_MAX:
                    raise NoAnswer(f"the answer has more than {ANSWER_MAX} bytes")
                if time.monotonic() > until:
                    raise NoAnswer("the answer took too long")
            return Answered(answer.status_code, bytes(content), _seconds(answer.headers.get("retry-after")))
    except _NEVER_LEFT as error:
        raise NeverLeft(type(error).__name__) from None
    except httpx.HTTPError as error:
        raise NoAnswer(type(error).__name__) from None


def _parts(body: bytes, until: float) -> Iterator[bytes]:
    """A body in pieces, as long as there is time: a provider that reads slowly does not hold its sender for ever."""
    for start in range(0, len(body), PIECE):
        if time.monotonic() > until:
            raise NoAnswer("the provider took too long to read")
        yield body[start : start + PIECE]


def _seconds(text: str | None) -> int | None:
    """The header Retry-After where it is a number of seconds; a date is the machine's matter, and not read."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else None


def encode(value: Any) -> bytes:
    """JSON with exact numbers."""
    return _encode(value)


_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
