"""Refunds of what was paid too much: asked for by one person, agreed to by another, then orders like any other debt.

A refund takes the credit of its policy from the moment it is asked for, so that neither a renewal nor a second refund
uses it; refused, failed, returned, cancelled or reversed, it gives the credit back (`refunding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.accounts import load_accounts
from imis_core.coverage.enrolment import coverage_type
from imis_core.coverage.lookup import NOUN, Policy, load_policies
from imis_core.coverage.paid import Paid, paid_for
from imis_core.coverage.refunding import (
    BATCHES,
    SOURCE,
    above_credit,
    credits_change,
    locked_refunds,
    move_refunds,
    payees,
    post_owed,
)
from imis_core.coverage.refunding import NOUN as REFUND
from imis_core.coverage.states import REFUNDS
from imis_core.coverage.tables import contribution_refunds, refund_batches
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payments.orders import place_orders_from
from imis_core.values import Amount, Money, NotExact, to_minor

TEXT_MAX: Final = 500  # characters of a reason


@frozen(kw_only=True)
class Refund:
    """`amount`: by default all of the credit."""

    coverage: str
    amount: Amount | None = None
    reason: str


@frozen(kw_only=True)
class RefundPrepared:
    """`credit`: what is left of the policy's credit now."""

    id: str
    coverage: str
    amount: Money
    credit: Money
    status: str


@command("contributions.refund", input=Refund, result=RefundPrepared)
def refund(context: Context, items: tuple[Refund, ...]) -> list[RefundPrepared | Refusal]:
    """Ask for the refund of what was paid too much for a policy; another person approves it."""
    numbers = [context.ids.decode(NOUN, item.coverage) for item in items]
    policies = load_policies(context, [n for n in numbers if n is not None], lock=True)
    paid = paid_for(context, policies)
    left = {number: paid.get(number, Paid()).minor - one.due_minor for number, one in policies.items()}
    outcomes: list[Any] = []
    accepted: list[tuple[int, Policy, int]] = []
    for position, (item, number) in enumerate(zip(items, numbers, strict=True)):
        one = None if number is None else policies.get(number)
        if one is None:
            outcomes.append(not_found("coverage", "coverage", item.coverage))
            continue
        amount = _amount(item, one, left[one.id])
        outcomes.append(amount)
        if not isinstance(amount, Refusal):
            left[one.id] -= amount
            accepted.append((position, one, amount))
            credit = Money(left[one.id], one.currency)
            outcomes[-1] = RefundPrepared(
                id="", coverage=item.coverage, amount=Money(amount, one.currency), credit=credit, status="prepared"
            )
    made = take_ids(context.connection, contribution_refunds, len(accepted))
    _write(context, made, accepted, [items[position].reason for position, _, _ in accepted])
    for (position, _, _), identity in zip(accepted, context.ids.encode_all(REFUND, made), strict=True):
        outcomes[position] = evolve(outcomes[position], id=identity)
    return outcomes


def _amount(item: Refund, one: Policy, credit: int) -> int | Refusal:
    """What is refunded, in minor units, or why it is not."""
    refusal = _said("reason", item.reason)
    if refusal is not None:
        return refusal
    if item.amount is None:
        return credit if credit > 0 else above_credit(0, 0, one.currency)
    try:
        minor = to_minor(item.amount, one.currency)
    except NotExact as error:
        return invalid(Problem("amount", "not_exact", str(error)))
    if minor == 0:
        return invalid(Problem("amount", "range", "a refund is more than 0"))
    return minor if minor <= credit else above_credit(minor, credit, one.currency)


def _said(field: str, text: str) -> Refusal | None:
    if text.strip() and len(text) <= TEXT_MAX:
        return None
    return invalid(Problem(field, "required", f"say why, in 1 to {TEXT_MAX} characters"))


def _write(
    context: Context, made: Sequence[int], accepted: Sequence[tuple[int, Policy, int]], reasons: Sequence[str]
) -> None:
    count = len(made)
    if count:
        insert_returning(
            context.connection,
            contribution_refunds,
            {
                "id": list(made),
                "scheme": [one.scheme for _, one, _ in accepted],
                "coverage": [one.id for _, one, _ in accepted],
                "amount_minor": [minor for _, _, minor in accepted],
                "currency": [one.currency for _, one, _ in accepted],
                "reason": list(reasons),
                "state": ["prepared"] * count,
                "prepared_on": [context.today] * count,
                "taken_on": [context.today] * count,
                "prepared_by": [context.caller.user] * count,
            },
        )


@frozen(kw_only=True)
class ApproveRefunds:
    """`refunds`: by default all of the scheme that others prepared."""

    scheme: str
    refunds: tuple[str, ...] | None = None


@frozen(kw_only=True)
class RefundsApproved:
    """`id`: what `payments.submit` and other commands name as `refunds`.

    `waiting` stay prepared: nobody can be paid for them (a household without a primary recipient), or the credit is
    there no longer because a contribution was taken back since. Members who joined since and are not covered yet use
    none of it: what was taken for a refund stays taken.
    """

    id: str
    orders: int
    amount: Money
    waiting: int
    status: str


@command("contributions.approve_refunds", input=ApproveRefunds, result=RefundsApproved, approval=True)
def approve_refunds(context: Context, items: tuple[ApproveRefunds, ...]) -> list[RefundsApproved | Refusal]:
    """Agree to refunds that somebody else prepared: one order each, to the person or the primary recipient."""
    return [_approve(context, item) for item in items]


def _approve(context: Context, item: ApproveRefunds) -> RefundsApproved | Refusal:
    kind = coverage_type(context, item.scheme)
    if isinstance(kind, Refusal):
        return kind
    chosen = _chosen(context, item)
    if isinstance(chosen, Refusal):
        return chosen
    with context.seeing_all():
        covered = _covered(context, chosen)
        owed = context.execute(payees(contribution_refunds.c.id == any_of(chosen))).all()
        paid = [row.entitlement for row in owed if row.person is not None and row.entitlement in covered]
        if not paid:
            message = (
                "there is no refund that somebody else prepared, somebody can be paid for, and a credit is there for "
                "(none is left where a contribution was taken back since)"
            )
            return Refusal("contributions.nothing_to_approve", message)
        batch: int = context.execute(
            sa.insert(refund_batches)
            .values(scheme=item.scheme, approved_on=context.today, approved_by=context.caller.user, audit=context.audit)
            .returning(refund_batches.c.id)
        ).scalar_one()
        move_refunds(context, [(number, "approved") for number in paid], batch=batch)
        orders, minor = place_orders_from(
            context, item.scheme, SOURCE, batch, payees(contribution_refunds.c.batch == batch)
        )
        post_owed(context, {item.scheme: minor})
    return RefundsApproved(
        id=context.ids.encode(BATCHES, batch), orders=orders, amount=context.money(minor, item.scheme),
        waiting=len(chosen) - orders, status="approved",
    )  # fmt: skip


def _covered(context: Context, chosen: Mapping[int, Any]) -> set[int]:
    """Those of the refunds whose policies, locked now, are paid without them: no contribution was taken back since.

    Who joined since and is not covered yet does not count: the credit was taken before.
    """
    accounts = load_accounts(context, load_policies(context, {row.coverage for row in chosen.values()}, lock=True))
    sound = {number for number, account in accounts.items() if account.balance <= account.not_covered}
    return {number for number, row in chosen.items() if row.coverage in sound}


def _chosen(context: Context, item: ApproveRefunds) -> dict[int, Any] | Refusal:
    """The refunds that are approved, locked, or why one that is named is not."""
    me, r = context.caller.user, contribution_refunds.c
    if item.refunds is None:
        waiting = sa.select(r.id).where(
            r.scheme == item.scheme, r.state == "prepared", r.prepared_by != me, context.scoped(contribution_refunds)
        )
        rows = locked_refunds(context, context.execute(waiting).scalars())
        return {number: row for number, row in rows.items() if row.state == "prepared"}
    numbers = [context.ids.decode(REFUND, name) for name in item.refunds]
    rows = locked_refunds(context, [n for n in numbers if n is not None])
    for name, number in zip(item.refunds, numbers, strict=True):
        row = None if number is None else rows.get(number)
        if row is None or row.scheme != item.scheme:
            return not_found("refunds", "refund", name)
        if row.state == "failed":
            message = f"the refund {name} failed; its order is tried again with payments.retry"
            return Refusal("contributions.wrong_state", message)
        if row.state != "prepared":
            return REFUNDS.refusal(f"the refund {name}", row.state, "approved")
        if row.prepared_by == me:
            message = "whoever prepared the refund does not approve it; ask somebody else"
            return Refusal("contributions.same_person", message)
    return rows


@frozen(kw_only=True)
class RejectRefund:
    refund: str
    reason: str


@frozen(kw_only=True)
class RefundRejected:
    id: str
    status: str


@command("contributions.reject_refund", input=RejectRefund, result=RefundRejected, approval=True)
def reject_refund(context: Context, items: tuple[RejectRefund, ...]) -> list[RefundRejected | Refusal]:
    """Refuse a refund that waits, or give up one's own: the policy has its credit again."""
    numbers = [context.ids.decode(REFUND, item.refund) for item in items]
    rows = locked_refunds(context, [n for n in numbers if n is not None])
    outcomes: list[Any] = []
    chosen: dict[int, str] = {}
    for item, number in zip(items, numbers, strict=True):
        row = None if number is None else rows.get(number)
        if row is None:
            outcomes.append(not_found("refund", "refund", item.refund))
            continue
        state = "rejected" if row.id in chosen else row.state
        refusal = _said("reason", item.reason)
        if refusal is None and not REFUNDS.allows(state, "rejected"):
            refusal = REFUNDS.refusal(f"the refund {item.refund}", state, "rejected")
        if refusal is None:
            chosen[row.id] = item.reason
        outcomes.append(refusal or RefundRejected(id=item.refund, status="rejected"))
    if chosen:
        with context.seeing_all(), credits_change(context, {rows[number].coverage for number in chosen}):
            move_refunds(context, [(number, "rejected") for number in chosen], rejections=chosen)
    return outcomes


COMMANDS: Final = (refund, approve_refunds, reject_refund)
