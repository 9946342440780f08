"""What a plugin says of a kind of scheme: the terms of its packages and the strategies that only it can answer.

A strategy describes or computes in memory; the kernel runs all SQL. Strategies get whole batches, never single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.criteria.criterion import Criterion
from imis_core.deployment import AttributeRule
from imis_core.errors import Problem, Refusal

if TYPE_CHECKING:
    from imis_core.context import Context
    from imis_core.recurrence import Recurrence


@frozen
class TermsCheck:
    """What a type may look at when it checks terms: currency of the package, features that are on, known codes."""

    currency: str
    features: Mapping[str, bool]
    item_codes: frozenset[str]  # of the items that the terms name and the catalogue knows
    location_codes: frozenset[str] = frozenset()  # of the locations that the terms name and the places know
    attributes: Mapping[str, AttributeRule] | None = None  # those declared; None: attributes are free


@frozen
class Condition:
    """What a quote must know of a household, or of each of its members: `name` is what cases say is met."""

    name: str
    of: Literal["household", "member"]
    criterion: Criterion


@frozen
class Enrollee:
    """A person whom a policy may count, in order of registration. `met`: the conditions that he or she meets."""

    born: date
    relationship: str | None
    met: frozenset[str] = frozenset()


@frozen
class EnrolmentCase:
    """One policy to be quoted. `previous_end` is set for a renewal: the last day of the policy it follows."""

    terms: Any
    currency: str
    adult_age: int
    enrolled_on: date
    members: tuple[Enrollee, ...]
    previous_end: date | None = None
    attributes: Mapping[str, Any] = field(factory=dict)  # of the group, or of the person
    met: frozenset[str] = frozenset()  # names of the conditions that the household meets


@frozen
class Quote:
    """A policy's dates and contribution, in minor units; `counted` are positions of the members it counts.

    `subsidies`: what others owe for the household, (category, minor units).
    """

    starts: date
    ends: date
    last_payment: date
    counted: tuple[int, ...]
    value_minor: int
    subsidies: tuple[tuple[str, int], ...] = ()

    @property
    def subsidy_minor(self) -> int:
        return sum(minor for _, minor in self.subsidies)

    @property
    def due_minor(self) -> int:
        return self.value_minor - self.subsidy_minor


@frozen
class PaymentTerms:
    """How a policy takes contributions, and what follows it.

    `underpaid`: the state of a policy that is paid in part; `keeps_credit`: what is paid above the contribution is kept
    for what is due next; `conversion_package`: the package that a renewal takes instead of its own.
    """

    max_installments: int | None
    underpaid: Literal["idle", "active", "suspended"]
    grace_payment_months: int
    keeps_credit: bool = False
    conversion_package: str | None = None


@frozen
class ClaimCase:
    """What the scheme type's own fields of a claim name: the case (a number of the type's, such as an accident).

    `person` is whom the case is of: a claim for somebody else is refused.
    """

    case: int
    scheme: str
    person: int


@frozen
class WageCase:
    """A month's declared wage of one person. `class_`: the employer's sector or class of risk, if it has one."""

    terms: Any
    class_: str | None
    wage_minor: int
    currency: str


@frozen
class WageContribution:
    """What is owed for a month's wage, in minor units, by the parties that share it."""

    employee_minor: int
    employer_minor: int
    state_minor: int


@frozen
class FlatPackage:
    """A package as the rows that `line_terms_sql` and `package_limits_sql` would give for it, without the version.

    Columns by name, those of the selects; `items` has no row for what is not covered.
    """

    items: Sequence[Mapping[str, Any]]
    limits: Mapping[str, Any]


@frozen(kw_only=True)
class SchemeType:
    """A kind of scheme.

    `terms` is the attrs class of a package's terms; `check_terms` adds what types cannot say. `store_package` keeps
    parsed terms in the plugin's own tables, for many versions at once: `(context, [(version id, terms)])`.

    A type with coverages answers `enrolment` (a quote or a refusal per case), `payment_terms`, and
    `enrolment_conditions`: what terms must know of households and members to be quoted, which the kernel asks for once.
    A type that takes claims answers three selects, which the kernel joins once per statement:

    - `covers_sql(on, case)`: who is covered on the day `on` (a column): columns `scheme`, `cover_kind`, `cover`,
      `person`, `package_version`, `effective_from` (of the person in that cover). `case` is the column with the number
      of the `ClaimCase` that a claim names, null where it names none. It may add `effective_to` (the cover's last day,
      by default none) and `waits` (whether waiting periods hold, by default not).
    - `line_terms_sql()`: what a package pays for an item under a kind of cover: keyed by `package_version`,
      `cover_kind`, `item`, `visit_type`, `adult`; columns `price_origin` ('pricelist' | 'provider'),
      `fixed_limit_minor` (per unit; null: no fixed limit, 0: an unlimited one) and `share_micro` (percent x 10**6 that
      the scheme pays). It may add `waiting_months`, `max_provisions` (units per person and period of the cover) and
      `ceiling_exclusion` ('hospital' | 'non_hospital' | 'both').
    - `package_limits_sql()`: keyed by `package_version`, `cover_kind`; columns `deductible_level`,
      `deductible_general`, `deductible_inpatient`, `deductible_outpatient`, the same four with `ceiling_`, and
      `hospital_by_facility`
      (levels are 'treatment' | 'person' | 'policy' or null, a policy being the whole cover; amounts in minor units,
      null: none). It may add, null being none: `max_CATEGORY` (claims per person and period of the cover),
      `cap_CATEGORY` (minor units per claim), `extra_member_ceiling`, `max_policy_ceiling`, `threshold_members`, and
      `copayments` (jsonb: a list of objects with `name`, `condition` (criteria about a patient, or null),
      `percent_micro` or `amount_minor`).

    `flat_package(terms, currency, item ids by code)` gives the rows of these selects for terms that are not stored:
    what a simulation values past claims by.

    A type may widen `claims.submit`: the kernel adds the fields of the attrs class `claim_fields` to its input (all
    optional), gives those of a batch to `claim_cases(context, [fields])`, which answers a case or a refusal for each,
    and in the same transaction to `store_claims(context, [(claim, case)])`, which keeps them in the type's own table.
    `stored_cases(context, [claim])` gives them back by claim, when a rejected one is restored.

    `version_users` are tables of the plugin with a column `package_version`: a version that stands in one of them is in
    use and is not replaced.

    A type with contributions from wages says which terms have them (`has_wage_rates`) and computes them for a batch of
    declared wages (`wage_rates`).
    """

    name: str
    terms: type
    features: Mapping[str, bool] = field(factory=dict)
    check_terms: Callable[[Any, TermsCheck], Sequence[Problem]]
    item_codes: Callable[[Any], frozenset[str]] = field(default=lambda terms: frozenset())
    location_codes: Callable[[Any], frozenset[str]] = field(default=lambda terms: frozenset())
    store_package: Callable[[Context, Sequence[tuple[int, Any]]], None] | None = None
    enrolment: Callable[[Sequence[EnrolmentCase]], Sequence[Quote | Refusal]] | None = None
    enrolment_conditions: Callable[[Any], Sequence[Condition]] = field(default=lambda terms: ())
    payment_terms: Callable[[Any], PaymentTerms] | None = None
    covers_sql: Callable[[sa.ColumnElement[date], sa.ColumnElement[int]], sa.Select[Any]] | None = None
    line_terms_sql: Callable[[], sa.Select[Any]] | None = None
    package_limits_sql: Callable[[], sa.Select[Any]] | None = None
    flat_package: Callable[[Any, str, Mapping[str, int]], FlatPackage] | None = None
    version_users: tuple[sa.Table, ...] = ()
    has_wage_rates: Callable[[Any], bool] = field(default=lambda terms: False)
    wage_rates: Callable[[Sequence[WageCase]], Sequence[WageContribution]] | None = None
    frequency: Callable[[Any], Recurrence | None] | None = None  # of a package's cycles, from its terms
    claim_fields: type | None = None
    claim_cases: Callable[[Context, Sequence[Any]], Sequence[ClaimCase | Refusal]] | None = None
    store_claims: Callable[[Context, Sequence[tuple[int, int]]], None] | None = None
    stored_cases: Callable[[Context, Sequence[int]], Mapping[int, ClaimCase]] | None = None

    @property
    def has_coverages(self) -> bool:
        return self.enrolment is not None

    @property
    def takes_claims(self) -> bool:
        return self.covers_sql is not None
