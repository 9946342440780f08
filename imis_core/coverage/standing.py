"""What dues and payments make of a policy: its state, and from which day it and late joiners are covered. Pure.

Everything is replayed by business date, so that a payment recorded late, or taken back, gives what it would have given.
Source: health_insurance.md 2, 'Contribution recorded', 'Policy states'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

from attrs import field, frozen

from imis_core.coverage.states import ACTIVE, IDLE, SUSPENDED


@frozen
class Joining:
    """A member who joined after the enrolment (`member`: the row), and what is due more since, in minor units."""

    member: int
    on: date
    due_minor: int


@frozen
class Payment:
    """What was paid, in minor units; negative: it went to another policy, or more was refunded than is paid."""

    on: date
    minor: int


@frozen
class Standing:
    """`effective_from`: the first day of cover; `members`: the same of each late joiner who is covered, by row.

    `state` leaves suspensions out that somebody ordered.
    """

    state: str
    effective_from: date | None
    members: Mapping[int, date] = field(factory=dict)


def standing_of(
    enrolled_on: date,
    starts: date,
    due_minor: int,
    joinings: Sequence[Joining],
    payments: Sequence[Payment],
    underpaid: Literal["idle", "active", "suspended"],
) -> Standing:
    """Replay a policy. `due_minor` was due at enrolment; on one day who joins goes before what is paid."""
    effective = max(enrolled_on, starts) if due_minor <= 0 else None
    due, paid = due_minor, 0
    members: dict[int, date] = {}
    waiting: list[Joining] = []
    events = sorted([(j.on, 0, j) for j in joinings] + [(p.on, 1, p) for p in payments], key=lambda e: e[:2])
    for on, _, event in events:
        if isinstance(event, Joining):
            due += event.due_minor
            waiting.append(event)
            # Nothing more to pay, or a credit that pays it: covered at once.
            settled = effective is not None and (event.due_minor <= 0 or paid >= due)
        else:
            paid += event.minor
            settled = paid >= due
            if effective is None and event.minor > 0 and (settled or underpaid == ACTIVE):
                effective = max(on, starts)
        if settled and effective is not None:
            covered = waiting if paid >= due else [event] if isinstance(event, Joining) else []
            members.update({j.member: max(on, effective, j.on) for j in covered})
            waiting = [j for j in waiting if j not in covered]
    if effective is not None:
        return Standing(ACTIVE, effective, members)
    return Standing(SUSPENDED if underpaid == SUSPENDED and paid > 0 else IDLE, None)
