"""The web server: the REST door as an ASGI application, and `imis serve` around it. Decides nothing about requests."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from litestar import Litestar
from litestar.response import Response
from litestar.types import Message, Scope
from uvicorn.supervisors import Multiprocess

from imis_core import logs
from imis_core.errors import Refusal, Unavailable
from imis_core.protection import SecurityTable
from imis_core.redaction import guarded_standard_error
from imis_core.web.authentication import Asked
from imis_core.web.bodies import BODY_MAX
from imis_core.web.limits import HEAD_MAX, PatientProtocol, check_head, patient
from imis_core.web.metrics import SHARED_FOLDER, Metrics
from imis_core.web.plugin_routes import ROUTE, teller, told
from imis_core.web.problems import failure_of, failure_response
from imis_core.web.routes import Doors, address

if TYPE_CHECKING:
    from imis_core.application import Application

THREADS: Final = 16  # per process; fewer than the pool has connections, so that no request waits for one
GRACE_SECONDS: Final = 30  # what running requests get to end after SIGTERM
KEEP_ALIVE_SECONDS: Final = 20
_START_SECONDS: Final = 60.0
_PORT_MAX: Final = 65_535
_REQUEST: Final = "imis.request"
_BEGUN: Final = "imis.begun"
_QUIET: Final = frozenset({"/health/live", "/health/ready", "/metrics"})  # asked every few seconds by machines
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")  # a year


def make_asgi(app: Application) -> Litestar:
    """The REST door of an application. Opens and closes nothing of the application's own."""
    figures = Metrics(app)

    def answer(request: Asked, error: Exception) -> Response[bytes]:
        where = address(request)
        logs.bind(request=request_id(request.scope))
        failure = failure_of(error, where, request_id(request.scope))
        tell = teller(app.routes, where)
        return failure_response(failure, where) if tell is None else told(app, tell, failure, where)

    async def begin(request: Asked) -> None:
        request.scope["state"][_BEGUN] = time.perf_counter()
        logs.bind(request=request_id(request.scope))
        check_head(request.scope)

    async def frame(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        headers = list(message["headers"])
        given = {name.lower() for name, _ in headers}
        headers += [pair for pair in _HEADERS if pair[0] not in given]
        if scope["scheme"] == "https":  # here, or at the proxy that says so
            headers.append(_HSTS)
        headers.append((b"x-request-id", request_id(scope).encode()))
        message["headers"] = headers
        state = scope["state"]
        route = state.get(ROUTE) or ("unknown" if "path_template" not in scope else str(scope["path_template"]))
        begun = state.get(_BEGUN)
        seconds = None if begun is None else time.perf_counter() - begun
        figures.count(route, message["status"], seconds)
        took = None if seconds is None else round(seconds * 1000, 1)
        logs.tell(
            "request", level=logging.DEBUG if route in _QUIET else logging.INFO, request=request_id(scope),
            route=route, method=scope.get("method"), status=message["status"], ms=took,
        )  # fmt: skip

    async def threads() -> None:
        executor = ThreadPoolExecutor(THREADS, thread_name_prefix="imis-web")
        asyncio.get_running_loop().set_default_executor(executor)

    return Litestar(
        route_handlers=Doors(app, figures).handlers(),
        before_request=begin,
        before_send=[frame],
        on_startup=[threads],
        exception_handlers={Exception: answer},
        request_max_body_size=BODY_MAX,
        middleware=[patient(app.settings.security.body_seconds)],
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


def request_id(scope: Any) -> str:
    """The request's id: the client's or the proxy's `X-Request-Id` if it is a plain one, else a fresh one."""
    state = scope["state"]
    if _REQUEST not in state:
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        state[_REQUEST] = given if _GIVEN_ID.match(given) else secrets.token_hex(8)
    return str(state[_REQUEST])


def serve(
    folder: Path, host: str, port: int, workers: int, worker_inside: bool, announce: Callable[[str], object] = print
) -> None:
    """Serve a deployment until SIGTERM or SIGINT; running requests and jobs are finished first.

    `worker_inside` also runs the background jobs, in this process. With several `workers` this process holds the
    database server and starts web processes of their own. Raises `serve.port_in_use`, `serve.address`,
    `serve.not_started`, and what opening the application raises.
    """
    from imis_core.jobs_worker import Worker, leave_at_once
    from imis_core.opening import open_application

    ended: list[bool] = []
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        stack.enter_context(_until_told_to_stop())
        app = stack.enter_context(open_application(folder))
        logs.configure(app.settings.logs.level, app.settings.logs.format)
        # Made before the worker starts: it hangs its counters on the connections, which no thread may use meanwhile.
        asgi = make_asgi(app) if workers == 1 else None
        if worker_inside:
            worker = Worker(app)
            worker.start()
            stack.callback(lambda: ended.append(worker.stop()))
        ready = partial(_announce, announce, host, listener.getsockname()[1], worker_inside)
        if asgi is not None:
            _Server(web_config(asgi, 1, app.settings.security), ready).run(sockets=[listener])
        else:
            stack.enter_context(_shared_figures())
            servers = _Servers(
                web_config(partial(_web_process, folder), workers, app.settings.security), [listener], ready
            )
            servers.run()
            if servers.failed:
                message = "a web process did not start; its error stands above, mend it and start again"
                raise Unavailable(Refusal("serve.not_started", message))
    if not all(ended):
        leave_at_once()


def web_config(asgi: Any, workers: int, security: SecurityTable | None = None) -> uvicorn.Config:
    """How uvicorn runs the door: no access log (a proxy keeps one), no word about itself, graceful stops."""
    settings = security or SecurityTable()
    return uvicorn.Config(
        asgi, factory=workers > 1, workers=workers, log_config=None, access_log=False, server_header=False,
        lifespan="on", timeout_graceful_shutdown=GRACE_SECONDS, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        forwarded_allow_ips=list(settings.proxies), http=PatientProtocol, h11_max_incomplete_event_size=HEAD_MAX,
    )  # fmt: skip


def _web_process(folder: Path) -> Litestar:
    """One of several web processes: its own application, closed when the process ends."""
    from imis_core.opening import open_application

    stack = ExitStack()
    stack.enter_context(guarded_standard_error())
    app = stack.enter_context(open_application(folder))
    logs.configure(app.settings.logs.level, app.settings.logs.format)
    asgi = make_asgi(app)
    asgi.on_shutdown.append(stack.close)
    return asgi


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


class _Servers(Multiprocess):
    """Web processes that are said to be ready when all of them answer."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], ready: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self._ready = ready
        self.failed = False

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(_START_SECONDS) for process in self.processes):
            self._ready()
        else:
            self.failed = True
            self.should_exit.set()


def _announce(announce: Callable[[str], object], host: str, port: int, worker_inside: bool) -> None:
    shown = f"[{host}]" if ":" in host else host
    jobs = "background jobs run inside" if worker_inside else "run `imis worker` beside for background jobs"
    announce(f"serving http://{shown}:{port}/api, documentation at http://{shown}:{port}/schema; {jobs}")


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket: whether the port is free is known before the database is started."""
    if not 0 <= port <= _PORT_MAX:  # the system would quietly take another one
        raise Unavailable(Refusal("serve.address", f"there is no port {port}; choose another with --port"))
    try:
        family, _, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        message = f"cannot serve at {host} port {port}: {error}; mend --host and --port"
        raise Unavailable(Refusal("serve.address", message)) from None
    # With the protocol named, asyncio switches off Nagle's delay (40 ms per answer) on each connection.
    with socket.socket(family, socket.SOCK_STREAM, protocol) as listener:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
            listener.listen(1024)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"port {port} at {host} is in use; stop what serves there, or choose another one with --port"
                raise Unavailable(Refusal("serve.port_in_use", message)) from None
            message = f"cannot serve at {host} port {port}: {error}; choose others with --host and --port"
            raise Unavailable(Refusal("serve.address", message)) from None
        yield listener


@contextmanager
def _until_told_to_stop() -> Iterator[None]:
    """SIGTERM and SIGINT end the block as if it had come to its end: everything opened in it is closed in order.

    uvicorn repeats the signal when it has stopped; without this the process would die before the database is let go.
    """

    def stop(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise _Stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _Stop:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stop(BaseException):
    """The operator asked the process to stop; no error, so that no `except Exception` takes it."""


@contextmanager
def _shared_figures() -> Iterator[None]:
    """A folder in which the web processes add up their metrics."""
    with tempfile.TemporaryDirectory(prefix="imis-metrics-") as shared:
        os.environ[SHARED_FOLDER] = shared
        try:
            yield
        finally:
            del os.environ[SHARED_FOLDER]
