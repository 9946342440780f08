"""Declaring wages: an employer's file of a month, taken as a whole, with the contributions that are owed.

All that is wrong with a file is told at once, row by row. A declaration of the same month again replaces the earlier
one of that person; both are kept, and only the difference goes to the ledger. Source: contract-kernel.md, 'Employment'.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, field, frozen

from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.benefit_packages.schemes import WageContribution
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import array_literal, insert_rows, take_ids
from imis_core.employment.lookup import EmployerRow, lock_employers, resolve_employers, spells_of_employers
from imis_core.employment.rates import Declared, Rates, contributions_of, rates_on
from imis_core.employment.tables import wage_declarations, wages
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.ledger.book import INCOME, RECEIVABLE, post
from imis_core.values import Amount, Money, NotExact, add_months, to_minor

_MONTH: Final = re.compile(r"(\d{4})-(\d{2})\Z")


@frozen(kw_only=True)
class WageRow:
    """`number` of the person, `wage` of the month, `days` worked in it."""

    number: str
    wage: Amount
    days: int | None = None


@frozen(kw_only=True)
class DeclareWages:
    """`scheme`: absent = the employer's; `month` as "2024-01"."""

    scheme: str | None = None
    employer: str
    month: str
    rows: tuple[WageRow, ...]


@frozen(kw_only=True)
class WagesDeclared:
    """`people`: rows taken; `employee`, `employer`, `state`: what is owed for them."""

    people: int
    employee: Money
    employer: Money
    state: Money
    total: Money


@frozen
class _File:
    """A declaration whose employer, scheme and month are known."""

    position: int
    employer: EmployerRow
    scheme: str
    currency: str
    first: date
    last: date
    rows: tuple[WageRow, ...]


@frozen
class _Row:
    """A row that is right."""

    person: int
    wage_minor: int
    days: int | None


Key = tuple[int, date, int, str]  # employer, month, person, scheme


@frozen
class _Standing:
    """The declaration that holds for a key, and what is owed by it."""

    declaration: int
    owed_minor: int


@define
class _Judged:
    """A file whose rows are right."""

    file: _File
    rates: Rates
    rows: list[_Row]
    owed: list[WageContribution] = field(factory=list)


@command("employment.declare_wages", input=DeclareWages, result=WagesDeclared)
def declare_wages(context: Context, items: tuple[DeclareWages, ...]) -> list[WagesDeclared | Refusal]:
    """Declare an employer's wages of a month: contributions by the scheme's rates. A file with a bad row is refused."""
    outcomes: list[Any] = [None] * len(items)
    files = _files(context, items, outcomes)
    rates = rates_on(context, {(f.scheme, f.first) for f in files})
    people = resolve_persons(context, {row.number for f in files for row in f.rows})
    lock_employers(context, [f.employer.id for f in files])
    employers = {f.employer.id for f in files}
    spells = spells_of_employers(context, employers, {p.id for p in people.values()}) if files else ()
    employed = {(spell.employer, spell.person) for spell in spells}
    judged: list[_Judged] = []
    for file in files:
        rate = rates[file.scheme, file.first]
        rows = _judge(file, people, employed)
        if isinstance(rate, Refusal) or isinstance(rows, Refusal):
            outcomes[file.position] = rate if isinstance(rate, Refusal) else rows
        else:
            judged.append(_Judged(file, rate, rows))
    _owe(context, judged)
    _store(context, judged)
    for one in judged:
        outcomes[one.file.position] = _result(one)
    return outcomes


def _files(context: Context, items: Sequence[DeclareWages], outcomes: list[Any]) -> list[_File]:
    """The files whose employer, scheme and month are right; refusals of the others go to `outcomes`."""
    known = resolve_employers(context, {item.employer for item in items})
    found = []
    for position, item in enumerate(items):
        first = _month(item.month, context.today)
        employer = known.get(item.employer)
        if isinstance(first, Problem):
            outcomes[position] = invalid(first)
        elif employer is None:
            outcomes[position] = not_found("employer", "employer", item.employer)
        elif isinstance(kind := scheme_type(context, item.scheme or employer.scheme), Refusal):
            outcomes[position] = kind
        else:
            scheme = item.scheme or employer.scheme
            last = add_months(first, 1) - timedelta(days=1)
            currency = context.settings.currency_of(scheme)
            found.append(_File(position, employer, scheme, currency, first, last, item.rows))
    return found


def _month(text: str, today: date) -> date | Problem:
    """The first day of the month; a month that has not begun has no wages."""
    match = _MONTH.match(text)
    if match is None or not (1 <= int(match[2]) <= 12 and int(match[1]) > 0):
        return Problem("month", "format", f'expected a month such as "2024-01", found {text[:20]!r}')
    first = date(int(match[1]), int(match[2]), 1)
    if first > today:
        return Problem("month", "future", f"{text} has not begun; today is {today}")
    return first


def _judge(file: _File, people: Mapping[str, PersonRow], employed: Set[tuple[int, int]]) -> list[_Row] | Refusal:
    """A file's rows, or all that is wrong with them: `not_found` if it is persons only, else `input.invalid`."""
    rows: list[_Row] = []
    problems: list[Problem] = []
    seen: set[int] = set()
    for position, row in enumerate(file.rows):
        judged = _row(file, row, people, employed, seen)
        if isinstance(judged, Problem):
            problems.append(judged.at(f"rows.{position}"))
        else:
            seen.add(judged.person)
            rows.append(judged)
    if not problems:
        return rows
    if all(problem.reason == "not_found" for problem in problems):
        message = f"the file names {len(problems)} persons who are not there, or whom you may not see"
        return Refusal("not_found", message, tuple(problems))
    return invalid(*problems)


def _row(
    file: _File, row: WageRow, people: Mapping[str, PersonRow], employed: Set[tuple[int, int]], seen: Set[int]
) -> _Row | Problem:
    """A row's person, wage and days, or the first thing that is wrong with it."""
    try:
        wage = to_minor(row.wage, file.currency)
    except NotExact as error:
        return Problem("wage", "not_exact", str(error))
    if row.days is not None and not 0 <= row.days <= file.last.day:
        return Problem("days", "range", f"expected 0 to {file.last.day} days, found {row.days}")
    person = people.get(row.number)
    if person is None:
        return Problem("number", "not_found", f"no person {row.number!r}")
    # Wages may be declared for months before a spell that was registered late, and after its end.
    if (file.employer.id, person.id) not in employed:
        message = f"{row.number} was never employed by {file.employer.code!r}; register the employment"
        return Problem("number", "not_employed", message)
    if person.id in seen:
        return Problem("number", "not_unique", f"{row.number} stands in this file twice")
    return _Row(person.id, wage, row.days)


def _owe(context: Context, judged: Sequence[_Judged]) -> None:
    """Compute what is owed for every row of all files."""
    declared = [Declared(one.rates, one.file.employer.class_, row.wage_minor) for one in judged for row in one.rows]
    answers = iter(contributions_of(context, declared))
    for one in judged:
        one.owed = [next(answers) for _ in one.rows]


def _total(owed: WageContribution) -> int:
    return owed.employee_minor + owed.employer_minor + owed.state_minor


def _store(context: Context, judged: Sequence[_Judged]) -> None:
    """Write the declarations, let them hold, and post what they change."""
    rows = [(one, row, owed) for one in judged for row, owed in zip(one.rows, one.owed, strict=True)]
    if not rows:
        return
    standing = _standing(context, [one.file for one in judged])
    numbers = take_ids(context.connection, wage_declarations, len(rows))
    differences: Counter[str] = Counter()
    replaced: list[int | None] = []
    holding: dict[Key, int] = {}  # position of the last row of each key
    for position, ((one, row, owed), number) in enumerate(zip(rows, numbers, strict=True)):
        key = (one.file.employer.id, one.file.first, row.person, one.file.scheme)
        before = standing.get(key)
        replaced.append(None if before is None else before.declaration)
        differences[one.file.scheme] += _total(owed) - (0 if before is None else before.owed_minor)
        standing[key] = _Standing(number, _total(owed))
        holding[key] = position
    columns: dict[str, list[Any]] = {
        "id": numbers,
        "scheme": [one.file.scheme for one, _, _ in rows],
        "employer": [one.file.employer.id for one, _, _ in rows],
        "person": [row.person for _, row, _ in rows],
        "month": [one.file.first for one, _, _ in rows],
        "wage_minor": [row.wage_minor for _, row, _ in rows],
        "days": [row.days for _, row, _ in rows],
        "class": [one.file.employer.class_ for one, _, _ in rows],
        "package_version": [one.rates.version for one, _, _ in rows],
        "employee_minor": [owed.employee_minor for _, _, owed in rows],
        "employer_minor": [owed.employer_minor for _, _, owed in rows],
        "state_minor": [owed.state_minor for _, _, owed in rows],
        "currency": [one.file.currency for one, _, _ in rows],
        "replaces": replaced,
        "declared_on": [context.today] * len(rows),
        "audit": [context.audit] * len(rows),
    }
    insert_rows(context.connection, wage_declarations, columns)
    _hold(context, columns, sorted(holding.values()))
    for scheme, minor in sorted(differences.items()):
        post(context, scheme, "employment.declare_wages", {RECEIVABLE: minor, INCOME: -minor})


def _standing(context: Context, files: Sequence[_File]) -> dict[Key, _Standing]:
    """What holds now for the employers and months of the files. One statement."""
    w = wages.c
    rows = context.execute(
        sa.select(
            w.employer, w.month, w.person, w.scheme, w.declaration,
            (w.employee_minor + w.employer_minor + w.state_minor).label("owed"),
        ).where(
            w.employer == any_of({f.employer.id for f in files}),
            w.month == any_of({f.first for f in files}, sa.Date),
            context.scoped(wages),
        )
    )  # fmt: skip
    return {(r.employer, r.month, r.person, r.scheme): _Standing(r.declaration, r.owed) for r in rows}


_HELD: Final = ("employer", "month", "person", "scheme", "wage_minor", "days", "employee_minor", "employer_minor",
                "state_minor", "currency")  # fmt: skip
_HOLD: Final = sa.text("""
    INSERT INTO core.wages AS w (declaration, employer, month, person, scheme, wage_minor, days, employee_minor,
                                 employer_minor, state_minor, currency)
    SELECT * FROM unnest(CAST(:declaration AS bigint[]), CAST(:employer AS bigint[]), CAST(:month AS date[]),
                         CAST(:person AS bigint[]), CAST(:scheme AS text[]), CAST(:wage_minor AS bigint[]),
                         CAST(:days AS integer[]), CAST(:employee_minor AS bigint[]), CAST(:employer_minor AS bigint[]),
                         CAST(:state_minor AS bigint[]), CAST(:currency AS text[]))
    ON CONFLICT (employer, month, person, scheme) DO UPDATE SET
        declaration = excluded.declaration, wage_minor = excluded.wage_minor, days = excluded.days,
        employee_minor = excluded.employee_minor, employer_minor = excluded.employer_minor,
        state_minor = excluded.state_minor, currency = excluded.currency
""")


def _hold(context: Context, columns: Mapping[str, Sequence[Any]], positions: Sequence[int]) -> None:
    """Let the last declaration of each key be the one that holds."""
    chosen = {name: array_literal([columns[name][p] for p in positions]) for name in _HELD}
    context.execute(_HOLD, {"declaration": array_literal([columns["id"][p] for p in positions]), **chosen})


def _result(one: _Judged) -> WagesDeclared:
    currency = one.file.currency
    employee = sum(owed.employee_minor for owed in one.owed)
    employer = sum(owed.employer_minor for owed in one.owed)
    state = sum(owed.state_minor for owed in one.owed)
    return WagesDeclared(
        people=len(one.rows),
        employee=Money(employee, currency),
        employer=Money(employer, currency),
        state=Money(state, currency),
        total=Money(employee + employer + state, currency),
    )
