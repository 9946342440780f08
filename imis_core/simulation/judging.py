"""Past claims judged again under given terms, in order of target date and code, each seeing the ones before it.

What depends on the package is judged anew: whether it covers the item (3), waiting periods (17), provisions (16),
counts (11 to 15, 19), and frequency (5), which looks at what passed. What does not, stays as it was judged: the person
and the claim as a whole (7, 9, 21), price list, care type and patient (2, 10, 4), and what reviewers decided (-1,
quantities and prices). Claims before the period count as they were. Source: health_insurance.md 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from attrs import define, frozen

from imis_core.benefit_packages.schemes import SchemeType
from imis_core.claims.background import filled, together
from imis_core.context import Context
from imis_core.database.numbers import Ints
from imis_core.eligibility.copayments import Visit, matching_copayments
from imis_core.eligibility.covers import Cover, covers_on
from imis_core.eligibility.history import History, Needs, read_history
from imis_core.eligibility.judging import Case, judge_covered, needs_of
from imis_core.eligibility.members import members_by_cover
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.terms import LimitsKey, LineTerms, PackageLimits, TermsKey, read_rules
from imis_core.simulation.reading import Heads, Past

# Rejections that no package decides.
KEPT: Final = frozenset(int(r) for r in (Rejection.NOT_IN_PRICE_LIST, Rejection.CARE_TYPE, Rejection.PATIENT_CATEGORY))
WHOLE: Final = frozenset(int(r) for r in (Rejection.PERSON_INVALID, Rejection.TARGET_DATE, Rejection.NO_COVERAGE))
NO_REJECTION: Final = 0
NOTHING: Final = -1  # no co-payment, members not counted
PART: Final = 20_000  # claims that are held in memory at once


@frozen
class Rules:
    """What claims are judged by: covers of each claim, terms and limits of their packages."""

    covers: Sequence[Sequence[Cover]]
    terms: Mapping[TermsKey, LineTerms]
    limits: Mapping[LimitsKey, PackageLimits]
    members: Mapping[Any, int]
    copayments: Sequence[Mapping[LimitsKey, int]]


@frozen
class Judgement:
    """Of every line the rejection (0: passed), and where it passed the quantity and the cover that pays."""

    rejection: Ints
    quantity: Ints
    cover: Sequence[Cover | None]
    copayment: Ints
    members: Ints


@define
class _Found:
    """A judgement while it is made: plain lists, which take single values faster than columns."""

    rejection: list[int]
    quantity: list[int]
    cover: list[Cover | None]
    copayment: list[int]
    members: list[int]

    def judgement(self) -> Judgement:
        rejection, quantity, copayment, members = (
            np.array(values, dtype=np.int64) for values in (self.rejection, self.quantity, self.copayment, self.members)
        )
        return Judgement(rejection, quantity, self.cover, copayment, members)


def read_covers(context: Context, kind: SchemeType, scheme: str, heads: Heads) -> list[tuple[Cover, ...]]:
    """The covers of every claim's patient on its target date; in a scheme without cases of its own.

    Read in parts; what many claims have in common is kept once.
    """
    kept: dict[Any, Any] = {}
    found: list[tuple[Cover, ...]] = []
    days = {day: date.fromordinal(day) for day in np.unique(heads.day).tolist()}
    for start in range(0, len(heads.claim), PART):
        part = slice(start, start + PART)
        asked = [(p, days[d], None) for p, d in zip(heads.person[part].tolist(), heads.day[part].tolist(), strict=True)]
        for covers in covers_on(context, kind, scheme, asked):
            alike = tuple([kept.setdefault(cover, cover) for cover in covers])
            found.append(kept.setdefault(alike, alike))
    return found


def parts_of(heads: Heads, covers: Sequence[Sequence[Cover]]) -> list[Ints]:
    """The claims (positions, ascending) in parts that share neither a person nor a cover: each is judged by itself."""
    named = (
        (position, [person, *((cover.kind, cover.id) for cover in found)])
        for position, (person, found) in enumerate(zip(heads.person.tolist(), covers, strict=True))
    )
    return [np.sort(np.array(part, dtype=np.int64)) for part in filled(together(named), PART, 2 * PART)]


def rules_of(context: Context, kind: SchemeType, past: Past, covers: Sequence[Sequence[Cover]]) -> Rules:
    """Terms and limits under a scheme type, with what of them depends on the day: members and co-payments."""
    versions = {cover.package_version for found in covers for cover in found}
    terms, limits = read_rules(context, kind, versions, past.items)
    of_day = [(cover, row.target_date) for row, found in zip(past.claims, covers, strict=True) for cover in found]
    members = members_by_cover(context, kind, limits, of_day)
    visits = [
        Visit(
            row.person, row.target_date, row.visit_type, row.category, row.overnight, row.facility_level,
            row.care_type, row.location, row.provider,
        )
        for row in past.claims
    ]  # fmt: skip
    copayments = matching_copayments(context, limits, list(zip(visits, covers, strict=True)))
    return Rules(covers, terms, limits, members, copayments)


def judge_again(context: Context, scheme: str, starts: date, past: Past, rules: Rules) -> Judgement:
    """The verdicts on all lines under these rules."""
    count = len(past.lines["claim"])
    found = _Found(past.lines["rejection"].tolist(), [0] * count, [None] * count, [NOTHING] * count, [NOTHING] * count)
    columns = {name: values.tolist() for name, values in past.lines.items()}
    first_lines = np.searchsorted(past.lines["claim"], np.arange(len(past.claims) + 1)).tolist()
    cases = [_case(row, covers, rules) for row, covers in zip(past.claims, rules.covers, strict=True)]
    history = _earlier(context, scheme, starts, past, cases, columns, first_lines)
    for number, row in enumerate(past.claims):
        if row.rejection not in WHOLE:
            lines = range(first_lines[number], first_lines[number + 1])
            _judge_claim(past, rules, cases[number], number, lines, columns, history, found)
    return found.judgement()


def _case(row: Any, covers: Sequence[Cover], rules: Rules) -> Case:
    return Case(
        row.person, row.sex, row.adult, row.target_date, row.overnight, row.visit_type, row.category, row.care_type,
        covers, rules.terms, rules.limits,
    )  # fmt: skip


def _earlier(
    context: Context, scheme: str, starts: date, past: Past, cases: Sequence[Case], columns: Mapping[str, list[int]],
    first_lines: Sequence[int],
) -> History:  # fmt: skip
    """What persons had before the period, as it was decided."""
    needs = Needs()
    for number, case in enumerate(cases):
        for line in range(first_lines[number], first_lines[number + 1]):
            if columns["rejection"][line] not in KEPT:
                needs_of(case, past.items[columns["item"][line]], needs)
    last = starts - timedelta(days=1)
    needs.days = {person: (first, min(until, last)) for person, (first, until) in needs.days.items() if first <= last}
    return read_history(context, {scheme: needs}, lock=False)[scheme]


def _judge_claim(
    past: Past, rules: Rules, case: Case, number: int, lines: range, columns: Mapping[str, list[int]],
    history: History, found: _Found,
) -> None:  # fmt: skip
    approved: dict[int, int] = {}
    for line in lines:
        if columns["rejection"][line] in KEPT:
            continue
        item = past.items[columns["item"][line]]
        earlier = approved.get(item.id, 0)
        reviewed = columns["reviewed_price"][line]
        verdict = judge_covered(
            case, item, columns["asked"][line], columns["list_price"][line], columns["price"][line], history, earlier,
            reviewed if reviewed >= 0 else None,
        )  # fmt: skip
        rejection, quantity = verdict.rejection, verdict.quantity_thousandths
        if rejection is None and columns["reviewed_rejection"][line] == int(Rejection.REVIEWER):
            rejection = Rejection.REVIEWER
        elif 0 <= columns["reviewed_quantity"][line] < columns["checked"][line]:
            quantity = min(quantity, columns["reviewed_quantity"][line])  # what a reviewer cut stays cut
        if rejection is not None or verdict.paid is None:
            found.rejection[line] = int(rejection or Rejection.NOT_COVERED)
            continue
        cover = verdict.paid[0]
        found.rejection[line], found.quantity[line], found.cover[line] = NO_REJECTION, quantity, cover
        found.members[line] = rules.members.get((cover.kind, cover.id, case.on), NOTHING)
        found.copayment[line] = rules.copayments[number].get((cover.package_version, cover.kind), NOTHING)
        approved[item.id] = earlier + quantity
    if approved:
        history.add_claim(case.person, case.category, case.on)
        for of_item, quantity in approved.items():
            history.add_given(case.person, of_item, case.on, quantity)
