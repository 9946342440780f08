"""The terms of a health-insurance package: every field of the contract, and what of them is computed today.

Shapes and types are judged by the classes, meaning by `check_terms`. A field that is not computed yet is refused, never
ignored; nothing here computes a premium (`rules`) or a payment (the kernel's valuation).
Source: contract-health.md, 'Terms of a package'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from attrs import field, frozen

from imis_core.api import (
    Amount,
    Criterion,
    Invalid,
    InvalidInput,
    MonthDay,
    Percent,
    Problem,
    problems_of,
    suggestion,
)

T = TypeVar("T")
Read = Callable[[Any, Any], Any]

PERIOD_MONTHS_MAX: Final = 1200  # a hundred years; longer spans leave the calendar
CYCLES_MAX: Final = 4
COUNT_MAX: Final = 10**12  # of claims or units in a policy period; more fits no 64 bits of thousandths
# The counts of a package by the category of claims that each counts.
COUNTS: Final = {
    "hospitalisation": "max_hospitalisations", "visit": "max_visits", "consultation": "max_consultations",
    "surgery": "max_surgeries", "delivery": "max_deliveries", "antenatal": "max_antenatal",
}  # fmt: skip
VISIT_TYPES: Final = ("other", "referral", "emergency")


@frozen
class ByAge(Generic[T]):
    """`X|ages` of the contract: one value for everybody, or one each for adults and children; None: not given."""

    adult: T | None = None
    child: T | None = None

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> ByAge[Any]:
        """One value for both ages, or a table with `adult` and `child`; problems carry the age as their path."""
        inner = get_args(kind)[0]
        if not isinstance(value, Mapping):
            one = read(value, inner)
            return ByAge(one, one)
        found: dict[str, Any] = {}
        problems: list[Problem] = []
        for age, part in value.items():
            if age not in ("adult", "child"):
                hint = suggestion(str(age), ("adult", "child"))
                problems.append(Problem(str(age), "unknown", f"there is no age group {str(age)[:60]!r} here{hint}"))
                continue
            try:
                found[age] = read(part, inner)
            except Exception as error:
                problems += [p.at(age) for p in problems_of(error)]
        if problems:
            raise InvalidInput(tuple(problems))
        return ByAge(**found)

    def __numbers__(self) -> Iterator[tuple[str, T | None]]:
        """One value for both ages has no path of its own."""
        if self.adult is self.child:
            yield "", self.adult
        else:
            yield "adult", self.adult
            yield "child", self.child

    def of(self, adult: bool) -> T | None:
        """The value for adults or for children; None where the terms do not give it."""
        return self.adult if adult else self.child


@frozen(kw_only=True)
class Discount:
    """A discount for enrolling `months` early."""

    percent: Percent
    months: int = field(default=0, metadata={"max": PERIOD_MONTHS_MAX})


@frozen(kw_only=True)
class LevelAmounts:
    """A deductible or a ceiling: at which level it counts, and its amounts (general, or by in- and out-patient)."""

    level: Literal["treatment", "person", "policy"]
    general: Amount | None = None
    inpatient: Amount | None = None
    outpatient: Amount | None = None


@frozen(kw_only=True)
class VisitLimit:
    """What replaces an item's limit, percent and amount together for one visit type."""

    limit: Literal["coinsurance", "fixed"]
    percent: ByAge[Percent] | None = None
    amount: ByAge[Amount] | None = None


@frozen(kw_only=True)
class VisitTypes:
    referral: VisitLimit | None = None
    emergency: VisitLimit | None = None
    other: VisitLimit | None = None


@frozen(kw_only=True)
class ItemTerms:
    """What the package pays for one item."""

    price_origin: Literal["pricelist", "provider", "relative"] = "pricelist"
    limit: Literal["coinsurance", "fixed"] = "coinsurance"
    percent: ByAge[Percent] | None = None
    amount: ByAge[Amount] | None = None
    visit_types: VisitTypes | None = None
    waiting_months: ByAge[int] | None = field(default=None, metadata={"max": PERIOD_MONTHS_MAX})
    max_provisions: ByAge[int] | None = field(default=None, metadata={"max": COUNT_MAX})
    ceiling_exclusion: ByAge[Literal["hospital", "non_hospital", "both"]] | None = None


@frozen(kw_only=True)
class SubsidyRule:
    name: str
    when: Criterion
    percent: Percent
    of: Literal["household", "member"] = "household"


@frozen
class Subsidies:
    """Percentages by category, or a list of rules of which the first that matches holds."""

    by_category: Mapping[str, Percent] | None = None
    rules: tuple[SubsidyRule, ...] | None = None

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> Subsidies:
        if isinstance(value, Mapping):
            return Subsidies(by_category=read(value, dict[str, Percent]))
        return Subsidies(rules=read(value, tuple[SubsidyRule, ...]))


@frozen(kw_only=True)
class Copayment:
    """What the patient pays beside the rest: a percentage, or an amount once per claim; `when` None: always."""

    name: str
    when: Criterion | None = None
    percent: Percent | None = None
    amount: Amount | None = None


@frozen(kw_only=True)
class CategoryCaps:
    surgery: Amount | None = None
    delivery: Amount | None = None
    antenatal: Amount | None = None
    hospitalisation: Amount | None = None
    consultation: Amount | None = None


@frozen
class Shares:
    """One percentage for every period of a year, or one for each."""

    percents: tuple[Percent, ...]

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> Shares:
        if isinstance(value, (list, tuple)):
            if len(value) not in (1, 4, 12):
                raise Invalid("length", f"expected 1, 4 or 12 percentages, found {len(value)}")
            return Shares(read(value, tuple[Percent, ...]))
        return Shares((read(value, Percent),))


@frozen(kw_only=True)
class Relative:
    period: Literal["month", "quarter", "year"]
    share: Shares


_NOTHING: Final = Percent(Decimal(0))


@frozen(kw_only=True)
class CapitationWeights:
    population: Percent = _NOTHING
    families: Percent = _NOTHING
    insured_persons: Percent = _NOTHING
    insured_families: Percent = _NOTHING
    visits: Percent = _NOTHING
    claimed_amount: Percent = _NOTHING


@frozen(kw_only=True)
class Capitation:
    share: Percent
    levels: tuple[str, ...] = ()
    weights: CapitationWeights = field(factory=CapitationWeights)


_ZERO: Final = Amount(Decimal(0))


@frozen(kw_only=True)
class HealthTerms:
    """All terms of a package, in the order of the contract. None: the contract's default is 'none' or 'unlimited'."""

    insurance_months: int = field(metadata={"min": 1, "max": PERIOD_MONTHS_MAX})
    administration_months: int = field(default=0, metadata={"max": PERIOD_MONTHS_MAX})
    max_members: int | None = field(default=None, metadata={"min": 1})
    threshold_members: int | None = field(default=None, metadata={"min": 1})
    lump_sum: Amount = _ZERO
    premium_adult: Amount = _ZERO
    premium_child: Amount = _ZERO
    registration_lump_sum: Amount = _ZERO
    registration_fee: Amount = _ZERO
    assembly_lump_sum: Amount = _ZERO
    assembly_fee: Amount = _ZERO
    cycles: tuple[MonthDay, ...] | None = None
    grace_enrolment_months: int = field(default=0, metadata={"max": PERIOD_MONTHS_MAX})
    grace_renewal_months: int = field(default=0, metadata={"max": PERIOD_MONTHS_MAX})
    grace_payment_months: int = field(default=0, metadata={"max": PERIOD_MONTHS_MAX})
    enrolment_discount: Discount | None = None
    renewal_discount: Discount | None = None
    max_installments: int | None = field(default=None, metadata={"min": 1})
    subsidies: Subsidies | None = None
    subsidy_attribute: str | None = None
    underpaid: Literal["idle", "active", "suspended"] = "idle"
    overpayment: Literal["refuse", "credit"] = "refuse"
    conversion_package: str | None = None
    max_hospitalisations: int | None = field(default=None, metadata={"max": COUNT_MAX})
    max_visits: int | None = field(default=None, metadata={"max": COUNT_MAX})
    max_consultations: int | None = field(default=None, metadata={"max": COUNT_MAX})
    max_surgeries: int | None = field(default=None, metadata={"max": COUNT_MAX})
    max_deliveries: int | None = field(default=None, metadata={"max": COUNT_MAX})
    max_antenatal: int | None = field(default=None, metadata={"max": COUNT_MAX})
    copayments: tuple[Copayment, ...] | None = None
    category_caps: CategoryCaps | None = None
    deductible: LevelAmounts | None = None
    ceiling: LevelAmounts | None = None
    extra_member_ceiling: Amount | None = None
    max_policy_ceiling: Amount | None = None
    ceiling_interpretation: Literal["stay", "facility"] = "stay"
    relative: Relative | None = None
    capitation: Capitation | None = None
    items: dict[str, ItemTerms] = field(factory=dict)


@frozen
class LineTerms:
    """What a package pays for an item at a visit type and age. `fixed_limit` None: none; 0: unlimited."""

    price_origin: str
    share: Decimal  # percent
    fixed_limit: Decimal | None


def line_terms(item: ItemTerms, visit_type: str, adult: bool) -> LineTerms:
    """The terms in force for one line: those of the visit type if given, else the item's own; defaults filled in.

    A fixed limit of 0 is unlimited. Source: health_insurance.md 5.1, contract-health.md.
    """
    own: VisitLimit | ItemTerms = (getattr(item.visit_types, visit_type) if item.visit_types else None) or item
    if own.limit == "fixed":
        amount = own.amount.of(adult) if own.amount is not None else None
        return LineTerms(item.price_origin, Decimal(100), Decimal(0) if amount is None else amount)
    percent = own.percent.of(adult) if own.percent is not None else None
    return LineTerms(item.price_origin, Decimal(100) if percent is None else percent, None)


def cycle_date(year: int, cycle: str) -> date:
    """A cycle's day in a year."""
    month, day = cycle.split("-")
    return date(year, int(month), int(day))
