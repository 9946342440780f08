"""From claims, terms and limits to the columns of valuation: prices, shares, and which counters each line draws on.

Pure functions over numpy columns, for claims that are processed, items that eligibility is asked about, and claims that
a simulation values under other terms. Reading and writing are their callers'.
Source: health_insurance.md 5, steps 2 to 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from attrs import frozen

from imis_core.eligibility.terms import NO_LIMITS, LimitsKey, LineTerms, PackageLimits, TermsKey
from imis_core.eligibility.usage import UsageKey
from imis_core.eligibility.valuation import (
    MILLI,
    NONE,
    SHARE_WHOLE,
    Ints,
    LineColumns,
    Pool,
    ValuedColumns,
    value_lines,
)
from imis_core.values import INT64_MAX

_LEVELS: Final = {"treatment": 1, "person": 2, "policy": 3}
_SCOPES: Final = ("general", "inpatient", "outpatient")


@frozen
class ClaimColumns:
    """Claims, one element each. `alone`: it draws on counters of its own, with what is left of the shared ones.

    `again`: it was valuated before and is alone with just what it took then, whatever others took or gave back since.
    So it takes the same: lines that were cut take what was left for them, and all others are below that anyhow.
    """

    person: Ints
    visit_type: Sequence[str]
    category: Sequence[str]
    adult: Sequence[bool]
    overnight: Sequence[bool]
    facility_level: Sequence[str | None]
    alone: Sequence[bool]
    again: Sequence[bool]


@frozen
class LinesToValue:
    """Lines that passed the checks, in the order of valuation: products before services, as entered.

    `claim` and `cover_kind` are positions, in the claims and in `kinds`; -1 stands for nothing: no list price, no
    reviewer's price, no co-payment (else its position among the package's), members not counted. `deducted_milli` and
    `payable_minor` are what the line took before, if its claim is computed again, else 0.
    """

    claim: Ints
    item: Ints
    claimed_thousandths: Ints
    quantity_thousandths: Ints  # approved
    price_minor: Ints  # asked
    list_price_minor: Ints
    reviewed_price_minor: Ints
    kinds: Sequence[str]
    cover_kind: Ints
    cover: Ints
    package_version: Ints
    copayment: Ints
    members: Ints
    deducted_milli: Ints
    payable_minor: Ints


@frozen
class _Drawn:
    """One kind of counter: of a line its number, its limit and what its claim took before; of a counter its key."""

    of_line: Ints
    limit: Ints
    before: Ints
    keys: Sequence[UsageKey | None]  # None: the treatment itself, which nothing else uses up
    alone: Sequence[bool]
    again: Sequence[bool]

    def pool(self, used: Mapping[UsageKey, int]) -> Pool:
        """With what the counters show. Alone, a claim has what is left now; computed again, what it took before."""
        shown = [0 if key is None else used.get(key, 0) for key in self.keys]
        limit = self.limit
        if any(alone and key is not None for key, alone in zip(self.keys, self.alone, strict=True)):
            took = [0] * len(self.keys)
            for counter, amount in zip(self.of_line.tolist(), self.before.tolist(), strict=True):
                if counter >= 0:
                    took[counter] += amount
            of_line = self.of_line.tolist()
            limits = limit.tolist()
            for line, counter in enumerate(of_line):
                if counter >= 0 and self.alone[counter] and self.keys[counter] is not None:
                    left = max(0, limits[line] - shown[counter])
                    limits[line] = took[counter] if self.again[counter] else left
            limit = _ints(limits)
            shown = [
                0 if alone and key is not None else amount
                for key, alone, amount in zip(self.keys, self.alone, shown, strict=True)
            ]
        return Pool(self.of_line, limit, _ints(shown))

    def add(self, taken: Ints, used: dict[UsageKey, int]) -> None:
        """Count what lines took, beyond what they had taken before: less, if they took more then."""
        more = np.zeros(len(self.keys), dtype=np.int64)
        inside = self.of_line >= 0
        np.add.at(more, self.of_line[inside], (taken - self.before)[inside])
        for key, amount in zip(self.keys, more.tolist(), strict=True):
            if key is not None:
                used[key] = used.get(key, 0) + amount


@frozen
class Plan:
    """Lines with everything that is known of them before the counters are read: `keys` are those that they draw on."""

    unit_price_minor: Ints
    claimed_minor: Ints
    fixed_limit_minor: Ints
    share_micro: Ints
    keep_micro: Ints
    quantity_thousandths: Ints
    copayment: Pool
    cap: Pool
    deductible: _Drawn
    ceiling: _Drawn

    @property
    def keys(self) -> list[UsageKey]:
        """The counters of deductibles and ceilings, each once, in their fixed order."""
        return sorted({key for key in (*self.deductible.keys, *self.ceiling.keys) if key is not None})

    def value(self, used: Mapping[UsageKey, int]) -> tuple[ValuedColumns, dict[UsageKey, int]]:
        """The lines valued after what was used before, and what is used then."""
        valued = value_lines(
            LineColumns(
                self.quantity_thousandths, self.unit_price_minor, self.fixed_limit_minor, self.share_micro,
                self.keep_micro, self.claimed_minor, self.deductible.pool(used), self.copayment, self.cap,
                self.ceiling.pool(used),
            )
        )  # fmt: skip
        after = dict(used)
        self.deductible.add(valued.deducted_milli, after)
        self.ceiling.add(valued.payable_minor, after)
        return valued, after

    def given_back(self, used: Mapping[UsageKey, int]) -> dict[UsageKey, int]:
        """What is used once the lines take nothing of what they took before."""
        after, nothing = dict(used), np.zeros(len(self.quantity_thousandths), dtype=np.int64)
        self.deductible.add(nothing, after)
        self.ceiling.add(nothing, after)
        return after


def plan_valuation(
    claims: ClaimColumns, lines: LinesToValue, terms: Mapping[TermsKey, LineTerms],
    limits: Mapping[LimitsKey, PackageLimits],
) -> Plan:  # fmt: skip
    """What the lines are valued by. Every line's item has terms in its package."""
    of_terms = _Terms(claims, lines, terms)
    packages = _Packages(claims, lines, limits, of_terms.exclusion)
    reviewed = lines.reviewed_price_minor
    listed = np.where(lines.list_price_minor >= 0, lines.list_price_minor, lines.price_minor)
    price = np.where(of_terms.by_provider, lines.price_minor, np.minimum(listed, lines.price_minor))
    return Plan(
        np.where(reviewed >= 0, reviewed, price),
        _rounded(lines.claimed_thousandths, lines.price_minor),
        of_terms.fixed_limit,
        of_terms.share,
        packages.keep,
        lines.quantity_thousandths,
        packages.of_treatment(packages.copaid),
        packages.of_treatment(packages.cap),
        packages.drawn("deductible", lines.deducted_milli),
        packages.drawn("ceiling", lines.payable_minor),
    )


def _rounded(thousandths: Ints, price: Ints) -> Ints:
    """Quantity x price, half up to the minor unit; the product fits 64 bits, twice of it may not."""
    product = thousandths * price
    return product // MILLI + (2 * (product % MILLI) >= MILLI)


class _Terms:
    """The terms of each line, looked up once for every combination that there is."""

    def __init__(self, claims: ClaimColumns, lines: LinesToValue, terms: Mapping[TermsKey, LineTerms]) -> None:
        visits = sorted(set(claims.visit_type))
        of_visit = {visit: code for code, visit in enumerate(visits)}
        visit = _ints([of_visit[v] for v in claims.visit_type])[lines.claim]
        adult = _ints(claims.adult)[lines.claim]
        first, of_line = _distinct(lines.package_version, lines.cover_kind, lines.item, visit, adult)
        found = []
        for line in first.tolist():
            claim = int(lines.claim[line])
            key = (
                int(lines.package_version[line]), lines.kinds[lines.cover_kind[line]], int(lines.item[line]),
                claims.visit_type[claim], bool(claims.adult[claim]),
            )  # fmt: skip
            found.append(terms[key])
        self.share = _ints([t.share_micro for t in found])[of_line]
        # An unlimited fixed limit (0) limits nothing.
        self.fixed_limit = _ints([t.fixed_limit_minor or NONE for t in found])[of_line]
        self.by_provider = np.array([t.price_origin == "provider" for t in found], dtype=bool)[of_line]
        self.exclusion = np.array([t.ceiling_exclusion or "" for t in found], dtype=object)[of_line]


class _Packages:
    """The limits of each line's package, by the case of its claim."""

    def __init__(
        self, claims: ClaimColumns, lines: LinesToValue, limits: Mapping[LimitsKey, PackageLimits], exclusion: Any
    ) -> None:
        count = len(lines.claim)
        self._lines = lines
        self._person = claims.person[lines.claim] if count else lines.claim
        self._again = np.array(claims.again, dtype=bool)[lines.claim]
        self._alone = np.array(claims.alone, dtype=bool)[lines.claim] | self._again
        self.keep = np.full(count, SHARE_WHOLE, dtype=np.int64)
        self.copaid, self.cap = _none(count), _none(count)
        self._level = {name: np.zeros(count, dtype=np.int64) for name in ("deductible", "ceiling")}
        self._scope = {name: _none(count) for name in ("deductible", "ceiling")}
        self._limit = {name: np.zeros(count, dtype=np.int64) for name in ("deductible", "ceiling")}
        overnight = np.array(claims.overnight, dtype=bool)[lines.claim]
        level = np.array([v or "" for v in claims.facility_level], dtype=object)[lines.claim]
        category = np.array(claims.category, dtype=object)[lines.claim]
        first, of_line = _distinct(lines.package_version, lines.cover_kind)
        for number, line in enumerate(first.tolist()):
            key = (int(lines.package_version[line]), lines.kinds[lines.cover_kind[line]])
            package, own = limits.get(key, NO_LIMITS), np.flatnonzero(of_line == number)
            hospital = _is_in(level[own], package.hospital_levels) if package.hospital_by_facility else overnight[own]
            self._fill("deductible", package, own, hospital)
            self._fill("ceiling", package, own, hospital)
            excluded = np.where(hospital, exclusion[own] == "hospital", exclusion[own] == "non_hospital")
            excluded |= exclusion[own] == "both"
            self._scope["ceiling"][own[excluded]] = NONE
            for name, cap in package.caps.items():
                self.cap[own[category[own] == name]] = cap
            for position, copayment in enumerate(package.copayments):
                here = own[lines.copayment[own] == position]
                if copayment.percent_micro is not None:
                    self.keep[here] = SHARE_WHOLE - copayment.percent_micro
                else:
                    self.copaid[here] = copayment.amount_minor or 0

    def _fill(self, name: str, package: PackageLimits, own: Ints, hospital: Any) -> None:
        limit = package.deductible if name == "deductible" else package.ceiling
        if limit is None:
            return
        unit = MILLI if name == "deductible" else 1
        self._level[name][own] = _LEVELS[limit.level]
        for case in (True, False):
            scope = limit.scope(case)
            here = own[hospital == case]
            if scope is None or len(here) == 0:
                continue
            self._scope[name][here] = _SCOPES.index(scope[0])
            # A deductible beyond 64 bits of thousandths (9 * 10**15 minor units) acts as one of just that size.
            self._limit[name][here] = min(scope[1] * unit, INT64_MAX)
            if name == "ceiling" and package.by_members:
                members = self._lines.members[here].tolist()
                self._limit[name][here] = [min(package.ceiling_of(scope[1], m), INT64_MAX) for m in members]

    def of_treatment(self, limit: Ints) -> Pool:
        """Counters of each claim and cover by themselves, for lines that have such a limit."""
        lines = self._lines
        inside = np.flatnonzero(limit >= 0)
        of_line = _none(len(limit))
        first, numbers = _distinct(lines.claim[inside], lines.cover_kind[inside], lines.cover[inside])
        of_line[inside] = numbers
        return Pool(of_line, limit, np.zeros(len(first), dtype=np.int64))

    def drawn(self, name: str, before: Ints) -> _Drawn:
        """Which counter each line draws on: by level (this claim, this person, the whole policy) and scope."""
        lines, level, scope = self._lines, self._level[name], self._scope[name]
        inside = np.flatnonzero(scope >= 0)
        own = level[inside] == _LEVELS["treatment"]
        alone = own | self._alone[inside]
        person = np.where(level[inside] == _LEVELS["person"], self._person[inside], 0)
        claim = np.where(alone, lines.claim[inside], NONE)
        first, numbers = _distinct(lines.cover_kind[inside], lines.cover[inside], person, scope[inside], claim)
        of_line = _none(len(scope))
        of_line[inside] = numbers
        keys: list[UsageKey | None] = []
        for position in first.tolist():
            line = inside[position]
            keys.append(
                None if own[position] else (
                    lines.kinds[lines.cover_kind[line]], int(lines.cover[line]), int(person[position]),
                    f"{name}.{_SCOPES[scope[line]]}",
                )
            )  # fmt: skip
        again = self._again[inside][first].tolist()
        return _Drawn(of_line, self._limit[name], before, keys, alone[first].tolist(), again)


def _distinct(*columns: Ints) -> tuple[Ints, Ints]:
    """Of each distinct combination its first position, and of each row the number of its combination."""
    packed, size = np.zeros(len(columns[0]), dtype=np.int64), 1
    for column in columns:
        values, codes = np.unique(column, return_inverse=True)
        if size * max(len(values), 1) >= 2**62:
            packed, size = np.unique(packed, return_inverse=True)[1], len(packed)
        packed, size = packed * len(values) + codes, size * max(len(values), 1)
    _, first, numbers = np.unique(packed, return_index=True, return_inverse=True)
    return first, numbers


def _is_in(values: Any, wanted: frozenset[str]) -> Any:
    return np.array([value in wanted for value in values], dtype=bool)


def _none(count: int) -> Ints:
    return np.full(count, NONE, dtype=np.int64)


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
