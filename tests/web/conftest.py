"""A real server on a free port over a real database, and a plugin whose commands fail in every way on purpose."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from attrs import field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal, Unavailable
from imis_core.hookspecs import hookimpl
from imis_core.opening import Playground
from imis_core.plugins import Manifest
from imis_core.queries import Listing, query
from imis_core.testing.app import TestApp, test_application
from imis_core.values import Amount, Money
from imis_core.web.server import make_asgi, web_config

PASSWORD = "correct horse battery"
ROWS = 7


@frozen(kw_only=True)
class Write:
    code: str
    amount: Amount | None = None
    note: object = None
    pause: bool = False


@frozen(kw_only=True)
class Written:
    code: str
    amount: str | None


@command("probe.write", input=Write, result=Written)
def write(context: Context, items: tuple[Write, ...]) -> list[Written | Refusal]:
    """Answer with what it was given."""
    if any(item.pause for item in items):
        time.sleep(0.3)
    return [Written(code=i.code, amount=None if i.amount is None else str(i.amount)) for i in items]


@command("probe.hold", input=Write, result=Written)
def hold(context: Context, items: tuple[Write, ...]) -> list[Written | Refusal]:
    """Wait for a second person."""
    return [Written(code=item.code, amount=None) for item in items]


@frozen(kw_only=True)
class Fail:
    code: str


@command("probe.fail", input=Fail, result=Written)
def fail(context: Context, items: tuple[Fail, ...]) -> list[Written | Refusal]:
    """Refuse with the given code, or break."""
    code = items[0].code
    if code == "crash":
        raise RuntimeError("the inside of the machine")
    if code == "away":
        raise Unavailable(Refusal("probe.away", "the other side is away"))
    if code == "lost":
        context.execute(sa.text("SET LOCAL ROLE NONE"))  # only the login itself may end its sessions
        context.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    return [Refusal(code, "as asked") for _ in items]


@frozen(kw_only=True)
class Nested:
    name: str


@frozen(kw_only=True)
class Ask:
    number: int | None = None
    flag: bool | None = None
    codes: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    nested: Nested | None = None
    on: date | None = None
    kind: Literal["some", "all"] = "all"
    from_: str | None = None


@query("probe.echo", input=Ask, result=Ask)
def echo(context: Context, asked: Ask) -> Ask:
    """Answer with what was asked."""
    return asked


@frozen(kw_only=True)
class ListRows:
    least: int = 1


@frozen(kw_only=True)
class Row:
    number: int
    text: str
    due: Money
    on: date
    steps: tuple[Nested, ...] = field(factory=tuple)
    note: str | None = None


@query("probe.rows", input=ListRows, result=Row, listing=True)
def rows(context: Context, asked: ListRows) -> Listing:
    """Some rows with cells of every kind."""
    series = (
        sa.func.generate_series(asked.least, ROWS)
        .table_valued(sa.column("n", sa.BigInteger), name="s")
        .render_derived()
    )

    def build(found: Sequence[Any]) -> list[Row]:
        return [
            Row(
                number=row.n, text=f"=1+{row.n}", due=Money(row.n * 100 + 5, "USD"), on=date(2021, 1, row.n),
                steps=(Nested(name="ä,b"),),
            )
            for row in found
        ]  # fmt: skip

    return Listing(sa.select(series.c.n), (series.c.n,), build, {"number": series.c.n})


class Hands:
    """A clock that a test moves by any while."""

    def __init__(self) -> None:
        self.moment = datetime(2021, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def today(self) -> date:
        return self.moment.date()

    def wait(self, **while_: float) -> None:
        self.moment += timedelta(**while_)


@pytest.fixture
def hands() -> Hands:
    """The clock of one test's application: `app.clock = hands`."""
    return Hands()


class Probe:
    """The plugin."""

    @hookimpl
    def imis_plugin(self) -> Manifest:
        return Manifest(name="probe", version="1", kernel=">=0", nouns={"probe": 1900})

    @hookimpl
    def imis_register_commands(self) -> Sequence[Any]:
        return (write, hold, fail)

    @hookimpl
    def imis_register_queries(self) -> Sequence[Any]:
        return (echo, rows)


SETTINGS: Mapping[str, Any] = {
    "roles": {
        "clerk": {"permissions": ["probe.write", "probe.rows"]},
        "checker": {"permissions": ["approvals.*", "probe.*"]},
    },
    "approvals": {"probe.hold": {"roles": ["checker"], "approvers": 1}},
}


class Site:
    """A served application: `client` acts as the administrator; `login(name, role)` gives another user's client."""

    def __init__(self, app: TestApp, url: str, stack: ExitStack) -> None:
        self.app = app
        self.url = url
        self._stack = stack
        self._clients: dict[str, httpx.Client] = {}
        app.do("users.change", {"user": "administrator", "password": PASSWORD})
        self.anyone = self._stack.enter_context(httpx.Client(base_url=url, timeout=30))
        self.client = self.login("administrator", None)

    def login(self, name: str, role: str | None) -> httpx.Client:
        if name not in self._clients:
            if role is not None:
                self.app.do("users.add", {"name": name, "roles": [role], "password": PASSWORD})
            token = self.token(name)
            headers = {"Authorization": f"Bearer {token}"}
            self._clients[name] = self._stack.enter_context(
                httpx.Client(base_url=self.url, headers=headers, timeout=30)
            )
        return self._clients[name]

    def token(self, name: str) -> str:
        answer = self.anyone.post("/api/auth/token", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token


@contextmanager
def served(app: TestApp) -> Iterator[Site]:
    """The application behind uvicorn on a free port, in a thread."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(proto=socket.IPPROTO_TCP))
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(web_config(make_asgi(app), workers=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(10)

        stack.callback(stop)
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield Site(app, f"http://127.0.0.1:{listener.getsockname()[1]}", stack)


@pytest.fixture(scope="module")
def site(playground: Playground) -> Iterator[Site]:
    """One served application for the tests of a module; they use codes of their own."""
    day = date(2021, 1, 1)
    with test_application(playground, day, SETTINGS, {"probe": Probe()}, ["probe"]) as app, served(app) as made:
        yield made


@pytest.fixture
def served_at() -> Callable[[TestApp], AbstractContextManager[Site]]:
    """`served`, for tests that need an application of their own."""
    return served
