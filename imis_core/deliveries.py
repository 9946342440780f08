"""Deliveries of events, to be seen and helped: what is parked with its error, and trying it again by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query
from imis_core.runtime_tables import deliveries, events


@frozen(kw_only=True)
class ListDeliveries:
    state: Literal["pending", "parked", "done"] = "parked"
    subscriber: str | None = None


@frozen(kw_only=True)
class Delivery:
    """One event on its way to one plugin. `error`: why its last attempt failed."""

    event: str
    name: str
    subscriber: str
    state: str
    attempts: int
    at: datetime
    next_at: datetime
    error: str | None


@query("events.deliveries", input=ListDeliveries, result=Delivery, listing=True)
def list_deliveries(context: Context, asked: ListDeliveries) -> Listing:
    """Deliveries of events to plugins: those that were given up (parked), those that wait, those done."""
    select = (
        sa.select(deliveries, events.c.name, events.c.at)
        .join(events, events.c.id == deliveries.c.event)
        .where(deliveries.c.state == asked.state, sa.true() if context.caller.everywhere else sa.false())
    )
    if asked.subscriber is not None:
        select = select.where(deliveries.c.subscriber == asked.subscriber)

    def build(rows: Sequence[Any]) -> list[Delivery]:
        ids = context.ids.encode_all("events", [row.event for row in rows])
        return [
            Delivery(
                event=identity, name=row.name, subscriber=row.subscriber, state=row.state, attempts=row.attempts,
                at=row.at, next_at=row.next_at, error=row.error,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (deliveries.c.event, deliveries.c.subscriber), build)


@frozen(kw_only=True)
class RetryDelivery:
    event: str
    subscriber: str


@frozen(kw_only=True)
class DeliveryRetried:
    event: str
    subscriber: str
    state: str


@command("events.retry", input=RetryDelivery, result=DeliveryRetried)
def retry(context: Context, items: tuple[RetryDelivery, ...]) -> list[DeliveryRetried | Refusal]:
    """Deliver a parked event again, with a fresh count of attempts."""
    # Events belong to no place: they are for who sees everything.
    seen = context.caller.everywhere
    numbers = [context.ids.decode("events", item.event) if seen else None for item in items]
    moved = context.execute(
        sa.text(
            "UPDATE core.deliveries d SET state = 'pending', attempts = 0, next_at = :now "
            "FROM (SELECT DISTINCT * FROM unnest(CAST(:events AS bigint[]), CAST(:subscribers AS text[]))) "
            "AS w(event, subscriber) WHERE d.event = w.event AND d.subscriber = w.subscriber AND d.state = 'parked' "
            "RETURNING d.event, d.subscriber"
        ),
        {"now": context.now, "events": numbers, "subscribers": [item.subscriber for item in items]},
    )
    done = {(row.event, row.subscriber) for row in moved}
    return [
        DeliveryRetried(event=item.event, subscriber=item.subscriber, state="pending")
        if (number, item.subscriber) in done
        else not_found("event", "parked delivery", f"{item.event} to {item.subscriber}")
        for number, item in zip(numbers, items, strict=True)
    ]


COMMANDS = (retry,)
QUERIES = (list_deliveries,)
