"""Who calls over HTTP: bearer tokens, logging in and out, and a brake on guessing passwords.

The brake counts in this process's memory: with several web processes an attacker has as many tries in each. A proxy
that limits `/api/auth/token` by address is the wall against more; this is the one that is always there.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.errors import ImisError, Refusal, invalid, refused
from imis_core.parsing import InvalidInput, parse
from imis_core.security.caller import Caller
from imis_core.security.login import caller_by_token, log_in
from imis_core.security.passwords import token_digest
from imis_core.security.tables import tokens
from imis_core.web.problems import RETRY_SECONDS, RequestRefused

if TYPE_CHECKING:
    from imis_core.application import Application

FAILURES_MAX: Final = 10  # wrong passwords for one name from one address within a window
WINDOW_SECONDS: Final = 60.0
_REMEMBERED_MAX: Final = 10_000  # pairs of name and address; the oldest are forgotten first
# Checking a password takes 64 MB and a core for 50 ms on purpose: more at once would only take memory.
_CHECKS_AT_ONCE: Final = 2
_CHECK_WAIT_SECONDS: Final = 5.0
_TOKEN_MAX: Final = 200


@frozen(kw_only=True)
class LogIn:
    """What `POST /api/auth/token` takes."""

    name: str
    password: str = field(metadata={"secret": True}, repr=False)


class Brake:
    """Counts failed logins by name and address; refuses with `auth.too_many` beyond the limit."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._failures: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, name: str, address: str) -> None:
        """Raises `auth.too_many` with `Retry-After`, also for the right password."""
        with self._lock:
            begun, count = self._failures.get((name, address), (0.0, 0))
        left = begun + WINDOW_SECONDS - self._seconds()
        if count >= FAILURES_MAX and left > 0:
            wait = int(left) + 1
            message = f"too many wrong passwords for this name; try again in {wait} seconds"
            raise RequestRefused(Refusal("auth.too_many", message), {"Retry-After": str(wait)})

    def failed(self, name: str, address: str) -> None:
        """Count one more failure in the pair's window."""
        now = self._seconds()
        with self._lock:
            begun, count = self._failures.pop((name, address), (now, 0))
            fresh = now - begun >= WINDOW_SECONDS
            self._failures[name, address] = (now, 1) if fresh else (begun, count + 1)
            while len(self._failures) > _REMEMBERED_MAX:
                self._failures.popitem(last=False)


class Authentication:
    """The login desk of one application."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._brake = Brake()
        self._checks = threading.BoundedSemaphore(_CHECKS_AT_ONCE)

    def caller(self, authorization: str | None) -> Caller:
        """The caller of a request by its header. Raises `auth.required` and `auth.invalid_token`."""
        caller = caller_by_token(self._app, _token(authorization))
        if caller is None:
            raise refused("auth.invalid_token", "the token is unknown, expired or revoked; log in again")
        return caller

    def log_in(self, data: Any, address: str, client: str) -> dict[str, str]:
        """A fresh token. Raises `input.invalid`, `auth.failed`, `auth.too_many`."""
        try:
            asked = parse(data, LogIn)
        except InvalidInput as error:
            raise ImisError(invalid(*error.problems)) from None
        self._brake.check(asked.name, address)
        if not self._checks.acquire(timeout=_CHECK_WAIT_SECONDS):
            busy = Refusal("auth.too_many", "too many people log in at once; try again in some seconds")
            raise RequestRefused(busy, {"Retry-After": str(RETRY_SECONDS)})
        try:
            token, expires = log_in(self._app, asked.name, asked.password, client)
        except ImisError as error:
            if error.code == "auth.failed":
                self._brake.failed(asked.name, address)
            raise
        finally:
            self._checks.release()
        return {"token": token, "expires": expires.isoformat().replace("+00:00", "Z")}

    def log_out(self, authorization: str | None) -> None:
        """Revoke the request's own token. Raises as `caller` does."""
        caller = self.caller(authorization)
        with self._app.database.command(caller) as (connection, _):
            connection.execute(
                sa.update(tokens)
                .where(tokens.c.digest == token_digest(_token(authorization)), tokens.c.revoked_at.is_(None))
                .values(revoked_at=self._app.clock.now())
            )


def _token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise refused("auth.required", "log in with POST /api/auth/token and send `Authorization: Bearer TOKEN`")
    if len(token) > _TOKEN_MAX or not token.isascii():
        raise refused("auth.invalid_token", "this is no token of ours; log in again")
    return token
