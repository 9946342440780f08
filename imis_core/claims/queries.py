"""What can be asked of claims: one claim with the steps of each line, and listings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import persons
from imis_core.catalogue.tables import diagnoses
from imis_core.claims.inputs import ShowClaim, ShownClaim, ShownLine, Step
from imis_core.claims.patients import numbers_of, of_person
from imis_core.claims.states import NAMES, NUMBERS, VOID_NUMBERS
from imis_core.claims.tables import claim_current, claim_feedback, claim_reviews, claim_states, claim_valuations, claims
from imis_core.claims.verdicts import LINES_IN_FORCE, QUANTITY, REJECTION
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.eligibility.rejections import Rejection
from imis_core.eligibility.valuation import MILLI
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.places.tables import providers
from imis_core.queries import Listing, query
from imis_core.users.lookup import user_names
from imis_core.values import Money, thousandths_text

_SECONDARY: Final = (
    "(SELECT array_agg(d.code ORDER BY s.n) FROM unnest(claims.secondary) WITH ORDINALITY AS s(id, n)"
    " JOIN core.diagnoses d ON d.id = s.id)"
)
_HEAD: Final = (
    sa.select(
        claims,
        claim_current.c.state,
        claim_current.c.version,
        sa.literal_column(_SECONDARY).label("secondary_codes"),
        claim_states.c.rejection,
        claim_states.c.reason,
        claim_current.c.review,
        claim_current.c.awaits_review,
        sa.literal_column("(SELECT code FROM core.claims o WHERE o.id = claims.restored_from)").label("origin"),
        sa.literal_column(
            "(SELECT code FROM core.claims s WHERE s.restored_from = claims.id ORDER BY s.id DESC LIMIT 1)"
        ).label("successor"),
        claim_feedback.c.care_given,
        claim_reviews.c.reviewer,
        claim_reviews.c.reviewed_at,
        claim_valuations.c.approved_minor,
        claim_valuations.c.payable_minor,
        providers.c.code.label("provider_code"),
        persons.c.number,
        diagnoses.c.code.label("diagnosis_code"),
    )
    .join(claim_current, claim_current.c.claim == claims.c.id)
    .join(
        claim_states,
        sa.and_(claim_states.c.claim == claims.c.id, claim_states.c.version == claim_current.c.version),
    )
    .outerjoin(
        claim_valuations,
        sa.and_(claim_valuations.c.claim == claims.c.id, claim_valuations.c.valuation == claim_current.c.valuation),
    )
    .outerjoin(
        claim_reviews, sa.and_(claim_reviews.c.claim == claims.c.id, claim_reviews.c.review == claim_current.c.review)
    )
    .outerjoin(claim_feedback, claim_feedback.c.claim == claims.c.id)
    .join(providers, providers.c.id == claims.c.provider)
    .outerjoin(persons, persons.c.id == claims.c.person)
    .join(diagnoses, diagnoses.c.id == claims.c.diagnosis)
)
_LINES: Final = sa.text(
    f"""
    SELECT l.claim, l.line, i.code, i.kind, l.quantity_thousandths AS asked_thousandths, l.price_minor,
           {REJECTION} AS rejection, {QUANTITY} AS quantity_thousandths, v.justification, r.unit_price_minor,
           r.limited_milli, r.deducted_milli, r.copaid_minor, r.shared_minor, r.capped_minor, r.above_ceiling_minor,
           r.payable_minor
    FROM {LINES_IN_FORCE} JOIN core.claim_lines l ON l.claim = k.claim AND l.line = k.line
    JOIN core.items i ON i.id = l.item
    LEFT JOIN core.claim_results r ON r.claim = l.claim AND r.line = l.line AND r.valuation = t.valuation
    WHERE l.claim = ANY(:claims) ORDER BY l.claim, l.line
    """
)


@query("claims.show", input=ShowClaim, result=ShownClaim)
def show(context: Context, asked: ShowClaim) -> ShownClaim | Refusal:
    """A claim with its lines: what was rejected and why, what was paid and by which steps."""
    return show_claim(context, asked.claim)


def show_claim(context: Context, name: str) -> ShownClaim | Refusal:
    """A claim in full, by code or id, as far as the caller sees it."""
    number = context.ids.decode("claims", name)
    by_name = claims.c.code == name if number is None else claims.c.id == number
    row = context.execute(_HEAD.where(by_name, context.scoped(claims))).first()
    if row is None:
        return not_found("claim", "claim", name)
    return _shown(context, [row])[0]


def shown_claims(context: Context, numbers: Iterable[int]) -> dict[int, ShownClaim]:
    """Claims in full by number, for a command that changed them; the caller of this saw to the scope."""
    wanted = sorted(numbers)
    if not wanted:
        return {}
    of_claims = any_of(wanted)
    rows = context.execute(_HEAD.where(claims.c.id == of_claims, context.scoped(claims))).all()
    return {row.id: claim for row, claim in zip(rows, _shown(context, rows), strict=True)}


def _shown(context: Context, rows: Sequence[Any]) -> list[ShownClaim]:
    """Claims in full, in order; one statement for the lines of all."""
    lines: dict[int, list[Any]] = {}
    numbers = numbers_of(context, rows)
    reviewers = user_names(context, [row.reviewer for row in rows if row.reviewer is not None])
    for line in context.execute(_LINES, {"claims": [row.id for row in rows]}):
        lines.setdefault(line.claim, []).append(line)
    return [
        ShownClaim(
            **_head(row, identity, numbers),
            provider_id=provider,
            person_id=person,
            claimed_on=row.claimed_on,
            visit_type=row.visit_type,
            secondary=tuple(row.secondary_codes or ()),
            currency=row.currency,
            version=row.version,
            rejection_code=_rejection(row.rejection)[1],
            lines=tuple(_line(line, row.currency) for line in lines.get(row.id, ())),
            reason=row.reason,
            restored_from=row.origin,
            restored_as=row.successor,
            awaits_review=row.awaits_review,
            reviewed_by=reviewers.get(row.reviewer),
            reviewed_at=row.reviewed_at,
            care_given=row.care_given,
        )
        for row, identity, provider, person in zip(
            rows,
            context.ids.encode_all("claims", [row.id for row in rows]),
            context.ids.encode_all("providers", [row.provider for row in rows]),
            context.ids.encode_all("persons", [row.person for row in rows]),
            strict=True,
        )
    ]


def _head(row: Any, identity: str, numbers: Mapping[int, str]) -> dict[str, Any]:
    """What listings and single claims tell alike."""
    return {
        "id": identity,
        "code": row.code,
        "scheme": row.scheme,
        "provider": row.provider_code,
        "number": numbers[row.person],
        "from_": row.from_date,
        "to": row.to_date,
        "diagnosis": row.diagnosis_code,
        "category": row.category,
        "status": NAMES[row.state],
        "rejection": _rejection(row.rejection)[0],
        "claimed": Money(row.claimed_minor, row.currency),
        "approved": _amount(row, row.approved_minor),
        "payable": _amount(row, row.payable_minor),
    }


def _rejection(number: int | None) -> tuple[str | None, int | None]:
    return (None, None) if number is None else (Rejection(number).label, number)


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)


def _amount(row: Any, minor: int | None) -> Money | None:
    """An amount of a claim: nothing is paid for a rejected or withdrawn one, and one in waiting has none yet."""
    return Money(0, row.currency) if row.state in VOID_NUMBERS else _money(minor, row.currency)


def _whole(milli: int) -> int:
    return (2 * milli + MILLI) // (2 * MILLI)


def _line(row: Any, currency: str) -> ShownLine:
    name, code = _rejection(row.rejection)
    valued = row.payable_minor is not None
    return ShownLine(
        line=row.line,
        item=row.code,
        kind=row.kind,
        quantity=thousandths_text(row.asked_thousandths),
        price=Money(row.price_minor, currency),
        claimed=Money(_whole(row.asked_thousandths * row.price_minor), currency),
        status="passed" if row.rejection is None else "rejected",
        rejection=name,
        rejection_code=code,
        quantity_approved=thousandths_text(row.quantity_thousandths),
        unit_price=_money(row.unit_price_minor, currency),
        deducted=Money(_whole(row.deducted_milli), currency) if valued else None,
        above_ceiling=_money(row.above_ceiling_minor, currency),
        payable=_money(row.payable_minor if row.rejection is None else 0, currency),
        steps=_steps(row, currency) if valued else (),
        justification=row.justification,
    )


def _steps(row: Any, currency: str) -> tuple[Step, ...]:
    """Every step of the rules in its order, each with the amount after it (contract-health.md)."""
    after = {
        "price": _whole(row.quantity_thousandths * row.unit_price_minor),
        "limit": _whole(row.limited_milli),
        "deductible": _whole(row.limited_milli - row.deducted_milli),
        "coinsurance": row.shared_minor + row.copaid_minor,
        "copayment": row.shared_minor,
        "category_cap": row.shared_minor - row.capped_minor,
        "ceiling": row.payable_minor,
    }
    return tuple(Step(name=name, amount=Money(amount, currency)) for name, amount in after.items())


@frozen(kw_only=True)
class ListClaims:
    """`provider` by code or id, `person` by id or number; `number`: the person's."""

    id: str | None = None
    code: str | None = None
    scheme: str | None = None
    provider: str | None = None
    person: str | None = None
    number: str | None = None
    status: str | None = None
    from_: date | None = None
    to: date | None = None


@frozen(kw_only=True)
class ListedClaim:
    id: str
    code: str
    scheme: str
    provider: str
    number: str
    from_: date
    to: date
    diagnosis: str
    category: str
    status: str
    rejection: str | None
    claimed: Money
    approved: Money | None
    payable: Money | None


@query("claims.list", input=ListClaims, result=ListedClaim, listing=True)
def list_claims(context: Context, asked: ListClaims) -> Listing | Refusal:
    """Claims by scheme, provider, person, status and target date, in order of submission."""
    select = _listed(context, asked)
    if isinstance(select, Refusal):
        return select

    own = context.caller

    def build(rows: Sequence[Any]) -> list[ListedClaim]:
        context.caller = own  # each page looks up its own patients
        ids = context.ids.encode_all("claims", [row.id for row in rows])
        numbers = numbers_of(context, rows)
        return [ListedClaim(**_head(row, identity, numbers)) for identity, row in zip(ids, rows, strict=True)]

    return Listing(select, (claims.c.id,), build, _SORTABLE)


@query("claims.list_in_full", input=ListClaims, result=ShownClaim, listing=True, permission="claims.show")
def list_in_full(context: Context, asked: ListClaims) -> Listing | Refusal:
    """Claims as `claims.show` tells them, with their lines, in order of submission."""
    select = _listed(context, asked)
    if isinstance(select, Refusal):
        return select
    own = context.caller

    def build(rows: Sequence[Any]) -> list[ShownClaim]:
        context.caller = own  # each page looks up its own patients
        return _shown(context, rows)

    return Listing(select, (claims.c.id,), build, _SORTABLE)


_SORTABLE: Final = {"code": claims.c.code, "target_date": claims.c.target_date}


def _listed(context: Context, asked: ListClaims) -> sa.Select[Any] | Refusal:
    """The claims that are asked for, as far as the caller sees them."""
    select = _HEAD.where(context.scoped(claims))
    if asked.id is not None:
        number = context.ids.decode("claims", asked.id)
        select = select.where(sa.false() if number is None else claims.c.id == number)
    if asked.code is not None:
        select = select.where(claims.c.code == asked.code)
    if asked.scheme is not None:
        select = select.where(claims.c.scheme == asked.scheme)
    if asked.provider is not None:
        of_provider = context.ids.decode("providers", asked.provider)
        select = select.where(sa.or_(providers.c.code == asked.provider, claims.c.provider == of_provider))
    for name in (asked.person, asked.number):
        if name is not None:
            select = select.where(of_person(context, name))
    if asked.status is not None:
        if asked.status not in NUMBERS:
            message = f"expected one of {', '.join(NUMBERS)}{suggestion(asked.status, NUMBERS)}"
            return invalid(Problem("status", "choice", message))
        select = select.where(claim_current.c.state == NUMBERS[asked.status])
    if asked.from_ is not None:
        select = select.where(claims.c.target_date >= asked.from_)
    if asked.to is not None:
        select = select.where(claims.c.target_date <= asked.to)
    return select


QUERIES = (show, list_claims, list_in_full)
