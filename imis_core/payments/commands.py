"""Commands on batches of orders: sending them, and ordering once more what did not arrive."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.payments.limits import limits
from imis_core.payments.nothing_owed import pay_nothing, settle_nothing
from imis_core.payments.orders import LockedOrder, locked_orders, place_retries, retried
from imis_core.payments.settling import refusals_of, settle, settled_order
from imis_core.payments.sources import batch_of
from imis_core.payments.submitting import submit_orders
from imis_core.payments.transmitting.placing import place_transmissions, providers_with_service


@frozen(kw_only=True)
class SubmitOrders:
    claims_batch: str | None = None
    payroll: str | None = None
    refunds: str | None = None


@frozen(kw_only=True)
class OrdersSubmitted:
    """`submitted` counts orders of 0 too, which are paid at once where a service would have to be told to pay them."""

    submitted: int
    failed: int


RETRIABLE: Final = ("failed", "returned")


@command("payments.submit", input=SubmitOrders, result=OrdersSubmitted)
def submit(context: Context, items: tuple[SubmitOrders, ...]) -> list[OrdersSubmitted | Refusal]:
    """Send a batch's approved orders to their payment providers; those without an account stay, with the reason."""
    return [_submit(context, item) for item in items]


def _submit(context: Context, item: SubmitOrders) -> OrdersSubmitted | Refusal:
    batch = batch_of(context, item)
    if isinstance(batch, Refusal):
        return batch
    kind, source = batch
    if not source.approved:
        return Refusal(f"{kind}.wrong_state", "only an approved batch is sent, and this one is not (or no longer)")
    providers = providers_with_service(context)
    submitted, failed = submit_orders(context, kind, source.number, limits(context, providers))
    if submitted:
        paid = pay_nothing(context, kind, source.number, [one.provider for one in providers])
        place_transmissions(context, kind, source.number, providers)
        tell = context.app.sources[kind].submitted
        if tell is not None:
            tell(context, source.number)
        settle_nothing(context, kind, paid)
    return OrdersSubmitted(submitted=submitted, failed=failed)


@frozen(kw_only=True)
class RetryOrder:
    order: str
    reason: str | None = None


@frozen(kw_only=True)
class OrderRetried:
    """`retries`: the order that failed or came back, of which this one is the next attempt."""

    id: str
    retries: str
    status: str


@command("payments.retry", input=RetryOrder, result=OrderRetried)
def retry(context: Context, items: tuple[RetryOrder, ...]) -> list[OrderRetried | Refusal]:
    """Order a failed or returned payment once more; each order is retried once."""
    numbers = [context.ids.decode("orders", item.order) for item in items]
    known = locked_orders(context, [n for n in numbers if n is not None])
    taken = retried(context, list(known))
    possible = [order for order in known.values() if order.state in RETRIABLE and order.id not in taken]
    refused = refusals_of(context, [(order.source_kind, settled_order(order, "approved")) for order in possible])
    outcomes: list[Any] = [None] * len(items)
    chosen: list[tuple[int, LockedOrder, str | None]] = []
    for position, (item, number) in enumerate(zip(items, numbers, strict=True)):
        order = None if number is None else known.get(number)
        if order is None:
            outcomes[position] = not_found("order", "order", item.order)
        elif order.state not in RETRIABLE:
            message = f"the order is {order.state}; only a failed or returned one is paid once more"
            outcomes[position] = Refusal("payments.not_failed", message)
        elif order.id in taken:
            message = "the order was retried already; retry its latest attempt"
            outcomes[position] = Refusal("payments.already_retried", message)
        elif order.id in refused:
            outcomes[position] = refused[order.id]
        else:
            taken.add(order.id)
            chosen.append((position, order, item.reason))
    placed = place_retries(context, [order for _, order, _ in chosen], [reason for _, _, reason in chosen])
    settle(
        context,
        [
            (order.source_kind, settled_order(order, "approved", number=number))
            for (_, order, _), number in zip(chosen, placed, strict=True)
        ],
        context.command,
    )
    for (position, _, _), identity, earlier in zip(
        chosen,
        context.ids.encode_all("orders", placed),
        context.ids.encode_all("orders", [order.id for _, order, _ in chosen]),
        strict=True,
    ):
        outcomes[position] = OrderRetried(id=identity, retries=earlier, status="approved")
    return outcomes


COMMANDS = (submit, retry)
