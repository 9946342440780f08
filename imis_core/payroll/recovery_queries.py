"""What can be asked of recoveries: who owes how much back, and which payments it was taken from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import groups, persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.payroll.recovering import SHARE_WHOLE
from imis_core.payroll.states import GIVEN_UP
from imis_core.payroll.tables import (
    cycles,
    entitlement_current,
    entitlement_states,
    entitlements,
    recoveries,
    recovery_deductions,
)
from imis_core.queries import Listing, query
from imis_core.values import Money

_ORDERED = ("approved", "paid", "failed")  # states of entitlements that have an order
_STATUSES = ("open", "recovered", "ended", "returned")


@frozen(kw_only=True)
class ListRecoveries:
    """`status`: open, recovered, ended or returned."""

    scheme: str
    status: str | None = None


@frozen(kw_only=True)
class Recovery:
    """What a beneficiary (a household's code or a person's number) owes back.

    `recovered`: taken of entitlements that were approved; `pending`: of those that wait for that. `balance` = `amount`
    - `recovered` - `written_off`: what the ledger still has as owed back. `status`: open; recovered, once nothing is
    left; ended (what was left is `written_off`: given up, or repaid in cash); or returned: the payment itself came
    back, nothing is taken any more, and what was `recovered` before that is owed to the beneficiary.
    """

    id: str
    code: str
    beneficiary: str
    amount: Money
    recovered: Money
    pending: Money
    written_off: Money
    balance: Money
    instalment: Money | None
    share: Decimal | None
    status: str
    reason: str
    on: date


def _taken() -> sa.FromClause:
    """What stands of a recovery's deductions: `recovered` and `pending` in minor units."""
    d, s = recovery_deductions.c, entitlement_states.c
    # Not by its order: that is seen by its recipient's place, which may be another one than the beneficiary's. What is
    # held now was agreed to before that, or was not.
    last = (
        sa.select(s.state)
        .where(s.entitlement == d.entitlement, s.state != "held")
        .order_by(s.version.desc())
        .limit(1)
        .correlate(recovery_deductions)
        .scalar_subquery()
    )
    ordered = last.in_(_ORDERED)
    amount = sa.cast(sa.func.coalesce(sa.func.sum(d.amount_minor).filter(ordered), 0), sa.BigInteger)
    waiting = sa.cast(sa.func.coalesce(sa.func.sum(d.amount_minor).filter(sa.not_(ordered)), 0), sa.BigInteger)
    return (
        sa.select(amount.label("recovered"), waiting.label("pending"))
        .select_from(recovery_deductions)
        .join(
            entitlement_current,
            sa.and_(entitlement_current.c.entitlement == d.entitlement, entitlement_current.c.payroll == d.payroll),
        )
        .where(d.recovery == recoveries.c.id, entitlement_current.c.state.not_in(GIVEN_UP))
        .correlate(recoveries)
        .lateral("taken")
    )


@query("payroll.recoveries", input=ListRecoveries, result=Recovery, listing=True)
def list_recoveries(context: Context, asked: ListRecoveries) -> Listing | Refusal:
    """What beneficiaries of a scheme owe back, with what was taken of it so far, in the order of opening."""
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    if asked.status is not None and asked.status not in _STATUSES:
        message = f"there is no status {asked.status!r} (known: {', '.join(_STATUSES)})"
        return invalid(Problem("status", "choice", message + suggestion(asked.status, _STATUSES)))
    taken, r = _taken(), recoveries.c
    balance = r.amount_minor - r.written_off_minor - taken.c.recovered
    status = sa.case((sa.and_(r.state == "open", balance <= 0), "recovered"), else_=r.state)
    select = (
        sa.select(
            r.id, r.code, r.amount_minor, taken.c.recovered, taken.c.pending, r.written_off_minor,
            balance.label("balance"), r.instalment_minor, r.share_hundredths, status.label("status"), r.reason,
            r.opened_on, r.currency, sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text).label("who"),
        )
        .select_from(recoveries)
        .join(taken, sa.true())
        .outerjoin(groups, groups.c.id == r.group)
        .outerjoin(persons, persons.c.id == r.person)
        .where(r.scheme == asked.scheme, context.scoped(recoveries))
    )  # fmt: skip
    if asked.status is not None:
        select = select.where(status == asked.status)

    def build(rows: Sequence[Any]) -> list[Recovery]:
        def money(minor: int, row: Any) -> Money:
            return Money(minor, row.currency)

        return [
            Recovery(
                id=identity, code=row.code, beneficiary=row.who, amount=money(row.amount_minor, row),
                recovered=money(row.recovered, row), pending=money(row.pending, row),
                written_off=money(row.written_off_minor, row), balance=money(row.balance, row),
                instalment=None if row.instalment_minor is None else money(row.instalment_minor, row),
                share=None if row.share_hundredths is None else Decimal(row.share_hundredths) * 100 / SHARE_WHOLE,
                status=row.status, reason=row.reason, on=row.opened_on,
            )
            for identity, row in zip(
                context.ids.encode_all("recoveries", [row.id for row in rows]), rows, strict=True
            )
        ]  # fmt: skip

    return Listing(select, (r.id,), build)


@frozen(kw_only=True)
class NameRecovery:
    """`recovery`: its code or its id."""

    recovery: str


@frozen(kw_only=True)
class RecoveryTaken:
    """What a payroll took of an entitlement; `counts` no more once that is cancelled or reversed."""

    payroll: str
    cycle: str
    entitlement: str
    amount: Money
    state: str
    counts: bool


@query("payroll.recovery_instalments", input=NameRecovery, result=RecoveryTaken, listing=True)
def list_instalments(context: Context, asked: NameRecovery) -> Listing | Refusal:
    """What was taken for a recovery, payment by payment, also what was given back since."""
    found = context.named(recoveries, [asked.recovery])
    if not found:
        return not_found("recovery", "recovery", asked.recovery)
    recovery = found[0][1]
    d, c = recovery_deductions.c, entitlement_current.c
    state = sa.case((c.payroll == d.payroll, c.state), else_="cancelled")
    select = (
        sa.select(d.payroll, d.entitlement, d.amount_minor, cycles.c.code.label("cycle"), state.label("state"))
        .join(entitlements, entitlements.c.id == d.entitlement)
        .join(entitlement_current, c.entitlement == d.entitlement)
        .join(cycles, cycles.c.id == entitlements.c.cycle)
        .where(d.recovery == recovery.id, context.scoped(entitlements))
    )

    def build(rows: Sequence[Any]) -> list[RecoveryTaken]:
        payrolls = context.ids.encode_all("payrolls", [row.payroll for row in rows])
        named = context.ids.encode_all("entitlements", [row.entitlement for row in rows])
        return [
            RecoveryTaken(
                payroll=payroll, cycle=row.cycle, entitlement=entitlement,
                amount=Money(row.amount_minor, recovery.currency), state=row.state, counts=row.state not in GIVEN_UP,
            )
            for payroll, entitlement, row in zip(payrolls, named, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (d.payroll, d.entitlement), build)


QUERIES = (list_recoveries, list_instalments)
