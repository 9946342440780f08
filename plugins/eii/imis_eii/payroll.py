"""What an employment-injury package owes in a cycle: one line per running pension, and what is paid once.

Everything that is paid stands in dated rows (`award_amounts`, `lumps`), so that the lines are plain joins whatever the
number of awards. What is deducted or made good is in `adjustments`. Source: contract-eii.md, 'Payroll'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imis_core.api import PayrollRun, package_versions, persons
from imis_eii.adjustments import AWARD, DIFFERENCE, PENSION_STEP, RECOVERY, deductions, differences, worth
from imis_eii.cases import PENSION, PERIOD
from imis_eii.tables import award_amounts, awards, lumps, proofs

LUMP: Final = "lump"
_NOTHING: Final = sa.literal(0, sa.BigInteger)


def payroll_lines(run: PayrollRun) -> Sequence[sa.Select[Any]]:
    """The lines of a cycle: pensions once per cycle, periods and lump sums once for ever."""
    return [_pensions(run), _lumps(run)]


def _pensions(run: PayrollRun) -> sa.Select[Any]:
    """Each pension's days in the cycle, what earlier cycles were paid otherwise, less what is taken back."""
    owed, made_good, taken = _owed(run), differences(run), deductions(run)
    current = owed.c.amount
    # Too much that was paid is set off against this cycle at most; the rest waits for the next one.
    difference = sa.func.greatest(sa.func.coalesce(made_good.c.minor, _NOTHING), -current)
    before = current + difference
    back = sa.func.coalesce(
        sa.func.least(before, taken.c.instalment, sa.func.greatest(taken.c.left, _NOTHING)), _NOTHING
    )
    steps = _step(PENSION_STEP, current).op("||")(_step(DIFFERENCE, difference)).op("||")(_step(RECOVERY, -back))
    number, version = owed.c.id, owed.c.package_version
    return (
        _line(run, owed, owed.c.person, sa.literal(AWARD), number, False, version, before - back, steps)
        .join(made_good, made_good.c.award == number, isouter=True)
        .join(taken, taken.c.award == number, isouter=True)
        .where(sa.or_(current > 0, before > 0))
    )


def _owed(run: PayrollRun) -> sa.Subquery:
    """What each award is worth in the cycle; awards that were corrected stand here even if it is nothing any more."""
    a, m = awards.c, award_amounts.c
    starts, ends = sa.literal(run.cycle.starts, sa.Date), sa.literal(run.cycle.ends, sa.Date)
    overlap = sa.and_(
        m.award == a.id, m.revision == a.revision, m.starts <= ends, sa.or_(m.ends.is_(None), m.ends >= starts)
    )
    return (
        sa.select(a.id, a.person, a.package_version, sa.func.coalesce(worth(starts, ends), _NOTHING).label("amount"))
        .select_from(awards)
        .join(award_amounts, overlap, isouter=True)
        .join(package_versions, package_versions.c.id == a.package_version)
        .where(
            package_versions.c.package == run.package,
            a.kind == PENSION,
            a.starts <= run.active_on,
            sa.or_(m.award.is_not(None), a.corrected_from.is_not(None)),
            _is_alive(run),
            run.context.scoped(awards),
        )
        .group_by(a.id)
        .subquery("owed")
    )


def _is_alive(run: PayrollRun) -> sa.ColumnElement[bool]:
    """No proof of life is overdue on the cycle's first day; who has none yet is believed from the award's start."""
    a, p = awards.c, proofs.c
    latest = (
        sa.select(sa.func.max(p.alive_on))
        .where(p.award == a.id, p.alive_on <= run.today)
        .correlate(awards)
        .scalar_subquery()
    )
    due = sa.func.coalesce(latest, a.starts) + sa.func.make_interval(0, a.proof_months)
    return sa.or_(a.proof_months.is_(None), due >= sa.literal(run.cycle.starts, sa.Date))


def _lumps(run: PayrollRun) -> sa.Select[Any]:
    """Periods of temporary benefit, lump sums and grants that are due by the cycle's end."""
    c = lumps.c
    kind = sa.case((c.kind == PERIOD, PERIOD), else_=LUMP)
    return (
        _line(run, lumps, c.person, kind, c.id, True, c.package_version, c.amount_minor, _step(c.kind, c.amount_minor))
        .join(package_versions, package_versions.c.id == c.package_version)
        .where(
            package_versions.c.package == run.package,
            c.due_on <= sa.literal(run.cycle.ends, sa.Date),
            c.amount_minor > 0,
            run.context.scoped(lumps),
        )
    )


def _step(name: Any, minor: Any) -> Any:
    """One step as a list of pairs; a step of nothing is left out."""
    step = sa.func.jsonb_build_array(sa.func.jsonb_build_array(sa.cast(name, sa.Text), minor))
    return sa.case((minor != 0, sa.cast(step, JSONB)), else_=sa.func.jsonb_build_array())


def _line(
    run: PayrollRun, source: sa.FromClause, person: Any, kind: Any, number: Any, once: bool, version: Any, amount: Any,
    steps: Any,
) -> sa.Select[Any]:  # fmt: skip
    """A line's columns as the kernel reads them, with the beneficiary's place; who was merged is paid as the other."""
    return (
        sa.select(
            sa.func.coalesce(persons.c.merged_into, person).label("person"),
            sa.null().cast(sa.BigInteger).label("group"),
            persons.c.place.label("place"),
            sa.cast(kind, sa.Text).label("source_kind"),
            number.label("source"),
            sa.literal(once).label("once"),
            version.label("package_version"),
            amount.label("amount_minor"),
            sa.cast(steps, JSONB).label("steps"),
            sa.false().label("waits"),
            sa.null().cast(ARRAY(sa.BigInteger)).label("arrears"),
        )
        .select_from(source)
        .join(persons, sa.and_(persons.c.id == person, run.context.scoped(persons)))
    )
