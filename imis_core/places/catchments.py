"""The catchment of providers: the places whose people they serve, and which share of each. Read by capitation.

The whole catchment of a provider is written at once. Source: health_insurance.md 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.errors import Problem, Refusal, not_found
from imis_core.places.lookup import LocationRow
from imis_core.places.tables import locations, provider_catchments
from imis_core.values import Percent

MICRO: Final = 10**6
_WHOLE: Final = Percent(Decimal(100))
Catchment = tuple[tuple[int, int], ...]  # (location, share in percent x 10**6)


@frozen(kw_only=True)
class CatchmentPlace:
    """A place of the catchment; `share`: which percentage of its population."""

    location: str
    share: Percent = _WHOLE


@frozen
class CatchmentShown:
    location: str
    share: str


def problems_of(places: Sequence[CatchmentPlace]) -> list[Problem]:
    """What is wrong with a catchment by itself."""
    found = []
    named: set[str] = set()
    for index, place in enumerate(places):
        if place.location in named:
            found.append(Problem(f"catchment.{index}.location", "duplicate", f"{place.location!r} is named twice"))
        named.add(place.location)
        if not 0 < place.share <= 100:
            found.append(Problem(f"catchment.{index}.share", "range", "expected a percentage above 0, up to 100"))
    return found


def resolved(places: Sequence[CatchmentPlace], known: Mapping[str, LocationRow]) -> Catchment | Refusal:
    """The catchment with the keys of its places, or which place is unknown."""
    for index, place in enumerate(places):
        if place.location not in known:
            return not_found(f"catchment.{index}.location", "location", place.location)
    return tuple((known[p.location].id, int(p.share * MICRO)) for p in places)


def write_catchments(context: Context, changed: Mapping[int, Catchment]) -> None:
    """Make these all that the providers serve."""
    if not changed:
        return
    t = provider_catchments.c
    context.execute(sa.delete(provider_catchments).where(t.provider == any_of(changed)))
    rows = [(provider, *place) for provider, places in changed.items() for place in places]
    if rows:
        names = ("provider", "location", "share_micro")
        insert_rows(context.connection, provider_catchments, dict(zip(names, zip(*rows, strict=True), strict=True)))


def catchments_of(context: Context, numbers: Iterable[int]) -> dict[int, tuple[CatchmentShown, ...]]:
    """What providers serve, places by code. One statement."""
    wanted = sorted(set(numbers))
    t = provider_catchments.c
    rows = context.execute(
        sa.select(t.provider, locations.c.code, t.share_micro)
        .join(locations, locations.c.id == t.location)
        .where(t.provider == any_of(wanted))
        .order_by(t.provider, locations.c.code)
    )
    found: dict[int, tuple[CatchmentShown, ...]] = {}
    for row in rows:
        share = format((Decimal(row.share_micro) / MICRO).normalize(), "f")
        found[row.provider] = (*found.get(row.provider, ()), CatchmentShown(row.code, share))
    return found
