"""Reading what providers sent by themselves: a message decides nothing, it has the provider's list asked for.

What it says of an order that is open, of a paid one that came back, or of a batch, has the transmission asked about,
also one that was reported. What it says of an order that is decided already and cannot be true as well, or that is none
of ours, is put to the reconciliation, too: it can only be listed there. Only of a provider without a list what its
messages say is taken.

Messages are read in the order in which they came, many in one transaction; the order does not matter to what comes of
it. The same message once more (with another nonce) changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen

from imis_core.database.bulk import insert_rows
from imis_core.database.engine import retried
from imis_core.errors import Unavailable
from imis_core.jobs_kinds import Job, NoInput
from imis_core.payments.order_names import order_number
from imis_core.payments.orders import ORDER_STATES
from imis_core.payments.transmitting.checks import take_check
from imis_core.payments.transmitting.gateways import reached
from imis_core.payments.transmitting.placing import transmit_later
from imis_core.payments.transmitting.service import Notice, Told, Unreadable
from imis_core.payments.transmitting.store import audited, transaction, wake
from imis_core.payments.transmitting.tables import provider_message_outcomes
from imis_core.payments.transmitting.taking import report_told
from imis_core.payments.transmitting.webhook import TAKE
from imis_core.retention_tables import NOT_READ

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context

AT_ONCE: Final = 2_000  # messages of one transaction
_log = logging.getLogger(__name__)
_NEXT: Final = sa.text(
    f"""
    WITH taken AS (
        DELETE FROM core.provider_messages_waiting WHERE message IN (
            SELECT message FROM core.provider_messages_waiting ORDER BY message LIMIT :most FOR UPDATE SKIP LOCKED)
        RETURNING message)
    SELECT m.id, m.payment_provider, m.body, p.code,
           EXISTS (SELECT FROM core.provider_messages e
                   LEFT JOIN core.provider_message_outcomes r ON r.message = e.id
                   WHERE e.payment_provider = m.payment_provider AND e.digest = m.digest AND e.id < m.id
                     AND coalesce(r.outcome, '') NOT IN ({NOT_READ})) AS repeated
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
    most, suspect = AT_ONCE, 0  # `suspect`: of so many next ones, one cannot be taken
    while True:
        try:
            taken = retried(lambda most=most: _take(app, most))  # type: ignore[misc]
            if not taken:
                return
            suspect = max(0, suspect - taken)
            most = most if suspect else AT_ONCE
        except (Unavailable, sa.exc.OperationalError, sa.exc.InterfaceError):
            raise  # the database is away: all of them wait
        except Exception:
            if most == 1:
                _log.exception("a message of a payment provider cannot be taken; it is listed in payments.messages")
                retried(lambda: _give_up(app))
                most, suspect = AT_ONCE, 0
            else:
                most, suspect = most // 2, most  # one of them cannot be taken: those before it, then it alone


def _take(app: Application, most: int) -> int:
    with transaction(app, TAKE) as context:
        read = _read(context, context.execute(_NEXT, {"most": most}).all())
        if not read:
            return 0
        for provider in dict.fromkeys(one.provider for one in read):
            reported = _take_of(context, [one for one in read if one.provider == provider])
            read = [evolve(one, outcome="reconciled") if one.id in reported else one for one in read]
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
            outcome = "checked" if notice.checked is not None else "asked"
            found.append(_Read(row.id, row.payment_provider, row.code, outcome, notice))
    return found


def _take_of(context: Context, read: Sequence[_Read]) -> set[int]:
    """What the messages of one provider say; the messages whose row went to the reconciliation."""
    provider, code = read[0].provider, read[0].code
    told = [(one.id, one.notice.told) for one in read if one.notice.told is not None]
    reported, about = _judged(context, provider, told, listed=_has_list(context, code))
    if reported:
        # A row of the reconciliation is found by the message that comes first and its place behind it.
        name = context.ids.encode("provider_messages", reported[0][0])
        report_told(context, code, [what for _, what in reported], name)
    quiet = timedelta(seconds=context.settings.payment_gateways[code].ask_after_seconds) if about else timedelta(0)
    _ask(context, sorted(about), quiet)
    named = {name for one in read if one.notice.told is None for name in one.notice.about}
    if named:
        asked = {"provider": provider, "names": sorted(named)}
        _ask(context, context.execute(_NAMED, asked).scalars().all(), timedelta(0))
    for one in read:
        if one.notice.checked is not None:
            take_check(context, one.provider, one.notice)
    return {message for message, _ in reported}


def _has_list(context: Context, code: str) -> bool:
    one = next(iter(reached(context, [code]).values()), None)
    return one is not None and one.service.ask is not None


_NAMED: Final = sa.text(
    """
    SELECT t.id FROM core.transmissions t JOIN core.transmission_current c ON c.transmission = t.id
    WHERE t.payment_provider = :provider
      AND (t.correlation = ANY(CAST(:names AS text[])) OR c.batch = ANY(CAST(:names AS text[]))) ORDER BY t.id
    """
)
_STANDING: Final = sa.text(
    """
    SELECT m."order", m.transmission, o.state
    FROM core.transmission_orders m JOIN core.transmissions t ON t.id = m.transmission
    JOIN core.order_current o ON o."order" = m."order"
    WHERE m."order" = ANY(CAST(:orders AS bigint[])) AND t.payment_provider = :provider
    """
)


def _judged(
    context: Context, provider: int, told: Sequence[tuple[int, Told]], *, listed: bool
) -> tuple[list[tuple[int, Told]], set[int]]:
    """What goes to the reconciliation (each with its message), and the transmissions that are asked about."""
    if not listed or not told:
        return list(told), set()
    numbers = [order_number(one.order) for _, one in told]
    asked = {"orders": [n for n in numbers if n is not None], "provider": provider}
    standing = {row.order: row for row in context.execute(_STANDING, asked)}
    reported, about = [], set()
    for number, (message, one) in zip(numbers, told, strict=True):
        row = standing.get(number) if number is not None else None
        if row is not None and row.state != one.status:
            about.add(row.transmission)
        if row is None or _contradicts(row.state, one.status):
            reported.append((message, one))
    return reported, about


def _contradicts(state: str, told: str) -> bool:
    """Whether an order that is in a final state cannot be what is told of it. What could still move it is never put to
    the reconciliation; what came back was paid before, of which a message may come late."""
    if told in (state, "pending") or (state, told) == ("returned", "paid"):
        return False
    return not ORDER_STATES.allows(state, told)


def _ask(context: Context, numbers: Sequence[int], quiet: timedelta) -> None:
    """Have transmissions asked about, those of which single orders are told of once in a while for all of them."""
    if numbers:
        for number in wake(context, numbers, "the provider spoke of it by itself", heard=True, quiet=quiet):
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
