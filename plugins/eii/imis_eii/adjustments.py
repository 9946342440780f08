"""What moves a pension's line beside the pension: differences of other cycles, and overpayments taken back.

Both are read from the steps of the entitlements that stand, so that a payroll that is rejected took and gave nothing.
Only awards whose past changed, or from which something is taken back, are looked at.
Source: employment_injury.md 3, 'Effects from the day of the event; differences for past months are paid or recovered'.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from imis_core.api import PayrollRun, cycles, entitlement_amounts, entitlement_current, entitlements
from imis_eii.tables import award_amounts, awards, recoveries

AWARD: Final = "award"  # source kind of a pension's entitlements
PENSION_STEP: Final = "pension"
DIFFERENCE: Final = "difference"
RECOVERY: Final = "recovery"
NOT_STANDING: Final = ("cancelled", "reversed")  # states of entitlements that neither pay nor deduct


def worth(starts: Any, ends: Any) -> sa.ColumnElement[int]:
    """What an award's dated amounts are worth in a cycle, rounded half up once; over rows of `award_amounts`.

    Per month: the part of the cycle's days that it runs; per day: the days.
    """
    a, m = awards.c, award_amounts.c
    days = sa.func.least(sa.func.coalesce(m.ends, ends), ends) - sa.func.greatest(m.starts, starts) + 1
    divisor = sa.case((a.per == "month", ends - starts + 1), else_=1)
    return sa.cast(sa.func.div(2 * sa.func.sum(m.amount_minor * days) + divisor, 2 * divisor), sa.BigInteger)


def _standing(run: PayrollRun) -> sa.Select[Any]:
    """Entitlements of awards that stand, with the steps of the payroll that they belong to."""
    e, c, m = entitlements.c, entitlement_current.c, entitlement_amounts.c
    return (
        sa.select(e.id, e.source, e.cycle, m.steps)
        .select_from(entitlements)
        .join(entitlement_current, c.entitlement == e.id)
        .join(entitlement_amounts, sa.and_(m.payroll == c.payroll, m.entitlement == e.id))
        .where(
            e.source_kind == AWARD,
            e.source != 0,
            e.scheme == run.scheme,
            c.state.not_in(NOT_STANDING),
            run.context.scoped(entitlements),
        )
    )


def _steps_of(rows: Any) -> tuple[Any, Any]:
    """The steps of rows as a table, with each step's value."""
    table = sa.func.jsonb_array_elements(rows.c.steps).table_valued("value", name="step").lateral()
    return table, sa.cast(table.c.value, JSONB)


def differences(run: PayrollRun) -> sa.Subquery:
    """For each award whose past changed: what the cycles that were paid are worth now, less what was paid for them.

    All that stands counts, whatever the order in which cycles are generated: a difference does not say which cycle it
    made good, so only the sums over all cycles tell what is still owed.
    """
    a, m = awards.c, award_amounts.c
    rows = (
        _standing(run)
        .add_columns(cycles.c.starts, cycles.c.ends, (cycles.c.ends >= a.corrected_from).label("changed"))
        .join(cycles, cycles.c.id == entitlements.c.cycle)
        .join(awards, a.id == entitlements.c.source)
        .where(a.corrected_from.is_not(None))
        .subquery("earlier")
    )
    steps, value = _steps_of(rows)
    paid = (
        sa.select(rows.c.source, sa.func.sum(sa.cast(value[1].astext, sa.BigInteger)).label("minor"))
        .select_from(rows)
        .join(steps, sa.true())
        .where(sa.or_(value[0].astext == DIFFERENCE, sa.and_(value[0].astext == PENSION_STEP, rows.c.changed)))
        .group_by(rows.c.source)
        .subquery("paid")
    )
    by_cycle = (
        sa.select(rows.c.source, worth(rows.c.starts, rows.c.ends).label("minor"))
        .select_from(rows)
        .join(awards, a.id == rows.c.source)
        .join(
            award_amounts,
            sa.and_(
                m.award == a.id,
                m.revision == a.revision,
                m.starts <= rows.c.ends,
                sa.or_(m.ends.is_(None), m.ends >= rows.c.starts),
            ),
        )
        .where(rows.c.changed)
        .group_by(rows.c.source, rows.c.id, rows.c.starts, rows.c.ends, a.per)
        .subquery("by_cycle")
    )
    now = (
        sa.select(by_cycle.c.source, sa.func.sum(by_cycle.c.minor).label("minor"))
        .group_by(by_cycle.c.source)
        .subquery("now_worth")
    )
    return (
        sa.select(
            paid.c.source.label("award"),
            sa.cast(sa.func.coalesce(now.c.minor, 0) - paid.c.minor, sa.BigInteger).label("minor"),
        )
        .select_from(paid)
        .join(now, now.c.source == paid.c.source, isouter=True)
        .subquery("differences")
    )


def deductions(run: PayrollRun) -> sa.Subquery:
    """What is taken back of each award: `instalment` at most this time, `left` in all after earlier deductions."""
    r = recoveries.c
    agreed = (
        sa.select(
            r.award, sa.func.sum(r.amount_minor).label("total"), sa.func.sum(r.instalment_minor).label("instalment")
        )
        .group_by(r.award)
        .subquery("agreed")
    )
    rows = _standing(run).join(agreed, agreed.c.award == entitlements.c.source).subquery("deducted")
    steps, value = _steps_of(rows)
    earlier = (
        sa.select(rows.c.source, sa.func.sum(-sa.cast(value[1].astext, sa.BigInteger)).label("minor"))
        .select_from(rows)
        .join(steps, sa.true())
        .where(value[0].astext == RECOVERY)
        .group_by(rows.c.source)
        .subquery("taken_back")
    )
    left = sa.cast(agreed.c.total - sa.func.coalesce(earlier.c.minor, 0), sa.BigInteger)
    return (
        sa.select(agreed.c.award, sa.cast(agreed.c.instalment, sa.BigInteger).label("instalment"), left.label("left"))
        .select_from(agreed)
        .join(earlier, earlier.c.source == agreed.c.award, isouter=True)
        .subquery("deductions")
    )
