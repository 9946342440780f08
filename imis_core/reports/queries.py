"""Queries of the room reports: which there are, and running one by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from attrs import field, frozen

from imis_core.context import Context
from imis_core.errors import Problem, invalid, suggestion
from imis_core.parsing import InvalidInput, outside_name, parse
from imis_core.queries import query
from imis_core.reports.reports import NOUN, as_rows
from imis_core.security.caller import denied


@frozen(kw_only=True)
class ListReports:
    pass


@frozen(kw_only=True)
class ReportInfo:
    """`query`: what `imis export` and `GET /api/reports/<name>` call it; `columns` in their order."""

    name: str
    title: str
    query: str
    columns: tuple[str, ...]


@frozen(kw_only=True)
class RunReport:
    """`report`: its name; `with`: the filters of the query that it stands on."""

    report: str
    with_: dict[str, object] = field(factory=dict)


class ReportRow:
    """A row of a report: its columns are listed by `reports.list`."""

    @staticmethod
    def __structure__(kind: type, value: object, read: Callable[[object, Any], Any]) -> Any:
        return value


@query("reports.list", input=ListReports, result=ReportInfo, listing=True)
def list_reports(context: Context, _: ListReports) -> list[ReportInfo]:
    """The reports that the caller may run, by name."""
    found = []
    for name, report in sorted(context.app.reports.items()):
        answering = context.app.queries[f"{NOUN}.{name}"]
        if context.caller.may(answering.permission):
            columns = tuple(outside_name(column) for column in attrs.fields(answering.result))
            found.append(ReportInfo(name=name, title=report.title, query=answering.name, columns=columns))
    return found


@query("reports.run", input=RunReport, result=ReportRow, listing=True)
def run_report(context: Context, asked: RunReport) -> Any:
    """The rows of a report; as a file by the report's own query, `reports.<name>`."""
    if asked.report not in context.app.reports:
        message = f"there is no report {asked.report!r}{suggestion(asked.report, context.app.reports)}"
        return invalid(Problem("report", "unknown", message))
    answering = context.app.queries[f"{NOUN}.{asked.report}"]
    if not context.caller.may(answering.permission):
        return denied(answering.permission)
    try:
        filters: Any = parse(asked.with_, answering.input)
    except InvalidInput as error:
        return invalid(*[problem.at("with") for problem in error.problems])
    return as_rows(answering.handler(context, filters))


QUERIES: Final = (list_reports, run_report)
