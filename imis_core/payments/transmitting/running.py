"""A transmission's next step: sent, or asked about. Whatever dies in between, nothing is sent that may have arrived.

    waiting  -> `sending` is committed before the first byte leaves; then the answer decides
    sending  -> nothing while the sender may live; afterwards it may have arrived: unknown
    unknown  -> the provider is asked by our name for it: it has it (accepted), or it never had it (waiting, sent again
                under the same name). No answer: asked again later. It is never sent without that answer
    accepted -> the provider is asked what came of the orders

A plain job: it opens its own transactions, holds none while it waits for a provider, and may run twice at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.engine import retried
from imis_core.jobs_kinds import Job
from imis_core.payments.transmitting.gateways import Reached, reach
from imis_core.payments.transmitting.lines import NotNow, answered, lock_line, take_turn, went_ill, went_well
from imis_core.payments.transmitting.placing import TRANSMIT, transmit_later
from imis_core.payments.transmitting.service import Instruction, NotKnown, Outgoing, Sent, Unanswered
from imis_core.payments.transmitting.states import (
    ATTEMPTS_MAX,
    MARGIN,
    OPEN,
    REFUSALS_MAX,
    TRIES_MAX,
    pause_after,
    pending_pause,
)
from imis_core.payments.transmitting.store import (
    accept_orders,
    history,
    locked_transmission,
    look_later,
    move,
    open_orders,
    orders_to_send,
    read_transmission,
    refuse_orders,
    transaction,
)
from imis_core.payments.transmitting.taking import take_told
from imis_core.values import Money

if TYPE_CHECKING:
    from imis_core.application import Application

STEPS_MAX: Final = 4  # of one job: given up, asked, sent
UNLISTED: Final = "the provider has no list that could be asked"
FORGOTTEN: Final = "the provider does not know any more what it accepted"
HELD_IN_DOUBT: Final = (
    "orders of it were held after it may have arrived: once the provider has confirmed that it has none of them, "
    "report them as failed (payments.reconcile)"
)
_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Transmit:
    transmission: int


def transmit(app: Application, asked: Transmit) -> None:
    """Take a transmission's next steps, as far as they go now."""
    for _ in range(STEPS_MAX):
        row = read_transmission(app, asked.transmission)
        one = None if row is None else reach(app, _provider(row))
        if row is None or row.state not in OPEN or row.due_at > app.clock.now():
            return
        if one is None:
            _postpone(app, row.id, f"imis.toml has no [payment_gateways.{row.code}] any more, or its channel changed")
            return
        if not _step(app, row, one):
            return


def _provider(row: Any) -> Any:
    return _Provider(row.payment_provider, row.code, row.channel)


@frozen
class _Provider:
    id: int
    code: str
    channel: str


def _step(app: Application, row: Any, one: Reached) -> bool:
    """One step; whether there is another one to take at once."""
    try:
        if row.state == "waiting":
            return _send(app, row, one)
        if row.state == "sending":
            return retried(partial(_given_up, app, row.id))
        if one.service.ask is None:
            retried(partial(_unlisted, app, row.id))
            return False
        return _ask(app, row, one)
    except NotNow as wait:
        retried(partial(_wait, app, row.id, wait))
        return False


# --- sending


def _send(app: Application, row: Any, one: Reached) -> bool:
    begun = retried(partial(_begin, app, row.id, one))
    if begun is None:
        return False
    attempt, outgoing = begun
    try:
        sent = one.service.send(one.gateway, outgoing)
    except Exception as error:  # a plugin's service: whatever it did, the batch may have arrived
        _log.exception("the payment provider %s cannot be sent to", one.gateway.provider)
        sent = Sent("unknown", reason=f"sending broke off ({type(error).__name__})", ill=True)
    retried(partial(_note, app, one, sent))
    if sent.outcome == "refused":
        return _refused(app, row, one, attempt, sent)
    return retried(partial(_finish, app, row.id, attempt, sent))


def _begin(app: Application, number: int, one: Reached) -> tuple[int, Outgoing] | None:
    """Commit that the transmission is being sent, before anything leaves; None: not now, or nothing is left to send."""
    settings = one.gateway.settings
    with transaction(app, TRANSMIT) as context:
        lock_line(context, one.provider)
        row = locked_transmission(context, number)
        if row.state != "waiting":
            return None  # another worker has it
        under_way = context.execute(_UNDER_WAY, {"provider": one.provider, "now": context.now}).scalar_one()
        if under_way >= settings.transmissions_at_once:
            return None  # whoever ends one begins the next
        take_turn(context, one)
        before = history(context, number)
        orders = None if before.accepted else orders_to_send(context, number, doubted=before.doubted)
        if orders is None:
            move(context, row, "parked", due_at=context.now, reason=FORGOTTEN if before.accepted else HELD_IN_DOUBT)
            return None
        instructions = [Instruction(o.order, o.account, Money(o.amount_minor, o.currency), o.payee) for o in orders]
        if not instructions:
            move(context, row, "reported", due_at=context.now, reason="none of its orders was to be sent any more")
            return None
        lease = timedelta(seconds=settings.timeout_seconds) + MARGIN
        move(context, row, "sending", due_at=context.now + lease, attempts=row.attempts + 1)
        return row.attempts + 1, Outgoing(row.correlation, row.scheme, instructions)


_UNDER_WAY: Final = sa.text(
    "SELECT count(*) FROM core.transmission_current "
    "WHERE payment_provider = :provider AND state = 'sending' AND due_at > :now"
)


def _note(app: Application, one: Reached, sent: Sent) -> None:
    with transaction(app, TRANSMIT) as context:
        if sent.ill:
            went_ill(context, one, sent.reason or "it failed", sent.pause_seconds)
        else:
            went_well(context, one)


def _finish(app: Application, number: int, attempt: int, sent: Sent) -> bool:
    """What the answer means, unless somebody else has found it out meanwhile."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if sent.outcome == "accepted":
            # True whoever says so, and however late.
            if row.state in ("waiting", "sending", "unknown", "parked"):
                _accepted(context, row, sent.batch)
        elif row.state == "sending" and row.attempts == attempt:
            pause = max(pause_after(attempt - 1), timedelta(seconds=min(sent.pause_seconds or 0, 3600)))
            state = "waiting" if sent.outcome == "not_taken" else "unknown"
            if attempt >= (REFUSALS_MAX if sent.outcome == "refused" else ATTEMPTS_MAX):
                state = "parked"
            move(context, row, state, due_at=context.now + pause, reason=sent.reason)
        _begin_next(context, row.payment_provider)
    return False


def _refused(app: Application, row: Any, one: Reached, attempt: int, sent: Sent) -> bool:
    """The provider says that it took nothing. Nobody is told so before it has said, asked by name, that it has nothing,
    nor if an attempt before may have arrived and lie in some queue: an order that fails may be ordered again."""
    try:
        for page in _pages(app, row, one):
            return retried(partial(_finish, app, row.id, attempt, Sent("accepted", batch=page.batch)))
    except NotKnown:
        return retried(partial(_refuse, app, row.id, attempt, sent))
    except (Unanswered, NotNow):
        pass  # nothing is known
    unknown = Sent("unknown", reason=f"{sent.reason}; whether it has the batch is asked")
    return retried(partial(_finish, app, row.id, attempt, unknown))


def _refuse(app: Application, number: int, attempt: int, sent: Sent) -> bool:
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if history(context, number).doubted:
            doubt = f"{sent.reason}, and a request before may have arrived: whether it has the batch is asked"
            sent = Sent("refused", reason=doubt)
        elif row.state == "sending" and row.attempts == attempt:
            reason = sent.reason or "refused"
            move(context, row, "refused", due_at=context.now, reason=reason)
            refuse_orders(context, number, reason)
            _begin_next(context, row.payment_provider)
            return False
    return _finish(app, number, attempt, sent)


def _given_up(app: Application, number: int) -> bool:
    """Whoever was sending has not said in time what came of it: it may have arrived."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if row.state != "sending" or row.due_at > context.now:
            return False
        move(context, row, "unknown", due_at=context.now, reason="whoever was sending it died")
        return True


def _accepted(context: Context, row: Any, batch: str | None) -> None:
    settings = context.settings.payment_gateways.get(row.code)
    pause = timedelta(seconds=60 if settings is None else settings.ask_after_seconds)
    move(context, row, "accepted", due_at=context.now + pause, batch=batch)
    accept_orders(context, row.id)


_NEXT: Final = sa.text(
    "SELECT transmission FROM core.transmission_current "
    "WHERE payment_provider = :provider AND state = 'waiting' AND due_at <= :now ORDER BY transmission LIMIT 1"
)


def _begin_next(context: Context, provider: int) -> None:
    """Let the next transmission to this provider begin; several of them go at once, as many as it allows."""
    number = context.execute(_NEXT, {"provider": provider, "now": context.now}).scalar()
    if number is not None:
        transmit_later(context, number)


# --- asking


_ASKED_AT: Final = sa.text("UPDATE core.transmission_current SET asked_at = :now WHERE transmission = :number")


def _pages(app: Application, row: Any, one: Reached) -> Any:
    """The provider's list about a transmission; each request waits for its turn, and the line hears how it went."""

    def turn() -> None:
        def take() -> None:
            with transaction(app, TRANSMIT) as context:
                take_turn(context, one)
                context.execute(_ASKED_AT, {"number": row.id, "now": context.now})

        retried(take)

    def heard() -> None:
        with transaction(app, TRANSMIT) as context:
            answered(context, one)

    if one.service.ask is None:
        raise Unanswered(UNLISTED)
    try:
        for page in one.service.ask(one.gateway, row.correlation, row.batch, turn):
            retried(heard)
            yield page
    except NotKnown:
        retried(heard)
        raise
    except Unanswered as error:
        retried(partial(_note, app, one, Sent("unknown", reason=str(error), ill=True)))
        raise


def _ask(app: Application, row: Any, one: Reached) -> bool:
    news, unreadable = 0, 0
    first, batch = True, None
    try:
        for page in _pages(app, row, one):
            if first:
                first = False
                retried(partial(_known, app, row.id, page.batch))
            batch = page.batch
            counted = take_told(app, row, page.rows, TRANSMIT)
            news += sum(counted.values())
            unreadable += page.unreadable
    except NotKnown:
        return retried(partial(_not_known, app, row.id))
    except Unanswered as error:
        # What pages came before it is taken; the rest is asked for again.
        retried(partial(_asked, app, row, str(error), news, whole=False))
        return False
    told = f"{unreadable} rows of the provider's list say nothing that can be read" if unreadable else None
    retried(partial(_asked, app, row, told, news, whole=True, batch=batch))
    return False


def _known(app: Application, number: int, batch: str | None) -> None:
    """The provider has it."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if row.state in ("unknown", "parked"):
            _accepted(context, row, batch)


def _not_known(app: Application, number: int) -> bool:
    """The provider says that it never had it; whether it is sent now."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if row.state == "unknown":
            accepted = history(context, number).accepted
            if accepted or open_orders(context, number).paid:
                reason = "the provider says that it never had it, and has reported payments of it: ask the provider"
                move(context, row, "parked", due_at=context.now, reason=FORGOTTEN if accepted else reason)
                return False
            move(context, row, "waiting", due_at=context.now, reason="the provider never had it; it is sent again")
            return True
        if row.state == "accepted":
            # It said that it took it. It is never sent again for that.
            _without_news(context, row, FORGOTTEN)
        return False


def _asked(
    app: Application, asked: Any, reason: str | None, news: int, *, whole: bool, batch: str | None = None
) -> None:
    """After asking: all reported, or when to ask again. `asked`: the transmission as it stood before."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, asked.id)
        if row.state == "accepted" and whole and not open_orders(context, row.id).open:
            move(context, row, "reported", due_at=context.now, reason=reason, batch=batch)
        elif row.state in ("accepted", "unknown"):
            if not whole and not news:
                _without_news(context, row, reason or "no answer")
                return
            pause = _first_pause(context, row)
            if not news and batch in (None, row.batch):
                pause = max(pause, pending_pause(context.now - row.placed_at))
            due = context.now + pause
            if row.due_at != asked.due_at:
                due = min(due, row.due_at)  # somebody has spoken of it meanwhile
            look_later(
                context, row, due, reason or "the provider has not said of every order what came of it", 0, batch
            )


def _unlisted(app: Application, number: int) -> None:
    """Nobody can be asked: what messages and files say is waited for; what is not known is a person's matter."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if row.state == "unknown":
            move(context, row, "parked", due_at=context.now, reason=UNLISTED)
        elif row.state == "accepted" and not open_orders(context, number).open:
            move(context, row, "reported", due_at=context.now)
        elif row.state == "accepted":
            look_later(context, row, context.now + pending_pause(context.now - row.placed_at), row.reason, 0)


def _first_pause(context: Context, row: Any) -> timedelta:
    settings = context.settings.payment_gateways.get(row.code)
    return timedelta(seconds=60 if settings is None else settings.ask_after_seconds)


def _without_news(context: Context, row: Any, reason: str) -> None:
    if row.tries + 1 >= TRIES_MAX:
        move(context, row, "parked", due_at=context.now, reason=reason)
    else:
        look_later(context, row, context.now + pause_after(row.tries), reason, row.tries + 1)


# --- waiting


def _wait(app: Application, number: int, wait: NotNow) -> None:
    """The line is not open: looked at again when it is. That counts as no try."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if row.state in ("waiting", "unknown", "accepted"):
            look_later(context, row, wait.until, wait.reason, row.tries)


def _postpone(app: Application, number: int, reason: str) -> None:
    def later() -> None:
        with transaction(app, TRANSMIT) as context:
            row = locked_transmission(context, number)
            if row.state in ("waiting", "unknown", "accepted"):
                _without_news(context, row, reason)

    retried(later)


Step = Callable[["Application", Any, Reached], bool]
JOBS: Final = (
    Job(TRANSMIT, Transmit, transmit, "Send a transmission to its payment provider, or ask what came of it"),
)
