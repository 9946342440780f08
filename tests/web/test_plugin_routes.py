"""Routes of plugins: behind the same login, limits and errors as the kernel's addresses, told in their own form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.hookspecs import hookimpl
from imis_core.opening import Playground
from imis_core.plugins import Manifest
from imis_core.routes import Answer, Refused, Route, RouteRequest
from imis_core.testing.app import TestApp, test_application


def echo(request: RouteRequest) -> Answer:
    """What the request said, with an exact number."""
    body = request.read_json() if request.method == "POST" else None
    said = {"names": dict(request.names), "asked": list(request.parameters), "path": request.path, "body": body}
    who = None if request.caller is None else request.caller.name
    return Answer(status=201, body={**said, "who": who, "server": request.server}, media_type="application/x+json")


def fail(request: RouteRequest) -> Answer:
    """Break, or ask a door for what the caller may not."""
    if request.names["how"] == "crash":
        raise RuntimeError("the inside of the machine")
    return Answer(body=request.page("users.list", {}).items)


def tell(refused: Refused) -> Answer:
    return Answer(status=refused.status, body={"what": refused.refusal.code, "at": refused.path})


class Bridge:
    """A plugin with routes."""

    def __init__(self, *routes: Route) -> None:
        self.routes = routes

    @hookimpl
    def imis_plugin(self) -> Manifest:
        return Manifest(name="bridge", version="1", kernel=">=0", nouns={"bridge": 1901})

    @hookimpl
    def imis_register_routes(self) -> Sequence[Route]:
        return self.routes


ROUTES = (
    Route(name="bridge.open", path="/bridge/v1/open", handler=echo, open=True, refuse=tell),
    Route(
        name="bridge.echo", path="/bridge/v1/{kind}/{id}", methods=("GET", "POST"), handler=echo,
        media_types=("application/x+json",), refuse=tell,
    ),
    Route(name="bridge.fail", path="/bridge/v1/fail/now/{how}", handler=fail, refuse=tell),
    Route(name="bridge.plain", path="/plain/{how}", handler=fail),
)  # fmt: skip
ROLES = {"clerk": {"permissions": ["jobs.list"]}}


@pytest.fixture(scope="module")
def bridge(playground: Playground) -> Iterator[TestApp]:
    settings = {"roles": ROLES}
    with test_application(playground, date(2021, 1, 1), settings, {"bridge": Bridge(*ROUTES)}, ["bridge"]) as app:
        yield app


Served = Callable[[TestApp], AbstractContextManager[Any]]


def test_a_route_gets_the_request_and_answers(bridge: TestApp, served_at: Served) -> None:
    """Names, parameters, the exact body and the caller come in; status, type and decimals go out as they are."""
    with served_at(bridge) as site:
        headers = {"Content-Type": "application/json"}
        answer = site.client.post("/bridge/v1/a%20b/$c?x=1&x=2", content=b'{"n": 0.10}', headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (201, "application/x+json")
        assert b'"n":0.10' in answer.content.replace(b" ", b"")
        said = answer.json()
        assert said["names"] == {"kind": "a b", "id": "$c"}
        assert said["asked"] == [["x", "1"], ["x", "2"]]
        assert (said["who"], said["server"]) == ("administrator", site.url)
        assert answer.headers["x-content-type-options"] == "nosniff"
        open_answer = site.anyone.get("/bridge/v1/open")
        assert (open_answer.status_code, open_answer.json()["who"]) == (201, None)
        assert 'route="bridge.echo"' in site.anyone.get("/metrics").text


def test_errors_are_told_in_the_routes_form(bridge: TestApp, served_at: Served) -> None:
    """No login, no permission, a crash, a wrong type, an unknown address or method below: all as the route tells."""
    with served_at(bridge) as site:
        clerk = site.login("clara", "clerk")
        for client, method, path, status, code in (
            (site.anyone, "GET", "/bridge/v1/a/b", 401, "auth.required"),
            (clerk, "GET", "/bridge/v1/fail/now/x", 403, "permission.denied"),
            (clerk, "GET", "/bridge/v1/fail/now/crash", 500, "internal"),
            (clerk, "GET", "/bridge/v1/no/such/thing/here", 404, "not_found"),
            (clerk, "DELETE", "/bridge/v1/a/b", 405, "http.method_not_allowed"),
        ):
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()) == (status, {"what": code, "at": path})
        assert site.anyone.get("/bridge/v1/a/b").headers["www-authenticate"] == "Bearer"
        assert clerk.get("/bridge/v1/a/b", headers={"Accept": "text/csv"}).json()["what"] == "http.not_acceptable"
        assert clerk.post("/bridge/v1/a/b", content=b"{").json()["what"] == "input.invalid"
        plain = clerk.get("/plain/x")
        assert (plain.headers["content-type"], plain.json()["code"]) == (
            "application/problem+json",
            "permission.denied",
        )


@pytest.mark.parametrize(
    ("route", "word"),
    [
        (Route(name="bridge.a", path="/api/{x}", handler=echo), "cannot have the address"),
        (Route(name="bridge.a", path="/{x}/y", handler=echo), "cannot have the address"),
        (Route(name="bridge.a", path="/bridge/", handler=echo), "cannot have the address"),
        (Route(name="bridge.a", path="/bridge", handler=echo, methods=("FETCH",)), "unknown method"),
        (Route(name="bridge.a", path="/plain/{other}", handler=echo), "both answer"),
        (Route(name="tower.a", path="/tower", handler=echo), "noun"),
    ],
)
def test_a_wrong_route_stops_the_start(make_app: Any, route: Route, word: str) -> None:
    """Addresses are the plugin's own, claimed once, and named after its noun."""
    with pytest.raises(ImisError, match=word):
        make_app(extra={"bridge": Bridge(route, ROUTES[-1])}, plugins=["bridge"])


def test_a_handler_sees_decimals() -> None:
    """Fractions of a body are exact."""
    from imis_core.web.bodies import read_body

    assert read_body(b'{"n": 0.1}', None, exact=True) == {"n": Decimal("0.1")}
