"""What can be asked of medical reviews: the list of claims that wait for one, and of those that had theirs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import persons
from imis_core.catalogue.tables import diagnoses
from imis_core.claims.states import NAMES
from imis_core.claims.tables import claim_current, claim_reviews, claim_selections, claims
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.places.tables import providers
from imis_core.queries import Listing, query
from imis_core.users.lookup import user_names
from imis_core.values import Money


@frozen(kw_only=True)
class ListReviews:
    """`status`: waiting for a review, or reviewed; `reason`: why they were chosen; `provider` by code."""

    status: Literal["waiting", "reviewed"] = "waiting"
    scheme: str | None = None
    reason: str | None = None
    provider: str | None = None


@frozen(kw_only=True)
class ListedReview:
    """`reasons` are why the claim was chosen, none for one that was reviewed without; `notes` those of a hand."""

    id: str
    code: str
    scheme: str
    provider: str
    number: str
    from_: date
    to: date
    diagnosis: str
    category: str
    claimed: Money
    status: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    reviewed_by: str | None
    reviewed_at: datetime | None


@query("claims.reviews", input=ListReviews, result=ListedReview, listing=True)
def list_reviews(context: Context, asked: ListReviews) -> Listing:
    """Claims that wait for their medical review, or that had it, in order of submission."""
    reviewed = sa.and_(claim_reviews.c.claim == claims.c.id, claim_reviews.c.review == claim_current.c.review)
    select = (
        sa.select(
            claims, claim_current.c.state, providers.c.code.label("provider_code"), persons.c.number,
            diagnoses.c.code.label("diagnosis_code"), claim_reviews.c.reviewer, claim_reviews.c.reviewed_at,
        )
        .join(claim_current, claim_current.c.claim == claims.c.id)
        .outerjoin(claim_reviews, reviewed)
        .join(providers, providers.c.id == claims.c.provider)
        .outerjoin(persons, persons.c.id == claims.c.person)
        .join(diagnoses, diagnoses.c.id == claims.c.diagnosis)
        .where(
            context.scoped(claims),
            claim_current.c.awaits_review if asked.status == "waiting" else claim_current.c.review > 0,
        )
    )  # fmt: skip
    if asked.scheme is not None:
        select = select.where(claims.c.scheme == asked.scheme)
    if asked.provider is not None:
        select = select.where(providers.c.code == asked.provider)
    if asked.reason is not None:
        chosen = sa.exists().where(claim_selections.c.claim == claims.c.id, claim_selections.c.reason == asked.reason)
        select = select.where(chosen)
    sortable = {"claimed": claims.c.claimed_minor, "target_date": claims.c.target_date, "code": claims.c.code}
    return Listing(select, (claims.c.id,), lambda rows: _built(context, rows), sortable)


def _built(context: Context, rows: Sequence[Any]) -> list[ListedReview]:
    numbers = [row.id for row in rows]
    chosen: dict[int, list[Any]] = {}
    selections = sa.select(claim_selections).where(claim_selections.c.claim == any_of(numbers))
    for selection in context.execute(selections.order_by(claim_selections.c.id)):
        chosen.setdefault(selection.claim, []).append(selection)
    reviewers = user_names(context, [row.reviewer for row in rows if row.reviewer is not None])
    return [
        ListedReview(
            id=identity, code=row.code, scheme=row.scheme, provider=row.provider_code, number=row.number or "",
            from_=row.from_date, to=row.to_date, diagnosis=row.diagnosis_code, category=row.category,
            claimed=Money(row.claimed_minor, row.currency), status=NAMES[row.state],
            reasons=tuple(dict.fromkeys(one.reason for one in chosen.get(row.id, ()))),
            notes=tuple(one.note for one in chosen.get(row.id, ()) if one.note is not None),
            reviewed_by=reviewers.get(row.reviewer), reviewed_at=row.reviewed_at,
        )
        for row, identity in zip(rows, context.ids.encode_all("claims", numbers), strict=True)
    ]  # fmt: skip


QUERIES: Final = (list_reviews,)
