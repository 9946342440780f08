"""The eligibility query: is a person covered on a day, by which policies, and what would items cost him or her.

Judged and valued by the functions that claims use (`lines`, `valuation`), so that what is allowed today, a claim of
today gets. It writes nothing but the log of exact look-ups.
Source: health_insurance.md 3, contract-health.md 'Names, answers and arguments'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.beneficiaries.tables import persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.benefit_packages.schemes import SchemeType
from imis_core.catalogue.lookup import ItemRow, resolve_items
from imis_core.context import Context
from imis_core.coverage.covers import COVERAGE_KIND, own_effective_from, suspended
from imis_core.coverage.lookup import COLUMNS, NOUN, Policy, package_codes, policy
from imis_core.coverage.states import ACTIVE, EXPIRED, IDLE, SUSPENDED, TERMINATED, state_on
from imis_core.coverage.tables import coverage_members, coverages
from imis_core.eligibility.lines import (
    NO_LIMITS,
    Cover,
    Limit,
    LimitsKey,
    LineTerms,
    PackageLimits,
    Prices,
    TermsKey,
    covers_on,
    is_adult,
    item_rejection,
    paying_cover,
    read_limits,
    read_prices,
    read_terms,
)
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.valuation import MILLI, NONE, LineColumns, value_lines
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.places.lookup import ProviderRow, resolve_providers
from imis_core.queries import query
from imis_core.values import THOUSANDTHS, Money

VISIT_TYPE: Final = "other"  # items are answered as if at a visit of no special kind
ANYWHERE: Final = "both"  # the care type where no facility is named
NOT_YET_EFFECTIVE: Final = "not_yet_effective"
NOT_CONTRACTED: Final = "provider_not_contracted"
NOT_ENROLLED: Final = "not_enrolled"


@frozen(kw_only=True)
class Check:
    number: str | None = None
    person: str | None = None
    scheme: str | None = None
    on: date | None = None
    provider: str | None = None
    items: tuple[str, ...] = ()


@frozen(kw_only=True)
class CountsLeft:
    """What is left of the counts of a policy period; None: unlimited."""

    hospitalisations: int | None = None
    visits: int | None = None
    consultations: int | None = None
    surgeries: int | None = None
    deliveries: int | None = None
    antenatal: int | None = None


@frozen(kw_only=True)
class CoverageAnswer:
    """A policy of the person. Deductible and ceiling have the scopes that the terms set."""

    id: str
    scheme: str
    package: str
    status: str
    starts: date
    ends: date
    last_payment: date
    counts_left: CountsLeft
    deductible_used: dict[str, Money]
    ceiling_left: dict[str, Money]


@frozen(kw_only=True)
class ItemAnswer:
    """What one unit of an item would cost. No amounts where the item has no price."""

    code: str
    allowed: bool
    reason: str | None
    quantity_left: str | None
    earliest: date | None
    scheme_pays: Money | None
    patient_pays: Money | None


@frozen(kw_only=True)
class Eligibility:
    eligible: bool
    reason: str | None
    coverages: tuple[CoverageAnswer, ...]
    items: tuple[ItemAnswer, ...]


@frozen
class _Standing:
    """A policy of the person as it stands on the day; `effective` is the person's own first day in it."""

    policy: Policy
    status: str
    effective: date | None


@frozen
class _Scheme:
    """What one scheme says of the person: covers of the day, and what their packages pay."""

    name: str
    currency: str
    covers: tuple[Cover, ...]
    terms: dict[TermsKey, LineTerms]
    limits: dict[LimitsKey, PackageLimits]
    prices: Prices


UsageKey = tuple[str, int, int, str]  # cover kind, cover, person (0: the whole cover), counter


@query("eligibility.check", input=Check, result=Eligibility, logs=True)
def check_eligibility(context: Context, asked: Check) -> Eligibility | Refusal:
    """Whether a person is covered on a day, by what, and what items would cost at a facility."""
    found = _named(context, asked)
    if isinstance(found, Refusal):
        return found
    person, provider, items = found
    schemes = _schemes(context, asked)
    if isinstance(schemes, Refusal):
        return schemes
    on = asked.on or context.today
    standings = _standings(context, person, list(schemes), on)
    answers = [_ask_scheme(context, name, kind, person, provider, items, on) for name, kind in schemes.items()]
    used = _usage(context, person, answers, standings)
    covered = {(c.kind, c.id) for answer in answers for c in answer.covers}
    reason = _reason(person, provider, on, bool(covered), standings)
    shown = [s for s in standings if (COVERAGE_KIND, s.policy.id) in covered]
    return Eligibility(
        eligible=reason is None,
        reason=reason,
        coverages=tuple(_coverages(context, person, shown or standings, answers, used)),
        items=tuple(_items(context, person, provider, items, on, reason, answers, used)),
    )


def _named(context: Context, asked: Check) -> tuple[PersonRow, ProviderRow | None, list[ItemRow]] | Refusal:
    """The person, the provider and the items that the question names."""
    if (asked.number is None) == (asked.person is None):
        return invalid(Problem("number", "required", "name one person: by `number`, or by `person`"))
    path, name = ("number", asked.number) if asked.number is not None else ("person", asked.person)
    assert name is not None
    person = resolve_persons(context, {name}, exact=True).get(name)
    if person is None:
        return not_found(path, "person", name)
    provider = None
    if asked.provider is not None:
        provider = resolve_providers(context, {asked.provider}).get(asked.provider)
        if provider is None:
            return not_found("provider", "provider", asked.provider)
    known = resolve_items(context, asked.items)
    for index, code in enumerate(asked.items):
        if code not in known:
            return not_found(f"items.{index}", "item", code)
    return person, provider, [known[code] for code in asked.items]


def _schemes(context: Context, asked: Check) -> dict[str, SchemeType] | Refusal:
    """The schemes that can cover somebody: the one asked for, or all."""
    if asked.scheme is None:
        kinds = {name: context.app.type_of(name) for name in context.settings.schemes}
        return {name: kind for name, kind in kinds.items() if kind.has_coverages or kind.takes_claims}
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    if not (kind.has_coverages or kind.takes_claims):
        message = f"the scheme {asked.scheme!r} ({kind.name}) covers nobody: it has neither coverages nor claims"
        return invalid(Problem("scheme", "no_coverages", message))
    return {asked.scheme: kind}


def _standings(context: Context, person: PersonRow, schemes: Sequence[str], on: date) -> list[_Standing]:
    """The person's policies as they stand on the day, in order of enrolment; without those terminated by then."""
    m = coverage_members.c
    rows = context.execute(
        # Who may see the person may see his or her policies: the scope is the person's.
        sa.select(
            *COLUMNS,
            own_effective_from().label("effective"),
            suspended(sa.literal(on, sa.Date)).label("paused"),
        )
        .join_from(coverage_members, coverages, coverages.c.id == m.coverage)
        .join(persons, persons.c.id == m.person)
        .where(
            m.person == person.id,
            context.scoped(persons),
            coverages.c.scheme == sa.any_(sa.literal(list(schemes), ARRAY(sa.Text))),
        )
        .order_by(coverages.c.id)
    )
    standings = []
    for row in rows:
        one = policy(row)
        if one.state == TERMINATED and (
            one.effective_from is None or one.terminated_on is None or one.terminated_on < on
        ):
            continue
        stored = one.state
        if one.effective_from is not None:
            stored = SUSPENDED if row.paused else ACTIVE  # as of the day, whatever it is now
            if row.effective is None:
                stored = IDLE  # a late joiner who is not paid for yet
        standings.append(_Standing(one, state_on(stored, one.ends, on), row.effective))
    return standings


def _reason(
    person: PersonRow, provider: ProviderRow | None, on: date, covered: bool, standings: Sequence[_Standing]
) -> str | None:
    """The first reason that applies, in the contract's order; None: eligible."""
    if provider is not None and not provider.contracted(on):
        return NOT_CONTRACTED
    if person.status != "active" or (person.death_date is not None and on > person.death_date):
        return NOT_ENROLLED
    if covered:
        return None
    statuses = {
        NOT_YET_EFFECTIVE if s.status == ACTIVE and s.effective is not None and on < s.effective else s.status
        for s in standings
    }
    return next((r for r in (NOT_YET_EFFECTIVE, SUSPENDED, IDLE, EXPIRED) if r in statuses), NOT_ENROLLED)


def _ask_scheme(
    context: Context, name: str, kind: SchemeType, person: PersonRow, provider: ProviderRow | None,
    items: Sequence[ItemRow], on: date,
) -> _Scheme:  # fmt: skip
    currency = context.settings.currency_of(name)
    covers = covers_on(context, kind, name, [(person.id, on, None)])[0]
    versions = {cover.package_version for cover in covers}
    ids = [item.id for item in items]
    return _Scheme(
        name,
        currency,
        covers,
        read_terms(context, kind, versions, ids) if ids else {},
        read_limits(context, kind, versions),
        read_prices(context, currency, [provider.id] if provider else [], ids),
    )


_USED: Final = sa.text(
    "SELECT u.cover_kind, u.cover, u.person, u.counter, u.used FROM core.cover_usage u "
    "JOIN unnest(CAST(:kinds AS text[]), CAST(:covers AS bigint[])) AS c(kind, cover) "
    "ON u.cover_kind = c.kind AND u.cover = c.cover WHERE u.person IN (0, :person)"
)


def _usage(
    context: Context, person: PersonRow, answers: Iterable[_Scheme], standings: Iterable[_Standing]
) -> dict[UsageKey, int]:
    """What has been used up of the person's covers: deductibles in thousandths of a minor unit, ceilings in units."""
    wanted = {(c.kind, c.id) for answer in answers for c in answer.covers}
    wanted |= {(COVERAGE_KIND, s.policy.id) for s in standings}
    if not wanted:
        return {}
    rows = context.execute(
        _USED, {"kinds": [k for k, _ in wanted], "covers": [c for _, c in wanted], "person": person.id}
    )
    return {(row.cover_kind, row.cover, row.person, row.counter): row.used for row in rows}


def _used(used: dict[UsageKey, int], limit: Limit, counter: str, kind: str, cover: int, person: int) -> int:
    """What is used up of a limit: nothing of a treatment's, this person's, or everyone's on the policy."""
    if limit.level == "treatment":
        return 0
    return used.get((kind, cover, person if limit.level == "person" else 0, counter), 0)


def _coverages(
    context: Context, person: PersonRow, standings: Sequence[_Standing], answers: Sequence[_Scheme],
    used: dict[UsageKey, int],
) -> list[CoverageAnswer]:  # fmt: skip
    limits: dict[LimitsKey, PackageLimits] = {}
    for scheme in {s.policy.scheme for s in standings}:
        versions = {s.policy.package_version for s in standings if s.policy.scheme == scheme}
        known = next((a.limits for a in answers if a.name == scheme), {})
        limits |= (
            known
            if versions <= {version for version, _ in known}
            else read_limits(context, context.app.type_of(scheme), versions)
        )
    codes = package_codes(context, {s.policy.package for s in standings})
    ids = context.ids.encode_all(NOUN, [s.policy.id for s in standings])
    return [
        CoverageAnswer(
            id=identity, scheme=s.policy.scheme, package=codes[s.policy.package], status=s.status,
            starts=s.policy.starts, ends=s.policy.ends, last_payment=s.policy.last_payment, counts_left=CountsLeft(),
            deductible_used=_deductible_used(s.policy, _limits_of(s.policy, limits), person, used),
            ceiling_left=_ceiling_left(s.policy, _limits_of(s.policy, limits), person, used),
        )
        for s, identity in zip(standings, ids, strict=True)
    ]  # fmt: skip


def _limits_of(one: Policy, limits: dict[LimitsKey, PackageLimits]) -> PackageLimits:
    return limits.get((one.package_version, COVERAGE_KIND), NO_LIMITS)


def _deductible_used(
    one: Policy, limits: PackageLimits, person: PersonRow, used: dict[UsageKey, int]
) -> dict[str, Money]:
    limit = limits.deductible
    if limit is None:
        return {}
    return {
        scope: Money(
            # Counters of deductibles keep thousandths; shown half up to the minor unit.
            (2 * _used(used, limit, f"deductible.{scope}", COVERAGE_KIND, one.id, person.id) + MILLI) // (2 * MILLI),
            one.currency,
        )
        for scope in limit.scopes()
    }


def _ceiling_left(one: Policy, limits: PackageLimits, person: PersonRow, used: dict[UsageKey, int]) -> dict[str, Money]:
    limit = limits.ceiling
    if limit is None:
        return {}
    return {
        scope: Money(
            max(0, amount - _used(used, limit, f"ceiling.{scope}", COVERAGE_KIND, one.id, person.id)), one.currency
        )
        for scope, amount in limit.scopes().items()
    }


@frozen
class _Line:
    """One item judged in one scheme; `paid` is the cover that pays and its terms, if it is allowed."""

    scheme: _Scheme
    item: ItemRow
    price: int | None
    rejection: Rejection | None
    paid: tuple[Cover, LineTerms] | None


def _items(
    context: Context, person: PersonRow, provider: ProviderRow | None, items: Sequence[ItemRow], on: date,
    reason: str | None, answers: Sequence[_Scheme], used: dict[UsageKey, int],
) -> list[ItemAnswer]:  # fmt: skip
    if not answers:
        return [_item_answer(item.code, Rejection.NO_COVERAGE, None, 0, None) for item in items]
    adult = is_adult(person.birth_date, on, context.settings.deployment.age_of_majority)
    # Of several schemes the first that allows the item answers, else the first that covers the person.
    lines = []
    for item in items:
        judged = [_judge(scheme, item, person, provider, on, adult, reason) for scheme in answers]
        allowed = [line for line in judged if line.rejection is None]
        covering = [line for line in judged if line.scheme.covers]
        lines.append((allowed or covering or judged)[0])
    level = provider.level if provider else None
    paid = _value([line for line in lines if line.paid is not None], level, person, used)
    pays = iter(paid)
    return [
        _item_answer(
            line.item.code, line.rejection, line.price, next(pays) if line.paid is not None else 0, line.scheme.currency
        )
        for line in lines
    ]


def _judge(
    scheme: _Scheme, item: ItemRow, person: PersonRow, provider: ProviderRow | None, on: date, adult: bool,
    reason: str | None,
) -> _Line:  # fmt: skip
    """The checks that a claim's line would meet, in their order; at the facility's price, else the catalogue's."""
    catalogue = scheme.prices.catalogue(item.id, on)
    price = catalogue if provider is None else scheme.prices.at(provider.id, item.id, on)
    if reason is not None:
        inactive = person.status != "active" or (person.death_date is not None and on > person.death_date)
        rejection = Rejection.PERSON_INVALID if inactive else Rejection.NO_COVERAGE
        return _Line(scheme, item, price, rejection, None)
    care_type = provider.care_type if provider else ANYWHERE
    refused = item_rejection(item, price, care_type, False, person.sex, adult)
    paid = paying_cover(scheme.covers, scheme.terms, item.id, VISIT_TYPE, adult, price)
    if refused is None and paid is None:
        refused = Rejection.NOT_COVERED
    return _Line(scheme, item, price, refused, paid if refused is None else None)


def _value(
    lines: Sequence[_Line], facility_level: str | None, person: PersonRow, used: dict[UsageKey, int]
) -> list[int]:
    """What the scheme pays for one unit of each item, in minor units: each line with counters of its own."""
    deductibles = _Pools(MILLI)
    ceilings = _Pools(1)
    for line in lines:
        assert line.paid is not None
        cover = line.paid[0]
        limits = line.scheme.limits.get((cover.package_version, cover.kind), NO_LIMITS)
        hospital = limits.is_hospital_case(False, facility_level)
        deductibles.add("deductible", limits.deductible, hospital, cover, person, used)
        ceilings.add("ceiling", limits.ceiling, hospital, cover, person, used)
    terms = [line.paid[1] for line in lines if line.paid is not None]
    columns = LineColumns(
        _ints([THOUSANDTHS] * len(lines)),
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
        self, name: str, limit: Limit | None, hospital: bool, cover: Cover, person: PersonRow, used: dict[UsageKey, int]
    ) -> None:
        scope = limit.scope(hospital) if limit else None
        if limit is None or scope is None:
            self.of_line.append(NONE)
            return
        self.of_line.append(len(self.limits))
        self.limits.append(scope[1] * self._unit)
        self.used.append(_used(used, limit, f"{name}.{scope[0]}", cover.kind, cover.id, person.id))


def _item_answer(
    code: str, rejection: Rejection | None, price: int | None, pays: int, currency: str | None
) -> ItemAnswer:
    known = price is not None and currency is not None
    return ItemAnswer(
        code=code,
        allowed=rejection is None,
        reason=None if rejection is None else rejection.label,
        quantity_left=None,  # unlimited: `max_provisions` is not computed yet, and refused in terms
        earliest=None,
        scheme_pays=Money(pays, currency) if currency is not None else None,
        patient_pays=Money(price - pays, currency) if known else None,  # type: ignore[operator, arg-type]
    )


def _ints(values: Sequence[int]) -> Any:
    return np.array(values, dtype=np.int64)


QUERIES = (check_eligibility,)
