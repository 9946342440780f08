"""The eligibility query: is a person covered on a day, by which policies, and what would items cost him or her.

Items are answered by `items`, policies by `standing` and by what claims have used up. It writes nothing but the log of
exact look-ups.
Source: health_insurance.md 3, contract-health.md 'Names, answers and arguments'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.benefit_packages.schemes import SchemeType
from imis_core.cards.showing import number_of_card
from imis_core.catalogue.lookup import ItemRow, resolve_items
from imis_core.context import Context
from imis_core.coverage.covers import COVERAGE_KIND
from imis_core.coverage.lookup import NOUN
from imis_core.coverage.paid import Paid, paid_for
from imis_core.coverage.states import IDLE
from imis_core.eligibility.answers import Check, CountsLeft, CoverageAnswer, Eligibility
from imis_core.eligibility.copayments import matching_copayments
from imis_core.eligibility.covers import covers_on
from imis_core.eligibility.history import History, Needs, read_history
from imis_core.eligibility.items import Asked, ItemKey, Members, SchemeRules, answer_items, needs_of_items
from imis_core.eligibility.members import DayOfCover, members_by_cover
from imis_core.eligibility.prices import read_prices
from imis_core.eligibility.standing import Standing, reason_of, standings_on
from imis_core.eligibility.terms import NO_LIMITS, LimitsKey, PackageLimits, read_limits, read_rules
from imis_core.eligibility.usage import UsageKey, read_usage, used_of
from imis_core.eligibility.valuation import MILLI
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.places.lookup import ProviderRow, resolve_providers
from imis_core.queries import query
from imis_core.values import Money

# Names of the counts in an answer, by the category of claims that each counts.
COUNTS: Final = {
    "hospitalisations": "hospitalisation", "visits": "visit", "consultations": "consultation", "surgeries": "surgery",
    "deliveries": "delivery", "antenatal": "antenatal",
}  # fmt: skip


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
    standings = standings_on(context, person, list(schemes), on)
    rules = [_rules(context, name, kind, person, provider, items, on) for name, kind in schemes.items()]
    covered = {(c.kind, c.id) for of_scheme in rules for c in of_scheme.covers}
    reason = reason_of(person, provider, on, bool(covered), standings)
    shown = [s for s in standings if (COVERAGE_KIND, s.policy.id) in covered] or standings
    limits = _limits(context, shown, rules)
    used = read_usage(context, covered | {(COVERAGE_KIND, s.policy.id) for s in standings}, person.id)
    question = Asked(person, provider, on, context.settings.deployment.age_of_majority, reason)
    histories = _histories(context, question, rules, items, shown, limits)
    members = _members(context, rules, on)
    copayments = {} if reason is not None else _copayments(context, question, rules, items)
    return Eligibility(
        eligible=reason is None,
        reason=reason,
        coverages=tuple(_coverages(context, question, shown, limits, used, histories, members)),
        items=tuple(answer_items(question, rules, items, histories, used, members, copayments)),
    )


def _named(context: Context, asked: Check) -> tuple[PersonRow, ProviderRow | None, list[ItemRow]] | Refusal:
    """The person, the provider and the items that the question names."""
    named = [(path, name) for path in ("number", "person", "card") if (name := getattr(asked, path)) is not None]
    if len(named) != 1:
        return invalid(Problem("number", "required", "name one person: by `number`, by `person`, or by `card`"))
    path, name = named[0]
    if path == "card":
        name = number_of_card(context, name)
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


def _rules(
    context: Context, name: str, kind: SchemeType, person: PersonRow, provider: ProviderRow | None,
    items: Sequence[ItemRow], on: date,
) -> SchemeRules:  # fmt: skip
    currency = context.settings.currency_of(name)
    covers = covers_on(context, kind, name, [(person.id, on, None)])[0]
    versions = {cover.package_version for cover in covers}
    ids = [item.id for item in items]
    terms, limits = read_rules(context, kind, versions, ids)
    return SchemeRules(
        name,
        currency,
        covers,
        terms,
        limits,
        read_prices(context, currency, [provider.id] if provider else [], items),
    )


def _limits(
    context: Context, standings: Sequence[Standing], rules: Sequence[SchemeRules]
) -> dict[LimitsKey, PackageLimits]:
    """The limits of the policies that are shown: known already if they cover the person, else read."""
    limits: dict[LimitsKey, PackageLimits] = {}
    for scheme in {s.policy.scheme for s in standings}:
        versions = {s.policy.package_version for s in standings if s.policy.scheme == scheme}
        known = next((r.limits for r in rules if r.name == scheme), {})
        missing = versions - {version for version, _ in known}
        limits |= known
        if missing:
            limits |= read_limits(context, context.app.type_of(scheme), missing)
    return limits


def _limits_of(one: Standing, limits: Mapping[LimitsKey, PackageLimits]) -> PackageLimits:
    return limits.get((one.policy.package_version, COVERAGE_KIND), NO_LIMITS)


def _histories(
    context: Context, asked: Asked, rules: Sequence[SchemeRules], items: Sequence[ItemRow],
    standings: Sequence[Standing], limits: Mapping[LimitsKey, PackageLimits],
) -> dict[str, History]:  # fmt: skip
    """What the person had before, as far as items and counts need it."""
    needs = {of_scheme.name: Needs() for of_scheme in rules}
    if asked.reason is None:
        for of_scheme in rules:
            needs_of_items(asked, of_scheme, items, needs[of_scheme.name])
    for one in standings:
        counts = _limits_of(one, limits).counts
        if counts and one.effective is not None:
            of_policy = needs[one.policy.scheme]
            of_policy.add_days(asked.person.id, one.effective, one.last_day)
            of_policy.categories.update(counts)
    return read_history(context, needs, lock=False)


def _members(context: Context, rules: Sequence[SchemeRules], on: date) -> Members:
    """How many persons the policies of the day cover, where a ceiling depends on it."""
    found: dict[DayOfCover, int] = {}
    for of_scheme in rules:
        kind = context.app.type_of(of_scheme.name)
        found |= members_by_cover(context, kind, of_scheme.limits, [(cover, on) for cover in of_scheme.covers])
    return found


def _copayments(
    context: Context, asked: Asked, rules: Sequence[SchemeRules], items: Sequence[ItemRow]
) -> dict[ItemKey, dict[LimitsKey, int]]:
    """Which co-payment holds for each item in each scheme; at most one statement for a scheme whose terms have some."""
    found: dict[ItemKey, dict[LimitsKey, int]] = {}
    for one in rules:
        matching = matching_copayments(context, one.limits, [(asked.visit(item), one.covers) for item in items])
        found |= {(one.name, item.id): of_item for item, of_item in zip(items, matching, strict=True)}
    return found


def _coverages(
    context: Context, asked: Asked, standings: Sequence[Standing], limits: Mapping[LimitsKey, PackageLimits],
    used: Mapping[UsageKey, int], histories: Mapping[str, History], members: Members,
) -> list[CoverageAnswer]:  # fmt: skip
    if not standings:
        return []
    person = asked.person
    ids = context.ids.encode_all(NOUN, [s.policy.id for s in standings])
    paid = paid_for(context, (s.policy.id for s in standings if s.status == IDLE))  # the covered owe nothing here
    return [
        CoverageAnswer(
            id=identity, scheme=s.policy.scheme, package=s.package, status=s.status,
            starts=s.policy.starts, ends=s.policy.ends, last_payment=s.policy.last_payment,
            balance=_balance(s, paid),
            counts_left=_counts_left(s, _limits_of(s, limits), person, histories[s.policy.scheme]),
            deductible_used=_deductible_used(s, _limits_of(s, limits), person, used),
            ceiling_left=_ceiling_left(
                s, _limits_of(s, limits), person, used, members.get((COVERAGE_KIND, s.policy.id, asked.on), 0)
            ),
        )
        for s, identity in zip(standings, ids, strict=True)
    ]  # fmt: skip


def _balance(one: Standing, paid: Mapping[int, Paid]) -> Money | None:
    if one.status != IDLE:
        return None
    return Money(one.policy.due_minor - paid.get(one.policy.id, Paid()).minor, one.policy.currency)


def _counts_left(one: Standing, limits: PackageLimits, person: PersonRow, history: History) -> CountsLeft:
    left: dict[str, int | None] = {}
    for name, category in COUNTS.items():
        most = limits.counts.get(category)
        if most is None or one.effective is None:
            left[name] = most
        else:
            left[name] = max(0, most - history.claims_within(person.id, category, one.effective, one.last_day))
    return CountsLeft(**left)


def _deductible_used(
    one: Standing, limits: PackageLimits, person: PersonRow, used: Mapping[UsageKey, int]
) -> dict[str, Money]:
    limit = limits.deductible
    if limit is None:
        return {}
    return {
        scope: Money(
            # Counters of deductibles keep thousandths; shown half up to the minor unit.
            (2 * used_of(used, limit, f"deductible.{scope}", COVERAGE_KIND, one.policy.id, person.id) + MILLI)
            // (2 * MILLI),
            one.policy.currency,
        )
        for scope in limit.scopes()
    }


def _ceiling_left(
    one: Standing, limits: PackageLimits, person: PersonRow, used: Mapping[UsageKey, int], members: int
) -> dict[str, Money]:
    """With the members who are covered on the day; a policy that covers nobody then shows its base."""
    limit = limits.ceiling
    if limit is None:
        return {}
    return {
        scope: Money(
            max(
                0,
                limits.ceiling_of(amount, members)
                - used_of(used, limit, f"ceiling.{scope}", COVERAGE_KIND, one.policy.id, person.id),
            ),
            one.policy.currency,
        )
        for scope, amount in limit.scopes().items()
    }


QUERIES = (check_eligibility,)
