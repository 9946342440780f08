"""What packages pay and up to where, as the scheme type's selects say, read once for a whole batch. It judges nothing.

Columns that a type's select leaves out are as if the terms said nothing (`SchemeType`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imis_core.benefit_packages.schemes import SchemeType
from imis_core.context import Context
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.rejections import Rejection
from imis_core.values import THOUSANDTHS, add_months

# Categories of claims that a package may count, with the rejection when the count is used up.
COUNTED: Final[Mapping[str, Rejection]] = {
    "hospitalisation": Rejection.MAX_HOSPITALISATIONS,
    "visit": Rejection.MAX_VISITS,
    "consultation": Rejection.MAX_CONSULTATIONS,
    "surgery": Rejection.MAX_SURGERIES,
    "delivery": Rejection.MAX_DELIVERIES,
    "antenatal": Rejection.MAX_ANTENATAL,
}
CAPPED: Final = ("surgery", "delivery", "antenatal", "hospitalisation", "consultation")
_NONE: Final[Mapping[str, int]] = {}


@frozen
class LineTerms:
    """What a package pays for an item: a fixed limit per unit (None: none), and the share in percent x 10**6.

    `max_provisions` (units, None: unlimited) and `waiting_months` are of the patient's age group.
    """

    price_origin: str
    fixed_limit_minor: int | None  # per unit; None: no fixed limit, 0: one that is unlimited
    share_micro: int
    waiting_months: int = 0
    max_provisions: int | None = None
    ceiling_exclusion: str | None = None  # hospital | non_hospital | both

    def allowed_from(self, cover: Cover) -> date:
        """The first day after the waiting period; the day itself is allowed already (health_insurance.md 4)."""
        if self.waiting_months and cover.waits:
            return add_months(cover.effective_from, self.waiting_months)
        return cover.effective_from

    @property
    def max_thousandths(self) -> int | None:
        return None if self.max_provisions is None else self.max_provisions * THOUSANDTHS


TermsKey = tuple[int, str, int, str, bool]  # package version, kind of cover, item, visit type, adult
LimitsKey = tuple[int, str]  # package version, kind of cover


@frozen
class Limit:
    """A deductible or a ceiling: at which level it is counted, and its amounts by scope in minor units."""

    level: str
    general: int | None
    inpatient: int | None
    outpatient: int | None

    def scope(self, hospital: bool) -> tuple[str, int] | None:
        """The scope that a case uses and its amount: general if set, else in- or out-patient; None: no limit."""
        if self.general is not None:
            return "general", self.general
        amount = self.inpatient if hospital else self.outpatient
        return None if amount is None else ("inpatient" if hospital else "outpatient", amount)

    def scopes(self) -> dict[str, int]:
        """All scopes that are set."""
        named = {"general": self.general, "inpatient": self.inpatient, "outpatient": self.outpatient}
        return {name: amount for name, amount in named.items() if amount is not None}


HOSPITAL_LEVELS: Final = frozenset({"hospital"})


@frozen
class Copayment:
    """What the patient pays beside the rest: percent x 10**6 of the share, or an amount once per claim.

    `condition` None: it always applies.
    """

    name: str
    condition: str | None
    percent_micro: int | None
    amount_minor: int | None


@frozen
class PackageLimits:
    """The limits of a package version. `hospital_by_facility`: a hospital case is one at a hospital, not a stay.

    `counts`: claims per person and policy period by category; `caps`: minor units per claim by category. A ceiling of
    level policy grows by `extra_member_minor` for each covered member beyond `threshold_members`, up to
    `max_ceiling_minor`.
    """

    deductible: Limit | None
    ceiling: Limit | None
    hospital_by_facility: bool
    hospital_levels: frozenset[str] = HOSPITAL_LEVELS  # names of levels that are hospitals here
    counts: Mapping[str, int] = _NONE
    caps: Mapping[str, int] = _NONE
    extra_member_minor: int = 0
    max_ceiling_minor: int | None = None
    threshold_members: int | None = None
    copayments: tuple[Copayment, ...] = ()  # the first whose condition is met holds

    def is_hospital_case(self, overnight: bool, facility_level: str | None) -> bool:
        return facility_level in self.hospital_levels if self.hospital_by_facility else overnight

    @property
    def by_members(self) -> bool:
        """Whether the ceiling depends on how many members are covered."""
        extended = self.extra_member_minor > 0 or self.max_ceiling_minor is not None
        by_policy = self.ceiling is not None and self.ceiling.level == "policy"
        return extended and by_policy and self.threshold_members is not None

    def ceiling_of(self, base: int, members: int) -> int:
        """A ceiling with so many covered members: base + extra members x extra, at most the maximum (5.3)."""
        if not self.by_members or self.threshold_members is None or members <= self.threshold_members:
            return base
        extended = base + (members - self.threshold_members) * self.extra_member_minor
        return extended if self.max_ceiling_minor is None else min(extended, self.max_ceiling_minor)


NO_LIMITS: Final = PackageLimits(None, None, False)


_TERMS: Final = ("price_origin", "fixed_limit_minor", "share_micro")
_MORE_TERMS: Final = ("waiting_months", "max_provisions", "ceiling_exclusion")  # which a type's select may leave out


def read_rules(
    context: Context, kind: SchemeType, versions: Iterable[int], items: Iterable[int]
) -> tuple[dict[TermsKey, LineTerms], dict[LimitsKey, PackageLimits]]:
    """What these package versions pay for these items, and their limits for each kind of cover; one statement."""
    wanted, of_items = set(versions), set(items)
    selects: list[sa.Select[Any]] = []
    more: list[str] = []
    if wanted and of_items and kind.line_terms_sql is not None:
        t = kind.line_terms_sql().subquery("terms").c
        more = [name for name in _MORE_TERMS if name in t]
        columns = [t.package_version, t.cover_kind, t.item, t.visit_type, t.adult, *(t[n] for n in (*_TERMS, *more))]
        selects.append(
            sa.select(*columns, sa.null().cast(JSONB).label("limits")).where(
                t.package_version == sa.any_(_numbers(wanted)), t.item == sa.any_(_numbers(of_items))
            )
        )
    if wanted and kind.package_limits_sql is not None:
        limits = kind.package_limits_sql().subquery("limits")
        empty = [sa.null() for _ in range(3 + len(_TERMS) + len(more))]
        selects.append(
            sa.select(
                limits.c.package_version, limits.c.cover_kind, *empty,
                sa.func.to_jsonb(sa.literal_column("limits"), type_=JSONB),
            ).where(limits.c.package_version == sa.any_(_numbers(wanted)))
        )  # fmt: skip
    found: dict[TermsKey, LineTerms] = {}
    limited: dict[LimitsKey, PackageLimits] = {}
    hospitals = _hospital_levels(context)
    rows: Iterable[Any] = context.execute(sa.union_all(*selects) if len(selects) > 1 else selects[0]) if selects else ()
    for row in rows:
        if row[-1] is not None:
            limited[row[0], row[1]] = _limits(row[-1], hospitals)
        else:
            found[row[0], row[1], row[2], row[3], row[4]] = LineTerms(
                row[5], row[6], row[7], **dict(zip(more, row[8:-1], strict=True))
            )
    return found, limited


def read_limits(context: Context, kind: SchemeType, versions: Iterable[int]) -> dict[LimitsKey, PackageLimits]:
    """The limits of these package versions for each kind of cover, in one statement."""
    return read_rules(context, kind, versions, ())[1]


def _hospital_levels(context: Context) -> frozenset[str]:
    levels = context.settings.deployment.facility_levels or {}
    return frozenset(name for name, level in levels.items() if level == "hospital") or HOSPITAL_LEVELS


def _limits(row: Mapping[str, Any], hospitals: frozenset[str]) -> PackageLimits:
    return PackageLimits(
        _limit(row, "deductible"),
        _limit(row, "ceiling"),
        bool(row["hospital_by_facility"]),
        hospitals,
        _by_category(row, "max_", COUNTED),
        _by_category(row, "cap_", CAPPED),
        row.get("extra_member_ceiling") or 0,
        row.get("max_policy_ceiling"),
        row.get("threshold_members"),
        tuple(Copayment(**one) for one in row.get("copayments") or ()),
    )


def _limit(row: Mapping[str, Any], name: str) -> Limit | None:
    level = row[f"{name}_level"]
    if level is None:
        return None
    return Limit(level, *(row[f"{name}_{scope}"] for scope in ("general", "inpatient", "outpatient")))


def _by_category(row: Mapping[str, Any], prefix: str, categories: Iterable[str]) -> Mapping[str, int]:
    found = {category: row.get(prefix + category) for category in categories}
    return {category: value for category, value in found.items() if value is not None} or _NONE


def _numbers(values: Iterable[int]) -> sa.BindParameter[Any]:
    return sa.literal(sorted(set(values)), ARRAY(sa.BigInteger))
