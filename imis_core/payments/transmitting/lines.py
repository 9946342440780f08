"""The line to each payment provider: a circuit breaker and a count of requests that all workers share.

So many failures one after the other open the breaker: nothing goes out for a while, which grows with each opening.
Then one request tries; if it goes well all is as before. Business time is the application's clock.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from imis_core.payments.transmitting.gateways import Reached
from imis_core.payments.transmitting.states import MARGIN, PAUSE_MAX

if TYPE_CHECKING:
    from imis_core.context import Context

REASON_MAX: Final = 200
MINUTE: Final = timedelta(minutes=1)
_log = logging.getLogger(__name__)


class NotNow(Exception):
    """Nothing goes out to this provider before `until`."""

    def __init__(self, until: datetime, reason: str) -> None:
        super().__init__(reason)
        self.until = until
        self.reason = reason


_MAKE: Final = sa.text(
    "INSERT INTO core.payment_lines (payment_provider, state, failures, openings, requests) "
    "VALUES (:provider, 'closed', 0, 0, 0) ON CONFLICT (payment_provider) DO NOTHING"
)
_LOCK: Final = sa.text("SELECT * FROM core.payment_lines WHERE payment_provider = :provider FOR UPDATE")
_TAKE: Final = sa.text(
    "UPDATE core.payment_lines SET state = :state, until = :until, minute = :minute, requests = :requests "
    "WHERE payment_provider = :provider"
)
_WELL: Final = sa.text(
    "UPDATE core.payment_lines SET state = 'closed', failures = 0, openings = 0, until = NULL, reason = NULL, "
    "changed_at = :now WHERE payment_provider = :provider AND (state <> 'closed' OR failures > 0)"
)
# Asking may work where sending does not: as long as something has to be sent again, the failures stay counted.
_ANSWERED: Final = sa.text(
    """
    UPDATE core.payment_lines l SET state = 'closed', until = NULL, changed_at = :now,
           failures = CASE WHEN n.again THEN l.failures ELSE 0 END,
           openings = CASE WHEN n.again THEN l.openings ELSE 0 END, reason = CASE WHEN n.again THEN l.reason END
    FROM (SELECT EXISTS (SELECT FROM core.transmission_current WHERE payment_provider = :provider
                         AND state IN ('waiting', 'sending', 'unknown') AND attempts > 0) AS again) n
    WHERE l.payment_provider = :provider AND (l.state <> 'closed' OR l.failures > 0 AND NOT n.again)
    """
)
_ILL: Final = sa.text(
    "UPDATE core.payment_lines SET state = :state, failures = :failures, openings = :openings, until = :until, "
    "reason = :reason, changed_at = :now WHERE payment_provider = :provider"
)


def lock_line(context: Context, provider: int) -> Any:
    """The line's row, locked until the transaction ends; made if it is the first time."""
    context.execute(_MAKE, {"provider": provider})
    return context.execute(_LOCK, {"provider": provider}).one()


def take_turn(context: Context, one: Reached) -> None:
    """Count a request that goes out now. Raises `NotNow` while the breaker is open or the minute is full."""
    row, now = lock_line(context, one.provider), context.now
    state, until = row.state, row.until
    if state != "closed":
        if now < until:
            raise NotNow(until, f"nothing goes to the provider for now: {row.reason}")
        state, until = "half_open", now + timedelta(seconds=one.gateway.settings.timeout_seconds) + MARGIN
    minute = now.replace(second=0, microsecond=0)
    requests = row.requests if row.minute == minute else 0
    if requests >= one.gateway.settings.requests_per_minute:
        raise NotNow(minute + MINUTE, "as many requests went out in this minute as the provider allows")
    context.execute(
        _TAKE,
        {"provider": one.provider, "state": state, "until": until, "minute": minute, "requests": requests + 1},
    )


def went_well(context: Context, one: Reached) -> None:
    """The provider answered as it should: the line is closed, whatever was before."""
    context.execute(_WELL, {"provider": one.provider, "now": context.now})


def answered(context: Context, one: Reached) -> None:
    """The provider answered what it was asked: requests go out again, but only a batch that it takes says that all is
    well, if one waits for that."""
    context.execute(_ANSWERED, {"provider": one.provider, "now": context.now})


def went_ill(context: Context, one: Reached, reason: str, pause_seconds: int | None = None) -> None:
    """A request failed; the breaker opens after so many, and at once if it was trying or the provider asks for it."""
    row, settings = lock_line(context, one.provider), one.gateway.settings
    failures, openings = row.failures + 1, row.openings
    state, until = row.state, row.until
    if state != "open" and (state == "half_open" or failures >= settings.failures_max or pause_seconds is not None):
        grown = min(timedelta(seconds=settings.pause_seconds) * (1 << min(openings, 12)), PAUSE_MAX)
        asked = min(timedelta(seconds=pause_seconds or 0), PAUSE_MAX)
        state, until, openings = "open", context.now + max(grown, asked), openings + 1
        _log.warning("nothing goes to the payment provider %s until %s: %s", one.gateway.provider, until, reason)
    context.execute(
        _ILL,
        {
            "provider": one.provider,
            "state": state,
            "failures": failures,
            "openings": openings,
            "until": until,
            "reason": reason[:REASON_MAX],
            "now": context.now,
        },
    )
