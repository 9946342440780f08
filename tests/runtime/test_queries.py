"""The door for reads: pages by key, orders, cursors that belong to their listing, exports in chunks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core import queries
from imis_core.context import Context
from imis_core.errors import ImisError
from imis_core.queries import Listing, export, query, run_page
from imis_core.testing.app import TestApp
from imis_core.values import INT64_MAX

notes = sa.Table(
    "schedules",
    sa.MetaData(),
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("enqueued_on", sa.Date),
    schema="core",
)
score = sa.cast(sa.func.length(notes.c.job), sa.Numeric) / 3


@frozen(kw_only=True)
class Nothing:
    pass


@frozen(kw_only=True)
class Note:
    job: str


@query("probe.notes", input=Nothing, result=Note, listing=True)
def list_notes(context: Context, asked: Nothing) -> Listing:
    """The notes."""
    sortable = {"on": notes.c.enqueued_on, "job": notes.c.job, "score": score}
    return Listing(sa.select(notes), (notes.c.job,), lambda rows: [Note(job=r.job) for r in rows], sortable)


@pytest.fixture
def probe(make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]) -> TestApp:
    plugin = make_plugin("probe", nouns={"probe": 1001}, queries=(list_notes,))
    app = make_app(extra={"probe": plugin}, plugins=["probe"])
    add(app, *(f"n{n:02}" for n in range(10)))
    return app


def add(app: TestApp, *names: str) -> None:
    with app.database.command(app.system) as (connection, _):
        for name in names:
            day = date(2021, 1, 1 + int(name[1:3]) % 3)
            connection.execute(sa.text("INSERT INTO core.schedules VALUES (:n, :d)"), {"n": name, "d": day})


def page(app: TestApp, cursor: str | None = None, **options: Any) -> tuple[list[str], str | None]:
    found = run_page(app, "probe.notes", {}, app.as_user("administrator"), cursor=cursor, **options)
    return [item["job"] for item in found.items], found.next


def walk(app: TestApp, limit: int, **options: Any) -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        items, cursor = page(app, cursor, limit=limit, **options)
        seen += items
        if cursor is None:
            return seen


@pytest.mark.parametrize("sort", [None, "on", "-on", "job", "-job", "score", "-score"])
@pytest.mark.parametrize("limit", [1, 3, 5, 10, 100])
def test_pages_show_each_row_once(probe: TestApp, sort: str | None, limit: int) -> None:
    """Whatever the size of pages and the order, every row is seen exactly once, in the order of one large page."""
    add(probe, "n10x", "n11xyz")
    whole, following = page(probe, limit=1000, sort=sort)
    assert following is None
    assert len(set(whole)) == 12
    assert walk(probe, limit, sort=sort) == whole


def test_a_cursor_is_stable_under_inserts(probe: TestApp) -> None:
    """Rows that come before or behind while one reads neither repeat nor hide any other."""
    first, cursor = page(probe, limit=5)
    add(probe, "n00a", "n04a", "n08a")
    rest, _ = page(probe, cursor, limit=100)
    assert first + rest == ["n00", "n01", "n02", "n03", "n04", "n04a", "n05", "n06", "n07", "n08", "n08a", "n09"]


@pytest.mark.parametrize("descending", [False, True])
def test_rows_without_a_value_are_not_lost(probe: TestApp, descending: bool) -> None:
    """Nulls in the sorted column come last (first when descending), and every page goes on behind them."""
    values = sa.values(sa.column("n", sa.Integer), sa.column("v", sa.Integer), name="t").data(
        [(n, None if n % 2 else n // 4) for n in range(12)]
    )
    table = sa.select(values.c.n, values.c.v).subquery()
    table.c.v.nullable, table.c.n.nullable = True, False
    order = [table.c.v, table.c.n]
    seen: list[int] = []
    after: list[Any] | None = None
    with probe.database.query(probe.system) as connection:
        while True:
            statement, _ = queries._keyed(sa.select(table), order, descending, after)
            rows = connection.execute(statement.limit(2)).all()
            if not rows:
                break
            seen += [r.n for r in rows]
            after = [rows[-1].v, rows[-1].n]
    key = {n: (n % 2, 0 if n % 2 else n // 4, n) for n in range(12)}
    assert seen == sorted(range(12), key=key.__getitem__, reverse=descending)


def forged(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "", "!", "é", "a" * 100_000, forged(), forged("probe.notes "), forged("probe.notes ", 1), forged("x", "n05"),
        forged("probe.notes ", None), forged("probe.notes ", "a\x00"), forged("probe.notes ", "n05", "n06"),
        base64.urlsafe_b64encode(b'{"a": 1}').decode(),
    ],
)  # fmt: skip
def test_a_bad_cursor_is_refused(probe: TestApp, cursor: str) -> None:
    """What was not taken from `next` is `input.invalid` at `cursor`."""
    with pytest.raises(ImisError) as caught:
        page(probe, cursor)
    assert [(p.path, p.reason) for p in caught.value.refusal.problems] == [("cursor", "format")]


def test_a_cursor_tells_nothing(probe: TestApp) -> None:
    """Outside identifiers are opaque, and a cursor is one: it cannot be read, and not be changed unnoticed."""
    _, cursor = page(probe, limit=5)
    assert cursor is not None
    content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    assert b"probe" not in content
    changed = base64.urlsafe_b64encode(content[:-1] + bytes([content[-1] ^ 1])).decode().rstrip("=")
    with pytest.raises(ImisError):
        page(probe, changed)


def test_a_cursor_belongs_to_its_order(probe: TestApp) -> None:
    """A cursor of one order is refused in another, rather than going on anywhere."""
    _, cursor = page(probe, limit=2, sort="on")
    for sort in (None, "-on", "score"):
        with pytest.raises(ImisError):
            page(probe, cursor, sort=sort)


@pytest.mark.parametrize("kind", [sa.BigInteger, sa.Date, sa.DateTime, sa.Numeric, sa.Boolean, sa.Text])
def test_a_forged_value_never_reaches_the_database(kind: type) -> None:
    """Values of another type, and numbers beyond 64 bits, are refused for every type of key."""
    column: Any = sa.Column("c", kind(), nullable=False)
    for value in ({}, [], None, "garbage\x00", 2**70, INT64_MAX + 1, 1.5):
        if kind is sa.Numeric and isinstance(value, (int, float)):
            continue
        with pytest.raises((TypeError, ValueError, ArithmeticError)):
            queries._typed(value, column)
    if kind is sa.Numeric:
        assert queries._typed("1.5", column) == Decimal("1.5")


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 1001}, {"sort": "jbo"}, {"sort": ""}, {"sort": "--job"}])
def test_limits_and_orders_are_checked(probe: TestApp, options: dict[str, Any]) -> None:
    """1 to 1000 rows, sorted by what the listing names."""
    with pytest.raises(ImisError) as caught:
        page(probe, **options)
    assert caught.value.code == "input.invalid"


def test_an_export_streams_in_chunks(probe: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows come in chunks of bounded size, and an export that is given up leaves its connection in order."""
    monkeypatch.setattr(queries, "EXPORT_CHUNK", 4)
    chunks = list(export(probe, "probe.notes", {}, probe.as_user("administrator")))
    assert [len(c) for c in chunks] == [4, 4, 2]
    begun = export(probe, "probe.notes", {}, probe.as_user("administrator"))
    assert len(next(begun)) == 4
    begun.close()
    assert len(probe.do("probe.notes")) == 10


def test_a_query_writes_nothing(probe: TestApp) -> None:
    """Queries run as the reading role, which may not write."""
    with probe.database.query(probe.system) as connection, pytest.raises(sa.exc.ProgrammingError, match="permission"):
        connection.execute(sa.text("DELETE FROM core.schedules"))
