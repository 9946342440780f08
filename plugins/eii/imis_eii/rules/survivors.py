"""Survivors: who is entitled, from when to when, each one's part of the full rate, and how it changes over time.

Parts are computed for every span of days on which the same survivors have the same full rate, so that the amount of
any day, past or future, is known when an award is made. Source: contract-eii.md, `eii.award_survivors`, `end_award`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction

from attrs import frozen

from imis_core.api import day_before
from imis_eii.rules.amounts import largest_remainder, minor_or_none, percent, rounded, within
from imis_eii.terms import YOUNG, SurvivorsTerms


@frozen
class Survivor:
    """Somebody who may be entitled."""

    relationship: str
    born: date
    student: bool = False
    disabled: bool = False


@frozen
class Share:
    """One survivor's part of an amount: `percent` of the full rate after the cut, `amount` in minor units."""

    percent: Fraction
    amount: int


@frozen
class Shared:
    """The parts of survivors in order, and their sum."""

    total: int
    shares: tuple[Share, ...]


@frozen
class Running:
    """A survivor who is entitled from `starts` to `ends` (None: for life)."""

    relationship: str
    starts: date
    ends: date | None

    def runs(self, on: date) -> bool:
        return self.starts <= on and (self.ends is None or on <= self.ends)


@frozen
class Span:
    """Days with one and the same amount; `ends` None: from then on."""

    starts: date
    ends: date | None
    amount: int


def birthday(born: date, age: int) -> date:
    """The day on which somebody reaches an age; who was born on 29 February does so on 1 March of common years."""
    try:
        return born.replace(year=born.year + age)
    except ValueError:
        return date(born.year + age, 3, 1)


def last_day(terms: SurvivorsTerms, survivor: Survivor) -> date | None:
    """The day before the birthday with which the entitlement ends; None: it does not end by age."""
    own = terms.of(survivor.relationship)
    assert own is not None
    young = survivor.relationship in YOUNG
    if survivor.disabled and terms.disabled_for_life and (young or own.until_age is not None):
        return None
    if young and survivor.student and terms.student_until is not None:
        age: int | None = terms.student_until
    else:
        age = own.until_age if own.until_age is not None or not young else terms.until_age
    return None if age is None else day_before(birthday(survivor.born, age))


def entitled(terms: SurvivorsTerms, died_on: date, survivors: Sequence[Survivor]) -> list[bool]:
    """Who is entitled on the day of death: has a share in the terms, is young enough, and nobody goes before.

    `only_if_none` looks at those who are entitled themselves.
    """
    able = [
        terms.of(s.relationship) is not None and ((last := last_day(terms, s)) is None or last >= died_on)
        for s in survivors
    ]
    present = {s.relationship for s, is_able in zip(survivors, able, strict=True) if is_able}
    known: dict[str, bool] = {}

    def stands(relationship: str) -> bool:
        own = terms.of(relationship)
        if own is None or relationship not in present:
            return False
        if relationship not in known:
            known[relationship] = not any(stands(other) for other in own.only_if_none)
        return known[relationship]

    return [is_able and stands(s.relationship) for s, is_able in zip(survivors, able, strict=True)]


def share_out(terms: SurvivorsTerms, full_rate: int, relationships: Sequence[str], currency: str) -> Shared:
    """The parts of the full rate: percent of it within each one's bounds, cut in proportion to `total_max`."""
    parts = []
    for name in relationships:
        own = terms.of(name)
        assert own is not None
        bounds = minor_or_none(own.minimum, currency), minor_or_none(own.maximum, currency)
        parts.append(within(full_rate * percent(own.share), *bounds))
    limit = full_rate * percent(terms.total_max)
    asked = sum(parts, Fraction(0))
    if asked <= limit:
        amounts = [rounded(part) for part in parts]
        return Shared(sum(amounts), tuple(_share(p, full_rate, a) for p, a in zip(parts, amounts, strict=True)))
    total = rounded(limit)
    amounts = largest_remainder(total, parts)
    cut = [part * limit / asked for part in parts]
    return Shared(total, tuple(_share(c, full_rate, a) for c, a in zip(cut, amounts, strict=True)))


def _share(part: Fraction, full_rate: int, amount: int) -> Share:
    return Share(Fraction(0) if full_rate == 0 else 100 * part / full_rate, amount)


def divide_lump(terms: SurvivorsTerms, lump: int, relationships: Sequence[str]) -> Shared:
    """A lump sum divided wholly, in proportion to the shares."""
    weights = []
    for name in relationships:
        own = terms.of(name)
        assert own is not None
        weights.append(Fraction(own.share))
    whole = sum(weights, Fraction(0))
    amounts = largest_remainder(lump, weights)
    shares = [Share(100 * w / whole if whole else Fraction(0), a) for w, a in zip(weights, amounts, strict=True)]
    return Shared(lump if whole else 0, tuple(shares))


def spans(
    terms: SurvivorsTerms, full_rates: Mapping[date, int], running: Sequence[Running], currency: str
) -> list[list[Span]]:
    """Each survivor's amounts over time: computed again whenever somebody ends (`reshare`) or the full rate changes.

    `full_rates`: what holds from each day on. Without `reshare` a part stays what it was among all.
    """
    found: list[list[Span]] = [[] for _ in running]
    starts = {r.starts for r in running} | set(full_rates)
    after = {r.ends + timedelta(days=1) for r in running if r.ends is not None and r.ends < date.max}
    days = sorted(starts | after)
    for position, first in enumerate(days):
        last = day_before(days[position + 1]) if position + 1 < len(days) else None
        rate = max((d for d in full_rates if d <= first), default=None)
        present = [i for i, r in enumerate(running) if r.runs(first)]
        if rate is None or not present:
            continue
        among = present if terms.reshare else [i for i, r in enumerate(running) if r.starts <= first]
        shared = share_out(terms, full_rates[rate], [running[i].relationship for i in among], currency)
        amounts = dict(zip(among, shared.shares, strict=True))
        for i in present:
            _append(found[i], Span(first, last, amounts[i].amount))
    return found


def _append(rows: list[Span], span: Span) -> None:
    """Add a span, joined to the one before it where the amount is the same."""
    if rows and rows[-1].amount == span.amount and rows[-1].ends == day_before(span.starts):
        rows[-1] = Span(rows[-1].starts, span.ends, span.amount)
    else:
        rows.append(span)


def until(rows: Sequence[Span], last: date) -> list[Span]:
    """The spans up to a last day."""
    cut = [Span(s.starts, last if s.ends is None or s.ends > last else s.ends, s.amount) for s in rows]
    return [s for s in cut if s.ends is None or s.starts <= s.ends]


def first_change(old: Sequence[Span], new: Sequence[Span]) -> date | None:
    """The first day whose amount is another one; None if every day is worth the same."""
    edges = {s.starts for s in (*old, *new)}
    edges |= {s.ends + timedelta(days=1) for s in (*old, *new) if s.ends is not None and s.ends < date.max}
    return next((day for day in sorted(edges) if amount_on(old, day) != amount_on(new, day)), None)


def amount_on(rows: Sequence[Span], on: date) -> int | None:
    """The amount of a day; None outside all spans."""
    return next((s.amount for s in rows if s.starts <= on and (s.ends is None or on <= s.ends)), None)
