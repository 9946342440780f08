"""Transmissions: what goes to a provider is what was ordered, goes there once, and stands as its orders do."""

from __future__ import annotations

from typing import Final

from imis_core.testing.auditor.findings import Check

_CONTENT: Final = Check(
    "transmissions.content",
    """
    SELECT 'transmission ' || t.id AS location, 'it says ' || t.orders || ' orders of ' || t.amount_minor
           || ', it holds ' || count(o.id) || ' of ' || coalesce(sum(o.amount_minor), 0) AS what
    FROM core.transmissions t LEFT JOIN core.transmission_orders m ON m.transmission = t.id
    LEFT JOIN core.orders o ON o.id = m."order"
    GROUP BY t.id, t.orders, t.amount_minor
    HAVING t.orders <> count(o.id) OR t.amount_minor <> coalesce(sum(o.amount_minor), 0)
        OR count(*) FILTER (WHERE (o.scheme, o.currency, o.source_kind, o.source)
                            IS DISTINCT FROM (t.scheme, t.currency, t.source_kind, t.source)) > 0
    """,
)
_PROVIDER: Final = Check(
    "transmissions.provider",
    """
    SELECT 'order ' || m."order" AS location, 'it went to payment provider ' || t.payment_provider
           || ' in transmission ' || t.id || ', and was sent to ' || coalesce(o.payment_provider::text, 'nobody')
           AS what
    FROM core.transmission_orders m JOIN core.transmissions t ON t.id = m.transmission
    JOIN core.order_current o ON o."order" = m."order"
    WHERE o.payment_provider IS DISTINCT FROM t.payment_provider
    """,
)
# Nobody has what waits or was refused; of what was reported, something final is known of each order.
_ORDERS: Final = Check(
    "transmissions.orders",
    """
    SELECT 'order ' || m."order" AS location, 'it is ' || o.state || ', its transmission ' || c.transmission || ' is '
           || c.state AS what
    FROM core.transmission_current c JOIN core.transmission_orders m ON m.transmission = c.transmission
    JOIN core.order_current o ON o."order" = m."order"
    WHERE CASE WHEN m.left_out THEN o.state = 'accepted'
               WHEN c.state IN ('reported', 'refused') THEN o.state IN ('submitted', 'accepted')
               WHEN c.state IN ('waiting', 'sending', 'unknown') THEN o.state = 'accepted'
               WHEN c.state = 'accepted' THEN o.state = 'submitted'
               ELSE false END
    """,
)
_SENT: Final = Check(
    "transmissions.sent",
    """
    SELECT 'transmission ' || c.transmission AS location, 'it was sent ' || count(s.version) || ' times, it says '
           || c.attempts AS what
    FROM core.transmission_current c
    LEFT JOIN core.transmission_states s ON s.transmission = c.transmission AND s.state = 'sending'
    GROUP BY c.transmission, c.attempts HAVING c.attempts <> count(s.version)
    UNION ALL
    SELECT 'transmission ' || a.transmission, 'it was sent after the provider had it'
    FROM core.transmission_states a JOIN core.transmission_states s
         ON s.transmission = a.transmission AND s.version > a.version AND s.state = 'sending'
    WHERE a.state = 'accepted'
    """,
)

CHECKS: Final[tuple[Check, ...]] = (_CONTENT, _PROVIDER, _ORDERS, _SENT)
