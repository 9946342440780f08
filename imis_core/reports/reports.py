"""Reports: a query under a name and a title of its own, with the columns that its readers want. Selects nothing itself.

A report `payments_missed` is answered by the query `reports.payments_missed`, so that every door, format and page of a
listing serves it; the permission is that of the query it stands on. `reports.run` runs any of them by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from attrs import evolve, frozen

from imis_core.context import Context
from imis_core.errors import Problem, suggestion
from imis_core.parsing import outside_name, plain
from imis_core.queries import Listing, Query

NOUN: Final = "reports"
OWN: Final = frozenset({"list", "run"})  # verbs of the room's own queries
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,50}\Z")


@frozen
class Report:
    """A report. `query` names a registered listing; `columns` (all by default) choose and order its fields."""

    name: str
    title: str
    query: str
    columns: tuple[str, ...] = ()


def report_problems(reports: Iterable[tuple[str, Report]], queries: Mapping[str, Query]) -> list[Problem]:
    """What is wrong with (plugin, report): told at start, in the one report of all plugins."""
    found = []
    for plugin, report in reports:
        words = _wrong(report, queries)
        if words is not None:
            message = f"plugin {plugin!r}, report {report.name!r}: {words}"
            found.append(Problem(f"plugins.enabled.{plugin}", "report", message))
    return found


def _wrong(report: Report, queries: Mapping[str, Query]) -> str | None:
    if not _NAME.match(report.name) or report.name in OWN or f"{NOUN}.{report.name}" in queries:
        return f"choose another name; `{NOUN}.{report.name}` is taken or has other than small letters, digits and _"
    query = queries.get(report.query)
    if query is None:
        return f"there is no query {report.query!r}{suggestion(report.query, queries)}"
    if not query.listing:
        return f"{report.query} answers one object; a report stands on a listing"
    fields = [outside_name(field) for field in attrs.fields(query.result)]
    for column in report.columns:
        if column not in fields:
            return f"{report.query} has no field {column!r}{suggestion(column, fields)}"
    return None


def query_of(report: Report, queries: Mapping[str, Query]) -> Query:
    """The query `reports.<name>` that answers a report whose problems were looked for."""
    source = queries[report.query]
    if not report.columns:
        return evolve(source, name=f"{NOUN}.{report.name}", summary=report.title)
    by_name = {outside_name(field): field for field in attrs.fields(source.result)}
    attrs.resolve_types(source.result)
    chosen = {
        by_name[column].name: attrs.field(type=by_name[column].type, metadata=dict(by_name[column].metadata))
        for column in report.columns
    }
    words = "".join(part.capitalize() for part in report.name.split("_"))
    result = attrs.make_class(f"Report{words}", chosen, frozen=True, kw_only=True)

    def narrowed(rows: Sequence[Any]) -> list[Any]:
        return [result(**{name: getattr(row, name) for name in chosen}) for row in rows]

    def answer(context: Context, asked: Any) -> Any:
        found = source.handler(context, asked)
        if isinstance(found, Listing):
            build = found.build
            return evolve(found, build=lambda rows: narrowed(build(rows)))
        return narrowed(found) if isinstance(found, (list, tuple)) else found

    return evolve(source, name=f"{NOUN}.{report.name}", summary=report.title, result=result, handler=answer)


def as_rows(answer: Any) -> Any:
    """The answer of a report's query with its rows as plain data, whatever their class; a refusal as it is."""
    if isinstance(answer, Listing):
        build = answer.build
        return evolve(answer, build=lambda rows: plain(list(build(rows))))
    return plain(answer) if isinstance(answer, (list, tuple)) else answer
