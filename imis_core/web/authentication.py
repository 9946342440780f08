"""Who calls over HTTP: bearer tokens of programs, sessions of browsers, and logging in and out.

A request with `Authorization: Bearer` is judged by that alone. Without it, a session's cookie counts; what it changes
must carry the session's CSRF token and come from this site's own pages. Guessing is stopped in `security.lockout`.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen
from litestar import Request
from litestar.datastructures import Cookie

from imis_core.database.engine import bounded
from imis_core.errors import ImisError, Refusal, invalid, refused
from imis_core.parsing import InvalidInput, parse
from imis_core.security.allowances import Allowance
from imis_core.security.caller import Caller
from imis_core.security.login import Session, caller_by_token, end_login, log_in, session_of
from imis_core.security.passwords import csrf_of
from imis_core.web.problems import RETRY_SECONDS, RequestRefused

if TYPE_CHECKING:
    from imis_core.application import Application

Asked = Request[Any, Any, Any]
CSRF_HEADER: Final = "x-csrf-token"
STATEMENT_SECONDS_MAX: Final = 3600  # whatever the settings say; longer work goes into the background
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Checking a password takes 64 MB and a core for 50 ms on purpose: more at once would only take memory.
_CHECKS_AT_ONCE: Final = 2
_CHECK_WAIT_SECONDS: Final = 5.0
_TOKEN_MAX: Final = 200
_REQUIRED: Final = "log in with POST /api/auth/token and send `Authorization: Bearer TOKEN`"


@frozen(kw_only=True)
class LogIn:
    """What `POST /api/auth/token` and `/api/auth/session` take.

    `client` names the program in the list of logins, by default the header User-Agent. `new_password` replaces the
    password that was given to the user.
    """

    name: str
    password: str = field(metadata={"secret": True}, repr=False)
    client: str | None = None
    new_password: str | None = field(default=None, metadata={"secret": True}, repr=False)


@frozen(kw_only=True)
class SessionShown:
    """`csrf` goes into the header X-CSRF-Token of every request that changes something."""

    name: str
    roles: tuple[str, ...]
    expires: str
    csrf: str = field(repr=False)


class Authentication:
    """The login desk of one application."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._checks = threading.BoundedSemaphore(_CHECKS_AT_ONCE)
        self._requests = Allowance(app.settings.security.requests_per_minute, 60.0)
        secure = app.settings.security.secure_cookies
        # The prefix makes browsers refuse the cookie unless it is Secure, of this host alone and of every path.
        self.cookie_name: Final = "__Host-imis-session" if secure else "imis-session"

    @contextmanager
    def bounds(self) -> Iterator[None]:
        """What one request may take of the database, as `[security]` says."""
        security = self._app.settings.security
        statement_seconds = min(security.statement_seconds, STATEMENT_SECONDS_MAX)
        with bounded(statement_seconds, security.lock_seconds, security.request_seconds):
            yield

    def caller(self, request: Asked) -> Caller:
        """The caller of a request. Raises `auth.required`, `auth.invalid_token`, `auth.csrf`, `requests.too_many`."""
        caller = self._known(request)
        wait = self._requests.take(caller.user)
        if wait is not None:
            message = f"too many requests; go on in {wait} seconds, and send lists instead of single objects"
            raise refused("requests.too_many", message, retry_after=wait)
        return caller

    def _known(self, request: Asked) -> Caller:
        authorization = request.headers.get("authorization")
        if authorization is None and self.cookie_name in request.cookies:
            return self.session(request).caller
        caller = caller_by_token(self._app, _token(authorization))
        if caller is None:
            raise refused("auth.invalid_token", "the token is unknown, expired or revoked; log in again")
        return caller

    def session(self, request: Asked) -> Session:
        """The session of a request's cookie. Raises `auth.required`, `auth.session_ended`, `auth.csrf`."""
        token = request.cookies.get(self.cookie_name)
        if token is None:
            raise refused("auth.required", _REQUIRED)
        session = session_of(self._app, token) if len(token) <= _TOKEN_MAX and token.isascii() else None
        if session is None:
            raise refused("auth.session_ended", "the session has ended; log in again")
        if request.method not in SAFE_METHODS:
            self._check_origin(request)
            if not hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), csrf_of(token).encode()):
                message = "the header X-CSRF-Token must carry the token of GET /api/auth/session; load the page again"
                raise refused("auth.csrf", message)
        return session

    def log_in(self, data: Any, request: Asked) -> dict[str, str]:
        """A fresh token. Raises `input.invalid` and what `security.login.log_in` raises."""
        asked = _form(data)
        token, expires = self._let_in(asked, request, session=False)
        return {"token": token, "expires": _instant(expires)}

    def begin_session(self, data: Any, request: Asked) -> tuple[SessionShown, Cookie]:
        """A fresh session with its cookie; the one that the browser had before ends."""
        self._check_origin(request)
        asked = _form(data)
        token, _ = self._let_in(asked, request, session=True)
        before = request.cookies.get(self.cookie_name)
        if before is not None and before.isascii():
            end_login(self._app, before)
        begun = session_of(self._app, token)
        if begun is None:  # disabled in this very moment
            raise refused("auth.session_ended", "the session has ended; log in again")
        return self.shown(begun, token), self.cookie(token)

    def shown(self, session: Session, token: str) -> SessionShown:
        """A session as its browser sees it."""
        caller = session.caller
        return SessionShown(
            name=caller.name, roles=caller.roles, expires=_instant(session.expires), csrf=csrf_of(token)
        )  # fmt: skip

    def cookie(self, token: str | None) -> Cookie:
        """The session's cookie, or the one that removes it. It goes when the browser closes; no script reads it."""
        return Cookie(
            key=self.cookie_name, value=token or "", path="/", httponly=True, samesite="strict",
            secure=self._app.settings.security.secure_cookies, max_age=0 if token is None else None,
        )  # fmt: skip

    def log_out(self, request: Asked) -> Cookie | None:
        """Revoke the request's own token or session; of a session the cookie that removes it. Raises as `caller`."""
        self.caller(request)
        authorization = request.headers.get("authorization")
        if authorization is not None:
            end_login(self._app, _token(authorization))
            return None
        end_login(self._app, request.cookies[self.cookie_name])
        return self.cookie(None)

    def _let_in(self, asked: LogIn, request: Asked, *, session: bool) -> tuple[str, datetime]:
        if not self._checks.acquire(timeout=_CHECK_WAIT_SECONDS):
            busy = Refusal("auth.too_many", "too many people log in at once; try again in some seconds")
            raise RequestRefused(busy, {"Retry-After": str(RETRY_SECONDS)})
        client: str = asked.client or request.headers.get("user-agent") or "unknown"
        try:
            return log_in(
                self._app, asked.name, asked.password, client, address=address_of(request), session=session,
                new_password=asked.new_password,
            )  # fmt: skip
        finally:
            self._checks.release()

    def _check_origin(self, request: Asked) -> None:
        """Browsers say where a request comes from: only this site's own pages may use its cookie."""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        foreign = site not in (None, "same-origin", "none")
        # Ports are left out: a proxy may drop its own from the header Host, and cookies do not know ports either.
        if origin is not None and _host(origin) != _host(f"//{request.headers.get('host', '')}"):
            foreign = True
        if foreign:
            raise refused("auth.csrf", "this request comes from another site's page; nothing was done")


def address_of(request: Asked) -> str:
    """The client's address, as the proxy of `[security] proxies` tells it."""
    return request.client.host if request.client is not None else "unknown"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return ""


def _form(data: Any) -> LogIn:
    try:
        return parse(data, LogIn)
    except InvalidInput as error:
        raise ImisError(invalid(*error.problems)) from None


def _instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise refused("auth.required", _REQUIRED)
    if len(token) > _TOKEN_MAX or not token.isascii():
        raise refused("auth.invalid_token", "this is no token of ours; log in again")
    return token
