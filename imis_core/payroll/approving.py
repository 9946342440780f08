"""What becomes of a whole payroll: approved by a second person, rejected, deleted, closed."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.payments.orders import move_orders_of
from imis_core.payroll.budgets import locked_budgets, move_budgets
from imis_core.payroll.owing import SOURCE, hold_rules, order, owed_in_all, post_expense
from imis_core.payroll.reach import whole_payrolls
from imis_core.payroll.recovering import taken_by_orders_of, taken_of
from imis_core.payroll.showing import PayrollShown, find_payroll, set_state, show
from imis_core.payroll.states import OPEN_SQL, PAYROLL_STATES
from imis_core.payroll.tables import payrolls

_GENERATED: Final = ("generated",)


@frozen(kw_only=True)
class NamePayroll:
    payroll: str


@frozen(kw_only=True)
class RejectPayroll:
    payroll: str
    reason: str


@frozen(kw_only=True)
class PayrollDeleted:
    id: str
    status: str


def same_person() -> Refusal:
    """`payroll.same_person`: administrators are no exception (contract.md, conventions)."""
    return Refusal("payroll.same_person", "whoever generated the payroll does not approve it; ask somebody else")


@command("payroll.approve", input=NamePayroll, result=PayrollShown, approval=True)
def approve(context: Context, items: tuple[NamePayroll, ...]) -> list[PayrollShown | Refusal]:
    """Agree to somebody else's payroll: orders are made, the budget is reserved, the debt is in the ledger."""
    return [_approve(context, item.payroll) for item in items]


def _approve(context: Context, name: str) -> PayrollShown | Refusal:
    payroll = find_payroll(context, name, lock=True)
    if isinstance(payroll, Refusal):
        return payroll
    if not PAYROLL_STATES.allows(payroll.state, "approved"):
        return PAYROLL_STATES.refusal("the payroll", payroll.state, "approved")
    if payroll.maker == context.caller.user:
        return same_person()
    with whole_payrolls(context):
        budget = locked_budgets(context, (payroll.package,))[payroll.package]
        rules = hold_rules(context, payroll.scheme)
        amount = order(context, payroll.scheme, payroll.id, _GENERATED, available=budget.limit, rules=rules)
        if amount == 0 and budget.limit is not None:
            # Nothing was ordered: there was nothing to order, or it is more than the budget has left.
            refusal = budget.refusal(context, payroll.scheme, owed_in_all(context, payroll.id, _GENERATED, rules))
            if refusal is not None:
                return refusal
        move_budgets(context, {payroll.package: (amount, 0)})
        post_expense(context, payroll.scheme, amount, taken_by_orders_of(context, payroll.id))
        set_state(context, (payroll.id,), "approved")
        return show(context, payroll.id, payroll.scheme, "approved")


@command("payroll.reject", input=RejectPayroll, result=PayrollShown, approval=True)
def reject(context: Context, items: tuple[RejectPayroll, ...]) -> list[PayrollShown | Refusal]:
    """Refuse a payroll: what was never sent is cancelled, what was sent is held until its provider reports."""
    return [_reject(context, item) for item in items]


def _reject(context: Context, item: RejectPayroll) -> PayrollShown | Refusal:
    seen = find_payroll(context, item.payroll)
    if isinstance(seen, Refusal):
        return seen
    with whole_payrolls(context):
        context.execute(_LOCK_ORDERS, {"kind": SOURCE, "payroll": seen.id})
    payroll = find_payroll(context, item.payroll, lock=True)
    if isinstance(payroll, Refusal):
        return payroll
    if not PAYROLL_STATES.allows(payroll.state, "rejected"):
        return PAYROLL_STATES.refusal("the payroll", payroll.state, "rejected")
    with whole_payrolls(context):
        cancelled = move_orders_of(context, SOURCE, payroll.id, ("approved", "held"), "cancelled", item.reason)
        move_orders_of(context, SOURCE, payroll.id, ("submitted", "accepted"), "held", item.reason)
        _end_entitlements(context, payroll.id, item.reason)
        amount = sum(row.amount_minor for row in cancelled)
        taken = taken_of(context, ((payroll.scheme, payroll.id, row.entitlement) for row in cancelled))
        move_budgets(context, {payroll.package: (-amount, 0)})
        post_expense(context, payroll.scheme, -amount, -taken[payroll.scheme])
        set_state(context, (payroll.id,), "rejected", item.reason)
        return show(context, payroll.id, payroll.scheme, "rejected")


def _end_entitlements(context: Context, payroll: int, reason: str) -> None:
    """Each open entitlement follows its order: held with one that was sent, else cancelled and free to move on."""
    context.execute(_END, {"kind": SOURCE, "payroll": payroll, "reason": reason, "audit": context.audit})


# Orders are locked before their payroll, here as in reconciliation.
_LOCK_ORDERS: Final = sa.text(
    """
    SELECT count(*) FROM (
        SELECT FROM core.orders o JOIN core.order_current t ON t."order" = o.id
        WHERE o.source_kind = :kind AND o.source = :payroll ORDER BY o.id FOR UPDATE OF t) locked
    """
)
_END: Final = sa.text(
    f"""
    WITH open AS MATERIALIZED (
        SELECT t.entitlement, EXISTS (
            SELECT FROM core.orders o JOIN core.order_current c ON c."order" = o.id
            WHERE o.source_kind = :kind AND o.source = :payroll AND o.entitlement = t.entitlement
              AND c.state = 'held') AS sent
        FROM core.entitlement_current t
        WHERE t.payroll = :payroll AND t.state IN ({OPEN_SQL})),
    moved AS (
        UPDATE core.entitlement_current t
        SET state = CASE WHEN o.sent THEN 'held' ELSE 'cancelled' END, version = t.version + 1, free = NOT o.sent
        FROM open o WHERE t.entitlement = o.entitlement RETURNING t.entitlement, t.version, t.state)
    INSERT INTO core.entitlement_states (entitlement, version, state, reason, audit)
    SELECT entitlement, version, state, :reason, :audit FROM moved
    """
)


@command("payroll.delete", input=NamePayroll, result=PayrollDeleted)
def delete(context: Context, items: tuple[NamePayroll, ...]) -> list[PayrollDeleted | Refusal]:
    """Take away a payroll of which nothing was ever approved; its entitlements are free for another one."""
    return [_delete(context, item) for item in items]


def _delete(context: Context, item: NamePayroll) -> PayrollDeleted | Refusal:
    payroll = find_payroll(context, item.payroll, lock=True)
    if isinstance(payroll, Refusal):
        return payroll
    if _ever_approved(context, payroll.id):
        return Refusal(
            "payroll.may_have_been_paid", "the payroll was approved once, so some of it may be paid; reject it instead"
        )
    if not PAYROLL_STATES.allows(payroll.state, "deleted"):
        return PAYROLL_STATES.refusal("the payroll", payroll.state, "deleted")
    with whole_payrolls(context):
        _end_entitlements(context, payroll.id, "deleted")
        set_state(context, (payroll.id,), "deleted")
    return PayrollDeleted(id=item.payroll, status="deleted")


def _ever_approved(context: Context, payroll: int) -> bool:
    history: Any = payrolls.info["history"]
    found = context.execute(
        sa.select(history.c.version).where(history.c.id == payroll, history.c.state == "approved").limit(1)
    )
    return found.first() is not None


@command("payroll.close", input=NamePayroll, result=PayrollShown)
def close(context: Context, items: tuple[NamePayroll, ...]) -> list[PayrollShown | Refusal]:
    """Close a reconciled payroll: no payment of it is tried again."""
    outcomes: list[PayrollShown | Refusal] = []
    for item in items:
        payroll = find_payroll(context, item.payroll, lock=True)
        if isinstance(payroll, Refusal):
            outcomes.append(payroll)
        elif not PAYROLL_STATES.allows(payroll.state, "closed"):
            outcomes.append(PAYROLL_STATES.refusal("the payroll", payroll.state, "closed"))
        else:
            set_state(context, (payroll.id,), "closed")
            outcomes.append(show(context, payroll.id, payroll.scheme, "closed"))
    return outcomes


COMMANDS = (approve, reject, delete, close)
