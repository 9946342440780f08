"""The states of a transmission, and how long one waits between looks at it.

waiting   nobody at the provider has it; it may be sent
sending   it is being sent, or whoever sent it died: it may have arrived
unknown   it may have arrived; the provider is asked, and nothing is sent before it has answered
accepted  the provider has it
reported  the provider has said of every order what came of it; its list is read again if somebody speaks of it, since
          what was paid may come back
refused   the provider took nothing of it, and confirmed that it has nothing
parked    tried too often: somebody looks at it, and has it asked about again
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from imis_core.states import StateTable

TRANSMISSION_STATES: Final = StateTable(
    "transmissions",
    {
        "waiting": ("sending", "accepted", "unknown", "reported", "parked"),
        "sending": ("accepted", "unknown", "refused", "waiting", "parked"),
        "unknown": ("accepted", "waiting", "refused", "parked"),
        "accepted": ("reported", "parked"),
        "parked": ("unknown", "accepted"),
        "reported": ("accepted",),  # only if it was accepted before: it is asked about again, and never sent
        "refused": (),
    },
)
OPEN: Final = ("waiting", "sending", "unknown", "accepted")  # states in which something is still to be done by itself
TRIES_MAX: Final = 60  # looks without an answer before a transmission is parked: about two days
ATTEMPTS_MAX: Final = 60  # sendings without success before it is parked: about two days
REFUSALS_MAX: Final = 10  # the same where the provider refuses what may have arrived before: more than an hour
FIRST_PAUSE: Final = timedelta(seconds=15)
PAUSE_MAX: Final = timedelta(hours=1)
PENDING_PAUSE_MAX: Final = timedelta(days=1)
MARGIN: Final = timedelta(seconds=15)  # beyond the longest exchange, until whoever is sending is taken for dead


def pause_after(tries: int, first: timedelta = FIRST_PAUSE) -> timedelta:
    """How long to wait after so many looks without news: twice as long each time, an hour at most."""
    return min(first * (1 << min(max(tries, 0), 12)), PAUSE_MAX)


def pending_pause(age: timedelta) -> timedelta:
    """How long to wait before a list is asked for again that says "not decided yet": a quarter of the transmission's
    age, so that money is known of in minutes and vouchers, which are redeemed over weeks, cost a request a day."""
    return min(max(age / 4, FIRST_PAUSE), PENDING_PAUSE_MAX)


def longest(timeout_seconds: int) -> timedelta:
    """How long an exchange takes at most, with a margin: connecting, a last write, and the answer have the time-out
    each (`http.exchange`). Only then whoever is sending is taken for dead."""
    return timedelta(seconds=3 * timeout_seconds) + MARGIN
