"""Cycles: the dated periods that payrolls are made for, planned by a recurrence and opened one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, field, frozen

from imis_core.benefit_packages.lookup import parsed_terms, scheme_type
from imis_core.benefit_packages.tables import packages
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import code_problem
from imis_core.payroll.tables import cycles
from imis_core.payroll.versions import packages_named, version_for, versions_of
from imis_core.queries import Listing, query
from imis_core.recurrence import BeyondCalendar, Every, Recurrence, Weekday

PLAN_MAX: Final = 1000  # periods of one plan
_ONE_DAY: Final = timedelta(days=1)


@frozen(kw_only=True)
class PlanCycles:
    """A recurrence and where to begin; `from` itself is the first day unless a day or weekday is asked for."""

    every: Every
    interval: int = 1
    day: int | None = None
    weekday: Weekday | None = None
    nth: int | None = None
    from_: date
    count: int


@frozen(kw_only=True)
class Period:
    starts: date
    ends: date


@query("cycles.plan", input=PlanCycles, result=Period, listing=True)
def plan(context: Context, asked: PlanCycles) -> list[Period] | Refusal:
    """The first and last days of the periods that a recurrence gives; nothing is opened."""
    recurrence = Recurrence(
        every=asked.every, interval=asked.interval, day=asked.day, weekday=asked.weekday, nth=asked.nth
    )
    problems = recurrence.problems()
    if not 1 <= asked.count <= PLAN_MAX:
        problems.append(Problem("count", "range", f"expected 1 to {PLAN_MAX}, found {asked.count}"))
    if problems:
        return invalid(*problems)
    try:
        return [Period(starts=s, ends=e) for s, e in islice(recurrence.periods(asked.from_), asked.count)]
    except BeyondCalendar:
        return invalid(Problem("count", "range", "the last period would end after the year 9999; ask for fewer"))


@frozen(kw_only=True)
class OpenCycle:
    """A cycle of a scheme, of one package if it names one."""

    scheme: str
    code: str
    starts: date
    ends: date
    package: str | None = None


@frozen(kw_only=True)
class OpenNextCycle:
    scheme: str
    package: str
    code: str


@frozen(kw_only=True)
class Cycle:
    """`package`: the code of the only package that the cycle is for."""

    id: str
    code: str
    starts: date
    ends: date
    package: str | None = None


@frozen
class _Days:
    """A cycle as the calendar knows it; `package` None: of every package of the scheme."""

    code: str
    package: int | None
    starts: date
    ends: date

    def meets(self, other: _Days) -> bool:
        """Whether two cycles may claim the same day of the same package."""
        shared = self.package is None or other.package is None or self.package == other.package
        return shared and self.starts <= other.ends and other.starts <= self.ends


@define
class _Calendar:
    """The cycles of the schemes that a batch touches, under their locks, and those that it opens."""

    context: Context
    known: dict[str, list[_Days]] = field(factory=dict)
    opened: list[tuple[int, str, _Days, str | None]] = field(factory=list)  # position, scheme, days, package code

    @classmethod
    def load(cls, context: Context, schemes: Iterable[str]) -> _Calendar:
        """Lock out other openings in these schemes, then read their cycles."""
        wanted = sorted({scheme for scheme in schemes if scheme in context.settings.schemes})
        calendar = cls(context, {scheme: [] for scheme in wanted})
        if wanted:
            context.execute(_LOCK, {"schemes": wanted})
            rows = context.execute(
                sa.select(cycles.c.scheme, cycles.c.code, cycles.c.package, cycles.c.starts, cycles.c.ends)
                .where(cycles.c.scheme == any_of(wanted, sa.Text))
                .order_by(cycles.c.starts, cycles.c.id)
            )
            for row in rows:
                calendar.known[row.scheme].append(_Days(row.code, row.package, row.starts, row.ends))
        return calendar

    def of_package(self, scheme: str, package: int) -> list[_Days]:
        """The cycles that a package goes through, by their first days."""
        found = [days for days in self.known[scheme] if days.package in (None, package)]
        return sorted(found, key=lambda days: days.starts)

    def add(self, position: int, scheme: str, days: _Days, package_code: str | None) -> Refusal | None:
        """Take a cycle in, unless its code or its days are taken."""
        for other in self.known[scheme]:
            if other.code == days.code:
                return Refusal("cycles.duplicate_code", f"the scheme {scheme!r} has a cycle {days.code!r} already")
        for other in self.known[scheme]:
            if other.meets(days):
                return Refusal(
                    "cycles.overlap",
                    f"{days.starts} to {days.ends} overlaps the cycle {other.code!r} ({other.starts} to {other.ends})",
                )
        self.known[scheme].append(days)
        self.opened.append((position, scheme, days, package_code))
        return None

    def write(self, outcomes: list[Any]) -> None:
        """Insert what was opened, and answer its positions."""
        numbers = take_ids(self.context.connection, cycles, len(self.opened))
        insert_rows(
            self.context.connection,
            cycles,
            {
                "id": numbers,
                "scheme": [scheme for _, scheme, _, _ in self.opened],
                "package": [days.package for _, _, days, _ in self.opened],
                "code": [days.code for _, _, days, _ in self.opened],
                "starts": [days.starts for _, _, days, _ in self.opened],
                "ends": [days.ends for _, _, days, _ in self.opened],
            },
        )
        for (position, _, days, package), identity in zip(
            self.opened, self.context.ids.encode_all("cycles", numbers), strict=True
        ):
            outcomes[position] = Cycle(id=identity, code=days.code, starts=days.starts, ends=days.ends, package=package)


_LOCK: Final = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended('cycles ' || scheme, 0)) "
    "FROM (SELECT unnest(CAST(:schemes AS text[])) AS scheme ORDER BY 1) s"
)


@command("cycles.open", input=OpenCycle, result=Cycle)
def open_cycle(context: Context, items: tuple[OpenCycle, ...]) -> list[Cycle | Refusal]:
    """Open a cycle of a scheme, of one of its packages or of all; its days overlap no other one."""
    calendar = _Calendar.load(context, {item.scheme for item in items})
    known = packages_named(context, {(item.scheme, item.package) for item in items if item.package is not None})
    outcomes: list[Any] = [None] * len(items)
    for position, item in enumerate(items):
        package = None if item.package is None else known.get((item.scheme, item.package))
        outcomes[position] = _refusal(context, item.scheme, item.code)
        if outcomes[position] is None and item.package is not None and package is None:
            outcomes[position] = not_found("package", "benefit package", item.package)
        if outcomes[position] is None and item.ends < item.starts:
            outcomes[position] = invalid(Problem("ends", "range", "the cycle ends before it begins"))
        if outcomes[position] is None:
            days = _Days(item.code, package.id if package else None, item.starts, item.ends)
            outcomes[position] = calendar.add(position, item.scheme, days, package.code if package else None)
    calendar.write(outcomes)
    return outcomes


@command("cycles.open_next", input=OpenNextCycle, result=Cycle)
def open_next_cycle(context: Context, items: tuple[OpenNextCycle, ...]) -> list[Cycle | Refusal]:
    """Open a package's next cycle by the frequency of its terms, from the day after the last one's end."""
    calendar = _Calendar.load(context, {item.scheme for item in items})
    known = packages_named(context, {(item.scheme, item.package) for item in items})
    versions = versions_of(context, {row.id for row in known.values()})
    terms = parsed_terms(context, [v for all_of in versions.values() for v in all_of])
    outcomes: list[Any] = [None] * len(items)
    for position, item in enumerate(items):
        package = known.get((item.scheme, item.package))
        refusal = _refusal(context, item.scheme, item.code)
        kind = scheme_type(context, item.scheme)
        if refusal is not None or isinstance(kind, Refusal):
            outcomes[position] = refusal
            continue
        if kind.frequency is None:
            message = f"packages of the kind {kind.name} have no frequency; open the cycle with its days"
            outcomes[position] = invalid(Problem("scheme", "frequency", message))
            continue
        if package is None:
            outcomes[position] = not_found("package", "benefit package", item.package)
            continue
        earlier = calendar.of_package(item.scheme, package.id)
        begins = max((days.ends for days in earlier), default=context.today - _ONE_DAY) + _ONE_DAY
        version = version_for(versions[package.id], begins)
        frequency = None if version is None else kind.frequency(terms[version.id])
        if frequency is None:
            message = f"the terms of {package.code} on {begins} name no frequency; open the cycle with its days"
            outcomes[position] = invalid(Problem("package", "frequency", message))
            continue
        try:
            starts, ends = _next(frequency, [days.starts for days in earlier], begins)
        except BeyondCalendar:
            outcomes[position] = invalid(Problem("package", "range", "the cycle would end after the year 9999"))
            continue
        days = _Days(item.code, package.id, starts, ends)
        outcomes[position] = calendar.add(position, item.scheme, days, package.code)
    calendar.write(outcomes)
    return outcomes


def _next(frequency: Recurrence, earlier: Sequence[date], begins: date) -> tuple[date, date]:
    """The period that follows, on the days of the first cycle if the recurrence leads from there to `begins`.

    So a cycle that began on the 31st comes back to it after a short month, as in a plan of the same recurrence.
    """
    if earlier:
        for starts, ends in frequency.periods(earlier[0]):
            if starts == begins:
                return starts, ends
            if starts > begins:
                break
    return next(frequency.periods(begins))


def _refusal(context: Context, scheme: str, code: str) -> Refusal | None:
    kind = scheme_type(context, scheme)
    if isinstance(kind, Refusal):
        return kind
    problem = code_problem("code", code)
    return None if problem is None else invalid(problem)


@frozen(kw_only=True)
class ListCycles:
    scheme: str


@query("cycles.list", input=ListCycles, result=Cycle, listing=True)
def list_cycles(context: Context, asked: ListCycles) -> Listing | Refusal:
    """The cycles of a scheme, by their first days."""
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    select = (
        sa.select(cycles.c.id, cycles.c.code, cycles.c.starts, cycles.c.ends, packages.c.code.label("package"))
        .outerjoin(packages, packages.c.id == cycles.c.package)
        .where(cycles.c.scheme == asked.scheme)
    )

    def build(rows: Sequence[Any]) -> list[Cycle]:
        ids = context.ids.encode_all("cycles", [row.id for row in rows])
        return [
            Cycle(id=identity, code=row.code, starts=row.starts, ends=row.ends, package=row.package)
            for identity, row in zip(ids, rows, strict=True)
        ]

    return Listing(select, (cycles.c.starts, cycles.c.id), build)


COMMANDS = (open_cycle, open_next_cycle)
QUERIES = (plan, list_cycles)
