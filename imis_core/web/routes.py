"""The addresses of the REST door: what each reads from a request, which door it knocks at, and what it answers.

Handlers are synchronous and run in worker threads; they read raw bodies themselves, and raise for every refusal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import quote

import attrs
import msgspec
import sqlalchemy as sa
from litestar import get, post, route
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, RawBody
from litestar.response import Response, Stream

from imis_core.attachments.queries import READ as STORED_FILE
from imis_core.attachments.queries import AttachmentRef
from imis_core.attachments.streaming import open_file
from imis_core.commands import Command, Reply, outcomes_as_json, run_command
from imis_core.errors import ImisError, Problem, Refusal, Unavailable, invalid, refused, suggestion
from imis_core.parsing import InvalidInput, parse
from imis_core.queries import PAGE, Query, export, run_page, run_query
from imis_core.security.caller import Caller, denied
from imis_core.web import metrics, pages
from imis_core.web.authentication import Asked, Authentication
from imis_core.web.bodies import read_body
from imis_core.web.exports import FILE_TYPES, JSON, negotiate, parts_of, write_export
from imis_core.web.openapi import as_3_0, openapi_document
from imis_core.web.parameters import Pairs, pairs_of, read_parameters
from imis_core.web.plugin_routes import ROUTE, plugin_handlers
from imis_core.web.problems import RequestRefused, problem_response

if TYPE_CHECKING:
    from imis_core.application import Application

BYTES: Final = "application/octet-stream"
_PAGING: Final = ("sort", "limit", "cursor")
_CHECKED_SECONDS: Final = 30.0  # a schema that fitted is not compared again within this time
_WHOLE_IN_MEMORY: Final = 1024 * 1024


def address(request: Asked) -> str:
    """The address as it was asked, for `instance`."""
    return str(request.scope["path"])[:500]


class Doors:
    """The handlers of one application."""

    def __init__(self, app: Application, figures: metrics.Metrics) -> None:
        self._app = app
        self._figures = figures
        self._desk = Authentication(app)
        self._fitted_at: float | None = None

    # --- commands and queries

    def door(self, request: Asked, body: RawBody, noun: FromPath[str], verb: FromPath[str]) -> Response[Any]:
        """`POST /api/<noun>/<command>` and `GET /api/<noun>/<query>`.

        One handler for both methods: Litestar 2.25 wraps a synchronous handler twice when another one has its path.
        """
        with self._desk.bounds():
            caller = self._desk.caller(request)
            name = f"{noun}.{verb}"
            if request.method == "GET":
                return self._query(request, name, caller)
            return self._command(request, name, caller, body)

    def _command(self, request: Asked, name: str, caller: Caller, body: bytes) -> Response[Any]:
        definition = self._app.commands.get(name)
        if definition is None:
            raise self._no_command(name)
        request.scope["state"][ROUTE] = name
        negotiate(request.headers.get("accept"), (JSON,))
        if not caller.may(definition.permission):
            raise ImisError(denied(definition.permission))  # before a large body is read
        atomic = _atomic(pairs_of(request.scope["query_string"]))
        data = read_body(body, request.headers.get("content-type"))
        if data == []:
            return _json([])  # nothing to do, and nothing for a second person to look at
        return self._run(request, definition, data, caller, atomic)

    def _run(self, request: Asked, definition: Command, data: Any, caller: Caller, atomic: bool) -> Response[Any]:
        single = not isinstance(data, list)
        items = (data,) if single else data
        key = request.headers.get("idempotency-key")
        reply = run_command(self._app, definition.name, items, caller, key=key, atomic=atomic, single=single)
        headers = {"Idempotent-Replayed": "true"} if reply.repeated else {}
        if single:
            outcome = reply.outcomes[0]
            if isinstance(outcome, Refusal):
                return problem_response(outcome, address(request), headers=headers)
            return _json(outcome, 202 if reply.awaiting else 200, headers)
        if atomic and reply.refusals:
            return _rolled_back(reply, address(request), headers)
        return _json(outcomes_as_json(reply.outcomes), 202 if reply.awaiting else 200, headers)

    def _query(self, request: Asked, name: str, caller: Caller) -> Response[Any]:
        definition = self._app.queries.get(name)
        if definition is None:
            raise self._no_query(name)
        request.scope["state"][ROUTE] = name
        pairs = pairs_of(request.scope["query_string"])
        accept = request.headers.get("accept")
        if not definition.listing:
            data = read_parameters(pairs, definition.input)
            if negotiate(accept, (JSON, BYTES) if name == STORED_FILE else (JSON,)) == BYTES:
                return self._stored_file(data, caller)
            return _json(run_query(self._app, name, data, caller))
        media_type = negotiate(accept, (JSON, *FILE_TYPES))
        paging = _once(pairs, _PAGING)
        data = read_parameters([p for p in pairs if p[0] not in _PAGING], definition.input)
        if media_type != JSON:
            return self._export(definition, data, caller, media_type, paging)
        limit = _limit(paging.get("limit"))
        page = run_page(
            self._app, name, data, caller, limit=limit, cursor=paging.get("cursor"), sort=paging.get("sort")
        )
        return _json({"items": page.items, "next": page.next})

    def _stored_file(self, data: dict[str, Any], caller: Caller) -> Response[Any]:
        """The bytes of a stored file, piece by piece, however large it is."""
        try:
            asked = parse(data, AttachmentRef)
        except InvalidInput as error:
            raise ImisError(invalid(*error.problems)) from None
        found = open_file(self._app, asked.attachment, caller)
        name = quote(found.name)
        return _file(found.content, BYTES, {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"})

    def _export(
        self, definition: Query, data: dict[str, Any], caller: Caller, media_type: str, paging: dict[str, str]
    ) -> Response[Any]:
        if paging:
            message = "a file holds the whole listing in its own order; leave this out"
            raise ImisError(invalid(*[Problem(name, "not_for_files", message) for name in paging]))
        file = write_export(export(self._app, definition.name, data, caller), definition.result, media_type)
        name = f"{definition.name}.{FILE_TYPES[media_type]}"
        return _file(file, media_type, {"Content-Disposition": f'attachment; filename="{name}"'})

    def _no_command(self, name: str) -> ImisError:
        if name in self._app.queries:
            refusal = Refusal("http.method_not_allowed", f"{name} is a query; ask for it with GET")
            return RequestRefused(refusal, {"Allow": "GET"})
        return _unknown(name, self._app.commands)

    def _no_query(self, name: str) -> ImisError:
        if name in self._app.commands:
            refusal = Refusal("http.method_not_allowed", f"{name} is a command; send it with POST")
            return RequestRefused(refusal, {"Allow": "POST"})
        return _unknown(name, self._app.queries)

    # --- logging in and out

    def log_in(self, request: Asked, body: RawBody) -> Response[Any]:
        """`POST /api/auth/token`."""
        return _json(self._desk.log_in(read_body(body, request.headers.get("content-type")), request))

    def session(self, request: Asked, body: RawBody) -> Response[Any]:
        """`POST /api/auth/session` begins a browser's session, `GET` shows it with its CSRF token."""
        if request.method == "GET":
            session = self._desk.session(request)
            return _json(attrs.asdict(self._desk.shown(session, request.cookies[self._desk.cookie_name])))
        # A form of another site can send everything but JSON.
        data = read_body(body, request.headers.get("content-type") or "none")
        shown, cookie = self._desk.begin_session(data, request)
        answer = _json(attrs.asdict(shown))
        answer.set_cookie(cookie)
        return answer

    def log_out(self, request: Asked) -> Response[Any]:
        """`POST /api/auth/logout`."""
        cookie = self._desk.log_out(request)
        answer: Response[Any] = Response(None, status_code=204)
        if cookie is not None:
            answer.set_cookie(cookie)
        return answer

    # --- pages for operators and developers

    def live(self) -> Response[Any]:
        """`GET /health/live`: the process answers; the database is not asked."""
        return _json({"status": "live"})

    def ready(self, request: Asked) -> Response[Any]:
        """`GET /health/ready`: the database answers, and its tables fit the code."""
        from imis_core.opening import check_schema

        fresh = self._fitted_at is not None and time.monotonic() - self._fitted_at < _CHECKED_SECONDS
        try:
            with self._app.database.query(self._app.system) as connection:
                connection.execute(sa.text("SELECT 1"))
            if not fresh:
                check_schema(self._app)
                self._fitted_at = time.monotonic()
        except Unavailable:
            raise
        except ImisError as error:
            return problem_response(Refusal(error.code, error.refusal.message), address(request), status=503)
        return _json({"status": "ready"})

    def figures(self) -> Response[Any]:
        """`GET /metrics`."""
        return Response(self._figures.page(), media_type=metrics.MEDIA_TYPE)

    @cached_property
    def _document(self) -> dict[str, Any]:
        return openapi_document(self._app)

    def schema(self) -> Response[Any]:
        """`GET /schema/openapi.json`."""
        return _json(self._document)

    def schema_3_0(self) -> Response[Any]:
        """`GET /schema/openapi-3.0.json`: the shipped page reads no newer form."""
        return _json(as_3_0(self._document))

    def page(self) -> Response[Any]:
        """`GET /schema`."""
        return Response(pages.PAGE, media_type="text/html", headers={"Content-Security-Policy": pages.PAGE_POLICY})

    def asset(self, name: FromPath[str]) -> Response[Any]:
        """`GET /schema/assets/<name>`."""
        found = pages.asset(name)
        if found is None:
            raise refused("not_found", f"the page has no file {name[:60]!r}")
        return Response(found[0], media_type=found[1], headers={"Cache-Control": "public, max-age=86400"})

    def handlers(self) -> list[HTTPRouteHandler]:
        """The route handlers for Litestar."""
        in_thread: dict[str, Any] = {"sync_to_thread": True}
        at_once: dict[str, Any] = {"sync_to_thread": False}
        return [
            route("/api/{noun:str}/{verb:str}", http_method=["GET", "POST"], status_code=200, **in_thread)(self.door),
            post("/api/auth/token", status_code=200, **in_thread)(self.log_in),
            route("/api/auth/session", http_method=["GET", "POST"], status_code=200, **in_thread)(self.session),
            post("/api/auth/logout", status_code=200, **in_thread)(self.log_out),
            get("/health/live", **at_once)(self.live),
            get("/health/ready", **in_thread)(self.ready),
            get("/metrics", **in_thread)(self.figures),
            get("/schema", **at_once)(self.page),
            get("/schema/openapi.json", **in_thread)(self.schema),
            get("/schema/openapi-3.0.json", **in_thread)(self.schema_3_0),
            get("/schema/assets/{name:str}", **in_thread)(self.asset),
            *plugin_handlers(self._app, self._desk),
        ]


def _unknown(name: str, known: Any) -> ImisError:
    return refused("not_found", f"there is no {name[:100]!r} here; /schema lists all{suggestion(name, known)}")


def _json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[Any]:
    return Response(msgspec.json.encode(data), status_code=status, media_type=JSON, headers=headers)


def _file(file: IO[bytes], media_type: str, headers: dict[str, str]) -> Response[Any]:
    size = file.seek(0, 2)
    file.seek(0)
    if size <= _WHOLE_IN_MEMORY:
        with file:
            return Response(file.read(), media_type=media_type, headers=headers)
    return Stream(parts_of(file), media_type=media_type, headers={**headers, "Content-Length": str(size)})


def _rolled_back(reply: Reply, instance: str, headers: dict[str, str]) -> Response[bytes]:
    """Code and status of the first refusal, its problems at their item, and what was said of each item."""
    position, first = next((i, o) for i, o in enumerate(reply.outcomes) if isinstance(o, Refusal))
    untouched = {"code": "batch.rolled_back", "detail": f"nothing was done, because item {position} was refused"}
    outcomes: Sequence[Any] = [{"error": o.as_json() if isinstance(o, Refusal) else untouched} for o in reply.outcomes]
    problems = tuple(p.at(str(position)) for p in first.problems)
    message = f"nothing was done, because item {position} was refused: {first.message}"
    whole = Refusal(first.code, message, problems, {**first.details, "outcomes": outcomes})
    return problem_response(whole, instance, headers=headers)


def _atomic(pairs: Pairs) -> bool:
    known = _once(pairs, ("atomic",))
    unknown = [n for n, _ in pairs if n != "atomic"]
    if unknown:
        hint = suggestion(unknown[0], ("atomic",))
        message = f"a command takes its fields in the body, and here only `atomic`{hint}"
        raise ImisError(invalid(Problem(unknown[0][:60], "unknown", message)))
    value = known.get("atomic", "false")
    if value not in ("true", "false"):
        raise ImisError(invalid(Problem("atomic", "type", "expected true or false")))
    return value == "true"


def _once(pairs: Pairs, names: Sequence[str]) -> dict[str, str]:
    """The parameters of these names. Raises `input.invalid` for one that is repeated."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            continue
        if name in found:
            raise ImisError(invalid(Problem(name, "repeated", "this parameter is given more than once")))
        found[name] = value
    return found


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise ImisError(invalid(Problem("limit", "type", f"expected a whole number, found {text[:30]!r}")))
    return int(text)
