"""The verdict on a line: its own checks, then what other claims of the person leave of counts and quantities.

Claims and eligibility ask the same functions, over a history that was read for the whole batch (`history`). Lines whose
packages and items count nothing need none. Source: health_insurance.md 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

from attrs import field, frozen

from imis_core.catalogue.lookup import ItemRow
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.history import History, Needs, days_after, days_before
from imis_core.eligibility.lines import Candidate, covering, item_rejection, paying_cover
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.terms import COUNTED, NO_LIMITS, LimitsKey, LineTerms, PackageLimits, TermsKey
from imis_core.values import THOUSANDTHS


@frozen
class Case:
    """What all lines of a claim share: the patient, the day, the visit, and the rules of the covers."""

    person: int
    sex: str
    adult: bool
    on: date
    overnight: bool
    visit_type: str
    category: str
    care_type: str  # of the facility
    covers: Sequence[Cover]
    terms: Mapping[TermsKey, LineTerms]
    limits: Mapping[LimitsKey, PackageLimits]
    _covering: dict[int, list[Candidate]] = field(factory=dict)

    def covering(self, item: int) -> list[Candidate]:
        """The covers of an item; looked up once."""
        found = self._covering.get(item)
        if found is None:
            found = self._covering[item] = covering(self.covers, self.terms, item, self.visit_type, self.adult)
        return found


@frozen
class Judged:
    """A line after the checks. `paid` is the cover that pays and its terms, `passed` every cover that would, if any.

    `first` is the first cover of the item by the person's effective date, whether it passed or not.
    """

    rejection: Rejection | None
    quantity_thousandths: int
    paid: Candidate | None = None
    passed: Sequence[Candidate] = ()
    first: Candidate | None = None


def needs_of(case: Case, item: ItemRow, needs: Needs) -> None:
    """Add what the verdict on a line needs of the person's history: nothing, for most lines."""
    frequency = item.frequency_days or 0
    if frequency > 1:
        needs.add_days(case.person, days_before(case.on, frequency - 1), days_after(case.on, frequency - 1))
        needs.items.add(item.id)
    elif frequency:
        needs.add_days(case.person, case.on, case.on)
        needs.items.add(item.id)
    for cover, of_item in case.covering(item.id):
        counted = case.category in case.limits.get((cover.package_version, cover.kind), NO_LIMITS).counts
        if counted or of_item.max_provisions is not None:
            needs.add_days(case.person, cover.effective_from, cover.effective_to)
        if counted:
            needs.categories.add(case.category)
        if of_item.max_provisions is not None:
            needs.items.add(item.id)


def judge(
    case: Case,
    item: ItemRow,
    quantity_thousandths: int,
    listed_minor: int | None,
    asked_minor: int | None,
    history: History,
    earlier_thousandths: int = 0,
) -> Judged:
    """The verdict on a line, in the order 2, 10, 4, 3, 17, 16, the category's count, 5.

    `earlier_thousandths`: what earlier lines of the same claim were approved of the item.
    """
    rejection = item_rejection(item, listed_minor, case.care_type, case.overnight, case.sex, case.adult)
    if rejection is not None:
        return Judged(rejection, 0)
    return judge_covered(case, item, quantity_thousandths, listed_minor, asked_minor, history, earlier_thousandths)


def judge_covered(
    case: Case,
    item: ItemRow,
    quantity_thousandths: int,
    listed_minor: int | None,
    asked_minor: int | None,
    history: History,
    earlier_thousandths: int = 0,
    reviewed_minor: int | None = None,
) -> Judged:
    """The verdict on a line that has passed 2, 10 and 4: what packages and the person's other claims say of it.

    `reviewed_minor`: the price that a reviewer set, which decides who pays.
    """
    found = case.covering(item.id)
    if not found:
        return Judged(Rejection.NOT_COVERED, 0)
    passed: list[Candidate] = []
    reason: Rejection | None = None
    quantity = quantity_thousandths
    for candidate in found:
        refused, left = _refusal(case, candidate, item.id, history, earlier_thousandths)
        if refused is not None:
            reason = reason or refused
        else:
            if not passed and left is not None:
                quantity = min(quantity, left)
            passed.append(candidate)
    if not passed:
        return Judged(reason, 0, first=found[0])
    if _too_soon(item, case.on, history.days_of(case.person, item.id)):
        return Judged(Rejection.FREQUENCY, 0, passed=passed, first=found[0])
    payer = paying_cover(passed, listed_minor, asked_minor, reviewed_minor)
    return Judged(None, quantity, payer, passed, found[0])


def _refusal(
    case: Case, candidate: Candidate, item: int, history: History, earlier_thousandths: int
) -> tuple[Rejection | None, int | None]:
    """Why one cover refuses a line, else the quantity that it leaves (None: unlimited)."""
    cover, of_item = candidate
    if case.on < of_item.allowed_from(cover):
        return Rejection.WAITING_PERIOD, None
    left = quantity_left(case, candidate, item, history)
    if left is not None:
        left -= earlier_thousandths
        if left <= 0:
            return Rejection.MAX_PROVISIONS, None
    count = case.limits.get((cover.package_version, cover.kind), NO_LIMITS).counts.get(case.category)
    if count is not None:
        used = history.claims_within(case.person, case.category, cover.effective_from, cover.effective_to)
        if used >= count:
            return COUNTED[case.category], None
    return None, left


def quantity_left(case: Case, candidate: Candidate, item: int, history: History) -> int | None:
    """What a cover leaves of an item in the policy period, in thousandths; None: unlimited."""
    cover, of_item = candidate
    most = of_item.max_thousandths
    if most is None:
        return None
    return max(0, most - history.given_within(case.person, item, cover.effective_from, cover.effective_to))


def _too_soon(item: ItemRow, on: date, days: Iterable[date]) -> bool:
    """Whether the item was given fewer than its `frequency_days` before or after a day."""
    frequency = item.frequency_days
    return bool(frequency) and any(abs((on - day).days) < frequency for day in days)  # type: ignore[operator]


def earliest_day(case: Case, candidate: Candidate, item: ItemRow, history: History) -> date:
    """The first day from the case's on on which waiting and frequency allow an item."""
    cover, of_item = candidate
    day = max(case.on, of_item.allowed_from(cover))
    # Ascending, so that a day which one interval pushes on is looked at again for all later ones.
    for given in sorted(history.days_of(case.person, item.id)):
        if _too_soon(item, day, (given,)):
            day = days_after(given, item.frequency_days or 0)
    return day


ONE: Final = THOUSANDTHS  # the quantity of a question about eligibility
