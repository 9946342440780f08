"""Every minute, transmissions that are due get their next step: sent, asked about, or given up by a dead sender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from imis_core.database.engine import retried
from imis_core.jobs_kinds import Job, NoInput
from imis_core.jobs_schedules import Schedule
from imis_core.payments.transmitting.placing import transmit_later
from imis_core.payments.transmitting.states import OPEN
from imis_core.payments.transmitting.store import transaction
from imis_core.payments.transmitting.webhook import TAKE

if TYPE_CHECKING:
    from imis_core.application import Application

FOLLOW_UP: Final = "payments.follow_up"
AT_ONCE: Final = 1_000  # transmissions of one look; the next one takes the others
FEW: Final = 3
# Of those that wait a few begin; each one that ends begins the next.
_DUE: Final = sa.text(
    """
    SELECT transmission FROM (
        SELECT transmission, state, due_at,
               row_number() OVER (PARTITION BY payment_provider, state ORDER BY transmission) AS place
        FROM core.transmission_current WHERE state = ANY(CAST(:states AS text[])) AND due_at <= :now) due
    WHERE state <> 'waiting' OR place <= :few ORDER BY due_at, transmission LIMIT :most
    """
)


_UNREAD: Final = sa.text("SELECT EXISTS (SELECT FROM core.provider_messages_waiting)")


def follow_up(app: Application, _: NoInput) -> None:
    """Enqueue the next step of every transmission that is due."""

    def look() -> None:
        with transaction(app, FOLLOW_UP) as context:
            due = {"now": context.now, "states": list(OPEN), "few": FEW, "most": AT_ONCE}
            chosen = list(context.execute(_DUE, due).scalars())
            if context.execute(_UNREAD).scalar_one():
                context.defer(TAKE, {}, lock=TAKE)
            for number in sorted(chosen):
                transmit_later(context, number)

    retried(look)


def _wanted(app: Application) -> bool:
    """Without a provider that has a service there is nothing to look at."""
    return bool(app.settings.payment_gateways)


JOBS: Final = (
    Job(
        FOLLOW_UP, NoInput, follow_up, "Send or ask about the transmissions that are due",
        schedule=Schedule(minutes=1), priority=5, wanted=_wanted,
    ),
)  # fmt: skip
