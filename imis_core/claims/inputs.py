"""What a claim says when it comes in, and what the answer says. Source: contract.md and contract-health.md."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from attrs import frozen

from imis_core.values import Amount, Money, Quantity

VisitType = Literal["other", "referral", "emergency"]


@frozen(kw_only=True)
class LineInput:
    """`content`: of a bundle that is paid by it, what one of them held, by item; absent: what the catalogue says."""

    item: str
    quantity: Quantity
    price: Amount
    content: dict[str, Quantity] | None = None


@frozen(kw_only=True)
class SubmitClaim:
    """`number` or `person` names the patient; `scheme` may be left out where only one takes claims."""

    code: str
    scheme: str | None = None
    provider: str
    number: str | None = None
    person: str | None = None
    from_: date
    to: date | None = None
    claimed_on: date | None = None
    visit_type: VisitType = "other"
    diagnosis: str
    secondary: tuple[str, ...] = ()
    lines: tuple[LineInput, ...]


@frozen(kw_only=True)
class CheckedLine:
    item: str
    status: str
    rejection: str | None
    rejection_code: int | None
    quantity_approved: str


@frozen(kw_only=True)
class SubmittedClaim:
    id: str
    code: str
    status: str
    rejection: str | None
    rejection_code: int | None
    category: str
    claimed: Money
    lines: tuple[CheckedLine, ...]


@frozen(kw_only=True)
class ProcessClaims:
    scheme: str
    claims: tuple[str, ...] | None = None


@frozen(kw_only=True)
class ProcessedClaims:
    processed: int
    valuated: int
    rejected: int


@frozen(kw_only=True)
class ShowClaim:
    claim: str


@frozen(kw_only=True)
class Step:
    name: str
    amount: Money


@frozen(kw_only=True)
class ShownLine:
    """A line as it was claimed and as it was judged; `claimed` is quantity x price, rounded half up.

    `justification`: what the medical reviewer said of it.
    """

    line: int
    item: str
    kind: str
    quantity: str
    price: Money
    claimed: Money
    status: str
    rejection: str | None
    rejection_code: int | None
    quantity_approved: str
    unit_price: Money | None
    deducted: Money | None
    above_ceiling: Money | None
    payable: Money | None
    steps: tuple[Step, ...]
    justification: str | None = None


@frozen(kw_only=True)
class ShownClaim:
    """A claim in full; `version` counts the states that it has gone through.

    `reason`: of a withdrawal. `restored_from`: the rejected claim that this one was made anew from; `restored_as`: the
    last claim that was made anew from this one. `awaits_review`: chosen for medical review; `reviewed_by`: the user
    whose review is in force. `care_given`: what the patient says, null if he or she was not asked or said nothing.
    """

    id: str
    code: str
    scheme: str
    provider: str
    provider_id: str
    number: str
    person_id: str
    from_: date
    to: date
    claimed_on: date
    visit_type: str
    diagnosis: str
    secondary: tuple[str, ...]
    currency: str
    version: int
    status: str
    rejection: str | None
    rejection_code: int | None
    category: str
    claimed: Money
    approved: Money | None
    payable: Money | None
    lines: tuple[ShownLine, ...]
    reason: str | None = None
    restored_from: str | None = None
    restored_as: str | None = None
    awaits_review: bool = False
    reviewed_by: str | None = None
    reviewed_at: datetime | None = None
    care_given: bool | None = None
