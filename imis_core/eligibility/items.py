"""Items in an answer about eligibility: each judged and valued as if it were the only line of a claim of that day.

Judged and valued by the functions that claims use (`judging`, `valuation`), so that what is allowed today, a claim of
today gets. Source: health_insurance.md 3, contract-health.md 'Names, answers and arguments'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
from attrs import frozen

from imis_core.beneficiaries.lookup import PersonRow
from imis_core.catalogue.lookup import ItemRow
from imis_core.eligibility.answers import ItemAnswer
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.history import History, Needs
from imis_core.eligibility.judging import ONE, Case, Judged, earliest_day, judge, needs_of, quantity_left
from imis_core.eligibility.lines import category_of, is_adult
from imis_core.eligibility.prices import Prices
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.terms import NO_LIMITS, Limit, LimitsKey, LineTerms, PackageLimits, TermsKey
from imis_core.eligibility.usage import UsageKey, used_of
from imis_core.eligibility.valuation import MILLI, NONE, LineColumns, value_lines
from imis_core.places.lookup import ProviderRow
from imis_core.values import Money, thousandths_text

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
    used: Mapping[UsageKey, int],
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
    pays = iter(_value(asked, [line for line in lines if line.judged.paid is not None], used))
    return [
        _answer(line, next(pays) if line.judged.paid is not None else 0, histories[line.rules.name]) for line in lines
    ]


def _judge(asked: Asked, rules: SchemeRules, item: ItemRow, history: History) -> _Line:
    case, price = asked.case(rules, item), asked.price(rules, item)
    if asked.reason is None:
        return _Line(rules, case, item, price, judge(case, item, ONE, price, None, history))
    person = asked.person
    inactive = person.status != "active" or (person.death_date is not None and asked.on > person.death_date)
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


def _value(asked: Asked, lines: Sequence[_Line], used: Mapping[UsageKey, int]) -> list[int]:
    """What the scheme pays for what is allowed of one unit of each item: each line with counters of its own."""
    deductibles, ceilings = _Pools(MILLI), _Pools(1)
    level = asked.provider.level if asked.provider else None
    terms = []
    for line in lines:
        assert line.judged.paid is not None
        cover, of_item = line.judged.paid
        terms.append(of_item)
        limits = line.rules.limits.get((cover.package_version, cover.kind), NO_LIMITS)
        hospital = limits.is_hospital_case(False, level)
        deductibles.add("deductible", limits.deductible, hospital, cover, asked.person, used)
        ceilings.add("ceiling", limits.ceiling, hospital, cover, asked.person, used)
    columns = LineColumns(
        _ints([line.judged.quantity_thousandths for line in lines]),
        _ints([line.price or 0 for line in lines]),
        _ints([t.fixed_limit_minor or NONE for t in terms]),
        _ints([t.share_micro for t in terms]),
        _ints(deductibles.of_line),
        _ints(ceilings.of_line),
        _ints(deductibles.limits),
        _ints(deductibles.used),
        _ints(ceilings.limits),
        _ints(ceilings.used),
    )
    return [int(amount) for amount in value_lines(columns).payable_minor]


class _Pools:
    """The counters of one kind, one for each line that has a limit: items are answered one by one."""

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self.of_line: list[int] = []
        self.limits: list[int] = []
        self.used: list[int] = []

    def add(
        self, name: str, limit: Limit | None, hospital: bool, cover: Cover, person: PersonRow,
        used: Mapping[UsageKey, int],
    ) -> None:  # fmt: skip
        scope = limit.scope(hospital) if limit else None
        if limit is None or scope is None:
            self.of_line.append(NONE)
            return
        self.of_line.append(len(self.limits))
        self.limits.append(scope[1] * self._unit)
        self.used.append(used_of(used, limit, f"{name}.{scope[0]}", cover.kind, cover.id, person.id))


def _ints(values: Sequence[int]) -> Any:
    return np.array(values, dtype=np.int64)
