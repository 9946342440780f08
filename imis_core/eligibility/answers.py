"""What a question about eligibility says, and what the answer says. Source: contract.md and contract-health.md."""

from __future__ import annotations

from datetime import date

from attrs import frozen

from imis_core.values import Money


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
    """A policy of the person. Deductible and ceiling have the scopes that the terms set.

    `balance` is what is still due, by `last_payment`, for an idle policy or an unpaid late joiner; null for others.
    """

    id: str
    scheme: str
    package: str
    status: str
    starts: date
    ends: date
    last_payment: date
    balance: Money | None = None
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
