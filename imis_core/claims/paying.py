"""Paying claims: valuated claims of a period become one order per facility, approved by a second person, then paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.claims.states import NUMBERS, PAID, VALUATED
from imis_core.claims.tables import (
    claim_current,
    claim_valuations,
    claims,
    payment_requests,
)
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.ledger.book import EXPENSE, PAYABLE, post
from imis_core.payments.orders import NewOrder, place_orders
from imis_core.payments.sources import Batch, Settled, SourceKind
from imis_core.places.lookup import resolve_providers
from imis_core.states import StateTable
from imis_core.values import Money

SOURCE: Final = "claims"
REQUEST_STATES: Final = StateTable("claims", {"requested": ("approved", "rejected"), "approved": (), "rejected": ()})


@frozen(kw_only=True)
class RequestPayment:
    scheme: str
    provider: str | None = None
    from_: date
    to: date


@frozen(kw_only=True)
class PaymentRequested:
    id: str
    claims: int
    amount: Money
    status: str


@frozen(kw_only=True)
class ApprovePayment:
    request: str


@frozen(kw_only=True)
class PaymentApproved:
    status: str
    orders: int
    amount: Money


@frozen(kw_only=True)
class RejectPayment:
    request: str
    reason: str


@frozen(kw_only=True)
class PaymentRejected:
    status: str


_OPEN_CLAIMS: Final = (
    sa.select(claims.c.id, claim_valuations.c.payable_minor)
    .join(claim_current, claim_current.c.claim == claims.c.id)
    .join(
        claim_valuations,
        sa.and_(claim_valuations.c.claim == claims.c.id, claim_valuations.c.valuation == claim_current.c.valuation),
    )
    .where(claim_current.c.state == NUMBERS[VALUATED])
    .order_by(claims.c.id)
    .with_for_update(of=claim_current)
)
_IN_OPEN_REQUESTS: Final = sa.text(
    "SELECT claim FROM core.payment_request_claims WHERE open AND claim = ANY(CAST(:claims AS bigint[]))"
)


@command("claims.request_payment", input=RequestPayment, result=PaymentRequested)
def request_payment(context: Context, items: tuple[RequestPayment, ...]) -> list[PaymentRequested | Refusal]:
    """Ask for the payment of a period's valuated claims; the id of the answer is the `claims_batch`."""
    providers = resolve_providers(context, {item.provider for item in items if item.provider is not None})
    return [_request(context, item, providers) for item in items]


def _request(context: Context, item: RequestPayment, providers: Any) -> PaymentRequested | Refusal:
    schemes = context.settings.schemes
    if item.scheme not in schemes or not context.app.type_of(item.scheme).takes_claims:
        message = f"no scheme {item.scheme!r} takes claims{suggestion(item.scheme, schemes)}"
        return invalid(Problem("scheme", "unknown", message))
    if item.to < item.from_:
        return invalid(Problem("to", "range", "the period ends before it begins"))
    if item.provider is not None and item.provider not in providers:
        return not_found("provider", "provider", item.provider)
    provider = None if item.provider is None else providers[item.provider].id
    if item.provider is not None and not _answers_for(context, providers[item.provider]):
        return not_found("provider", "provider", item.provider)
    if provider is None and not context.caller.everywhere:
        return Refusal(
            "permission.denied", "only a role of scope all asks for every facility's payment; name a provider"
        )
    # A period without such claims gives a request of nothing, as a payroll without beneficiaries does.
    found = _free_claims(context, item, provider)
    amount = sum(row.payable_minor for row in found)
    number: int = context.execute(
        sa.insert(payment_requests)
        .values(
            scheme=item.scheme, provider=provider, from_date=item.from_, to_date=item.to, state="requested",
            claims=len(found), amount_minor=amount, currency=context.settings.currency_of(item.scheme),
            requested_by=context.caller.user,
        )
        .returning(payment_requests.c.id)
    ).scalar_one()  # fmt: skip
    context.execute(
        sa.text(
            "INSERT INTO core.payment_request_claims (request, claim, open) "
            "SELECT :request, claim, true FROM unnest(CAST(:claims AS bigint[])) claim"
        ),
        {"request": number, "claims": [row.id for row in found]},
    )
    return PaymentRequested(
        id=context.ids.encode("payment_requests", number), claims=len(found),
        amount=context.money(amount, item.scheme), status="requested",
    )  # fmt: skip


def _answers_for(context: Context, provider: Any) -> bool:
    """Whether a facility is the caller's own, or stands in the caller's places."""
    caller = context.caller
    return caller.everywhere or provider.id in caller.providers or provider.location in caller.places


def _free_claims(context: Context, item: RequestPayment, provider: int | None) -> list[Any]:
    """Valuated claims of the period that are in no open request, locked.

    A twin request waits at the lock; only a further statement sees which claims the first one has taken meanwhile.
    """
    wanted = _OPEN_CLAIMS.where(
        claim_current.c.scheme == item.scheme, claims.c.target_date.between(item.from_, item.to), context.scoped(claims)
    )
    locked = context.execute(wanted if provider is None else wanted.where(claims.c.provider == provider)).all()
    taken = in_open_requests(context, (row.id for row in locked))
    return [row for row in locked if row.id not in taken]


def in_open_requests(context: Context, numbers: Iterable[int]) -> set[int]:
    """Which claims a payment request holds, one that was not rejected; asked after they are locked."""
    wanted = list(numbers)
    return set(context.execute(_IN_OPEN_REQUESTS, {"claims": wanted}).scalars()) if wanted else set()


def _locked(context: Context, name: str, wanted: str) -> Any:
    number = context.ids.decode("payment_requests", name)
    row = context.execute(
        sa.select(payment_requests)
        .where(payment_requests.c.id == number, context.scoped(payment_requests))
        .with_for_update()
    ).first()
    if row is None:
        return not_found("request", "payment request", name)
    if not REQUEST_STATES.allows(row.state, wanted):
        return REQUEST_STATES.refusal("the payment request", row.state, wanted)
    return row


@command("claims.approve_payment", input=ApprovePayment, result=PaymentApproved, approval=True)
def approve_payment(context: Context, items: tuple[ApprovePayment, ...]) -> list[PaymentApproved | Refusal]:
    """Agree to somebody else's payment request: one order per facility; claims of payable 0 are paid then."""
    return [_approve(context, item) for item in items]


def _approve(context: Context, item: ApprovePayment) -> PaymentApproved | Refusal:
    row = _locked(context, item.request, "approved")
    if isinstance(row, Refusal):
        return row
    if row.requested_by == context.caller.user:
        return Refusal("claims.same_person", "whoever asked for the payment does not approve it; ask somebody else")
    sums = context.execute(
        sa.text(
            "SELECT c.provider, sum(v.payable_minor)::bigint AS amount FROM core.payment_request_claims q "
            "JOIN core.claims c ON c.id = q.claim JOIN core.claim_current t ON t.claim = q.claim "
            "JOIN core.claim_valuations v ON v.claim = t.claim AND v.valuation = t.valuation "
            "WHERE q.request = :request GROUP BY c.provider ORDER BY c.provider"
        ),
        {"request": row.id},
    ).all()
    amount = sum(s.amount for s in sums)
    if amount != row.amount_minor:
        # A claim was computed again meanwhile (a reviewer's decision): the sum that was asked for is another one.
        return Refusal("claims.amount_changed", "a claim of the request changed since; reject it and ask again")
    place_orders(
        context, row.scheme, SOURCE, row.id,
        [
            NewOrder(entitlement=s.provider, provider=s.provider, person=None, amount_minor=s.amount)
            for s in sums
            if s.amount
        ],
    )  # fmt: skip
    _move(
        context, VALUATED, PAID,
        "SELECT q.claim FROM core.payment_request_claims q JOIN core.claim_current t ON t.claim = q.claim "
        "JOIN core.claim_valuations v ON v.claim = t.claim AND v.valuation = t.valuation "
        "WHERE q.request = :request AND v.payable_minor = 0",
        request=row.id,
    )  # fmt: skip
    context.execute(sa.update(payment_requests).where(payment_requests.c.id == row.id).values(state="approved"))
    orders = sum(1 for s in sums if s.amount)
    return PaymentApproved(status="approved", orders=orders, amount=context.money(amount, row.scheme))


@command("claims.reject_payment", input=RejectPayment, result=PaymentRejected, approval=True)
def reject_payment(context: Context, items: tuple[RejectPayment, ...]) -> list[PaymentRejected | Refusal]:
    """Refuse a payment request; its claims are free for another one."""
    outcomes: list[PaymentRejected | Refusal] = []
    for item in items:
        row = _locked(context, item.request, "rejected")
        if isinstance(row, Refusal):
            outcomes.append(row)
            continue
        context.execute(
            sa.text("UPDATE core.payment_request_claims SET open = false WHERE request = :request"), {"request": row.id}
        )
        context.execute(
            sa.update(payment_requests)
            .where(payment_requests.c.id == row.id)
            .values(state="rejected", reason=item.reason)
        )
        outcomes.append(PaymentRejected(status="rejected"))
    return outcomes


def _move(context: Context, from_state: str, to_state: str, claims_sql: str, **parameters: Any) -> None:
    """Move claims in bulk: the narrow table and the insert-only history in one statement."""
    context.execute(
        sa.text(
            f"""
            WITH moved AS (
                UPDATE core.claim_current SET state = :to_state, version = version + 1
                WHERE claim IN ({claims_sql}) AND state = :from_state RETURNING claim, version)
            INSERT INTO core.claim_states (claim, version, state, audit)
            SELECT claim, version, :to_state, :audit FROM moved
            """
        ),
        {"to_state": NUMBERS[to_state], "from_state": NUMBERS[from_state], "audit": context.audit, **parameters},
    )


_OF_ORDERS: Final = (
    "SELECT q.claim FROM unnest(CAST(:requests AS bigint[]), CAST(:providers AS bigint[])) AS o(request, provider) "
    "JOIN core.payment_request_claims q ON q.request = o.request AND q.open "
    "JOIN core.claims c ON c.id = q.claim AND c.provider = o.provider"
)


def settle(context: Context, settled: Sequence[Settled]) -> None:
    """Claims whose order was paid are paid; those whose payment came back stand as valuated again.

    What a cancelled or reversed order owed is owed no more: its expense is taken back, and its claims stay where they
    are, in a request that holds them, so that nobody asks for them again (contract.md, 'Ledger accounts').
    """
    for order_state, from_state, to_state in (("paid", VALUATED, PAID), ("returned", PAID, VALUATED)):
        chosen = [s for s in settled if s.state == order_state]
        if chosen:
            _move(
                context, from_state, to_state, _OF_ORDERS,
                requests=[s.source for s in chosen], providers=[s.entitlement for s in chosen],
            )  # fmt: skip
    given_up: Counter[str] = Counter()
    for move in settled:
        if move.state in ("cancelled", "reversed"):
            given_up[move.scheme] += move.amount_minor
    for scheme, amount in sorted(given_up.items()):
        post(context, scheme, context.command, {EXPENSE: -amount, PAYABLE: amount})


def find_batch(context: Context, name: str) -> Batch | None:
    """The payment request that a caller names as `claims_batch`."""
    number = context.ids.decode("payment_requests", name)
    state = context.execute(
        sa.select(payment_requests.c.state).where(payment_requests.c.id == number, context.scoped(payment_requests))
    ).scalar()
    return None if state is None or number is None else Batch(number, state == "approved")


CLAIMS_SOURCE: Final = SourceKind(SOURCE, find_batch, settle)
COMMANDS = (request_payment, approve_payment, reject_payment)

__all__ = ["CLAIMS_SOURCE", "COMMANDS", "SOURCE", "in_open_requests", "settle"]
