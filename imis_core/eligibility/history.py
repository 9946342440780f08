"""What persons had before: claims by category and quantities of items by day, which counts and intervals look at.

Read for a batch in one statement, under the persons' locks where claims are judged, and carried on in memory as claims
of the batch pass. It judges nothing. Source: health_insurance.md 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, field

from imis_core.context import Context

# Numbers of the states of claims that count for nothing: `claims.states.VOID_NUMBERS`, a room above this one.
UNCOUNTED: Final = (2, 6)

_ARGUMENTS: Final = (
    "(CAST(:schemes AS text[]), CAST(:persons AS bigint[]), CAST(:firsts AS date[]), CAST(:lasts AS date[]),"
    " CAST(:items AS bigint[]), CAST(:categories AS text[]), CAST(:uncounted AS smallint[]))"
)
_COLUMNS: Final = "scheme, person, target_date, category, item, amount"
_READ: Final = sa.text(f"SELECT {_COLUMNS} FROM core.claim_history{_ARGUMENTS}")
_READ_LOCKED: Final = sa.text(f"SELECT {_COLUMNS} FROM core.locked_claim_history{_ARGUMENTS}")


@define
class Needs:
    """Of whom, of which days and of what a history is needed. Without a person nothing is read."""

    days: dict[int, tuple[date, date]] = field(factory=dict)  # person -> first and last day, both counted
    items: set[int] = field(factory=set)
    categories: set[str] = field(factory=set)

    def add_days(self, person: int, first: date, last: date) -> None:
        known = self.days.get(person)
        self.days[person] = (first, last) if known is None else (min(first, known[0]), max(last, known[1]))


@define
class History:
    """Claims of a person and category by day; approved quantities of a person and item by day, in thousandths."""

    claims: dict[tuple[int, str], dict[date, int]] = field(factory=dict)
    given: dict[tuple[int, int], dict[date, int]] = field(factory=dict)

    def claims_within(self, person: int, category: str, first: date, last: date) -> int:
        """How many claims of the category the person has in a period, both days counted."""
        return _within(self.claims.get((person, category)), first, last)

    def given_within(self, person: int, item: int, first: date, last: date) -> int:
        """The approved quantity of an item in a period, in thousandths."""
        return _within(self.given.get((person, item)), first, last)

    def days_of(self, person: int, item: int) -> Iterable[date]:
        """The days on which the person had the item."""
        return self.given.get((person, item), ())

    def add_claim(self, person: int, category: str, on: date) -> None:
        by_day = self.claims.setdefault((person, category), {})
        by_day[on] = by_day.get(on, 0) + 1

    def add_given(self, person: int, item: int, on: date, thousandths: int) -> None:
        by_day = self.given.setdefault((person, item), {})
        by_day[on] = by_day.get(on, 0) + thousandths


def _within(by_day: Mapping[date, int] | None, first: date, last: date) -> int:
    return sum(amount for day, amount in by_day.items() if first <= day <= last) if by_day else 0


def read_history(context: Context, needs: Mapping[str, Needs], *, lock: bool) -> dict[str, History]:
    """What is needed of the claims stored so far, by scheme; one statement, none if nothing is needed.

    `lock`: nobody else judges claims of these persons until the commit; the statement waits for whoever does.
    """
    found = {scheme: History() for scheme in needs}
    asked = sorted((person, scheme) for scheme, of_scheme in needs.items() for person in of_scheme.days)
    if not asked:
        return found
    parameters: dict[str, Any] = {
        "schemes": [scheme for _, scheme in asked],
        "persons": [person for person, _ in asked],
        "firsts": [needs[scheme].days[person][0] for person, scheme in asked],
        "lasts": [needs[scheme].days[person][1] for person, scheme in asked],
        "items": sorted(set().union(*(of_scheme.items for of_scheme in needs.values()))),
        "categories": sorted(set().union(*(of_scheme.categories for of_scheme in needs.values()))),
        "uncounted": list(UNCOUNTED),
    }
    rows: Iterable[Any] = context.execute(_READ_LOCKED if lock else _READ, parameters)
    for scheme, person, day, category, item, amount in rows:
        if item is None:
            found[scheme].claims.setdefault((person, category), {})[day] = amount
        else:
            found[scheme].given.setdefault((person, item), {})[day] = amount
    return found


def days_before(day: date, days: int) -> date:
    """`days` earlier, or the calendar's first day."""
    return day - timedelta(days=days) if (day - date.min).days >= days else date.min


def days_after(day: date, days: int) -> date:
    """`days` later, or the calendar's last day."""
    return day + timedelta(days=days) if (date.max - day).days >= days else date.max
