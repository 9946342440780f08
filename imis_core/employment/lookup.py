"""Employers and employments for other rooms and for plugins: found by code or id, spells and wages as selects.

Reads only. The selects carry no scope: who joins them restricts them to persons that the caller may see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.employment.tables import employers, employments


@frozen
class EmployerRow:
    """An employer. `class_`: its sector or class of risk, as the scheme's contribution terms name it."""

    id: int
    code: str
    scheme: str
    class_: str | None
    place: int | None


@frozen
class Spell:
    """A person's time with an employer, first and last day included; `ends` None: it goes on.

    `wage_minor` is the agreed wage of a month in minor units of `currency`.
    """

    id: int
    employer: int
    person: int
    starts: date
    ends: date | None
    wage_minor: int | None
    currency: str

    def meets(self, first: date, last: date) -> bool:
        """Whether the spell has a day from `first` to `last`."""
        return self.starts <= last and (self.ends is None or self.ends >= first)


@frozen
class MonthWage:
    """What is declared for a person and a month, over all employers. `days` None: no employer gave them."""

    person: int
    month: date
    wage_minor: int
    days: int | None


def resolve_employers(context: Context, names: Iterable[str]) -> dict[str, EmployerRow]:
    """The employers that are named by code or outside id and that the caller may see; others are left out."""
    return {
        name: EmployerRow(row.id, row.code, row.scheme, getattr(row, "class"), row.place)
        for name, row in context.named(employers, names)
    }


def lock_employers(context: Context, numbers: Sequence[int]) -> None:
    """What is done to an employer's spells and wages goes one after the other."""
    if numbers:
        context.execute(
            sa.select(employers.c.id)
            .where(employers.c.id == any_of(numbers))
            .order_by(employers.c.id)
            .with_for_update()
        ).all()


def spells_of(context: Context, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], list[Spell]]:
    """The spells of each (employer, person), by their first day. One statement."""
    wanted = sorted(set(pairs))
    if not wanted:
        return {}
    asked = (
        sa.func.unnest(
            sa.literal([e for e, _ in wanted], ARRAY(sa.BigInteger)),
            sa.literal([p for _, p in wanted], ARRAY(sa.BigInteger)),
        )
        .table_valued("employer", "person", joins_implicitly=True)
        .render_derived("asked")
    )
    e = employments.c
    rows = context.execute(
        _columns()
        .where(e.employer == asked.c.employer, e.person == asked.c.person, context.scoped(employments))
        .order_by(e.starts, e.id)
    )
    found: dict[tuple[int, int], list[Spell]] = {pair: [] for pair in wanted}
    for row in _spells(rows):
        found[row.employer, row.person].append(row)
    return found


def spells_of_employers(context: Context, numbers: Iterable[int], persons: Iterable[int]) -> list[Spell]:
    """Every spell of these persons with these employers, by their first day. One statement."""
    e = employments.c
    rows = context.execute(
        _columns()
        .where(e.employer == any_of(numbers), e.person == any_of(persons), context.scoped(employments))
        .order_by(e.starts, e.id)
    )
    return _spells(rows)


def spells_sql(on: sa.ColumnElement[date]) -> sa.Select[Any]:
    """Who is employed on the day `on`, a literal or a column of the statement that joins this laterally.

    Columns `employment`, `employer`, `scheme` (the employer's), `person`, `starts`, `ends`. Whoever sees the person
    gets the spell, also who does not see the employer: a hospital, or an office of another place.
    """
    e = employments.c
    return sa.select(e.id.label("employment"), e.employer, e.scheme, e.person, e.starts, e.ends).where(
        e.starts <= on, sa.or_(e.ends.is_(None), on <= e.ends)
    )


def wages_of_window(
    context: Context, scheme: str, windows: Sequence[tuple[int, date, date]]
) -> dict[int, list[MonthWage]]:
    """Declared wages of persons, summed over their employers by month, by position in `windows`. One statement.

    A window is (person, first day of its first month, first day after its last month). A wage that an employer declared
    to several schemes counts once: as declared to `scheme`, else as declared to the first of the others.
    """
    if not windows:
        return {}
    rows = context.execute(
        _WINDOW,
        {
            "scheme": scheme,
            "persons": [person for person, _, _ in windows],
            "firsts": [first for _, first, _ in windows],
            "afters": [after for _, _, after in windows],
        },
    )
    found: dict[int, list[MonthWage]] = {position: [] for position in range(len(windows))}
    for row in rows:
        found[row.position - 1].append(MonthWage(row.person, row.month, int(row.wage_minor), row.days))
    return found


_WINDOW = sa.text("""
    SELECT w.position, d.person, d.month, sum(d.wage_minor) AS wage_minor, CAST(sum(d.days) AS integer) AS days
    FROM unnest(CAST(:persons AS bigint[]), CAST(:firsts AS date[]), CAST(:afters AS date[]))
         WITH ORDINALITY AS w(person, first, after, position)
    JOIN LATERAL (
        SELECT DISTINCT ON (g.employer, g.month) g.person, g.month, g.wage_minor, g.days
        FROM core.wages g WHERE g.person = w.person AND g.month >= w.first AND g.month < w.after
        ORDER BY g.employer, g.month, (g.scheme <> :scheme), g.scheme) d ON true
    GROUP BY w.position, d.person, d.month ORDER BY w.position, d.month
""")


def _columns() -> sa.Select[Any]:
    e = employments.c
    return sa.select(e.id, e.employer, e.person, e.starts, e.ends, e.wage_minor, e.currency)


def _spells(rows: Iterable[Any]) -> list[Spell]:
    return [Spell(*row) for row in rows]
