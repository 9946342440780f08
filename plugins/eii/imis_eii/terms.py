"""The terms of an employment-injury package: every field of the contract, as classes that read and bound it.

What types cannot say is judged in `checks`; nothing here computes a benefit (`rules`).
Source: contract-eii.md, 'Terms'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from attrs import field, frozen

from imis_core.api import Amount, Invalid, InvalidInput, Percent, Problem, Rate

Read = Callable[[Any, Any], Any]
Method = Literal["degree_x_rate", "months_x_degree", "age_factor", "present_value"]
Per = Literal["month", "day"]
RELATIONSHIPS: Final = ("spouse", "child", "orphan", "parent", "other")
YOUNG: Final = ("child", "orphan")  # whose entitlement ends at an age, where the terms give no other for them
CHILD_AGE: Final = 18
MONTHS_MAX: Final = 1200
WINDOW_MAX: Final = 120  # months
RATE_MAX: Final = 1000  # percent
_NOTHING: Final = Percent(Decimal(0))
_NO_RATE: Final = Rate(Decimal(0))
_ALL: Final = Percent(Decimal(100))
_FULL: Final = Rate(Decimal(100))


@frozen(kw_only=True)
class ClassRates:
    """What a class of employers pays instead; absent parts are those of everybody."""

    employee: Percent | None = None
    employer: Percent | None = None
    state: Percent | None = None


@frozen(kw_only=True)
class FixedBand:
    """Amounts instead of percentages, for wages up to `up_to` (absent: for every wage)."""

    up_to: Amount | None = None
    employee: Amount = Amount(Decimal(0))  # noqa: RUF009 - a new type is the value itself
    employer: Amount = Amount(Decimal(0))  # noqa: RUF009
    state: Amount = Amount(Decimal(0))  # noqa: RUF009


@frozen(kw_only=True)
class ContributionTerms:
    """Percentages of the month's wage, which is cut to `ceiling`; or fixed amounts by bands of wages."""

    employee: Percent = _NOTHING
    employer: Percent = _NOTHING
    state: Percent = _NOTHING
    ceiling: Amount | None = None
    by_class: dict[str, ClassRates] = field(factory=dict)
    fixed: tuple[FixedBand, ...] | None = None


@frozen
class Divisor:
    """Days that a month's wage stands for; None: the declared days."""

    days: int | None

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> Divisor:
        if value == "days":
            return Divisor(None)
        if isinstance(value, str):
            raise Invalid("choice", 'expected a number of days, or "days" for the declared ones')
        return Divisor(read(value, int))


@frozen(kw_only=True)
class WageTerms:
    """The wage before the accident: which months count, how they make one wage, and its bounds."""

    window_months: int = field(default=12, metadata={"min": 1, "max": WINDOW_MAX})
    method: Literal["mean", "best_of", "last", "minimum_wage"] = "mean"
    best: int | None = field(default=None, metadata={"min": 1, "max": WINDOW_MAX})
    divisor: Divisor = Divisor(30)
    ceiling: Amount | None = None
    minimum: Amount | None = None
    maximum: Amount | None = None
    minimum_wage: Amount | None = None


@frozen(kw_only=True)
class TemporaryTerms:
    """The benefit of certified days; `minimum` and `maximum` are of a day."""

    rate: Rate = field(metadata={"max": RATE_MAX})
    waiting_days: int = 0
    waiting_paid_if_longer_than: int | None = None
    minimum_days: int = 0
    maximum_days: int | None = None
    extension_days: int = 0
    accident_day: bool = True
    minimum: Amount | None = None
    maximum: Amount | None = None


@frozen(kw_only=True)
class PermanentTerms:
    """Pension or lump sum for a degree of permanent disablement, by one of four methods."""

    method: Method
    rate: Rate = field(default=_FULL, metadata={"max": RATE_MAX})
    per: Per = "month"
    pension_from_degree: Percent = _NOTHING
    months: int | None = field(default=None, metadata={"max": MONTHS_MAX})
    months_partial: int | None = field(default=None, metadata={"max": MONTHS_MAX})
    factors: dict[str, Rate] | None = None
    between: Literal["refuse", "linear"] = "refuse"
    interest: Rate | None = field(default=None, metadata={"max": RATE_MAX})
    indexation: Rate = field(default=_NO_RATE, metadata={"max": RATE_MAX})
    until_age: int | None = field(default=None, metadata={"min": 1, "max": 150})
    mortality: dict[str, Rate] | None = None
    guarantee_years: int = field(default=0, metadata={"max": 100})
    child_supplement: Rate = field(default=_NO_RATE, metadata={"max": RATE_MAX})
    max_children: int | None = None
    constant_attendance: Rate = field(default=_NO_RATE, metadata={"max": RATE_MAX})
    combine: Literal["add", "remaining"] = "add"


@frozen(kw_only=True)
class RelationshipTerms:
    """One survivor's part: percent of the full rate, and a percentage of the monthly wage that is paid once."""

    share: Rate = field(metadata={"max": RATE_MAX})
    minimum: Amount | None = None
    maximum: Amount | None = None
    once: Rate | None = field(default=None, metadata={"max": 100 * RATE_MAX})
    only_if_none: tuple[Literal["spouse", "child", "orphan", "parent", "other"], ...] = ()
    until_age: int | None = field(default=None, metadata={"min": 1, "max": 150})


@frozen
class Remarriage:
    """What ends with a marriage: the pension (`lump_months` of it are paid once), or nothing (`keeps`)."""

    keeps: bool = False
    lump_months: int = 0

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> Remarriage:
        if isinstance(value, Mapping):
            months = read(value, _LumpMonths).lump_months
            if not 1 <= months <= MONTHS_MAX:
                message = f"expected 1 to {MONTHS_MAX}, found {months}"
                raise InvalidInput((Problem("lump_months", "range", message),))
            return Remarriage(lump_months=months)
        return Remarriage(keeps=read(value, Literal["end", "keep"]) == "keep")


@frozen(kw_only=True)
class _LumpMonths:
    lump_months: int


@frozen(kw_only=True)
class SurvivorsTerms:
    """Who has what after a death; a relationship that is absent is not entitled."""

    method: Literal["shares", "age_factor", "months"] = "shares"
    rate: Rate | None = field(default=None, metadata={"max": RATE_MAX})  # absent: the permanent rate
    per: Per | None = None  # absent: as the permanent benefit
    months: int | None = field(default=None, metadata={"max": MONTHS_MAX})
    spouse: RelationshipTerms | None = None
    child: RelationshipTerms | None = None
    orphan: RelationshipTerms | None = None
    parent: RelationshipTerms | None = None
    other: RelationshipTerms | None = None
    total_max: Rate = field(default=_FULL, metadata={"max": RATE_MAX})
    until_age: int = field(default=CHILD_AGE, metadata={"min": 1, "max": 150})
    student_until: int | None = field(default=None, metadata={"min": 1, "max": 150})
    disabled_for_life: bool = True
    remarriage: Remarriage = Remarriage()
    reshare: bool = True

    def of(self, relationship: str) -> RelationshipTerms | None:
        """The terms of a relationship; None: not entitled."""
        found: RelationshipTerms | None = getattr(self, relationship)
        return found


@frozen(kw_only=True)
class FuneralTerms:
    """The funeral grant: an amount, months of the wage, or what the funeral cost."""

    amount: Amount | None = None
    months: int | None = field(default=None, metadata={"min": 1, "max": MONTHS_MAX})
    cost: bool | None = None
    at_most: Amount | None = None


@frozen(kw_only=True)
class CareTerms:
    """What medical care of one kind of accident is paid: a percentage, up to a ceiling per accident."""

    coinsurance: Percent = _ALL
    ceiling: Amount | None = None


@frozen(kw_only=True)
class MedicalTerms:
    """Medical care by kind of accident; `commuting` absent: as at work."""

    work: CareTerms = CareTerms()
    commuting: CareTerms | None = None
    non_work: CareTerms = CareTerms()

    def of(self, kind: str) -> CareTerms:
        """What holds for a kind of accident."""
        found: CareTerms | None = getattr(self, kind)
        return self.work if found is None else found


@frozen(kw_only=True)
class IndexationTerms:
    """By how many percent pensions rise: one rate each year from a month on, or a table by year."""

    month: int | None = field(default=None, metadata={"min": 1, "max": 12})
    rate: Rate | None = field(default=None, metadata={"max": RATE_MAX})
    table: dict[str, Rate] | None = field(default=None, metadata={"min": 0})


@frozen(kw_only=True)
class MonthsTerms:
    """A span of months: until a review, or until the next proof of life."""

    months: int = field(metadata={"min": 1, "max": MONTHS_MAX})


@frozen(kw_only=True)
class DeadlineTerms:
    """Until when an accident is reported: days for the employer, months for the others."""

    report_days: int | None = None
    claim_months: int | None = field(default=None, metadata={"max": MONTHS_MAX})


@frozen(kw_only=True)
class Offset:
    """Another lump sum for the same loss, which is deducted from a lump sum of this package."""

    name: str
    amount: Amount


@frozen(kw_only=True)
class EiiTerms:
    """All terms of a package, in the order of the contract. Absent: the package does not have that benefit."""

    contribution: ContributionTerms | None = None
    wage: WageTerms = WageTerms()
    temporary: TemporaryTerms | None = None
    permanent: PermanentTerms | None = None
    survivors: SurvivorsTerms | None = None
    funeral: FuneralTerms | None = None
    medical: MedicalTerms | None = None
    indexation: IndexationTerms | None = None
    review: MonthsTerms | None = None
    deadlines: DeadlineTerms = DeadlineTerms()
    minimum: Amount | None = None  # of a pension per month
    maximum: Amount | None = None
    offset: tuple[Offset, ...] | None = None
    late_interest: Rate | None = field(default=None, metadata={"max": RATE_MAX})
    proof_of_life: MonthsTerms | None = None

    @property
    def survivors_rate(self) -> Rate:
        """Percent of the wage that the full rate of survivors is."""
        if self.survivors is not None and self.survivors.rate is not None:
            return self.survivors.rate
        return self.permanent.rate if self.permanent is not None else _FULL

    @property
    def survivors_per(self) -> Per:
        if self.survivors is not None and self.survivors.per is not None:
            return self.survivors.per
        return self.permanent.per if self.permanent is not None else "month"


def relationships(terms: SurvivorsTerms) -> Iterator[tuple[str, RelationshipTerms]]:
    """The relationships that are entitled, with their terms."""
    for name in RELATIONSHIPS:
        own = terms.of(name)
        if own is not None:
            yield name, own
