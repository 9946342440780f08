"""Moves of single orders that a person decides: hold, release, cancel, reverse. What was sent may have been paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.payments.orders import ORDER_STATES, LockedOrder, Move, locked_orders, move_orders
from imis_core.payments.settling import refusals_of, settle, settled_order


@frozen(kw_only=True)
class MoveOrder:
    order: str
    reason: str


@frozen(kw_only=True)
class OrderMoved:
    id: str
    status: str


@command("payments.hold", input=MoveOrder, result=OrderMoved)
def hold(context: Context, items: tuple[MoveOrder, ...]) -> list[OrderMoved | Refusal]:
    """Keep an order from being sent; one that was sent cannot be held any more."""
    return _move(context, items, "held", _never_sent)


@command("payments.release", input=MoveOrder, result=OrderMoved)
def release(context: Context, items: tuple[MoveOrder, ...]) -> list[OrderMoved | Refusal]:
    """Let a held order be sent again; one that was sent before it was held waits for its provider's report."""
    return _move(context, items, "approved", _never_sent)


@command("payments.cancel", input=MoveOrder, result=OrderMoved)
def cancel(context: Context, items: tuple[MoveOrder, ...]) -> list[OrderMoved | Refusal]:
    """Give up an order that was never sent; its debt is taken back from the ledger."""
    return _move(context, items, "cancelled", _never_sent)


@command("payments.reverse", input=MoveOrder, result=OrderMoved)
def reverse(context: Context, items: tuple[MoveOrder, ...]) -> list[OrderMoved | Refusal]:
    """Declare a paid order wrong: its debt is taken back. Not by whoever approved the order."""
    return _move(context, items, "reversed", _by_somebody_else)


COMMANDS = (hold, release, cancel, reverse)


def _never_sent(context: Context, order: LockedOrder, wanted: str) -> Refusal | None:
    if order.payment_provider is None:
        return None
    message = f"the order was sent to its payment provider and is {order.state}; it cannot become {wanted}"
    return Refusal("payments.wrong_state", f"{message}: reconcile what the provider reports first")


def _by_somebody_else(context: Context, order: LockedOrder, wanted: str) -> Refusal | None:
    if order.approved_by != context.caller.user:
        return None
    return Refusal("payments.same_person", "whoever approved the order does not reverse it; ask somebody else")


def _move(
    context: Context,
    items: Sequence[MoveOrder],
    wanted: str,
    rule: Callable[[Context, LockedOrder, str], Refusal | None],
) -> list[Any]:
    """Judge every item under the orders' locks, then move those that may move in one statement.

    No move leads to where it can be made again, so an order that is named twice is refused the second time.
    """
    numbers = [context.ids.decode("orders", item.order) for item in items]
    known = locked_orders(context, [n for n in numbers if n is not None])
    refused = _refused_by_sources(context, known, wanted)
    outcomes: list[Any] = []
    chosen: dict[int, str] = {}  # order -> reason
    for item, number in zip(items, numbers, strict=True):
        order = None if number is None else known.get(number)
        if order is None:
            outcomes.append(not_found("order", "order", item.order))
            continue
        state = wanted if order.id in chosen else order.state
        refusal = (
            ORDER_STATES.refusal("the order", state, wanted)
            if not ORDER_STATES.allows(state, wanted)
            else rule(context, order, wanted) or refused.get(order.id)
        )
        if refusal is None:
            chosen[order.id] = item.reason
        outcomes.append(refusal or OrderMoved(id=item.order, status=wanted))
    move_orders(context, [Move(number, wanted, reason) for number, reason in chosen.items()])
    settle(
        context,
        [(known[number].source_kind, settled_order(known[number], wanted)) for number in chosen],
        context.command,
    )
    return outcomes


def _refused_by_sources(context: Context, known: dict[int, LockedOrder], wanted: str) -> Any:
    possible = [order for order in known.values() if ORDER_STATES.allows(order.state, wanted)]
    return refusals_of(context, [(order.source_kind, settled_order(order, wanted)) for order in possible])
