"""What an employment-injury package owes in a cycle: one line per running pension, and what is paid once.

Everything that is paid stands in dated rows (`award_amounts`, `lumps`), so that the lines are plain joins whatever the
number of awards. Source: contract-eii.md, 'Payroll'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imis_core.api import (
    PayrollRun,
    entitlement_amounts,
    entitlement_current,
    entitlements,
    package_versions,
    persons,
)
from imis_eii.cases import PERIOD
from imis_eii.tables import award_amounts, awards, lumps, proofs, recoveries

AWARD: Final = "award"
LUMP: Final = "lump"
RECOVERY: Final = "recovery"
NOT_DEDUCTED: Final = ("cancelled", "reversed")  # states of entitlements whose deduction did not happen


def payroll_lines(run: PayrollRun) -> Sequence[sa.Select[Any]]:
    """The lines of a cycle: pensions once per cycle, periods and lump sums once for ever."""
    return [_pensions(run), _lumps(run)]


def _pensions(run: PayrollRun) -> sa.Select[Any]:
    """Each pension's days in the cycle: per month its part of the cycle's days, per day the days; rounded once."""
    a, m = awards.c, award_amounts.c
    starts, ends = sa.literal(run.cycle.starts, sa.Date), sa.literal(run.cycle.ends, sa.Date)
    days = sa.func.least(sa.func.coalesce(m.ends, ends), ends) - sa.func.greatest(m.starts, starts) + 1
    divisor = sa.case((a.per == "month", (run.cycle.ends - run.cycle.starts).days + 1), else_=1)
    owed = (
        sa.select(
            a.id,
            a.person,
            a.package_version,
            sa.cast(sa.func.div(2 * sa.func.sum(m.amount_minor * days) + divisor, 2 * divisor), sa.BigInteger).label(
                "amount"
            ),
        )
        .select_from(awards)
        .join(award_amounts, sa.and_(m.award == a.id, m.revision == a.revision))
        .join(package_versions, package_versions.c.id == a.package_version)
        .where(
            package_versions.c.package == run.package,
            a.kind == "pension",
            a.starts <= run.active_on,
            m.starts <= ends,
            sa.or_(m.ends.is_(None), m.ends >= starts),
            _is_alive(run),
            run.context.scoped(awards),
        )
        .group_by(a.id)
        .subquery("owed")
    )
    o, taken = owed.c, _deducted(run)
    back = sa.func.coalesce(
        sa.func.least(o.amount, taken.c.instalment, sa.func.greatest(taken.c.left, 0)), sa.literal(0, sa.BigInteger)
    )
    full = sa.func.jsonb_build_array(sa.func.jsonb_build_array(sa.cast("pension", sa.Text), o.amount))
    minus = sa.func.jsonb_build_array(sa.func.jsonb_build_array(sa.cast(RECOVERY, sa.Text), -back))
    steps = sa.case((back > 0, full.op("||")(minus)), else_=full)
    line = _line(run, owed, o.person, sa.literal(AWARD), o.id, False, o.package_version, o.amount - back, steps)
    return line.join(taken, taken.c.award == o.id, isouter=True).where(o.amount > 0)


def _deducted(run: PayrollRun) -> sa.Subquery:
    """What is taken back of each award: `instalment` at most this time, `left` in all after earlier deductions.

    A deduction counts as long as its entitlement stands, paid or not.
    """
    r, e, c, m = recoveries.c, entitlements.c, entitlement_current.c, entitlement_amounts.c
    agreed = (
        sa.select(
            r.award, sa.func.sum(r.amount_minor).label("total"), sa.func.sum(r.instalment_minor).label("instalment")
        )
        .group_by(r.award)
        .subquery("agreed")
    )
    step = sa.func.jsonb_array_elements(m.steps).table_valued("value", name="step")
    value = sa.cast(step.c.value, JSONB)
    earlier = (
        sa.select(e.source, sa.func.sum(-sa.cast(value[1].astext, sa.BigInteger)).label("minor"))
        .select_from(entitlements)
        .join(agreed, agreed.c.award == e.source)
        .join(entitlement_current, c.entitlement == e.id)
        .join(entitlement_amounts, sa.and_(m.payroll == c.payroll, m.entitlement == e.id))
        .join(step, sa.true())
        .where(
            e.source_kind == AWARD,
            e.scheme == run.scheme,
            c.state.not_in(NOT_DEDUCTED),
            value[0].astext == RECOVERY,
            run.context.scoped(entitlements),
        )
        .group_by(e.source)
        .subquery("earlier")
    )
    left = agreed.c.total - sa.func.coalesce(earlier.c.minor, 0)
    return (
        sa.select(agreed.c.award, agreed.c.instalment, left.label("left"))
        .select_from(agreed)
        .join(earlier, earlier.c.source == agreed.c.award, isouter=True)
        .subquery("deducted")
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
    steps = sa.func.jsonb_build_array(sa.func.jsonb_build_array(c.kind, c.amount_minor))
    return (
        _line(run, lumps, c.person, kind, c.id, True, c.package_version, c.amount_minor, steps)
        .join(package_versions, package_versions.c.id == c.package_version)
        .where(
            package_versions.c.package == run.package,
            c.due_on <= sa.literal(run.cycle.ends, sa.Date),
            c.amount_minor > 0,
            run.context.scoped(lumps),
        )
    )


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
