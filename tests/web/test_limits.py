"""Limits of size, depth, number and time of requests, over real HTTP and bare sockets."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.hookspecs import hookimpl
from imis_core.plugins import Manifest
from imis_core.security.allowances import Allowance
from imis_core.testing.app import TestApp
from imis_core.web import limits, server

PASSWORD = "correct horse battery"
ROLES = {
    "clinic": {"permissions": ["eligibility.check"], "scope": "provider"},
    "clerk": {"permissions": ["users.list"]},
}
Served = Callable[[TestApp], AbstractContextManager[Any]]


@frozen(kw_only=True)
class Take:
    seconds: float | None = None
    what: str = "sleep"


@frozen(kw_only=True)
class Taken:
    what: str


@command("slow.take", input=Take, result=Taken)
def take(context: Context, items: tuple[Take, ...]) -> list[Taken | Refusal]:
    """Write something, then take its time."""
    context.execute(sa.text("INSERT INTO core.locations (code, name, level) VALUES ('HALF', 'done', 'region')"))
    for item in items:
        if item.what == "sleep":
            context.execute(sa.text("SELECT pg_sleep(30)"))
        if item.what == "many":
            for _ in range(20):
                context.execute(sa.text("SELECT pg_sleep(0.2)"))
        if item.what == "lock":
            context.execute(sa.text("SELECT 1 FROM core.users WHERE name = 'administrator' FOR UPDATE"))
    return [Taken(what=item.what) for item in items]


class Slow:
    """A plugin whose command takes too long in every way."""

    @hookimpl
    def imis_plugin(self) -> Manifest:
        return Manifest(name="slow", version="1", kernel=">=0", nouns={"slow": 1950})

    @hookimpl
    def imis_register_commands(self) -> Sequence[Any]:
        return (take,)


@pytest.fixture
def serve(make_app: Callable[..., TestApp], served_at: Served) -> Iterator[Callable[..., Any]]:
    """A served application with these figures in `[security]`."""
    stack: list[AbstractContextManager[Any]] = []

    def make(**security: Any) -> Any:
        roles = {
            "clinic": {"permissions": ["eligibility.check"], "scope": "provider"},
            "clerk": {"permissions": ["users.list"]},
        }
        app = make_app(plugins=["slow"], extra={"slow": Slow()}, settings={"security": security, "roles": roles})
        stack.append(served_at(app))
        return stack[-1].__enter__()

    yield make
    for served in stack:
        served.__exit__(None, None, None)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def raw(site: Any) -> socket.socket:
    host, port = site.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    return connection


def everything(connection: socket.socket) -> bytes:
    """What the server says until it lets go."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_what_is_too_large_before_the_body_is_told(serve: Callable[..., Any]) -> None:
    """A query string of more than 16 KiB is 414, a head of more than 32 KiB 431; the door works on."""
    site = serve()
    assert told(site.client.get("/api/users/list?role=" + "x" * 17_000)) == (414, "http.query_too_long")
    assert told(site.client.get("/api/users/list", headers={f"X-{n}": "x" * 4000 for n in range(9)})) == (
        431, "http.head_too_large",
    )  # fmt: skip
    assert site.client.get("/api/users/list").status_code == 200


def test_a_head_without_end_is_cut(serve: Callable[..., Any]) -> None:
    """A header that never stops fills no memory: 400 and the connection is closed."""
    with raw(serve()) as connection:
        connection.sendall(b"GET /api/users/list HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            send_for_ever(connection)


def send_for_ever(connection: socket.socket) -> None:
    for number in range(2000):
        connection.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())
        time.sleep(0.001)


@pytest.mark.parametrize("begun", [b"", b"GET /health/live HT", b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_who_sends_no_request_is_let_go(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """Nothing, or a head byte by byte, holds a connection for HEAD_SECONDS and not longer."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    with raw(serve()) as connection:
        connection.sendall(begun)
        assert everything(connection) == b""


def test_a_second_request_is_waited_for_as_the_first(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was good once is let go as well when its next head does not end."""
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 1)  # what had come before the answer waits for that
    with raw(serve()) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /health/live HTTP/1.1\r\nHo")
        assert everything(connection).count(b"HTTP/1.1 200") == 1


def test_a_body_that_drips_is_408(serve: Callable[..., Any]) -> None:
    """The whole body has `body_seconds`; then the answer comes and the connection goes."""
    site = serve(body_seconds=1)
    head = f"POST /api/users/list HTTP/1.1\r\nHost: x\r\nAuthorization: {site.client.headers['authorization']}\r\n"
    with raw(site) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n".encode())
        for _ in range(200):
            connection.sendall(b" ")
            if select.select([connection], [], [], 0.1)[0]:
                break
        answer = everything(connection)  # its head and its body may come in two pieces
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"http.too_slow" in answer
    assert site.client.get("/api/users/list").status_code == 200


def test_strangers_send_little(serve: Callable[..., Any]) -> None:
    """Without token or cookie 64 KiB are enough for a login; more is not taken in."""
    site = serve()
    big = json.dumps({"name": "x" * 100_000, "password": "y"}).encode()
    assert told(site.anyone.post("/api/auth/token", content=big)) == (413, "http.too_large")


def test_a_statement_that_takes_too_long_is_ended(serve: Callable[..., Any]) -> None:
    """503, and nothing of the command is done; the next request runs."""
    site = serve(statement_seconds=1)
    assert told(site.client.post("/api/slow/take", json={})) == (503, "database.timeout")
    assert site.app.rows("SELECT * FROM core.locations") == []
    assert site.client.get("/api/users/list").status_code == 200


def test_a_request_of_many_statements_is_ended_too(serve: Callable[..., Any]) -> None:
    """Each is short, together they take more than `request_seconds`."""
    site = serve(request_seconds=1)
    assert told(site.client.post("/api/slow/take", json={"what": "many"})) == (504, "requests.timed_out")
    assert site.app.rows("SELECT * FROM core.locations") == []


def test_a_request_waits_for_another_ones_row_only_so_long(serve: Callable[..., Any]) -> None:
    """503 with `Retry-After`: the same request may succeed later."""
    site = serve(lock_seconds=1)
    with site.app.database.command(site.app.system) as (connection, _):
        connection.execute(sa.text("SELECT 1 FROM core.users WHERE name = 'administrator' FOR UPDATE"))
        answer = site.client.post("/api/slow/take", json={"what": "lock"})
        assert told(answer) == (503, "database.busy")
        assert answer.headers["retry-after"]
    assert site.client.post("/api/slow/take", json={"what": "lock"}).status_code == 200


def test_jobs_and_the_command_line_are_not_bounded(serve: Callable[..., Any]) -> None:
    """The bounds are a request's: elsewhere the server's own settings hold."""
    site = serve(statement_seconds=1)
    site.client.get("/api/users/list")
    with site.app.database.query(site.app.system) as connection:
        assert connection.execute(sa.text("SHOW statement_timeout")).scalar_one() == "0"
        assert connection.execute(sa.text("SHOW lock_timeout")).scalar_one() == "0"


def test_a_caller_sends_so_many_requests(serve: Callable[..., Any]) -> None:
    """Beyond `requests_per_minute` 429 with `Retry-After`; others go on."""
    site = serve(requests_per_minute=5)
    answers = [site.client.get("/api/users/list") for _ in range(6)]
    assert [a.status_code for a in answers] == [200] * 5 + [429]
    assert told(answers[-1]) == (429, "requests.too_many")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
    site.app.do("users.add", {"name": "ann", "roles": ["clerk"], "password": PASSWORD})
    other = {"Authorization": f"Bearer {site.token('ann')}"}
    assert site.anyone.get("/api/users/list", headers=other).status_code == 200


def test_an_allowance_fills_up_evenly() -> None:
    """Sixty a minute are one a second, sixty at once at most; who asks for too many gets none."""
    now = [0.0]
    allowance = Allowance(60, 60.0, lambda: now[0])
    assert allowance.take("a", 60) is None
    assert allowance.take("a") == 1
    assert allowance.take("b") is None
    now[0] = 10.0
    assert allowance.take("a", 11) == 1
    assert allowance.take("a", 10) is None
    now[0] = 1000.0
    assert allowance.take("a", 61) == 1
    assert allowance.take("a", 60) is None
    assert Allowance(0, 60.0).take("a", 10**9) is None


def test_persons_are_looked_up_so_often(serve: Callable[..., Any]) -> None:
    """A provider finds anybody by exact number, `lookups_per_hour` times: found, not found, and over all processes."""
    site = serve(lookups_per_hour=4)
    app = site.app
    for code in ("HC1", "HC2"):
        app.do("providers.register", {"code": code, "name": code})
        app.do("users.add", {"name": code, "roles": ["clinic"], "providers": [code], "password": PASSWORD})
    for number in range(6):
        person = {"number": f"N{number}", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
        app.do("beneficiaries.register_person", person)
    clinic = {name: {"Authorization": f"Bearer {site.token(name)}"} for name in ("HC1", "HC2")}

    def ask(name: str, number: str) -> httpx.Response:
        answer: httpx.Response = site.anyone.get(f"/api/eligibility/check?number={number}", headers=clinic[name])
        return answer

    assert [ask("HC1", f"N{n}").status_code for n in range(2)] == [200, 200]
    assert [ask("HC1", f"X{n}").status_code for n in range(2)] == [404, 404]
    refused = ask("HC1", "N2")
    assert told(refused) == (429, "lookups.too_many")
    assert int(refused.headers["retry-after"]) > 0
    assert [ask("HC2", f"N{n}").status_code for n in range(4)] == [200] * 4
    app.lookups = Allowance(4, 3600.0)  # as another process has it
    assert told(ask("HC2", "N4")) == (429, "lookups.too_many")
    logged = app.rows(
        'SELECT u.name, count(*) AS n FROM core.lookups l JOIN core.users u ON u.id = l."user" GROUP BY 1'
    )
    assert {r["name"]: r["n"] for r in logged} == {"HC1": 2, "HC2": 4}


def test_tls_at_the_proxy_is_asked_for_again(serve: Callable[..., Any]) -> None:
    """HSTS where a trusted proxy says https, and only there; a stranger's word about itself counts for nothing."""
    site = serve()
    assert "strict-transport-security" not in site.anyone.get("/health/live").headers
    there = site.anyone.get("/health/live", headers={"X-Forwarded-Proto": "https"}).headers
    assert there["strict-transport-security"] == "max-age=31536000"
    assert there["cross-origin-resource-policy"] == "same-origin"
