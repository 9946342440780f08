"""Items in an answer about eligibility: each judged and valued as if it were the only line of a claim of that day.

Judged and valued by the functions that claims use (`judging`, `valuation`), so that what is allowed today, a claim of
today gets. Source: health_insurance.md 3, contract-health.md 'Names, answers and arguments'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import numpy as np
from attrs import frozen

from imis_core.beneficiaries.lookup import PersonRow
from imis_core.catalogue.lookup import ItemRow
from imis_core.eligibility.answers import ItemAnswer
from imis_core.eligibility.copayments import Visit
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.drawing import ClaimColumns, LinesToValue, plan_valuation
from imis_core.eligibility.history import History, Needs
from imis_core.eligibility.judging import ONE, Case, Judged, earliest_day, judge, needs_of, quantity_left
from imis_core.eligibility.lines import category_of, is_adult
from imis_core.eligibility.members import DayOfCover
from imis_core.eligibility.prices import Prices
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.terms import LimitsKey, LineTerms, PackageLimits, TermsKey
from imis_core.eligibility.usage import UsageKey
from imis_core.eligibility.valuation import NONE, Ints
from imis_core.places.lookup import ProviderRow
from imis_core.values import Money, thousandths_text

ItemKey = tuple[str, int]  # scheme and item
Members = Mapping[DayOfCover, int]  # covered persons, where a ceiling depends on them
VISIT_TYPE: Final = "other"  # items are answered as if at a visit of no special kind
ANYWHERE: Final = "both"  # the care type where no facility is named


@frozen
class SchemeRules:
    """What one scheme says of the person on the day: covers, what their packages pay, and prices."""

    name: str
    currency: str
    covers: tuple[Cover, ...]
    terms: Mapping[TermsKey, LineTerms]
    limits: Mapping[LimitsKey, PackageLimits]
    prices: Prices


@frozen
class Asked:
    """The person, the facility if one is named, and the day. `reason`: why nothing is allowed, if so."""

    person: PersonRow
    provider: ProviderRow | None
    on: date
    adult_age: int
    reason: str | None

    def case(self, rules: SchemeRules, item: ItemRow) -> Case:
        """The item as the only line of a claim of the day."""
        return Case(
            self.person.id, self.person.sex, is_adult(self.person.birth_date, self.on, self.adult_age), self.on, False,
            VISIT_TYPE, category_of([item], overnight=False), self.provider.care_type if self.provider else ANYWHERE,
            rules.covers, rules.terms, rules.limits,
        )  # fmt: skip

    def visit(self, item: ItemRow) -> Visit:
        """What conditions of co-payments may ask about the item."""
        p = self.provider
        return Visit(
            self.person.id, self.on, VISIT_TYPE, category_of([item], overnight=False), False, p.level if p else None,
            p.care_type if p else None, p.location if p else None, p.code if p else None,
        )  # fmt: skip

    def price(self, rules: SchemeRules, item: ItemRow) -> int | None:
        """At the facility's list price of the day, without a facility at the catalogue's."""
        if self.provider is None:
            return rules.prices.catalogue(item.id, self.on)
        return rules.prices.at(self.provider.id, item.id, self.on)


def needs_of_items(asked: Asked, rules: SchemeRules, items: Sequence[ItemRow], needs: Needs) -> None:
    """What the answers need of the person's history; to say the earliest day, all days to come."""
    for item in items:
        needs_of(asked.case(rules, item), item, needs)
        if item.frequency_days:
            needs.add_days(asked.person.id, asked.on, date.max)


@frozen
class _Line:
    """One item judged in one scheme."""

    rules: SchemeRules
    case: Case
    item: ItemRow
    price: int | None
    judged: Judged


def answer_items(
    asked: Asked, schemes: Sequence[SchemeRules], items: Sequence[ItemRow], histories: Mapping[str, History],
    used: Mapping[UsageKey, int], members: Members, copayments: Mapping[ItemKey, Mapping[LimitsKey, int]],
) -> list[ItemAnswer]:  # fmt: skip
    """An answer for each item, in order; of several schemes the first that allows it, else the first that covers."""
    if not schemes:
        return [_nothing(item) for item in items]
    lines = []
    for item in items:
        judged = [_judge(asked, rules, item, histories[rules.name]) for rules in schemes]
        allowed = [line for line in judged if line.judged.rejection is None]
        covering = [line for line in judged if line.rules.covers]
        lines.append((allowed or covering or judged)[0])
    pays = iter(_value(asked, [line for line in lines if line.judged.paid is not None], used, members, copayments))
    return [
        _answer(line, next(pays) if line.judged.paid is not None else 0, histories[line.rules.name]) for line in lines
    ]


def _judge(asked: Asked, rules: SchemeRules, item: ItemRow, history: History) -> _Line:
    case, price = asked.case(rules, item), asked.price(rules, item)
    if asked.reason is None:
        return _Line(rules, case, item, price, judge(case, item, ONE, price, None, history))
    inactive = not asked.person.valid_on(asked.on)
    return _Line(rules, case, item, price, Judged(Rejection.PERSON_INVALID if inactive else Rejection.NO_COVERAGE, 0))


def _nothing(item: ItemRow) -> ItemAnswer:
    return ItemAnswer(
        code=item.code, allowed=False, reason=Rejection.NO_COVERAGE.label, quantity_left=None, earliest=None,
        scheme_pays=None, patient_pays=None,
    )  # fmt: skip


def _answer(line: _Line, pays: int, history: History) -> ItemAnswer:
    judged, currency = line.judged, line.rules.currency
    # What is left, and from when on, is that of the first cover that passes, else of the first.
    candidate = judged.passed[0] if judged.passed else judged.first
    left = None if candidate is None else quantity_left(line.case, candidate, line.item.id, history)
    return ItemAnswer(
        code=line.item.code,
        allowed=judged.rejection is None,
        reason=None if judged.rejection is None else judged.rejection.label,
        quantity_left=None if left is None else thousandths_text(left),
        earliest=None if candidate is None else earliest_day(line.case, candidate, line.item, history),
        scheme_pays=Money(pays, currency),
        patient_pays=None if line.price is None else Money(line.price - pays, currency),
    )


def _value(
    asked: Asked, lines: Sequence[_Line], used: Mapping[UsageKey, int], members: Members,
    copayments: Mapping[ItemKey, Mapping[LimitsKey, int]],
) -> list[int]:  # fmt: skip
    """What the scheme pays for what is allowed of one unit of each item: each a claim of its own, alone."""
    count = len(lines)
    if not count:
        return []
    level = asked.provider.level if asked.provider else None
    covers = [line.judged.paid[0] for line in lines if line.judged.paid is not None]
    kinds = sorted({cover.kind for cover in covers})
    prices = _ints([line.price or 0 for line in lines])
    nothing = np.full(count, NONE, dtype=np.int64)
    plan = plan_valuation(
        ClaimColumns(
            person=_ints([asked.person.id] * count),
            visit_type=[VISIT_TYPE] * count,
            category=[line.case.category for line in lines],
            adult=[line.case.adult for line in lines],
            overnight=[False] * count,
            facility_level=[level] * count,
            alone=[True] * count,
            again=[False] * count,
        ),
        LinesToValue(
            claim=np.arange(count),
            item=_ints([line.item.id for line in lines]),
            claimed_thousandths=_ints([ONE] * count),
            quantity_thousandths=_ints([line.judged.quantity_thousandths for line in lines]),
            price_minor=prices,
            list_price_minor=prices,
            reviewed_price_minor=nothing,
            kinds=kinds,
            cover_kind=_ints([kinds.index(cover.kind) for cover in covers]),
            cover=_ints([cover.id for cover in covers]),
            package_version=_ints([cover.package_version for cover in covers]),
            copayment=_ints(
                [
                    copayments.get((line.rules.name, line.item.id), {}).get((cover.package_version, cover.kind), NONE)
                    for line, cover in zip(lines, covers, strict=True)
                ]
            ),
            members=_ints([members.get((cover.kind, cover.id, asked.on), NONE) for cover in covers]),
            deducted_milli=np.zeros(count, dtype=np.int64),
            payable_minor=np.zeros(count, dtype=np.int64),
        ),
        {key: terms for line in lines for key, terms in line.rules.terms.items()},
        {key: limits for line in lines for key, limits in line.rules.limits.items()},
    )
    valued, _ = plan.value(used)
    return [int(amount) for amount in valued.payable_minor]


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
