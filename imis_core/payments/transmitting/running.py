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
from imis_core.payments.transmitting.asking import FORGOTTEN, accepted, ask, pages, unlisted, without_news
from imis_core.payments.transmitting.cancelling import stopped_orders
from imis_core.payments.transmitting.gateways import Reached, reach
from imis_core.payments.transmitting.lines import NotNow, lock_line, take_turn, went_ill, went_well
from imis_core.payments.transmitting.placing import TRANSMIT, transmit_later
from imis_core.payments.transmitting.service import Instruction, NotKnown, Outgoing, Sent, Unanswered
from imis_core.payments.transmitting.states import (
    ATTEMPTS_MAX,
    OPEN,
    REFUSALS_MAX,
    longest,
    pause_after,
)
from imis_core.payments.transmitting.store import (
    history,
    locked_transmission,
    look_later,
    move,
    orders_to_send,
    read_transmission,
    refuse_orders,
    transaction,
)
from imis_core.values import Money

if TYPE_CHECKING:
    from imis_core.application import Application

STEPS_MAX: Final = 4  # of one job: given up, asked, sent
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
        if row is None or row.state not in OPEN or row.due_at > app.clock.now():
            return
        one = reach(app, _provider(row))
        if row.state == "sending":
            retried(partial(_given_up, app, row.id))
        elif one is None:
            _postpone(app, row.id, f"imis.toml has no [payment_gateways.{row.code}] any more, or its channel changed")
            return
        elif not _step(app, row, one):
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
        if one.service.ask is None:
            retried(partial(unlisted, app, row.id))
            return False
        return ask(app, row, one)
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
        lease = longest(settings.timeout_seconds)
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
                accepted(context, row, sent.batch)
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
        for page in pages(app, row, one, stopped_orders(app, row.id).all):
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


_NEXT: Final = sa.text(
    "SELECT transmission FROM core.transmission_current "
    "WHERE payment_provider = :provider AND state = 'waiting' AND due_at <= :now ORDER BY transmission LIMIT 1"
)


def _begin_next(context: Context, provider: int) -> None:
    """Let the next transmission to this provider begin; several of them go at once, as many as it allows."""
    number = context.execute(_NEXT, {"provider": provider, "now": context.now}).scalar()
    if number is not None:
        transmit_later(context, number)


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
                without_news(context, row, reason)

    retried(later)


Step = Callable[["Application", Any, Reached], bool]
JOBS: Final = (
    Job(TRANSMIT, Transmit, transmit, "Send a transmission to its payment provider, or ask what came of it"),
)
