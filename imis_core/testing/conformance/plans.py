"""What the plugin's SQL costs: its plans at two sizes of tables, as the kernel runs it.

The kernel's own functions ask the plugin, and the statements that come of it are explained: with so many rows in every
table that they read, and with ten times as many. A statement that costs more for each row then does not scale; a table
that is read from its beginning for each row of another one does not either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, field, frozen

from imis_core import hookspecs
from imis_core.benefit_packages.lookup import parsed_terms, versions_on
from imis_core.benefit_packages.schemes import SchemeType
from imis_core.context import Context
from imis_core.database.tables import metadata as core_metadata
from imis_core.eligibility.covers import covers_on
from imis_core.eligibility.terms import read_limits, read_rules
from imis_core.errors import ImisError
from imis_core.migrations.runner import tables_of
from imis_core.payroll.runs import CycleRow, PayrollRun
from imis_core.queries import run_page
from imis_core.testing.app import TestApp
from imis_core.testing.conformance.complaints import Complaint
from imis_core.testing.conformance.filling import fill

BATCH: Final = 50  # keys that a look-up is asked for at once
# A step deeper in an index costs a page more for each row; a table that is read anew costs ten times as many.
GROWTH: Final = 1.5
SLACK_PAGES: Final = 0.5  # for each row
SMALL_TABLE_PAGES: Final = 4  # reading these again costs less than an index
TODAY: Final = date(2024, 6, 15)
PAYROLL: Final = "imis_payroll_lines_sql"


@frozen
class Asked:
    """Something to explain: the hook, what runs it, and how many rows it is for (None: as many as the tables have)."""

    hook: str
    run: Callable[[Context], object]
    keys: int | None


@define
class _Statement:
    hook: str
    sql: str
    parameters: Any
    keys: int | None
    costs: list[float] = field(factory=list)  # pages for each row, at each size


def check_plans(
    app: TestApp, administrator: sa.Connection, plugin: str, rows: tuple[int, int], terms: Mapping[str, Any],
    constants: Mapping[str, str],
) -> list[Complaint]:  # fmt: skip
    """The complaints about the plans of everything that the plugin contributes as SQL."""
    found: list[Complaint] = []
    statements = []
    for asked in _asked(app, plugin, terms, found):
        statements += _capture(app, asked)
    statements += list(_merges(app, plugin))
    fixed = {"scheme": "'conformance'", "currency": "'USD'"}
    # What payrolls read belongs to the package that they are of; elsewhere each row has a package of its own.
    of_payroll = _tables(app, plugin, [s for s in statements if s.hook == PAYROLL])
    others = [t for t in _tables(app, plugin, statements) if t not in of_payroll]
    first = 1
    for size in rows:
        fill(administrator, of_payroll, size, {**fixed, **_packages(app), **constants}, first)
        fill(administrator, others, size, {**fixed, **constants}, first)
        first = size + 1
        for statement in statements:
            found += _judge(app, statement, plugin, size)
    grown = rows[1] // rows[0]
    for statement in statements:
        small, large = statement.costs
        if large > small * GROWTH + SLACK_PAGES:
            what = (
                f"a row costs {small:.1f} pages at {rows[0]:,} rows and {large:.1f} at {rows[1]:,}: "
                f"{grown} times the rows cost more than {grown} times as much"
            )
            mend = "look its rows up by an index that leads with what they are joined by, or read each table once"
            found.append(Complaint(plugin, statement.hook, what, mend))
    return list(dict.fromkeys(found))


# --- what is asked of the plugin


def _asked(app: TestApp, plugin: str, terms: Mapping[str, Any], found: list[Complaint]) -> Iterator[Asked]:
    for code, scheme in app.settings.schemes.items():
        kind = app.scheme_types[scheme.type]
        if app._type_plugins[kind.name] == plugin:
            yield from _claims(kind, code)
            if plugin in app.plugins.implementers(hookspecs.imis_payroll_lines_sql):
                yield from _payroll(app, plugin, code, terms.get(kind.name, {}), found)
    for query in _queries(app, plugin):
        if query.listing:
            yield Asked(f"imis_register_queries, {query.name}", partial(_first_page, app, query.name), None)


def _claims(kind: SchemeType, scheme: str) -> Iterator[Asked]:
    """What entry and valuation of claims ask a scheme type, for a batch of persons, versions and items."""
    keys = list(range(1, BATCH + 1))
    cases = [(key, TODAY, key) for key in keys]
    if kind.covers_sql is not None:
        yield Asked("SchemeType.covers_sql", lambda context: covers_on(context, kind, scheme, cases), BATCH)
    if kind.line_terms_sql is not None:
        yield Asked("SchemeType.line_terms_sql", lambda context: read_rules(context, kind, keys, keys), BATCH)
    if kind.package_limits_sql is not None:
        yield Asked("SchemeType.package_limits_sql", lambda context: read_limits(context, kind, keys), BATCH)


def _queries(app: TestApp, plugin: str) -> Sequence[Any]:
    spec = hookspecs.imis_register_queries
    return tuple(app.plugins.call_plugin(plugin, spec)) if plugin in app.plugins.implementers(spec) else ()


def _first_page(app: TestApp, name: str, _: Context) -> None:
    try:
        run_page(app, name, {}, app.system, limit=BATCH)
    except ImisError:
        return  # a listing that must be told what it is about is judged by its own tests


def _payroll(app: TestApp, plugin: str, scheme: str, terms: Any, found: list[Complaint]) -> Iterator[Asked]:
    package = {"scheme": scheme, "code": "C", "name": "C", "valid_from": "2020-01-01", "terms": terms}
    try:
        app.do("benefit_packages.define", package)
        app.do("cycles.open", {"scheme": scheme, "code": "C0", "starts": "2024-04-01", "ends": "2024-04-30"})
        app.do("cycles.open", {"scheme": scheme, "code": "C1", "starts": "2024-05-01", "ends": "2024-05-31"})
    except ImisError as error:
        mend = "give the check terms of this kind of scheme that are right: terms={TYPE: {...}}"
        found.append(Complaint(plugin, PAYROLL, f"no payroll could be asked for: {error}", mend))
        return

    def ask(context: Context) -> None:
        version = versions_on(context, [(scheme, "C", TODAY)])[scheme, "C", TODAY]
        numbers = context.execute(sa.text("SELECT id, starts, ends, code FROM core.cycles ORDER BY starts")).all()
        earlier, now = (CycleRow(row.id, row.code, row.starts, row.ends) for row in numbers)
        run = PayrollRun(
            scheme=scheme, currency="USD", package=version.package, package_code="C", version=version.id,
            terms=parsed_terms(context, [version])[version.id], cycle=now, active_on=now.ends, today=TODAY,
            context=context, earlier=(earlier,),
        )  # fmt: skip
        for select in app.plugins.call_plugin(plugin, hookspecs.imis_payroll_lines_sql, run):
            context.execute(select)  # all its columns: one that is not asked for is not computed

    yield Asked(PAYROLL, ask, None)


def _packages(app: TestApp) -> dict[str, str]:
    """Rows belong to the package that was defined for the check, if there is one."""
    rows = app.rows("SELECT package, id FROM core.package_versions ORDER BY id")
    return {"package": str(rows[0]["package"]), "package_version": str(rows[0]["id"])} if rows else {}


def _merges(app: TestApp, plugin: str) -> Iterator[_Statement]:
    """A merge looks for the rows of one person in each column that follows it."""
    if plugin in app.plugins.implementers(hookspecs.imis_person_merge_sql):
        for move in app.plugins.call_plugin(plugin, hookspecs.imis_person_merge_sql):
            sql = f'SELECT id FROM {move.table.fullname} WHERE "{move.column}" = ANY(%(persons)s::bigint[])'
            keys = {"persons": list(range(1, BATCH + 1))}
            yield _Statement(f"imis_person_merge_sql, {move.name}", sql, keys, BATCH)


# --- how it is run and what it costs


@contextmanager
def _context(app: TestApp) -> Iterator[Context]:
    with app.database.query(app.system) as connection:
        yield Context(app, connection, app.system, app.clock.now(), TODAY)


def _capture(app: TestApp, asked: Asked) -> list[_Statement]:
    """The SELECTs over tables that the hook's answer becomes, as the driver gets them."""
    seen: list[_Statement] = []

    def note(_: object, __: object, sql: str, parameters: Any, *___: object) -> None:
        if sql.lstrip("( ").upper().startswith(("SELECT", "WITH")) and "set_config" not in sql:
            seen.append(_Statement(asked.hook, sql, parameters, asked.keys))

    sa.event.listen(app.database.engine, "before_cursor_execute", note)
    try:
        with _context(app) as context:
            asked.run(context)
    finally:
        sa.event.remove(app.database.engine, "before_cursor_execute", note)
    return seen


def _explain(app: TestApp, statement: _Statement, options: str) -> dict[str, Any]:
    with _context(app) as context:
        context.connection.exec_driver_sql("SET LOCAL max_parallel_workers_per_gather = 0")
        context.connection.exec_driver_sql("SET LOCAL jit = off")
        sql = f"EXPLAIN ({options}, FORMAT JSON) {statement.sql}"
        plan: Any = context.connection.exec_driver_sql(sql, statement.parameters).scalar_one()
        top: dict[str, Any] = plan[0]["Plan"]
        return top


def _tables(app: TestApp, plugin: str, statements: Sequence[_Statement]) -> list[sa.Table]:
    """The tables that the plans of the statements read."""
    known = {t.fullname: t for t in (*core_metadata.sorted_tables, *tables_of(app.plugins.manifests[plugin]))}
    named = {
        f"{node['Schema']}.{node['Relation Name']}"
        for statement in statements
        for node in _nodes(_explain(app, statement, "VERBOSE"))
        if "Relation Name" in node
    }
    fixed = ("core.cycles", "core.packages", "core.package_versions", "core.audit_entries", "core.users")
    wanted = [name for name in sorted(named & known.keys()) if name not in fixed]
    return [known[name] for name in wanted]


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _judge(app: TestApp, statement: _Statement, plugin: str, size: int) -> list[Complaint]:
    plan = _explain(app, statement, "ANALYZE, BUFFERS, TIMING OFF")
    pages = plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
    statement.costs.append(pages / (statement.keys or size))
    found = []
    for node in _nodes(plan):
        loops = node.get("Actual Loops", 0)
        read = node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
        if node["Node Type"] == "Seq Scan" and loops > 1 and read / loops > SMALL_TABLE_PAGES:
            what = f"{node['Relation Name']} is read from its beginning once for each row of another table"
            mend = "join it by columns that an index leads with, or aggregate it once in a sub-select that is joined"
            found.append(Complaint(plugin, statement.hook, what, mend))
    return found
