"""Reports: queries under names of their own, with chosen columns, served like any listing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import polars
import pytest

from imis_core.api import Manifest, Report, hookimpl
from imis_core.errors import ImisError
from imis_core.plugins import PluginErrors
from imis_core.queries import export, run_page
from imis_core.web.exports import write_export

PLACES = Report("places", "Places by level", "locations.list", ("level", "code"))
ROLES = {"roles": {"reader": {"permissions": ["reports.*"]}, "placer": {"permissions": ["reports.*", "locations.*"]}}}


def _plugin(*reports: Report) -> ModuleType:
    module = ModuleType("reporting")

    @hookimpl
    def imis_plugin() -> Manifest:
        return Manifest(name="reporting", version="1", kernel=">=0.1")

    @hookimpl
    def imis_register_reports() -> Sequence[Report]:
        return reports

    module.imis_plugin = imis_plugin  # type: ignore[attr-defined]
    module.imis_register_reports = imis_register_reports  # type: ignore[attr-defined]
    return module


def _app(make_app: Any, *reports: Report) -> Any:
    settings = {"plugins": {"enabled": ["reporting"]}, **ROLES}
    app = make_app(settings=settings, extra={"reporting": _plugin(*reports)}, plugins=[])
    app.do_all("locations.add", [{"code": f"P{n}", "name": "x", "level": f"level{n % 2}"} for n in (1, 2, 3)])
    return app


def test_a_report_gives_the_chosen_columns_in_their_order(make_app: Any) -> None:
    """`reports.run` answers the rows of its query, with its filters, reduced to the report's columns."""
    app = _app(make_app, PLACES)
    rows = app.do("reports.run", {"report": "places"})
    assert [list(row.items()) for row in rows] == [[("level", f"level{n % 2}"), ("code", f"P{n}")] for n in (1, 2, 3)]
    filtered = app.do("reports.run", {"report": "places", "with": {"level": "level1"}})
    assert [row["code"] for row in filtered] == ["P1", "P3"]
    assert app.do("reports.places", {"level": "level1"}) == filtered


def test_a_report_without_columns_has_all_of_its_query(make_app: Any) -> None:
    """The rows are those of the query itself, and pages go on from each other."""
    app = _app(make_app, Report("all_places", "All", "locations.list"))
    assert app.do("reports.run", {"report": "all_places"}) == app.do("locations.list")
    first = run_page(app, "reports.run", {"report": "all_places"}, app.system, limit=2)
    rest = run_page(app, "reports.run", {"report": "all_places"}, app.system, limit=2, cursor=first.next)
    assert [row["code"] for row in (*first.items, *rest.items)] == ["P1", "P2", "P3"]


def test_a_report_is_listed_with_its_columns_to_those_who_may_run_it(make_app: Any) -> None:
    """The permission is that of the query it stands on, for listing, running and the report's own query alike."""
    app = _app(make_app, PLACES)
    placer, reader = app.as_user("ann", "placer"), app.as_user("bob", "reader")
    listed = {"name": "places", "title": "Places by level", "query": "reports.places", "columns": ["level", "code"]}
    assert app.do("reports.list", as_=placer) == [listed]
    assert app.do("reports.list", as_=reader) == []
    for name, data in (("reports.run", {"report": "places"}), ("reports.places", {})):
        with pytest.raises(ImisError) as error:
            app.do(name, data, as_=reader)
        assert error.value.code == "permission.denied"


def test_a_report_is_written_as_a_file_by_its_own_query(make_app: Any) -> None:
    """Exports of `reports.<name>` have the report's columns; `reports.run`, whose columns vary, sends there."""
    app = _app(make_app, PLACES)
    chunks = export(app, "reports.places", {}, app.system)
    with write_export(chunks, app.queries["reports.places"].result, "text/csv") as file:
        content = file.read()
    assert polars.read_csv(io.BytesIO(content)).rows() == [("level1", "P1"), ("level0", "P2"), ("level1", "P3")]
    with pytest.raises(ImisError) as error:
        write_export([[{"a": 1}]], app.queries["reports.run"].result, "text/csv")
    assert error.value.code == "http.not_acceptable"


@pytest.mark.parametrize(
    ("data", "path"),
    [({"report": "place"}, "report"), ({"report": "places", "with": {"levl": "x"}}, "with.levl")],
)
def test_a_wrong_name_or_filter_is_told_where_it_is(make_app: Any, data: dict[str, Any], path: str) -> None:
    """An unknown report, or a filter that its query does not have, is `input.invalid` with a suggestion."""
    app = _app(make_app, PLACES)
    with pytest.raises(ImisError) as error:
        app.do("reports.run", data)
    [problem] = error.value.refusal.problems
    assert (error.value.code, problem.path) == ("input.invalid", path)
    assert "did you mean" in problem.message


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (Report("places", "x", "locations.lst"), "there is no query 'locations.lst'; did you mean 'locations.list'?"),
        (Report("places", "x", "ledger.balances"), "a report stands on a listing"),
        (Report("places", "x", "locations.list", ("cod",)), "has no field 'cod'; did you mean 'code'?"),
        (Report("run", "x", "locations.list"), "choose another name"),
        (Report("Places", "x", "locations.list"), "choose another name"),
    ],
)
def test_a_wrong_report_stops_the_start(make_app: Any, report: Report, words: str) -> None:
    """What a report names must be there when the application starts; the plugin is named."""
    with pytest.raises(PluginErrors) as error:
        _app(make_app, report)
    [problem] = error.value.refusal.problems
    assert problem.path == "plugins.enabled.reporting"
    assert words in problem.message
