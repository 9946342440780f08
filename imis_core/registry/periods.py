"""Registration periods of places: when households may be registered there.

A period holds for its place and for the places below it that have no period of their own: of a place and those above
it, the nearest with a period decides. A place whose nearest one is closed, over or not yet begun takes no group and no
member, unless a change request was approved; a place without any period is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.checking import BeneficiaryBatch
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.places.lookup import LocationRow, resolve_locations
from imis_core.places.tables import locations
from imis_core.queries import Listing, query
from imis_core.registry.tables import registration_periods
from imis_core.states import StateTable

# Supervised: under way, with registrations by change request only.
STATES: Final = StateTable(
    "registry", {"opened": ("supervised", "closed"), "supervised": ("opened", "closed"), "closed": ()}
)


@frozen(kw_only=True)
class OpenPeriod:
    location: str
    from_: date
    to: date | None = None


@frozen(kw_only=True)
class ClosePeriod:
    location: str


@frozen(kw_only=True)
class Period:
    """`to`: the last day as planned; `closed_on`: the day on which it was closed."""

    id: str
    location: str
    from_: date
    to: date | None
    state: str
    closed_on: date | None


@command("registry.open_period", input=OpenPeriod, result=Period)
def open_periods(context: Context, items: tuple[OpenPeriod, ...]) -> list[Period | Refusal]:
    """Open a registration period in a place; it holds below it too, where no place has one of its own."""
    places = resolve_locations(context, {item.location for item in items}, within_scope=True)
    current = _current(context, places)
    outcomes: list[Period | Refusal | None] = []
    new: list[tuple[LocationRow, OpenPeriod]] = []
    for item in items:
        place = places.get(item.location)
        if place is None:
            outcomes.append(not_found("location", "location", item.location))
        elif item.to is not None and item.to < item.from_:
            message = f"the period would end on {item.to}, before it begins on {item.from_}"
            outcomes.append(invalid(Problem("to", "order", message)))
        elif place.id in current or any(place.id == other.id for other, _ in new):
            message = f"location {place.code!r} has an open registration period; close it first"
            outcomes.append(Refusal("registry.wrong_state", message))
        else:
            new.append((place, item))
            outcomes.append(None)
    rows = insert_returning(
        context.connection,
        registration_periods,
        {
            "place": [place.id for place, _ in new],
            "starts": [item.from_ for _, item in new],
            "ends": [item.to for _, item in new],
            "state": ["opened"] * len(new),
        },
        conflict="(place) WHERE state <> 'closed' DO NOTHING",
        returning="id, place",
    )
    if len(rows) != len(new):
        raise lost_race("a registration period")
    by_place = {row.place: row.id for row in rows}
    opened = iter(
        Period(
            id=context.ids.encode("registration_periods", by_place[place.id]), location=place.code,
            from_=item.from_, to=item.to, state="opened", closed_on=None,
        )
        for place, item in new
    )  # fmt: skip
    return [next(opened) if outcome is None else outcome for outcome in outcomes]


@command("registry.close_period", input=ClosePeriod, result=Period)
def close_periods(context: Context, items: tuple[ClosePeriod, ...]) -> list[Period | Refusal]:
    """Close a place's registration period: from now on nobody is registered there but by a change request."""
    places = resolve_locations(context, {item.location for item in items}, within_scope=True)
    current = _current(context, places)
    outcomes: list[Period | Refusal] = []
    closed: list[int] = []
    for item in items:
        place = places.get(item.location)
        period = None if place is None else current.get(place.id)
        if place is None:
            outcomes.append(not_found("location", "location", item.location))
        elif period is None or period.id in closed:
            message = f"location {place.code!r} has no open registration period of its own; open one first"
            outcomes.append(Refusal("registry.wrong_state", message))
        elif not STATES.allows(period.state, "closed"):
            outcomes.append(STATES.refusal("the registration period", period.state, "closed"))
        else:
            closed.append(period.id)
            outcomes.append(
                Period(
                    id=context.ids.encode("registration_periods", period.id), location=place.code,
                    from_=period.starts, to=period.ends, state="closed", closed_on=context.today,
                )
            )  # fmt: skip
    if closed:
        context.execute(
            sa.update(registration_periods)
            .where(registration_periods.c.id == any_of(closed))
            .values(state="closed", closed_on=context.today)
        )
    return outcomes


def _current(context: Context, places: Mapping[str, LocationRow]) -> dict[int, Any]:
    """The period that is not closed yet of each place itself, locked."""
    ids = sorted({place.id for place in places.values()})
    if not ids:
        return {}
    p = registration_periods.c
    rows = context.execute(
        sa.select(p.id, p.place, p.starts, p.ends, p.state)
        .where(p.place == any_of(ids), p.state != "closed")
        .order_by(p.id)
        .with_for_update()
    )
    return {row.place: row for row in rows}


# --- the check before registrations


# FOR SHARE: whoever closes a period waits for the registrations that are under way in it.
_PERIODS: Final = sa.text(
    """
    WITH RECURSIVE up(place, above, distance) AS (
        SELECT wanted, wanted, 0 FROM unnest(CAST(:places AS bigint[])) AS wanted
        UNION ALL
        SELECT up.place, l.parent, up.distance + 1 FROM up JOIN core.locations l ON l.id = up.above
        WHERE l.parent IS NOT NULL)
    SELECT up.place, up.distance, p.state, p.starts, p.ends, l.code
    FROM up JOIN core.registration_periods p ON p.place = up.above JOIN core.locations l ON l.id = p.place
    ORDER BY p.id FOR SHARE OF p
    """
)


def check_periods(context: Context, batch: BeneficiaryBatch) -> dict[int, Refusal]:
    """`registry.period_closed` for the positions whose place takes no registrations today."""
    places = sorted({place for place in batch.places if place is not None})
    if context.approved_change or not places:
        return {}
    by_place: dict[int, list[Any]] = {}
    for row in context.execute(_PERIODS, {"places": places}):
        by_place.setdefault(row.place, []).append(row)
    closed = {place: _closed(rows, context.today) for place, rows in by_place.items()}
    return {
        position: refusal
        for position, place in enumerate(batch.places)
        if place is not None and (refusal := closed.get(place)) is not None
    }


def _closed(rows: Sequence[Any], today: date) -> Refusal | None:
    """Why the nearest place with periods takes no registrations on a day, or None."""
    nearest = min(row.distance for row in rows)
    own = [row for row in rows if row.distance == nearest]
    if any(row.state == "opened" and row.starts <= today and (row.ends is None or today <= row.ends) for row in own):
        return None
    return Refusal(
        "registry.period_closed",
        f"registration in {own[0].code!r} is closed on {today}; ask for the change with registry.request_change",
    )


@frozen(kw_only=True)
class ListPeriods:
    location: str | None = None


@query("registry.periods", input=ListPeriods, result=Period, listing=True)
def list_periods(context: Context, asked: ListPeriods) -> Listing | Refusal:
    """Registration periods by their start, of all places or of one."""
    p = registration_periods.c
    select = sa.select(p.id, p.starts, p.ends, p.state, p.closed_on, locations.c.code).join(
        locations, locations.c.id == p.place
    )
    select = select.where(context.caller.sees_place(p.place))
    if asked.location is not None:
        place = resolve_locations(context, [asked.location], within_scope=True).get(asked.location)
        if place is None:
            return not_found("location", "location", asked.location)
        select = select.where(p.place == place.id)

    def build(rows: Sequence[Any]) -> list[Period]:
        ids = context.ids.encode_all("registration_periods", [row.id for row in rows])
        return [
            Period(
                id=identity, location=row.code, from_=row.starts, to=row.ends, state=row.state, closed_on=row.closed_on
            )
            for identity, row in zip(ids, rows, strict=True)
        ]

    return Listing(select, (p.starts, p.id), build)


COMMANDS = (open_periods, close_periods)
QUERIES = (list_periods,)
