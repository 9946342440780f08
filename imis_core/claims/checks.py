"""The checks of submitted claims, in the order of the rules: 7, 9, 21 for the claim; 2, 10, 4, 3 per line.

Judged over the whole batch from prices, covers and terms that were read at once. Source: health_insurance.md 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from imis_core.claims.entry import EnteredClaim
from imis_core.claims.states import CHECKED, REJECTED
from imis_core.context import Context
from imis_core.eligibility.lines import (
    Cover,
    LineTerms,
    Prices,
    TermsKey,
    covers_on,
    is_adult,
    item_rejection,
    paying_cover,
    read_prices,
    read_terms,
)
from imis_core.eligibility.rejections import Rejection


@frozen
class LineVerdict:
    """A line after the checks; `cover` pays for it if it passed."""

    rejection: Rejection | None
    quantity_thousandths: int
    list_price_minor: int | None
    cover: Cover | None


@frozen
class Verdict:
    """A claim after the checks."""

    state: str
    rejection: Rejection | None
    adult: bool  # the patient on the target date, which decides limits by age
    lines: tuple[LineVerdict, ...]


def check(context: Context, claims: Sequence[EnteredClaim]) -> list[Verdict]:
    """Verdicts of a batch, in order; a constant number of statements per scheme."""
    verdicts: dict[int, Verdict] = {}
    for scheme in dict.fromkeys(claim.scheme for claim in claims):
        of_scheme = [claim for claim in claims if claim.scheme == scheme]
        for claim, verdict in zip(of_scheme, _check_scheme(context, scheme, of_scheme), strict=True):
            verdicts[claim.position] = verdict
    return [verdicts[claim.position] for claim in claims]


def _check_scheme(context: Context, scheme: str, claims: Sequence[EnteredClaim]) -> list[Verdict]:
    kind = context.app.type_of(scheme)
    items = {line.item.id for claim in claims for line in claim.lines}
    prices = read_prices(context, context.settings.currency_of(scheme), (c.provider.id for c in claims), items)
    covers = covers_on(context, kind, scheme, [(c.person.id, c.target_date, c.case) for c in claims])
    terms = read_terms(context, kind, {cover.package_version for found in covers for cover in found}, items)
    adult_age = context.settings.deployment.age_of_majority
    return [_judge(claim, found, prices, terms, adult_age) for claim, found in zip(claims, covers, strict=True)]


def _judge(
    claim: EnteredClaim, covers: Sequence[Cover], prices: Prices, terms: Mapping[TermsKey, LineTerms], adult_age: int
) -> Verdict:
    adult = is_adult(claim.person.birth_date, claim.target_date, adult_age)
    whole = _claim_rejection(claim, covers)
    if whole is not None:
        lines = tuple(LineVerdict(whole, 0, None, None) for _ in claim.lines)
        return Verdict(REJECTED, whole, adult, lines)
    judged = []
    for line in claim.lines:
        listed = prices.at(claim.provider.id, line.item.id, claim.target_date)
        rejection = item_rejection(
            line.item, listed, claim.provider.care_type, claim.overnight, claim.person.sex, adult
        )
        paid = paying_cover(covers, terms, line.item.id, claim.visit_type, adult, listed, line.price_minor)
        if rejection is None and paid is None:
            rejection = Rejection.NOT_COVERED
        if rejection is None and paid is not None:
            judged.append(LineVerdict(None, line.quantity_thousandths, listed, paid[0]))
        else:
            judged.append(LineVerdict(rejection, 0, listed, None))
    if all(line.rejection is not None for line in judged):
        return Verdict(REJECTED, Rejection.ALL_LINES_REJECTED, adult, tuple(judged))
    return Verdict(CHECKED, None, adult, tuple(judged))


def _claim_rejection(claim: EnteredClaim, covers: Sequence[Cover]) -> Rejection | None:
    person = claim.person
    # A dead person is judged at the target date: treated alive and claimed later is accepted.
    if person.status != "active" or (person.death_date is not None and claim.target_date > person.death_date):
        return Rejection.PERSON_INVALID
    if claim.claimed_on < claim.from_date:
        return Rejection.TARGET_DATE
    return None if covers else Rejection.NO_COVERAGE
