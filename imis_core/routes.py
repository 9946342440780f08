"""Routes that plugins add to the REST door: their addresses, what a handler is given, and what it answers.

A handler reads and writes through the doors only, as the caller. Nothing here knows the library that speaks HTTP; the
web room puts routes behind its own authentication, limits and error handling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from imis_core.commands import Reply, run_command
from imis_core.errors import Problem, Refusal, refused
from imis_core.queries import PAGE, Page, run_page
from imis_core.security.caller import Caller

if TYPE_CHECKING:
    from imis_core.application import Application

JSON: Final = "application/json"
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
KERNEL_ADDRESSES: Final = frozenset({"api", "schema", "health", "metrics"})
_PATH: Final = re.compile(r"(/[A-Za-z0-9_.$-]+)+(/([A-Za-z0-9_.$-]+|\{[a-z_]+\}))*\Z")


@frozen(kw_only=True)
class Answer:
    """What a route answers. `body` is plain data, told as JSON with decimals as numbers; None: no body."""

    status: int = 200
    body: Any = None
    media_type: str = JSON
    headers: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class RouteRequest:
    """One request to a route.

    `caller` is None at an open route. `server` is the address up to the path (`https://host`), `path` what follows it;
    `names` are the parts of the path in braces, `parameters` the query string in order, `headers` by lower-case name.
    `read_json` gives the body: strict JSON, fractions as exact decimals; it raises `input.invalid`. `body` is the same
    as it came, for what is signed byte by byte.
    """

    app: Application
    caller: Caller | None
    method: str
    server: str
    path: str
    names: Mapping[str, str]
    parameters: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    read_json: Callable[[], Any]
    body: bytes = field(default=b"", repr=False)

    def may(self, permission: str) -> bool:
        """Whether the caller has a permission."""
        return self.caller is not None and self.caller.may(permission)

    def page(self, query: str, data: Mapping[str, Any], *, limit: int = PAGE, cursor: str | None = None) -> Page:
        """A page of a listing through the door for reads, as the caller. Raises `ImisError`."""
        return run_page(self.app, query, data, self._caller(), limit=limit, cursor=cursor)

    def command(self, command: str, data: Mapping[str, Any]) -> Reply:
        """One item through the door for writes, as the caller, with the request's `Idempotency-Key`.

        Raises `ImisError`, also for the item's own refusal.
        """
        key = self.headers.get("idempotency-key")
        reply = run_command(self.app, command, (data,), self._caller(), key=key, single=True)
        for refusal in reply.refusals:
            raise refused(refusal.code, refusal.message, *refusal.problems, **refusal.details)
        return reply

    def _caller(self) -> Caller:
        if self.caller is None:
            raise refused("auth.required", "log in with POST /api/auth/token and send `Authorization: Bearer TOKEN`")
        return self.caller


@frozen(kw_only=True)
class Refused:
    """A refusal or failure below a route's address, to be told in the route's own form. `path` is what was asked."""

    app: Application
    refusal: Refusal
    status: int
    path: str


@frozen(kw_only=True)
class Route:
    """An address of a plugin's own: `/fhir/R4/{resource}/{id}`; the first part is fixed, parts in braces are names.

    `open`: answered without a login. `media_types` are those that it offers; a client that accepts none of them is
    refused. `refuse` tells refusals and failures, also those of addresses below the fixed beginning of `path` that no
    route has; without it they are problem documents (RFC 9457).
    """

    name: str
    path: str
    handler: Callable[[RouteRequest], Answer]
    methods: tuple[str, ...] = ("GET",)
    open: bool = False
    media_types: tuple[str, ...] = (JSON,)
    refuse: Callable[[Refused], Answer] | None = None

    @property
    def beginning(self) -> str:
        """The fixed part of the path."""
        return self.path.partition("/{")[0]


def route_problems(routes: Iterable[tuple[str, Route]]) -> list[Problem]:
    """What is wrong with the plugins' routes: a bad address, one of the kernel's, or one that two routes claim."""
    found = []
    taken: dict[tuple[str, str], str] = {}
    for plugin, route in routes:
        where = f"plugins.enabled.{plugin}"
        if not _PATH.match(route.path) or route.path.split("/")[1] in KERNEL_ADDRESSES:
            message = f"plugin {plugin!r}: the route {route.name!r} cannot have the address {route.path!r}"
            found.append(Problem(where, "path", message))
        for method in route.methods:
            if method not in METHODS:
                message = f"plugin {plugin!r}: the route {route.name!r} has an unknown method {method!r}"
                found.append(Problem(where, "method", message))
            key = (method, re.sub(r"\{[a-z_]+\}", "{}", route.path))
            if key in taken:
                message = f"the routes {taken[key]!r} and {route.name!r} both answer {method} {route.path}"
                found.append(Problem(where, "clash", message))
            taken.setdefault(key, route.name)
    return found
