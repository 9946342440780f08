"""Payments that are not ordered while a complaint is open: what payrolls hold, and letting it go on with the decision.

A category with `holds_next_payments` holds whatever its beneficiaries are entitled to when a payroll is approved, as
long as a grievance about them is open. The kernel holds; who decides the last of the grievances about a beneficiary
lets it go on, or cancels it, by the kernel's own commands. Orders that are there already are `holding`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from imis_core.api import (
    Context,
    HoldRule,
    PayrollHolds,
    Refusal,
    entitlement_current,
    entitlement_states,
    entitlements,
)
from imis_grievance.columns import any_of
from imis_grievance.rules import SETTLED
from imis_grievance.tables import grievance_categories, grievances

REASON: Final = "open_grievance"
_BENEFICIARIES: Final = ("group", "person")


def hold_rules(holds: PayrollHolds) -> Sequence[HoldRule]:
    """Entitlements of households and persons of whom a grievance is open that holds their payments."""
    about = [
        holds.entitlements.c[kind].in_(
            sa.select(grievances.c[kind]).where(
                _holds(sa.literal(holds.scheme, sa.Text)), grievances.c[kind].is_not(None)
            )
        )
        for kind in _BENEFICIARIES
    ]
    return [HoldRule(REASON, sa.func.coalesce(sa.or_(*about), sa.false()))]


def _holds(scheme: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a grievance is open and of a category that holds payments of this scheme."""
    holding = sa.select(grievance_categories.c.id).where(grievance_categories.c.holds_next_payments)
    return sa.and_(
        grievances.c.status.not_in(SETTLED),
        grievances.c.category.in_(holding),
        sa.or_(grievances.c.scheme.is_(None), grievances.c.scheme == scheme),
    )


def let_on(context: Context, decided: Mapping[int, bool]) -> tuple[set[int], list[tuple[int, str]]]:
    """Release what payrolls held for these grievances, or cancel it where the decision says so.

    The grievances for which something was held, and notes of what was not done.

    What another open grievance holds as well is not released. A payment that somebody else released or held for another
    reason since is theirs.
    """
    if not decided:
        return set(), []
    rows: Sequence[Any] = context.execute(_held_for(context, decided)).all()
    cancelled = {row.entitlement: row.grievance for row in rows if decided[row.grievance]}
    shared = {row.entitlement: row.grievance for row in rows if row.shared and row.entitlement not in cancelled}
    free = {row.entitlement: row.grievance for row in rows if row.entitlement not in (cancelled | shared)}
    notes = [(grievance, "the payment stays held: another grievance is about it") for grievance in shared.values()]
    notes += _perform(context, "payroll.cancel", cancelled, "cancelled")
    notes += _perform(context, "payroll.release", free, "released")
    return {row.grievance for row in rows}, notes


def _held_for(context: Context, decided: Iterable[int]) -> sa.Select[Any]:
    """What payrolls held for grievances: `entitlement`, `grievance`, `shared`: another one holds it too."""
    e, g = entitlements.c, grievances.alias("decided")
    same = [sa.and_(g.c[kind].is_not(None), e[kind] == g.c[kind]) for kind in _BENEFICIARIES]
    others = sa.or_(*[grievances.c[kind] == e[kind] for kind in _BENEFICIARIES])
    shared = (
        sa.exists().where(_holds(e.scheme), others, grievances.c.id.not_in(sorted(decided))).correlate(entitlements)
    )
    return (
        sa.select(e.id.label("entitlement"), g.c.id.label("grievance"), shared.label("shared"))
        .select_from(g)
        .join(grievance_categories, grievance_categories.c.id == g.c.category)
        .join(entitlements, sa.or_(*same))
        .join(entitlement_current, entitlement_current.c.entitlement == e.id)
        .join(
            entitlement_states,
            sa.and_(
                entitlement_states.c.entitlement == e.id,
                entitlement_states.c.version == entitlement_current.c.version,
            ),
        )
        .where(
            g.c.id == any_of(decided),
            grievance_categories.c.holds_next_payments,
            sa.or_(g.c.scheme.is_(None), g.c.scheme == e.scheme),
            entitlement_current.c.state == "held",
            entitlement_states.c.reason == REASON,
            context.scoped(entitlements),
        )
        .order_by(e.id, g.c.id)
    )


def _perform(context: Context, name: str, chosen: Mapping[int, int], what: str) -> list[tuple[int, str]]:
    """Run a command of the kernel on entitlements; a note for the grievance of each that was refused."""
    if not chosen:
        return []
    ids = context.ids.encode_all("entitlements", list(chosen))
    answers = context.perform(name, [{"entitlement": i, "reason": "the grievance is decided"} for i in ids])
    return [
        (grievance, f"the payment is not {what}: {answer.message}")
        for grievance, answer in zip(chosen.values(), answers, strict=True)
        if isinstance(answer, Refusal)
    ]
