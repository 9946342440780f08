"""The checks of submitted claims: 7, 9, 21 for the claim, then each line by `eligibility.judging`.

Prices, covers, terms and the persons' history are read at once for the whole batch (`prepare`), under the persons'
locks where counts or intervals matter; then claims are judged in the given order, each seeing the ones before it
(`Checking.judge`). Source: health_insurance.md 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from attrs import field, frozen

from imis_core.claims.entry import EnteredClaim
from imis_core.claims.payers import Payer
from imis_core.claims.states import CHECKED, REJECTED
from imis_core.context import Context
from imis_core.eligibility.copayments import Visit, matching_copayments
from imis_core.eligibility.covers import Cover, CoverKey, covers_on
from imis_core.eligibility.history import History, Needs, read_history
from imis_core.eligibility.judging import Case, judge, needs_of
from imis_core.eligibility.lines import is_adult
from imis_core.eligibility.members import DayOfCover, members_by_cover
from imis_core.eligibility.prices import Prices, read_prices
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.terms import LimitsKey, read_rules


@frozen
class LineVerdict:
    """A line after the checks; `payer` pays for it if it passed, `payers` are all that let it pass if several did."""

    rejection: Rejection | None
    quantity_thousandths: int
    list_price_minor: int | None
    payer: Payer | None = None
    payers: tuple[Payer, ...] = ()


@frozen
class Verdict:
    """A claim after the checks."""

    state: str
    rejection: Rejection | None
    adult: bool  # the patient on the target date, which decides limits by age
    lines: tuple[LineVerdict, ...]


@frozen
class _Prepared:
    """A claim before its lines are judged: what they share, and the prices of its scheme."""

    case: Case
    rejection: Rejection | None  # of the claim as a whole: 7, 9 or 21
    prices: Prices
    members: Mapping[CoverKey, int]  # of covers whose ceiling depends on them
    copayments: Mapping[LimitsKey, int]  # which holds, by package
    _payers: dict[CoverKey, Payer] = field(factory=dict)

    def payer(self, cover: Cover) -> Payer:
        """A cover as the lines keep it; made once for all of them."""
        key = cover.kind, cover.id
        found = self._payers.get(key)
        if found is None:
            copayment = self.copayments.get((cover.package_version, cover.kind))
            found = Payer(cover.kind, cover.id, cover.package_version, copayment, self.members.get(key))
            self._payers[key] = found
        return found


@frozen
class Checking:
    """A batch with everything that its verdicts need, the persons' history locked. Claims are known by position."""

    _prepared: dict[int, _Prepared]
    _histories: dict[str, History] = field(factory=dict)

    def adult(self, claim: EnteredClaim) -> bool:
        return self._prepared[claim.position].case.adult

    def judge(self, claims: Sequence[EnteredClaim]) -> list[Verdict]:
        """Verdicts in the given order; each claim sees the earlier ones of the batch that were not rejected."""
        return [_judge(claim, self._prepared[claim.position], self._histories[claim.scheme]) for claim in claims]


def prepare(context: Context, claims: Sequence[EnteredClaim]) -> Checking:
    """Read what the claims of a batch are judged by; a constant number of statements per scheme, then the history."""
    prepared: dict[int, _Prepared] = {}
    needs: dict[str, Needs] = {}
    for scheme in dict.fromkeys(claim.scheme for claim in claims):
        of_scheme = [claim for claim in claims if claim.scheme == scheme]
        needs[scheme] = Needs()
        for claim, one in zip(of_scheme, _prepare_scheme(context, scheme, of_scheme), strict=True):
            prepared[claim.position] = one
            if one.rejection is None:
                for line in claim.lines:
                    needs_of(one.case, line.item, needs[scheme])
    return Checking(prepared, read_history(context, needs, lock=True))


def _prepare_scheme(context: Context, scheme: str, claims: Sequence[EnteredClaim]) -> list[_Prepared]:
    kind = context.app.type_of(scheme)
    claimed = {line.item.id: line.item for claim in claims for line in claim.lines}
    currency = context.settings.currency_of(scheme)
    prices = read_prices(context, currency, (c.provider.id for c in claims), claimed.values())
    covers = covers_on(context, kind, scheme, [(c.person.id, c.target_date, c.case) for c in claims])
    versions = {cover.package_version for found in covers for cover in found}
    terms, limits = read_rules(context, kind, versions, claimed)
    of_day = [[(cover, c.target_date) for cover in found] for c, found in zip(claims, covers, strict=True)]
    members = members_by_cover(context, kind, limits, [one for found in of_day for one in found])
    visits = [_visit(claim) for claim in claims]
    copayments = matching_copayments(context, limits, list(zip(visits, covers, strict=True)))
    adult_age = context.settings.deployment.age_of_majority
    return [
        _Prepared(
            Case(
                claim.person.id, claim.person.sex, is_adult(claim.person.birth_date, claim.target_date, adult_age),
                claim.target_date, claim.overnight, claim.visit_type, claim.category, claim.provider.care_type, found,
                terms, limits,
            ),
            _claim_rejection(claim, found),
            prices,
            _members_of(found, claim.target_date, members) if members else {},
            copayment,
        )
        for claim, found, copayment in zip(claims, covers, copayments, strict=True)
    ]  # fmt: skip


def _visit(claim: EnteredClaim) -> Visit:
    provider = claim.provider
    return Visit(
        claim.person.id, claim.target_date, claim.visit_type, claim.category, claim.overnight, provider.level,
        provider.care_type, provider.location, provider.code,
    )  # fmt: skip


def _members_of(covers: Sequence[Cover], on: date, members: Mapping[DayOfCover, int]) -> dict[CoverKey, int]:
    return {(c.kind, c.id): members[c.kind, c.id, on] for c in covers if (c.kind, c.id, on) in members}


def _judge(claim: EnteredClaim, prepared: _Prepared, history: History) -> Verdict:
    case = prepared.case
    if prepared.rejection is not None:
        lines = tuple(LineVerdict(prepared.rejection, 0, None) for _ in claim.lines)
        return Verdict(REJECTED, prepared.rejection, case.adult, lines)
    judged = []
    approved: dict[int, int] = {}  # by item: earlier lines of the claim count for provisions, never for frequency
    for line in claim.lines:
        listed = prepared.prices.at(claim.provider.id, line.item.id, claim.target_date)
        earlier = approved.get(line.item.id, 0)
        found = judge(case, line.item, line.quantity_thousandths, listed, line.price_minor, history, earlier)
        if found.rejection is None:
            approved[line.item.id] = earlier + found.quantity_thousandths
        payer = None if found.paid is None else prepared.payer(found.paid[0])
        several = found.rejection is None and len(found.passed) > 1
        payers = tuple(prepared.payer(cover) for cover, _ in found.passed) if several else ()
        judged.append(LineVerdict(found.rejection, found.quantity_thousandths, listed, payer, payers))
    if not approved:
        return Verdict(REJECTED, Rejection.ALL_LINES_REJECTED, case.adult, tuple(judged))
    history.add_claim(case.person, case.category, case.on)
    for item, quantity in approved.items():
        history.add_given(case.person, item, case.on, quantity)
    return Verdict(CHECKED, None, case.adult, tuple(judged))


def _claim_rejection(claim: EnteredClaim, covers: Sequence[Cover]) -> Rejection | None:
    person = claim.person
    # Judged at the target date: treated alive and active and claimed later is accepted.
    if not person.valid_on(claim.target_date):
        return Rejection.PERSON_INVALID
    if claim.claimed_on < claim.from_date:
        return Rejection.TARGET_DATE
    return None if covers else Rejection.NO_COVERAGE
