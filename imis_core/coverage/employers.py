"""What employers owe for months of declared wages, and what they paid for them. Reads only.

Source: contract-kernel.md, `contributions.record {employer + month}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import sqlalchemy as sa
from attrs import define

from imis_core.context import Context
from imis_core.employment.lookup import lock_employers, resolve_employers
from imis_core.errors import Problem, Refusal, invalid, not_found

_MONTH: Final = re.compile(r"(\d{4})-(\d{2})\Z")
Months = Mapping[tuple[str, date, str], "EmployerMonth"]


@define
class EmployerMonth:
    """An employer's month in a scheme after the items of a batch so far; amounts in minor units."""

    employer: int
    first: date
    scheme: str
    currency: str
    owed_minor: int
    paid_minor: int
    declared: bool

    @property
    def balance(self) -> int:
        return self.owed_minor - self.paid_minor


_OWED: Final = sa.text(
    """
    SELECT a.employer, a.month, a.scheme, w.owed, coalesce(p.paid, 0) AS paid
    FROM unnest(CAST(:employers AS bigint[]), CAST(:months AS date[]), CAST(:schemes AS text[]))
         AS a(employer, month, scheme)
    LEFT JOIN LATERAL (
        SELECT CAST(sum(w.employee_minor + w.employer_minor + w.state_minor) AS bigint) AS owed FROM core.wages w
        WHERE w.employer = a.employer AND w.month = a.month AND w.scheme = a.scheme) w ON true
    LEFT JOIN LATERAL (
        SELECT CAST(sum(c.amount_minor) AS bigint) AS paid FROM core.contributions c
        WHERE c.employer = a.employer AND c.month = a.month AND c.scheme = a.scheme
          AND NOT EXISTS (SELECT FROM core.contribution_reversals r WHERE r.contribution = c.id)) p ON true
    """
)


def load_months(
    context: Context, asked: Sequence[tuple[str, str, str | None]]
) -> dict[tuple[str, date, str], EmployerMonth]:
    """The months that are named by (employer, month, scheme); the employers are locked. Three statements, or none.

    An employer whom the caller does not see, and a month that is none, are left out.
    """
    if not asked:
        return {}
    employers = resolve_employers(context, {name for name, _, _ in asked})
    lock_employers(context, [e.id for e in employers.values()])
    wanted: dict[tuple[int, date, str], EmployerMonth] = {}
    named: dict[tuple[str, date, str], EmployerMonth] = {}
    for name, text, scheme in asked:
        employer, first = employers.get(name), first_day(text)
        if employer is None or first is None:
            continue
        of = scheme or employer.scheme
        if of not in context.settings.schemes:
            continue
        key = (employer.id, first, of)
        if key not in wanted:
            wanted[key] = EmployerMonth(employer.id, first, of, context.settings.currency_of(of), 0, 0, False)
        named[name, first, scheme or ""] = wanted[key]
    keys = list(wanted)
    rows = context.execute(
        _OWED, {"employers": [k[0] for k in keys], "months": [k[1] for k in keys], "schemes": [k[2] for k in keys]}
    )
    for row in rows:
        month = wanted[row.employer, row.month, row.scheme]
        month.owed_minor, month.paid_minor, month.declared = row.owed or 0, row.paid, row.owed is not None
    return named


def month_of(
    context: Context, months: Months, employer: str, text: str | None, scheme: str | None
) -> EmployerMonth | Refusal:
    """The month that an item names, or why there is none."""
    first = first_day(text or "")
    if first is None:
        return invalid(Problem("month", "format", 'name the month that is paid, such as "2024-01"'))
    month = months.get((employer, first, scheme or ""))
    if month is None and scheme is not None and scheme not in context.settings.schemes:
        return invalid(Problem("scheme", "unknown", f"there is no scheme {scheme!r}"))
    if month is None:
        return not_found("employer", "employer", employer)
    if not month.declared:
        message = f"no wages are declared for {text} in {month.scheme!r}; declare them first"
        return invalid(Problem("month", "not_declared", message))
    return month


def first_day(text: str) -> date | None:
    """The first day of a month as text, None if it is none."""
    match = _MONTH.match(text)
    if match is None or not (1 <= int(match[2]) <= 12 and int(match[1]) > 0):
        return None
    return date(int(match[1]), int(match[2]), 1)
