"""Asking a provider what became of a transmission, and what its answer means; nothing is sent here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.database.engine import retried
from imis_core.payments.transmitting.cancelling import stopped_orders
from imis_core.payments.transmitting.gateways import Reached
from imis_core.payments.transmitting.lines import answered, take_turn, went_ill
from imis_core.payments.transmitting.placing import TRANSMIT
from imis_core.payments.transmitting.service import NotKnown, NotListed, Page, Unanswered
from imis_core.payments.transmitting.states import (
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
    transaction,
)
from imis_core.payments.transmitting.taking import take_told

if TYPE_CHECKING:
    from imis_core.application import Application

UNLISTED: Final = "the provider has no list that could be asked"
FORGOTTEN: Final = "the provider does not know any more what it accepted"


def accepted(context: Context, row: Any, batch: str | None) -> None:
    """The provider has taken the transmission: its list is looked at after the gateway's pause."""
    settings = context.settings.payment_gateways.get(row.code)
    pause = timedelta(seconds=60 if settings is None else settings.ask_after_seconds)
    move(context, row, "accepted", due_at=context.now + pause, batch=batch)
    accept_orders(context, row.id)


_ASKED_AT: Final = sa.text("UPDATE core.transmission_current SET asked_at = :now WHERE transmission = :number")


def pages(app: Application, row: Any, one: Reached, stopped: Set[str]) -> Iterator[Page]:
    """The provider's list about a transmission, of whose orders nobody is to be paid by those `stopped`; each request
    waits for its turn, and the line hears how it went."""
    if one.service.ask is None:
        raise Unanswered(UNLISTED)
    with _looking(app, row, one) as look:
        for page in one.service.ask(one.gateway, row.correlation, row.batch, look.turn, stopped):
            look.answered()
            yield page


def _cancelled(app: Application, row: Any, one: Reached, orders: Set[str]) -> str | None:
    """Have the provider take back what is to be taken back of a transmission; why it would not."""
    if one.service.cancel is None or row.state != "accepted" or not orders:
        return None
    with _looking(app, row, one) as look:
        refused = one.service.cancel(one.gateway, row.correlation, row.batch, look.turn, orders)
        look.answered()
        return refused


class _Look:
    """Requests to a provider, one after the other. Who takes the next turn has heard of the one before, and so does the
    line at once: a breaker that lets one request try lets the next one go only then."""

    def __init__(self, app: Application, row: Any, one: Reached) -> None:
        self._app, self._row, self._one = app, row, one
        self._open = False

    def turn(self) -> None:
        """Wait for the turn of a request. Raises `NotNow`."""
        self.answered()
        retried(self._take)
        self._open = True

    def _take(self) -> None:
        with transaction(self._app, TRANSMIT) as context:
            take_turn(context, self._one)
            context.execute(_ASKED_AT, {"number": self._row.id, "now": context.now})

    def answered(self) -> None:
        """The request that went out was answered, if one did."""
        if self._open:
            self._open = False
            retried(self._heard)

    def _heard(self) -> None:
        with transaction(self._app, TRANSMIT) as context:
            answered(context, self._one)


@contextmanager
def _looking(app: Application, row: Any, one: Reached) -> Iterator[_Look]:
    """The line hears how the requests within end."""
    look = _Look(app, row, one)
    try:
        yield look
    except (NotKnown, NotListed):
        look.answered()
        raise
    except Unanswered as error:
        retried(partial(_ill, app, one, str(error)))
        raise


def ask(app: Application, row: Any, one: Reached) -> bool:
    """Read the provider's list of a transmission, page by page, and take what it says; whether it is to be sent now."""
    counted, unreadable = Counter[str](), 0
    first, batch, due = True, None, row.due_at
    refused: str | None = None
    try:
        stopped = stopped_orders(app, row.id)
        refused = _cancelled(app, row, one, stopped.cancelled)
        for page in pages(app, row, one, stopped.all):
            if first:
                first = False
                due = retried(partial(_known, app, row, page.batch))
            batch = page.batch
            counted += take_told(app, row, page.rows, TRANSMIT)
            unreadable += page.unreadable
    except NotKnown:
        return retried(partial(_not_known, app, row.id))
    except Unanswered as error:
        # What pages came before it is taken; the rest is asked for again.
        retried(partial(_asked, app, row.id, due, str(error), counted.total(), whole=False))
        return False
    told = f"{unreadable} rows of the provider's list say nothing that can be read" if unreadable else None
    odd = counted.total() - counted["matched"] - counted["already_reconciled"]
    if odd:
        told = f"{odd} rows of the provider's list are not as ours (payments.reconciliation); " + (told or "look there")
    told = "; ".join(part for part in (refused, told) if part) or None
    retried(partial(_asked, app, row.id, due, told, counted.total(), whole=True, batch=batch))
    return False


def _known(app: Application, asked: Any, batch: str | None) -> datetime:
    """The provider has it; when it is due now, unless somebody has spoken of it since it was read (`asked`)."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, asked.id)
        due: datetime = asked.due_at
        if row.state in ("unknown", "parked"):
            accepted(context, row, batch)
            if row.due_at == due:
                due = locked_transmission(context, row.id).due_at
        return due


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
            without_news(context, row, FORGOTTEN)
        return False


def _asked(
    app: Application, number: int, due: datetime, reason: str | None, news: int, *, whole: bool,
    batch: str | None = None,
) -> None:  # fmt: skip
    """After asking: all reported, or when to ask again. `due`: when it was due before; if it is another time by now,
    somebody has spoken of it while its list was read, which may be too old for that."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        heard = row.due_at != due
        left = open_orders(context, row.id).open
        if row.state == "accepted" and whole and not left and not heard:
            move(context, row, "reported", due_at=context.now, reason=reason, batch=batch)
        elif row.state in ("accepted", "unknown"):
            if not whole and not news:
                without_news(context, row, reason or "no answer")
                return
            pause = _first_pause(context, row)
            if not news and batch in (None, row.batch):
                pause = max(pause, pending_pause(context.now - row.since))
            later = context.now + pause
            if heard:
                later = min(later, row.due_at)
            waiting = "the provider has not said of every order what came of it" if left else None
            look_later(context, row, later, reason or waiting, 0, batch)


def unlisted(app: Application, number: int) -> None:
    """Nobody can be asked: what messages and files say is waited for; what is not known is a person's matter."""
    with transaction(app, TRANSMIT) as context:
        row = locked_transmission(context, number)
        if row.state == "unknown":
            move(context, row, "parked", due_at=context.now, reason=UNLISTED)
        elif row.state == "accepted" and not open_orders(context, number).open:
            move(context, row, "reported", due_at=context.now)
        elif row.state == "accepted":
            look_later(context, row, context.now + pending_pause(context.now - row.since), row.reason, 0)


def _first_pause(context: Context, row: Any) -> timedelta:
    settings = context.settings.payment_gateways.get(row.code)
    return timedelta(seconds=60 if settings is None else settings.ask_after_seconds)


def without_news(context: Context, row: Any, reason: str) -> None:
    """Look again after a growing pause; after too many tries in vain the transmission is parked with the reason.

    One of which all is known, and that was only asked about once more, is reported as it was.
    """
    if row.tries + 1 >= TRIES_MAX:
        known = row.state == "accepted" and not open_orders(context, row.id).open
        move(context, row, "reported" if known else "parked", due_at=context.now, reason=reason)
    else:
        look_later(context, row, context.now + pause_after(row.tries), reason, row.tries + 1)


def _ill(app: Application, one: Reached, reason: str) -> None:
    with transaction(app, TRANSMIT) as context:
        went_ill(context, one, reason)
