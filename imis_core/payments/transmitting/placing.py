"""Orders that were just sent are put into transmissions, in the transaction that sends them; nothing leaves here.

A constant number of statements, whatever the number of orders, and one per transmission for its job.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.payments.transmitting.gateways import Reached, reached
from imis_core.payments.transmitting.tables import transmission_current, transmission_states, transmissions

TRANSMIT: Final = "payments.transmit"  # the job of `transmitting.running`
CORRELATION: Final = 12  # characters: what every message of the specification has room for
# Only what this command sent, so that what was told outside before a provider had a service is not sent once more.
_CHOSEN: Final = """
    WITH chosen AS (
        SELECT o.id, o.scheme, o.currency, o.entitlement, o.amount_minor, t.payment_provider, r.account,
               (row_number() OVER (PARTITION BY t.payment_provider, o.scheme ORDER BY o.id) - 1) / n.most AS part
        FROM core.orders o
        JOIN core.order_current t ON t."order" = o.id
        JOIN core.order_states s ON s."order" = o.id AND s.version = t.version
        JOIN unnest(CAST(:providers AS bigint[]), CAST(:most AS bigint[])) AS n(payment_provider, most)
             ON n.payment_provider = t.payment_provider
        JOIN core.recipients r ON r.id = t.recipient
        WHERE o.source_kind = :kind AND o.source = :source AND t.state = 'submitted' AND s.audit = :audit
          AND o.amount_minor > 0)
"""
_PARTS: Final = sa.text(
    f"""{_CHOSEN}
    SELECT payment_provider, scheme, currency, part, count(*) AS orders, CAST(sum(amount_minor) AS bigint) AS amount,
           encode(sha256(convert_to(
               string_agg(concat_ws(':', id, entitlement, amount_minor, account), ',' ORDER BY id), 'UTF8')), 'hex')
               AS content
    FROM chosen GROUP BY payment_provider, scheme, currency, part ORDER BY payment_provider, scheme, part
    """
)
_PLACE: Final = sa.text(
    f"""{_CHOSEN}, placed AS (
    INSERT INTO core.transmission_orders ("order", transmission, account)
    SELECT c.id, p.transmission, c.account FROM chosen c
    JOIN unnest(CAST(:part_providers AS bigint[]), CAST(:schemes AS text[]), CAST(:parts AS bigint[]),
                CAST(:transmissions AS bigint[])) AS p(payment_provider, scheme, part, transmission)
         ON p.payment_provider = c.payment_provider AND p.scheme = c.scheme AND p.part = c.part
    ORDER BY c.id RETURNING 1)
    SELECT count(*) FROM placed
    """
)


_SENT: Final = sa.text(
    """
    SELECT count(*) FROM core.order_current t
    JOIN core.orders o ON o.id = t."order"
    JOIN core.order_states s ON s."order" = t."order" AND s.version = t.version
    WHERE o.source_kind = :kind AND o.source = :source AND t.state = 'submitted' AND s.audit = :audit
      AND t.payment_provider = ANY(CAST(:providers AS bigint[]))
    """
)


def place_transmissions(context: Context, kind: str, source: int, providers: Sequence[Reached]) -> None:
    """Put the orders of a batch that this command sent to these providers into transmissions, each with its job."""
    if not providers:
        return
    chosen: dict[str, Any] = {
        "kind": kind,
        "source": source,
        "audit": context.audit,
        "providers": [one.provider for one in providers],
        "most": [_most(one) for one in providers],
    }
    parts = context.execute(_PARTS, chosen).all()
    numbers = take_ids(context.connection, transmissions, len(parts))
    _write(context, kind, source, parts, numbers)
    placed = context.execute(
        _PLACE,
        chosen
        | {
            "part_providers": [part.payment_provider for part in parts],
            "schemes": [part.scheme for part in parts],
            "parts": [part.part for part in parts],
            "transmissions": numbers,
        },
    ).scalar_one()
    sent = context.execute(_SENT, chosen).scalar_one()
    if placed != sent:  # an order in no transmission would be submitted for ever, and nobody would see it
        raise AssertionError(f"{sent} orders were submitted to providers with a service, {placed} are in transmissions")
    for number in numbers:
        transmit_later(context, number)


def _most(one: Reached) -> int:
    """How many orders go to a provider at once."""
    most = one.gateway.settings.orders_per_transmission
    return most if one.service.orders_max is None else min(most, one.service.orders_max)


def transmit_later(context: Context, transmission: int) -> None:
    """Let a worker take a transmission's next step, once this transaction has committed."""
    context.defer(TRANSMIT, {"transmission": transmission}, lock=f"transmission {transmission}")


def _write(context: Context, kind: str, source: int, parts: Sequence[Any], numbers: Sequence[int]) -> None:
    count = len(parts)
    insert_rows(
        context.connection,
        transmissions,
        {
            "id": list(numbers),
            "payment_provider": [part.payment_provider for part in parts],
            "scheme": [part.scheme for part in parts],
            "currency": [part.currency for part in parts],
            "source_kind": [kind] * count,
            "source": [source] * count,
            "orders": [part.orders for part in parts],
            "amount_minor": [part.amount for part in parts],
            "correlation": [_correlation(context, kind, source, part) for part in parts],
            "placed_on": [context.today] * count,
            "audit": [context.audit] * count,
        },
    )
    states: list[Any] = ["waiting"] * count
    insert_rows(
        context.connection,
        transmission_states,
        {
            "transmission": list(numbers),
            "version": [1] * count,
            "state": states,
            "at": [context.now] * count,
            "audit": [context.audit] * count,
        },
    )
    insert_rows(
        context.connection,
        transmission_current,
        {
            "transmission": list(numbers),
            "payment_provider": [part.payment_provider for part in parts],
            "state": states,
            "version": [1] * count,
            "attempts": [0] * count,
            "tries": [0] * count,
            "due_at": [context.now] * count,
        },
    )


def _correlation(context: Context, kind: str, source: int, part: Any) -> str:
    """Our name for a transmission: made from what it says, with the deployment's key.

    The same orders always have the same name: a database that was restored from a backup, and has forgotten that it
    sent them, sends them again under the name that the provider knows already.
    """
    sealed = bytes.fromhex(context.ids.seal(f"transmission {part.payment_provider} {kind} {source} {part.content}"))
    # A letter first: what is all digits names an order.
    return "T" + base64.b32encode(sealed).decode("ascii")[: CORRELATION - 1]


def providers_with_service(context: Context) -> list[Reached]:
    """The providers that orders are transmitted to."""
    return list(reached(context).values())
