"""Routes of plugins as handlers of the web library: the same login, limits and errors as the kernel's own addresses.

A route is told its request as plain data and answers with plain data; it never sees the web library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec
from litestar import route
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody
from litestar.response import Response

from imis_core.routes import Answer, Refused, Route, RouteRequest
from imis_core.web.authentication import Asked, Authentication
from imis_core.web.bodies import read_body
from imis_core.web.exports import negotiate
from imis_core.web.parameters import pairs_of
from imis_core.web.problems import Failure, headers_of

if TYPE_CHECKING:
    from imis_core.application import Application

ROUTE: Final = "imis.route"  # key of a request's state: what the metrics call it
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def plugin_handlers(app: Application, desk: Authentication) -> list[HTTPRouteHandler]:
    """A handler for each address; several routes of one address differ by method."""
    by_path: dict[str, dict[str, Route]] = {}
    for one in app.routes:
        by_path.setdefault(one.path.replace("}", ":str}"), {}).update(dict.fromkeys(one.methods, one))
    return [
        route(path, http_method=list(routes), status_code=200, sync_to_thread=True)(_handler(app, desk, routes))  # type: ignore[arg-type]
        for path, routes in by_path.items()
    ]


def _handler(app: Application, desk: Authentication, routes: Mapping[str, Route]) -> Callable[..., Response[Any]]:
    def answer(request: Asked, body: RawBody) -> Response[Any]:
        with desk.bounds():
            return answered(request, body)

    def answered(request: Asked, body: bytes) -> Response[Any]:
        one = routes[request.method]
        request.scope["state"][ROUTE] = one.name
        caller = None if one.open else desk.caller(request)
        negotiate(request.headers.get("accept"), one.media_types)
        asked = RouteRequest(
            app=app,
            caller=caller,
            method=request.method,
            server=f"{request.url.scheme}://{request.url.netloc}",
            path=str(request.scope["path"]),
            names={name: unquote(str(value)) for name, value in request.path_params.items()},
            parameters=tuple(pairs_of(request.scope["query_string"])),
            headers={name.lower(): value for name, value in request.headers.items()},
            read_json=partial(read_body, body, request.headers.get("content-type"), exact=True),
            body=body,
        )
        return response(one.handler(asked))

    return answer


def teller(routes: Sequence[Route], path: str) -> Callable[[Refused], Answer] | None:
    """Who tells what went wrong at an address: the route with the longest fixed beginning above it."""
    above = [r for r in routes if r.refuse is not None and (path == r.beginning or path.startswith(f"{r.beginning}/"))]
    return max(above, key=lambda r: len(r.beginning)).refuse if above else None


def told(app: Application, tell: Callable[[Refused], Answer], failure: Failure, path: str) -> Response[bytes]:
    """A failure in a route's own form, with the headers that its status asks for."""
    answer = tell(Refused(app=app, refusal=failure.refusal, status=failure.status, path=path))
    headers = {**headers_of(failure.refusal, answer.status, failure.headers), **answer.headers}
    return response(Answer(status=answer.status, body=answer.body, media_type=answer.media_type, headers=headers))


def response(answer: Answer) -> Response[bytes]:
    """An answer as it goes out."""
    body = b"" if answer.body is None else _encode(answer.body)
    return Response(body, status_code=answer.status, media_type=answer.media_type, headers=dict(answer.headers))
