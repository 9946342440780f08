"""Locations and providers for other rooms: found by code or outside id, in one statement for a whole batch."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine import Connection

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.places.tables import locations, providers


@frozen
class LocationRow:
    """A location as it is now. `closed_on`: merged or split away, no new entries from that day on."""

    id: int
    code: str
    name: str
    level: str
    parent: int | None
    closed_on: date | None


@frozen
class ProviderRow:
    """A provider as it is now. `contract_to` and `closed_on` may be absent; `closed_on` is the first day closed."""

    id: int
    code: str
    name: str
    kind: str
    level: str | None
    care_type: str
    location: int | None
    contract_from: date | None
    contract_to: date | None
    closed_on: date | None
    sub_level: str | None = None
    legal_form: str | None = None

    def contracted(self, on: date) -> bool:
        """Whether the provider may serve on a day: not closed by then, and within its contract if it has one."""
        return (
            (self.contract_from is None or self.contract_from <= on)
            and (self.contract_to is None or on <= self.contract_to)
            and (self.closed_on is None or on < self.closed_on)
        )


def resolve_locations(context: Context, names: Iterable[str], *, within_scope: bool = False) -> dict[str, LocationRow]:
    """The locations that are named by code or outside id; unknown names are left out.

    `within_scope` also leaves out those outside a caller's places.
    """
    found = {
        name: LocationRow(row.id, row.code, row.name, row.level, row.parent, row.closed_on)
        for name, row in context.named(locations, names)
    }
    if within_scope and not context.caller.everywhere:
        own = set(context.caller.places)
        found = {name: row for name, row in found.items() if row.id in own}
    return found


def resolve_providers(context: Context, names: Iterable[str], *, within_scope: bool = False) -> dict[str, ProviderRow]:
    """The providers that are named by code or outside id; unknown names are left out.

    `within_scope` also leaves out those that neither are the caller's nor stand in the caller's places.
    """
    caller = context.caller
    return {
        name: ProviderRow(
            row.id, row.code, row.name, row.kind, row.level, row.care_type, row.location,
            row.contract_from, row.contract_to, row.closed_on, row.sub_level, row.legal_form,
        )
        for name, row in context.named(providers, names)
        if not within_scope
        or caller.everywhere
        or row.id in caller.providers
        or row.location in caller.places
    }  # fmt: skip


_BELOW = sa.text(
    "WITH RECURSIVE below(id) AS (SELECT unnest(CAST(:ids AS bigint[])) "
    "UNION SELECT l.id FROM core.locations l JOIN below b ON l.parent = b.id) SELECT id FROM below ORDER BY id"
)


def places_below(connection: Connection, ids: Iterable[int]) -> tuple[int, ...]:
    """The places and all below them as the tree is now (merged places hang below the one they were merged into)."""
    wanted = sorted(set(ids))
    return tuple(row.id for row in connection.execute(_BELOW, {"ids": wanted})) if wanted else ()


def location_codes(context: Context, ids: Iterable[int | None]) -> dict[int, str]:
    """The codes of locations by primary key."""
    wanted = sorted({number for number in ids if number is not None})
    if not wanted:
        return {}
    rows = context.execute(sa.select(locations.c.id, locations.c.code).where(locations.c.id == any_of(wanted)))
    return {row.id: row.code for row in rows}
