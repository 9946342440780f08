"""The tree of locations in business time: what a location was called and where it belonged on each day.

`Tree` is a working copy of the locations that a batch touches; it changes in memory, item by item, and is written at
the end with a constant number of statements. It decides nothing about who may do so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import sqlalchemy as sa
from attrs import define, field

from imis_core.context import Context
from imis_core.database.bulk import insert_returning
from imis_core.places.tables import location_periods, locations


@define
class Period:
    """The open-ended last period of a location: `starts` None means from the beginning; `id` None: not written yet."""

    id: int | None
    location: int
    starts: date | None
    name: str
    parent: int | None
    ends: date | None = None  # the first day after it
    changed: bool = False


@define
class Place:
    """A location and its last period."""

    id: int
    code: str
    level: str
    closed_on: date | None
    period: Period
    changed: bool = False

    @property
    def name(self) -> str:
        return self.period.name

    @property
    def parent(self) -> int | None:
        return self.period.parent


_UPWARD = sa.text(
    """
    WITH RECURSIVE upward(id) AS (
        SELECT id FROM core.locations WHERE code = ANY(CAST(:names AS text[])) OR id = ANY(CAST(:ids AS bigint[]))
        UNION SELECT l.parent FROM core.locations l JOIN upward u ON l.id = u.id WHERE l.parent IS NOT NULL)
    SELECT l.id, l.code, l.level, l.closed_on, p.id AS period, p.name, p.parent, lower(p.valid) AS starts
    FROM upward u JOIN core.locations l ON l.id = u.id
    JOIN core.location_periods p ON p.location = l.id AND upper_inf(p.valid)
    """
)


@define
class Tree:
    """The named locations and all above them, and what becomes of them."""

    context: Context
    places: dict[int, Place] = field(factory=dict)
    names: dict[str, int] = field(factory=dict)  # codes and outside ids
    _ended: list[Period] = field(factory=list)
    _added: list[Place] = field(factory=list)

    @classmethod
    def load(cls, context: Context, names: Iterable[str]) -> Tree:
        """Lock out other changes of the tree, then read the named locations with all above them."""
        context.execute(sa.text("LOCK TABLE core.locations IN SHARE ROW EXCLUSIVE MODE"))
        tree = cls(context)
        wanted = set(names)
        by_id = {number: name for name in wanted if (number := context.ids.decode("locations", name)) is not None}
        for row in context.execute(_UPWARD, {"names": sorted(wanted), "ids": sorted(by_id)}):
            period = Period(row.period, row.id, row.starts, row.name, row.parent)
            tree.places[row.id] = Place(row.id, row.code, row.level, row.closed_on, period)
            if row.id in by_id:
                tree.names[by_id[row.id]] = row.id
        tree.names |= {place.code: place.id for place in tree.places.values()}
        return tree

    def find(self, name: str) -> Place | None:
        """The named place, if it is one that the caller may change: others are like places that are not there."""
        number = self.names.get(name)
        within = self.context.caller.everywhere or number in self.context.caller.places
        return self.places[number] if number is not None and within else None

    def above(self, place: Place) -> set[int]:
        """The place and all places above it."""
        found: set[int] = set()
        current: int | None = place.id
        while current is not None and current not in found:
            found.add(current)
            current = self.places[current].parent
        return found

    def add(self, number: int, code: str, name: str, level: str, parent: int | None, on: date | None) -> Place:
        """A new location; `on` None: it was always there."""
        place = Place(number, code, level, None, Period(None, number, on, name, parent))
        self.places[number] = place
        self.names[code] = number
        self._added.append(place)
        return place

    def change(self, place: Place, on: date, *, name: str | None = None, parent: int | None = None) -> None:
        """Another name or parent from a day on; `may_change` says whether the day is late enough."""
        period = place.period
        wanted_name = period.name if name is None else name
        wanted_parent = period.parent if parent is None else parent
        if (wanted_name, wanted_parent) == (period.name, period.parent):
            return
        place.changed = True
        if period.starts == on:
            period.name, period.parent, period.changed = wanted_name, wanted_parent, True
            return
        period.ends = on
        self._ended.append(period)
        place.period = Period(None, place.id, on, wanted_name, wanted_parent)

    def close(self, place: Place, on: date) -> None:
        place.closed_on = on
        place.changed = True

    def write(self) -> None:
        """Write all changes: new locations, changed ones, ended, changed and new periods."""
        connection = self.context.connection
        added = self._added
        new = {place.id for place in added}
        insert_returning(
            connection,
            locations,
            {
                "id": [p.id for p in added],
                "code": [p.code for p in added],
                "name": [p.name for p in added],
                "level": [p.level for p in added],
                "parent": [p.parent for p in added],
                "closed_on": [p.closed_on for p in added],
            },
        )
        changed = [p for p in self.places.values() if p.changed and p.id not in new]
        if changed:
            self.context.execute(
                _CHANGE_LOCATIONS,
                {
                    "ids": [p.id for p in changed],
                    "names": [p.name for p in changed],
                    "parents": [p.parent for p in changed],
                    "closed": [p.closed_on for p in changed],
                },
            )
        open_periods = [p.period for p in self.places.values()]
        stored = [p for p in [*self._ended, *open_periods] if p.id is not None and (p.ends is not None or p.changed)]
        if stored:
            self.context.execute(
                _CHANGE_PERIODS,
                {
                    "ids": [p.id for p in stored],
                    "names": [p.name for p in stored],
                    "parents": [p.parent for p in stored],
                    "ends": [p.ends for p in stored],
                },
            )
        fresh = [p for p in [*self._ended, *open_periods] if p.id is None]
        insert_returning(
            connection,
            location_periods,
            {
                "location": [p.location for p in fresh],
                "valid": [f"[{p.starts or ''},{p.ends or ''})" for p in fresh],
                "name": [p.name for p in fresh],
                "parent": [p.parent for p in fresh],
            },
        )


_CHANGE_LOCATIONS = sa.text(
    "UPDATE core.locations l SET name = n.name, parent = n.parent, closed_on = n.closed_on "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:names AS text[]), CAST(:parents AS bigint[]), CAST(:closed AS date[])) "
    "AS n(id, name, parent, closed_on) WHERE l.id = n.id"
)
_CHANGE_PERIODS = sa.text(
    "UPDATE core.location_periods p SET name = n.name, parent = n.parent, valid = daterange(lower(p.valid), n.ends) "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:names AS text[]), CAST(:parents AS bigint[]), CAST(:ends AS date[])) "
    "AS n(id, name, parent, ends) WHERE p.id = n.id"
)


def too_early(place: Place, on: date) -> bool:
    """Whether the place changed after that day already, so that a change on it would rewrite what holds since."""
    return place.period.starts is not None and on < place.period.starts
