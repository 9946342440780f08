"""What somebody does by hand about a transmission: have the provider asked about it now."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.payments.transmitting.placing import transmit_later
from imis_core.payments.transmitting.states import OPEN, TRANSMISSION_STATES
from imis_core.payments.transmitting.store import wake


@frozen(kw_only=True)
class AskTransmission:
    transmission: str


@frozen(kw_only=True)
class TransmissionAsked:
    id: str
    state: str


_LOCKED: Final = sa.text(
    "SELECT transmission, state, EXISTS (SELECT FROM core.transmission_states s WHERE s.transmission = t.transmission "
    "AND s.state = 'accepted') AS accepted FROM core.transmission_current t "
    "WHERE transmission = ANY(CAST(:numbers AS bigint[])) ORDER BY transmission FOR UPDATE"
)


_WOKEN: Final = {"parked": "unknown", "reported": "accepted"}  # the states that being asked about leads to


@command("payments.ask", input=AskTransmission, result=TransmissionAsked)
def ask(context: Context, items: tuple[AskTransmission, ...]) -> list[TransmissionAsked | Refusal]:
    """Have a provider asked about a transmission now, also a parked or reported one; nothing is sent without that.

    Of one that was reported the list is read again: what was paid and came back since is returned by it.
    """
    if not context.caller.everywhere:
        message = "only a role of scope all asks about transmissions: they hold orders of all places"
        return [Refusal("permission.denied", message)] * len(items)
    numbers = [context.ids.decode("transmissions", item.transmission) for item in items]
    wanted = sorted({n for n in numbers if n is not None})
    found = context.execute(_LOCKED, {"numbers": wanted}).all()
    states = {row.transmission: row.state for row in found}
    askable = {row.transmission for row in found if row.state in (*OPEN, "parked") or _again(row)}
    outcomes: list[Any] = []
    chosen: set[int] = set()
    for item, number in zip(items, numbers, strict=True):
        if number is None or number not in states:
            outcomes.append(not_found("transmission", "transmission", item.transmission))
        elif number not in askable and states[number] == "reported":
            message = "the provider never had the transmission; there is nothing to ask about"
            outcomes.append(Refusal("transmissions.wrong_state", message))
        elif number not in askable:
            outcomes.append(TRANSMISSION_STATES.refusal("the transmission", states[number], "unknown"))
        else:
            chosen.add(number)
            state = _WOKEN.get(states[number], states[number])
            outcomes.append(TransmissionAsked(id=item.transmission, state=state))
    # What is being sent is left to whoever sends it until its time is over.
    due = sorted(number for number in chosen if states[number] != "sending")
    if due:
        for number in wake(context, due, "asked for by hand", heard=False):
            transmit_later(context, number)
    return outcomes


def _again(row: Any) -> bool:
    """Of what no provider ever had nothing can come back."""
    return bool(row.state == "reported" and row.accepted)


COMMANDS: Final = (ask,)
