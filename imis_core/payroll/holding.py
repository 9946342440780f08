"""Single entitlements: approved above the limit, held, released, cancelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Refusal, not_found
from imis_core.payments.orders import Move, move_orders
from imis_core.payroll.approving import same_person
from imis_core.payroll.budgets import Budget, locked_budgets, move_budgets
from imis_core.payroll.owing import (
    NO_RECIPIENT,
    SOURCE,
    hold_rules,
    move_entitlements,
    order,
    payable,
    post_expense,
)
from imis_core.payroll.reach import whole_payrolls
from imis_core.payroll.recovering import taken_by_orders_of, taken_of
from imis_core.payroll.settling import reconcile
from imis_core.payroll.showing import locked_payrolls
from imis_core.payroll.states import ENTITLEMENT_STATES
from imis_core.payroll.tables import entitlement_current, entitlements

_PAYABLE_NOW: Final = ("approved", "paying")  # payrolls that entitlements can still be approved in


@frozen(kw_only=True)
class NameEntitlement:
    entitlement: str


@frozen(kw_only=True)
class HoldEntitlement:
    entitlement: str
    reason: str


@frozen(kw_only=True)
class EntitlementMoved:
    state: str


@define
class _Held:
    """An entitlement under the locks of its order and its payroll; `state` follows the items of a batch.

    `order` is its latest one, None if it was never approved; `sent` once that went to a payment provider. `before` is
    the state from which it came into the present one.
    """

    number: int
    payroll: Any
    state: str
    amount_minor: int
    before: str | None
    order: int | None
    order_state: str | None
    sent: bool
    reason: str | None = field(default=None)


def _locked(context: Context, items: Sequence[Any]) -> list[_Held | Refusal]:
    """The named entitlements that the caller may see, locked: first their orders, then their payrolls."""
    numbers = [context.ids.decode("entitlements", item.entitlement) for item in items]
    seen = set(
        context.execute(
            sa.select(entitlements.c.id).where(
                entitlements.c.id == any_of(n for n in numbers if n is not None), context.scoped(entitlements)
            )
        ).scalars()
    )
    found: dict[int, _Held] = {}
    if seen:
        with whole_payrolls(context):
            found = _read(context, sorted(seen))
    return [
        found[number] if number in found else not_found("entitlement", "entitlement", item.entitlement)
        for item, number in zip(items, numbers, strict=True)
    ]


def _read(context: Context, numbers: Sequence[int]) -> dict[int, _Held]:
    context.execute(_LOCK_ORDERS, {"kind": SOURCE, "entitlements": numbers})
    of_payroll = context.execute(
        sa.select(entitlement_current.c.payroll).where(entitlement_current.c.entitlement == any_of(numbers)).distinct()
    ).scalars()
    payrolls = locked_payrolls(context, of_payroll)
    # Only a further statement sees what others did before these locks were free.
    rows: Iterable[Any] = context.execute(_STANDING, {"kind": SOURCE, "entitlements": numbers})
    return {
        row.entitlement: _Held(
            row.entitlement, payrolls[row.payroll], row.state, row.amount_minor, row.before,
            row.order, row.order_state, row.sent,
        )
        for row in rows
        if row.payroll in payrolls
    }  # fmt: skip


_LOCK_ORDERS: Final = sa.text(
    """
    SELECT o.id FROM core.orders o JOIN core.order_current t ON t."order" = o.id
    JOIN core.entitlement_current e ON e.payroll = o.source AND e.entitlement = o.entitlement
    WHERE o.source_kind = :kind AND e.entitlement = ANY(CAST(:entitlements AS bigint[])) ORDER BY o.id FOR UPDATE OF t
    """
)
_STANDING: Final = sa.text(
    """
    SELECT e.entitlement, e.payroll, e.state, e.amount_minor, s.state AS before, o."order", o.state AS order_state,
           coalesce(o.payment_provider IS NOT NULL, false) AS sent
    FROM core.entitlement_current e
    LEFT JOIN core.entitlement_states s ON s.entitlement = e.entitlement AND s.version = e.version - 1
    LEFT JOIN LATERAL (
        SELECT t."order", t.state, t.payment_provider
        FROM core.orders o JOIN core.order_current t ON t."order" = o.id
        WHERE o.source_kind = :kind AND o.source = e.payroll AND o.entitlement = e.entitlement
        ORDER BY o.attempt DESC LIMIT 1) o ON true
    WHERE e.entitlement = ANY(CAST(:entitlements AS bigint[]))
    """
)


@command("payroll.hold", input=HoldEntitlement, result=EntitlementMoved)
def hold(context: Context, items: tuple[HoldEntitlement, ...]) -> list[EntitlementMoved | Refusal]:
    """Keep an entitlement from being paid; one whose order was sent cannot be held any more."""
    outcomes: list[EntitlementMoved | Refusal] = []
    moved: dict[int, _Held] = {}
    for item, one in zip(items, _locked(context, items), strict=True):
        if isinstance(one, Refusal):
            outcomes.append(one)
        elif not ENTITLEMENT_STATES.allows(one.state, "held") or one.sent:
            outcomes.append(_wrong_state(one, "held"))
        else:
            one.state, one.reason = "held", item.reason
            moved[one.number] = one
            outcomes.append(EntitlementMoved(state="held"))
    _move_with_orders(context, moved)
    return outcomes


@command("payroll.release", input=HoldEntitlement, result=EntitlementMoved)
def release(context: Context, items: tuple[HoldEntitlement, ...]) -> list[EntitlementMoved | Refusal]:
    """Let a held entitlement go on from where it was held."""
    named = _locked(context, items)
    outcomes: list[Any] = [None] * len(items)
    moved: dict[int, _Held] = {}
    unordered: list[tuple[int, _Held]] = []
    for position, (item, one) in enumerate(zip(items, named, strict=True)):
        if isinstance(one, Refusal):
            outcomes[position] = one
            continue
        wanted = _released_to(one)
        if wanted is None:
            outcomes[position] = _wrong_state(one, "approved")
        elif wanted == "approved" and one.order is None:
            outcomes[position] = same_person() if one.payroll.maker == context.caller.user else None
            if outcomes[position] is None:
                one.state, one.reason = wanted, item.reason
                unordered.append((position, one))
        else:
            one.state, one.reason = wanted, item.reason
            moved[one.number] = one
            outcomes[position] = EntitlementMoved(state=wanted)
    _move_with_orders(context, moved)
    for position, outcome in _ordered(context, unordered, ("held",)).items():
        outcomes[position] = outcome
    return outcomes


def _released_to(one: _Held) -> str | None:
    """Where a held entitlement goes on; None: nowhere now."""
    if one.state != "held" or one.sent:
        return None  # what was sent waits for its provider's report
    if one.order is not None or one.before == "generated":
        if one.payroll.state in _PAYABLE_NOW:
            return "approved"
        return "generated" if one.order is None and one.payroll.state == "awaiting_approval" else None
    return one.before if one.payroll.state in ("awaiting_approval", *_PAYABLE_NOW) else None


@command("payroll.cancel", input=HoldEntitlement, result=EntitlementMoved)
def cancel(context: Context, items: tuple[HoldEntitlement, ...]) -> list[EntitlementMoved | Refusal]:
    """Give up an entitlement that was never sent out, with its order; it does not come back in another payroll."""
    outcomes: list[EntitlementMoved | Refusal] = []
    moved: dict[int, _Held] = {}
    for item, one in zip(items, _locked(context, items), strict=True):
        if isinstance(one, Refusal):
            outcomes.append(one)
        elif not ENTITLEMENT_STATES.allows(one.state, "cancelled") or one.sent:
            outcomes.append(_wrong_state(one, "cancelled"))
        else:
            one.state, one.reason = "cancelled", item.reason
            moved[one.number] = one
            outcomes.append(EntitlementMoved(state="cancelled"))
    _move_with_orders(context, moved)
    _take_back(context, list(moved.values()))
    return outcomes


def _take_back(context: Context, cancelled: Sequence[_Held]) -> None:
    """What was reserved and posted for those with an order; a payroll may have waited for nothing else."""
    by_package: Counter[int] = Counter()
    by_scheme: Counter[str] = Counter()
    for one in cancelled:
        if one.order is not None:
            by_package[one.payroll.package] += one.amount_minor
            by_scheme[one.payroll.scheme] += one.amount_minor
    with whole_payrolls(context):
        move_budgets(context, {package: (-amount, 0) for package, amount in by_package.items()})
        ordered = [(one.payroll.scheme, one.payroll.id, one.number) for one in cancelled if one.order is not None]
        taken = taken_of(context, ordered)
        for scheme, amount in sorted(by_scheme.items()):
            post_expense(context, scheme, -amount, -taken[scheme])
        reconcile(context, {one.payroll.id for one in cancelled})


def _move_with_orders(context: Context, moved: Mapping[int, _Held]) -> None:
    """Entitlements move, and the orders of those that have one follow."""
    move_entitlements(context, [(one.number, one.state, one.reason) for one in moved.values()])
    orders = [Move(one.order, one.state, one.reason) for one in moved.values() if one.order is not None]
    with whole_payrolls(context):
        move_orders(context, orders)


@command("payroll.approve_entitlement", input=NameEntitlement, result=EntitlementMoved, approval=True)
def approve_entitlement(context: Context, items: tuple[NameEntitlement, ...]) -> list[EntitlementMoved | Refusal]:
    """Agree to an entitlement above the approval limit, in somebody else's approved payroll."""
    outcomes: list[Any] = [None] * len(items)
    chosen: list[tuple[int, _Held]] = []
    for position, one in enumerate(_locked(context, items)):
        if isinstance(one, Refusal):
            outcomes[position] = one
        elif one.state != "awaiting_approval" or one.payroll.state not in _PAYABLE_NOW:
            outcomes[position] = _wrong_state(one, "approved")
        elif one.payroll.maker == context.caller.user:
            outcomes[position] = same_person()
        else:
            one.state = "approved"  # named twice, it is refused the second time
            chosen.append((position, one))
    for position, outcome in _ordered(context, chosen, ("awaiting_approval",)).items():
        outcomes[position] = outcome
    return outcomes


def _ordered(
    context: Context, chosen: Sequence[tuple[int, _Held]], states: Sequence[str]
) -> dict[int, EntitlementMoved | Refusal]:
    """Approve entitlements with an order each, as far as the budgets go; the outcomes by position.

    One that nobody can be paid for is held: if it was held before, it stays so, and that is a refusal. Whoever releases
    one that was held has decided against what plugins hold (`imis_payroll_hold_sql`): they are not asked again.
    """
    outcomes: dict[int, EntitlementMoved | Refusal] = {}
    if not chosen:
        return outcomes
    with whole_payrolls(context):
        budgets = locked_budgets(context, {one.payroll.package for _, one in chosen})
        schemes = set() if "held" in states else {one.payroll.scheme for _, one in chosen}
        rules = {scheme: hold_rules(context, scheme) for scheme in sorted(schemes)}
        for payroll in {one.payroll.id: one.payroll for _, one in chosen}.values():
            own = [(position, one) for position, one in chosen if one.payroll.id == payroll.id]
            own_rules = rules.get(payroll.scheme, ())
            amounts = payable(context, payroll.id, states, [one.number for _, one in own], own_rules)
            accepted: list[_Held] = []
            for position, one in own:
                if one.number not in amounts and "held" in states:
                    message = "nobody can be paid for this entitlement; name a recipient of the household first"
                    outcomes[position] = Refusal(f"payroll.{NO_RECIPIENT}", message)
                    continue
                budget = budgets[payroll.package]
                amount = amounts.get(one.number, 0)
                refusal = budget.refusal(context, payroll.scheme, amount)
                if refusal is not None:
                    outcomes[position] = refusal
                    continue
                budgets[payroll.package] = Budget(budget.granted, budget.reserved + amount, budget.spent)
                accepted.append(one)
                outcomes[position] = EntitlementMoved(state="approved" if one.number in amounts else "held")
            if accepted:
                amount = order(
                    context,
                    payroll.scheme,
                    payroll.id,
                    states,
                    chosen={one.number: one.reason for one in accepted},
                    rules=own_rules,
                )
                move_budgets(context, {payroll.package: (amount, 0)})
                post_expense(context, payroll.scheme, amount, taken_by_orders_of(context, payroll.id))
    return outcomes


def _wrong_state(one: _Held, wanted: str) -> Refusal:
    if not ENTITLEMENT_STATES.allows(one.state, wanted):
        return ENTITLEMENT_STATES.refusal("the entitlement", one.state, wanted)
    sent = ", its order was sent" if one.sent else ""
    return Refusal(
        "payroll.wrong_state",
        f"the entitlement is {one.state}{sent} and its payroll is {one.payroll.state}; it cannot become {wanted}",
    )


COMMANDS = (approve_entitlement, hold, release, cancel)
