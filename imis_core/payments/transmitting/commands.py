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


@frozen(kw_only=True)
class AskTransmission:
    transmission: str


@frozen(kw_only=True)
class TransmissionAsked:
    id: str
    state: str


_LOCKED: Final = sa.text(
    "SELECT transmission, state FROM core.transmission_current WHERE transmission = ANY(CAST(:numbers AS bigint[])) "
    "ORDER BY transmission FOR UPDATE"
)
_ASK: Final = sa.text(
    """
    WITH due AS (
        UPDATE core.transmission_current SET due_at = :now, tries = 0,
               version = version + CASE state WHEN 'parked' THEN 1 ELSE 0 END,
               state = CASE state WHEN 'parked' THEN 'unknown' ELSE state END
        WHERE transmission = ANY(CAST(:numbers AS bigint[])) RETURNING transmission, version, state)
    INSERT INTO core.transmission_states (transmission, version, state, reason, at, audit)
    SELECT transmission, version, state, 'asked for by hand', :now, :audit FROM due
    WHERE transmission = ANY(CAST(:parked AS bigint[]))
    """
)


@command("payments.ask", input=AskTransmission, result=TransmissionAsked)
def ask(context: Context, items: tuple[AskTransmission, ...]) -> list[TransmissionAsked | Refusal]:
    """Have a payment provider asked about a transmission now, also about a parked one; nothing is sent without that."""
    if not context.caller.everywhere:
        message = "only a role of scope all asks about transmissions: they hold orders of all places"
        return [Refusal("permission.denied", message)] * len(items)
    numbers = [context.ids.decode("transmissions", item.transmission) for item in items]
    wanted = sorted({n for n in numbers if n is not None})
    states = {row.transmission: row.state for row in context.execute(_LOCKED, {"numbers": wanted})}
    outcomes: list[Any] = []
    chosen: set[int] = set()
    for item, number in zip(items, numbers, strict=True):
        if number is None or number not in states:
            outcomes.append(not_found("transmission", "transmission", item.transmission))
        elif states[number] not in (*OPEN, "parked"):
            outcomes.append(TRANSMISSION_STATES.refusal("the transmission", states[number], "unknown"))
        else:
            chosen.add(number)
            state = "unknown" if states[number] == "parked" else states[number]
            outcomes.append(TransmissionAsked(id=item.transmission, state=state))
    # What is being sent is left to whoever sends it until its time is over.
    due = sorted(number for number in chosen if states[number] != "sending")
    if due:
        parked = [number for number in due if states[number] == "parked"]
        context.execute(_ASK, {"numbers": due, "parked": parked, "now": context.now, "audit": context.audit})
        for number in due:
            transmit_later(context, number)
    return outcomes


COMMANDS: Final = (ask,)
