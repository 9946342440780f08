"""Reading what providers sent by themselves: what it says of an order is reconciled, what it says of a batch is asked.

Messages are read in the order in which they came, many in one transaction; the order does not matter to what comes of
it. The same message once more (with another nonce) changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.database.bulk import insert_rows
from imis_core.database.engine import retried
from imis_core.errors import Unavailable
from imis_core.jobs_kinds import Job, NoInput
from imis_core.payments.transmitting.checks import take_check
from imis_core.payments.transmitting.gateways import reached
from imis_core.payments.transmitting.placing import transmit_later
from imis_core.payments.transmitting.service import Notice, Told, Unreadable
from imis_core.payments.transmitting.store import audited, transaction
from imis_core.payments.transmitting.tables import provider_message_outcomes
from imis_core.payments.transmitting.taking import order_number, report_told
from imis_core.payments.transmitting.webhook import TAKE

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context

AT_ONCE: Final = 2_000  # messages of one transaction
_log = logging.getLogger(__name__)
_NEXT: Final = sa.text(
    """
    WITH taken AS (
        DELETE FROM core.provider_messages_waiting WHERE message IN (
            SELECT message FROM core.provider_messages_waiting ORDER BY message LIMIT :most FOR UPDATE SKIP LOCKED)
        RETURNING message)
    SELECT m.id, m.payment_provider, m.body, p.code,
           EXISTS (SELECT FROM core.provider_messages e WHERE e.payment_provider = m.payment_provider
                   AND e.digest = m.digest AND e.id < m.id) AS repeated
    FROM taken t JOIN core.provider_messages m ON m.id = t.message
    JOIN core.payment_providers p ON p.id = m.payment_provider ORDER BY m.id
    """
)


NOTHING: Final = Notice()


@frozen
class _Read:
    """A message with what it says, or why it says nothing."""

    id: int
    provider: int
    code: str
    outcome: str
    notice: Notice = NOTHING
    detail: str | None = None


def take_messages(app: Application, _: NoInput) -> None:
    """Read every message that waits."""
    most = AT_ONCE
    while True:
        try:
            if not retried(lambda most=most: _take(app, most)):  # type: ignore[misc]
                return
            most = AT_ONCE
        except (Unavailable, sa.exc.OperationalError, sa.exc.InterfaceError):
            raise  # the database is away: all of them wait
        except Exception:
            if most == 1:
                _log.exception("a message of a payment provider cannot be taken; it is listed in payments.messages")
                retried(lambda: _give_up(app))
                most = AT_ONCE
            else:
                most = 1  # one of them cannot be taken: that one alone


def _take(app: Application, most: int) -> int:
    with transaction(app, TAKE) as context:
        read = _read(context, context.execute(_NEXT, {"most": most}).all())
        if not read:
            return 0
        for provider in dict.fromkeys(one.provider for one in read):
            _take_of(context, [one for one in read if one.provider == provider])
        _keep_outcomes(context, read)
        audited(context, len(read), first=read[0].id, messages=len(read))
        return len(read)


def _read(context: Context, rows: Sequence[Any]) -> list[_Read]:
    services = reached(context, list({row.code for row in rows})) if rows else {}
    found = []
    for row in rows:
        one = services.get(row.payment_provider)
        if row.repeated:
            found.append(_Read(row.id, row.payment_provider, row.code, "repeated"))
        elif one is None:
            found.append(_Read(row.id, row.payment_provider, row.code, "no_service"))
        else:
            try:
                notice = one.service.read(bytes(row.body))
            except Unreadable as problem:
                found.append(_Read(row.id, row.payment_provider, row.code, "unreadable", detail=str(problem)))
                continue
            outcome = "reconciled" if notice.told else "checked" if notice.checked is not None else "asked"
            found.append(_Read(row.id, row.payment_provider, row.code, outcome, notice))
    return found


def _take_of(context: Context, read: Sequence[_Read]) -> None:
    """What the messages of one provider say."""
    told = [one for one in read if one.notice.told is not None]
    if told:
        # A row of the reconciliation is found by the message that comes first and its place behind it.
        name = context.ids.encode("provider_messages", told[0].id)
        report_told(context, told[0].code, [one.notice.told for one in told if one.notice.told], name)
        _ask_again(context, [one.notice.told for one in told if one.notice.told])
    named = {name for one in read if one.notice.told is None for name in one.notice.about}
    if named:
        _ask_now(context, read[0].provider, named)
    for one in read:
        if one.notice.checked is not None:
            take_check(context, one.provider, one.notice)


_NAMED: Final = sa.text(
    """
    SELECT t.id FROM core.transmissions t JOIN core.transmission_current c ON c.transmission = t.id
    WHERE t.payment_provider = :provider AND c.state IN ('accepted', 'unknown')
      AND (t.correlation = ANY(CAST(:names AS text[])) OR c.batch = ANY(CAST(:names AS text[])))
    """
)
# Transmissions of orders that a message told of: those that are all told of, so that the list is compared with it, and
# those of orders that are not what the message says.
_OF_ORDERS: Final = sa.text(
    """
    SELECT DISTINCT m.transmission
    FROM unnest(CAST(:orders AS bigint[]), CAST(:statuses AS text[])) AS n("order", status)
    JOIN core.transmission_orders m ON m."order" = n."order"
    JOIN core.transmission_current c ON c.transmission = m.transmission AND c.state IN ('accepted', 'unknown')
    JOIN core.order_current t ON t."order" = n."order"
    WHERE t.state <> n.status OR NOT EXISTS (
        SELECT FROM core.transmission_orders x JOIN core.order_current o ON o."order" = x."order"
        WHERE x.transmission = m.transmission AND NOT x.left_out AND o.state IN ('submitted', 'accepted', 'held'))
    """
)
_DUE_NOW: Final = sa.text(
    "UPDATE core.transmission_current SET due_at = :now WHERE transmission = ANY(CAST(:numbers AS bigint[])) "
    "AND due_at > :now"
)


def _ask_now(context: Context, provider: int, names: Iterable[str]) -> None:
    """Batches that a provider says something of are asked for their details at once."""
    _ask(context, context.execute(_NAMED, {"provider": provider, "names": sorted(names)}).scalars().all())


def _ask_again(context: Context, told: Sequence[Told]) -> None:
    numbers = {number: one.status for one in told if (number := order_number(one.order)) is not None}
    named = {"orders": list(numbers), "statuses": list(numbers.values())}
    _ask(context, context.execute(_OF_ORDERS, named).scalars().all())


def _ask(context: Context, numbers: Sequence[int]) -> None:
    if numbers:
        context.execute(_DUE_NOW, {"now": context.now, "numbers": list(numbers)})
        for number in sorted(numbers):
            transmit_later(context, number)


def _keep_outcomes(context: Context, read: Sequence[_Read]) -> None:
    insert_rows(
        context.connection,
        provider_message_outcomes,
        {
            "message": [one.id for one in read],
            "outcome": [one.outcome for one in read],
            "detail": [one.detail for one in read],
            "audit": [context.audit] * len(read),
        },
    )


def _give_up(app: Application) -> None:
    """The message at the head cannot be taken: it is kept as failed, and the others go on."""
    with transaction(app, TAKE) as context:
        rows = context.execute(_NEXT, {"most": 1}).all()
        detail = "it could not be taken; the log of the worker says why"
        _keep_outcomes(
            context, [_Read(row.id, row.payment_provider, row.code, "failed", detail=detail) for row in rows]
        )


JOBS: Final = (Job(TAKE, NoInput, take_messages, "Read what payment providers sent by themselves", priority=1),)
