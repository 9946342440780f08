"""Problem documents (RFC 9457): every refusal and failure as one JSON form with a stable code and its HTTP status.

Tells a client nothing of the inside: addresses of databases and tracebacks go to the log under the request's id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from attrs import field, frozen
from litestar.exceptions import HTTPException
from litestar.response import Response

from imis_core.database.faults import AWAY, fault_of
from imis_core.errors import ImisError, Refusal, Unavailable
from imis_core.plugins import HookFailed

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5  # what a client is told to wait when something outside is away
# contract.md, REST: everything that is not listed here is a refusal by state, 409.
_STATUS: Final[Mapping[str, int]] = {
    "auth.required": 401,
    "payments.signature": 401,
    "auth.invalid_token": 401,
    "auth.failed": 401,
    "auth.session_ended": 401,
    "auth.csrf": 403,
    "auth.password_change_required": 403,
    "permission.denied": 403,
    "not_found": 404,
    "http.bad_request": 400,
    "http.method_not_allowed": 405,
    "http.not_acceptable": 406,
    "http.too_large": 413,
    "http.unsupported_media_type": 415,
    "input.invalid": 422,
    "auth.too_many": 429,
    "auth.locked": 429,
    "requests.too_many": 429,
    "lookups.too_many": 429,
    "requests.timed_out": 504,
    "http.too_slow": 408,
    "http.query_too_long": 414,
    "http.head_too_large": 431,
    "internal": 500,
    "plugins.failed": 500,
}
_OF_STATUS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("http.bad_request", "the request is not valid HTTP"),
    404: ("not_found", "there is nothing at this address; /schema lists all addresses"),
    405: ("http.method_not_allowed", "this address does not take this method; the header Allow names those it takes"),
    413: ("http.too_large", "the request is larger than 20 MB; send it in several parts, or use `imis import`"),
}
_CHALLENGE: Final[Mapping[str, str]] = {
    "auth.required": "Bearer",
    "auth.failed": "Bearer",
    "auth.session_ended": "Bearer",
    "auth.invalid_token": 'Bearer error="invalid_token"',
}
_log = logging.getLogger(__name__)


@frozen
class Failure:
    """What went wrong with a request: how it is told, the HTTP status, and headers of its own."""

    refusal: Refusal
    status: int
    headers: Mapping[str, str] = field(factory=dict)


class RequestRefused(ImisError):
    """A refusal with headers of its own, such as `Allow` or `Retry-After`."""

    def __init__(self, refusal: Refusal, headers: Mapping[str, str]) -> None:
        super().__init__(refusal)
        self.headers = headers


def status_of(code: str) -> int:
    """The HTTP status of an error code: its own, 422 for wrong terms, 409 for every other refusal."""
    own = _STATUS.get(code)
    if own is not None:
        return own
    return 422 if code.endswith(".invalid_terms") else 409


def problem_document(refusal: Refusal, status: int, instance: str) -> dict[str, Any]:
    """The members of a problem document; `instance` is the address that was asked."""
    return {
        "type": f"urn:imis:error:{refusal.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        **refusal.as_json(),
        "instance": instance,
    }


def problem_response(
    refusal: Refusal, instance: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """A refusal as an HTTP answer; `status` only where the code does not say it."""
    chosen = status or status_of(refusal.code)
    sent = headers_of(refusal, chosen, headers or {})
    body = msgspec.json.encode(problem_document(refusal, chosen, instance))
    return Response(body, status_code=chosen, media_type=MEDIA_TYPE, headers=sent)


def headers_of(refusal: Refusal, status: int, headers: Mapping[str, str]) -> dict[str, str]:
    """A refusal's own headers with those that its code and status ask for."""
    sent = dict(headers)
    if refusal.code in _CHALLENGE:
        sent["WWW-Authenticate"] = _CHALLENGE[refusal.code]
    if "retry_after" in refusal.details:
        sent["Retry-After"] = str(refusal.details["retry_after"])
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        sent.setdefault("Retry-After", str(RETRY_SECONDS))
    return sent


def failure_response(failure: Failure, instance: str) -> Response[bytes]:
    """A failure as a problem document."""
    return problem_response(failure.refusal, instance, status=failure.status, headers=failure.headers)


def failure_of(error: Exception, instance: str, request: str) -> Failure:
    """What is told of any exception; what nobody foresaw is logged with its traceback under the request's id."""
    if isinstance(error, RequestRefused):
        return Failure(error.refusal, status_of(error.refusal.code), error.headers)
    if isinstance(error, ImisError):
        code = error.refusal.code
        # What is wrong with the database is the operator's business: its address and login stay in the log.
        if code.startswith("database."):
            _log.error("request %s: %s", request, error)
            return Failure(AWAY, 503)
        return Failure(error.refusal, _STATUS.get(code, 503) if isinstance(error, Unavailable) else status_of(code))
    if isinstance(error, HTTPException):
        known = _OF_STATUS.get(error.status_code)
        if known is not None:
            return Failure(Refusal(*known), error.status_code, error.headers or {})
    fault = fault_of(error)
    if fault is not None:
        _log.error("request %s: %s", request, error, exc_info=error)
        return Failure(fault, 503)
    if isinstance(error, HookFailed):
        _log.error("request %s to %s failed", request, instance, exc_info=error)
        message = (
            f"the plugin {error.plugin!r} failed in {error.hook}; nothing was changed. Tell the operator {request}"
        )
        return Failure(Refusal("plugins.failed", message, (), {"request": request}), 500)
    _log.error("request %s to %s failed", request, instance, exc_info=error)
    message = f"something went wrong here; nothing was changed. Tell the operator the request id {request}"
    return Failure(Refusal("internal", message, (), {"request": request}), 500)
