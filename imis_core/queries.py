"""The door for reads. A query is a name, an input class, a permission and a handler that answers from scoped SELECTs.

A listing is a SELECT with a total order; the door pages it by key, streams it for exports, and never counts it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec
import sqlalchemy as sa
from attrs import field, frozen

from imis_core.context import Context
from imis_core.errors import ImisError, Problem, Refusal, invalid, suggestion
from imis_core.logs import work as logged
from imis_core.parsing import InvalidInput, parse, plain
from imis_core.reads import log_reads
from imis_core.security.caller import Caller, denied
from imis_core.values import INT64_MAX

if TYPE_CHECKING:
    from imis_core.application import Application

I = TypeVar("I")  # noqa: E741 - the input class of a query
PAGE: Final = 100
PAGE_MAX: Final = 1000
EXPORT_CHUNK: Final = 5000


@frozen
class Listing:
    """The answer of a listing query before it is paged.

    `order` makes the order total (it ends with a unique column); `build` turns rows into results, in order, with a
    constant number of statements per page; `sortable` names the columns that a caller may sort by instead.
    """

    select: sa.Select[Any]
    order: Sequence[sa.ColumnElement[Any]]
    build: Callable[[Sequence[sa.Row[Any]]], Sequence[Any]]
    sortable: Mapping[str, sa.ColumnElement[Any]] = field(factory=dict)


@frozen
class Query:
    """A query: its door's whole definition. `handler(context, input)` gives a `result`, a `Listing` or a `Refusal`."""

    name: str
    input: type
    result: type
    handler: Callable[[Context, Any], Any]
    permission: str
    summary: str
    listing: bool
    logs: bool = False  # it writes a log of exact look-ups, so it runs as the application rather than as the reader

    @property
    def noun(self) -> str:
        return self.name.partition(".")[0]


def query(
    name: str,
    *,
    input: type[I],  # noqa: A002
    result: type,
    listing: bool = False,
    permission: str | None = None,
    logs: bool = False,
) -> Callable[[Callable[[Context, I], Any]], Query]:
    """Make a handler into a query; the first line of its docstring is the summary that users read."""

    def wrap(handler: Callable[[Context, I], Any]) -> Query:
        summary = (handler.__doc__ or "").strip().partition("\n")[0]
        return Query(name, input, result, handler, permission or name, summary, listing, logs)

    return wrap


@frozen
class Page:
    """A page of a listing; `next` is the cursor of the following page, None at the end."""

    items: list[Any]
    next: str | None


def run_query(app: Application, name: str, data: Mapping[str, Any], caller: Caller) -> Any:
    """Answer a query with plain data: an object, or the whole list of a listing. Raises `ImisError` for a refusal."""
    if app.queries.get(name) is not None and app.queries[name].listing:
        return [item for chunk in export(app, name, data, caller) for item in chunk]
    with _opened(app, name, data, caller) as (context, answer):
        told = plain(answer)
        log_reads(context, app.queries[name].result, data, told)
        return told


def run_page(
    app: Application, name: str, data: Mapping[str, Any], caller: Caller,
    *, limit: int = PAGE, cursor: str | None = None, sort: str | None = None,
) -> Page:  # fmt: skip
    """One page of a listing in its own order, or sorted by one of its sortable columns (`-name` for descending)."""
    if not 1 <= limit <= PAGE_MAX:
        raise ImisError(invalid(Problem("limit", "range", f"expected 1 to {PAGE_MAX}")))
    with _opened(app, name, data, caller) as (context, answer):
        if not isinstance(answer, Listing):
            items = plain(answer)
            log_reads(context, app.queries[name].result, data, items)
            return Page(items, None)
        order, descending = _order(answer, sort)
        after = None if cursor is None else _values(app, cursor, _listing_name(name, sort), order)
        statement, keys = _keyed(answer.select, order, descending, after)
        rows = context.execute(statement.limit(limit + 1)).all()
        more = len(rows) > limit
        rows = rows[:limit]
        following = _cursor(app, rows[-1], keys, _listing_name(name, sort)) if more else None
        items = plain(answer.build(rows))
        log_reads(context, app.queries[name].result, data, items)
        return Page(items, following)


def export(app: Application, name: str, data: Mapping[str, Any], caller: Caller) -> Iterator[list[Any]]:
    """All items of a listing in chunks, read in one snapshot with a server-side cursor.

    Of whom a chunk tells is noted before it is given out, and stays noted if nobody asks for the next one.
    """
    result_class = app.queries[name].result if name in app.queries else object
    with _opened(app, name, data, caller) as (context, answer):
        if not isinstance(answer, Listing):
            items = plain(answer)
            log_reads(context, result_class, data, items)
            yield items
            return
        statement = answer.select.order_by(*answer.order)
        with closing(context.execute(statement.execution_options(yield_per=EXPORT_CHUNK))) as result:
            for rows in result.partitions(EXPORT_CHUNK):
                items = plain(answer.build(rows))
                log_reads(context, result_class, data, items)
                try:
                    yield items
                except GeneratorExit:
                    return


@contextmanager
def _opened(app: Application, name: str, data: Mapping[str, Any], caller: Caller) -> Iterator[tuple[Context, Any]]:
    """A query's transaction with its handler's answer; a refusal is raised."""
    definition = app.queries.get(name)
    if definition is None:
        raise ImisError(app.unknown_name(name))
    if not caller.may(definition.permission):
        raise ImisError(denied(definition.permission))
    try:
        asked: Any = parse(data, definition.input)
    except InvalidInput as error:
        raise ImisError(invalid(*error.problems)) from None
    with logged(query=name, actor=caller.user), app.database.query(caller, writes=definition.logs) as connection:
        context = Context(app, connection, caller, app.clock.now(), app.clock.today(), command=name)
        answer = definition.handler(context, asked)
        if isinstance(answer, Refusal):
            raise ImisError(answer)
        yield context, answer


def _order(listing: Listing, sort: str | None) -> tuple[list[sa.ColumnElement[Any]], bool]:
    if sort is None:
        return list(listing.order), False
    name = sort.removeprefix("-")
    if name not in listing.sortable:
        known = ", ".join(listing.sortable) or "none"
        message = f"cannot sort by {name!r}; sortable: {known}{suggestion(name, listing.sortable)}"
        raise ImisError(invalid(Problem("sort", "choice", message)))
    return [listing.sortable[name], *listing.order], sort.startswith("-")


def _keyed(
    select: sa.Select[Any],
    order: Sequence[sa.ColumnElement[Any]],
    descending: bool,
    after: Sequence[Any] | None,
) -> tuple[sa.Select[Any], list[str]]:
    """The select ordered, with its keys as extra columns, after the cursor's values."""
    keys = [f"_key{i}" for i in range(len(order))]
    statement = select.add_columns(*[c.label(k) for c, k in zip(order, keys, strict=True)])
    statement = statement.order_by(*[c.desc() if descending else c.asc() for c in order])
    if after is not None:
        statement = statement.where(_behind(order, after, descending))
    return statement, keys


def _behind(order: Sequence[sa.ColumnElement[Any]], after: Sequence[Any], descending: bool) -> sa.ColumnElement[bool]:
    """The rows behind a place in the order. Where nothing is null, one comparison of tuples, which uses an index."""
    there = [sa.literal(v, c.type) for v, c in zip(after, order, strict=True)]
    if not any(getattr(column, "nullable", False) for column in order):
        here, place = sa.tuple_(*order), sa.tuple_(*there)
        return here < place if descending else here > place
    conditions = []
    behind: sa.ColumnElement[bool]
    for position, (column, value) in enumerate(zip(order, there, strict=True)):
        # PostgreSQL puts nulls last when it ascends, first when it descends.
        if after[position] is None:
            behind = column.is_not(None) if descending else sa.false()
        else:
            behind = column < value if descending else sa.or_(column > value, column.is_(None))
        same = [c.is_not_distinct_from(v) for c, v in zip(order[:position], there[:position], strict=True)]
        conditions.append(sa.and_(*same, behind))
    return sa.or_(*conditions)


def _listing_name(name: str, sort: str | None) -> str:
    """What a cursor belongs to: another listing, or another order of this one, refuses it."""
    return f"{name} {sort or ''}"


def _cursor(app: Application, row: sa.Row[Any], keys: Sequence[str], listing: str) -> str:
    """Where the next page begins, wrapped: it names rows by their keys, which are nobody's business outside."""
    mapping = row._mapping
    place = [listing, *(mapping[k] for k in keys)]
    return base64.urlsafe_b64encode(app.ids.wrap(msgspec.json.encode(place))).decode().rstrip("=")


def _values(app: Application, cursor: str, listing: str, order: Sequence[sa.ColumnElement[Any]]) -> list[Any]:
    wrong = ImisError(invalid(Problem("cursor", "format", "this is no cursor of this listing; take it from `next`")))
    try:
        place = app.ids.unwrap(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        values = None if place is None else msgspec.json.decode(place)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise wrong from None
    if not isinstance(values, list) or len(values) != len(order) + 1 or values[0] != listing:
        raise wrong
    try:
        return [_typed(value, column) for value, column in zip(values[1:], order, strict=True)]
    except (TypeError, ValueError, ArithmeticError):
        raise wrong from None


def _typed(value: object, column: sa.ColumnElement[Any]) -> Any:
    if value is None and getattr(column, "nullable", False):
        return None
    kind = cast(type, column.type.python_type)
    if kind is Decimal:
        return Decimal(cast(str, value))
    if kind is date:
        return date.fromisoformat(cast(str, value))
    if kind is datetime:
        return datetime.fromisoformat(cast(str, value))
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise TypeError(f"expected {kind.__name__}")
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("NUL")
    if isinstance(value, int) and abs(value) > INT64_MAX:
        raise ValueError("out of range")
    return value
