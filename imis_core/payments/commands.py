"""Commands of payments: providers, recipients, submission of orders, and reconciliation of what providers report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_returning, insert_rows, take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.ledger.book import CASH, PAYABLE, post
from imis_core.naming import problems_of_texts
from imis_core.payments.orders import (
    ORDER_STATES,
    Move,
    locked_orders,
    move_orders,
    note_reasons,
    place_retries,
    retried,
)
from imis_core.payments.sources import Batch, Settled
from imis_core.payments.tables import pay_points, payment_providers, recipients, reconciliation_rows
from imis_core.places.lookup import LocationRow, ProviderRow, resolve_locations, resolve_providers
from imis_core.values import Amount, NotExact, to_minor


@frozen(kw_only=True)
class PayPoint:
    code: str
    name: str
    location: str | None = None
    hours: str | None = None


@frozen(kw_only=True)
class RegisterPaymentProvider:
    code: str
    name: str
    channel: str
    pay_points: tuple[PayPoint, ...] = ()


@frozen(kw_only=True)
class PaymentProvider:
    id: str
    code: str


@command("payments.register_provider", input=RegisterPaymentProvider, result=PaymentProvider)
def register_provider(context: Context, items: tuple[RegisterPaymentProvider, ...]) -> list[PaymentProvider | Refusal]:
    """Register a payment provider (bank, post office, operator) with its channel and pay points."""
    places = resolve_locations(context, {p.location for i in items for p in i.pay_points if p.location is not None})
    outcomes: list[Any] = [_provider_refusal(context, item, places) for item in items]
    first: dict[str, int] = {}  # code -> the item that registers it
    for position, item in enumerate(items):
        if outcomes[position] is None and first.setdefault(item.code, position) != position:
            outcomes[position] = _duplicate_provider(item.code)
    positions = list(first.values())
    numbers = take_ids(context.connection, payment_providers, len(positions))
    written = {
        row.id
        for row in insert_returning(
            context.connection,
            payment_providers,
            {
                "id": numbers,
                "code": [items[p].code for p in positions],
                "name": [items[p].name for p in positions],
                "channel": [items[p].channel for p in positions],
            },
            conflict="(code) DO NOTHING",
            returning="id",
        )
    }
    points = []
    outside = context.ids.encode_all("payment_providers", numbers)
    for position, number, identity in zip(positions, numbers, outside, strict=True):
        if number in written:
            outcomes[position] = PaymentProvider(id=identity, code=items[position].code)
            points += [(number, point) for point in items[position].pay_points]
        else:
            outcomes[position] = _duplicate_provider(items[position].code)
    insert_rows(
        context.connection,
        pay_points,
        {
            "payment_provider": [number for number, _ in points],
            "code": [p.code for _, p in points],
            "name": [p.name for _, p in points],
            "location": [places[p.location].id if p.location else None for _, p in points],
            "hours": [p.hours for _, p in points],
        },
    )
    return outcomes


def _provider_refusal(
    context: Context, item: RegisterPaymentProvider, places: Mapping[str, LocationRow]
) -> Refusal | None:
    channels = context.app.channels
    if item.channel not in channels:
        message = f"no plugin offers the channel {item.channel!r} (known: {', '.join(channels)})"
        return invalid(Problem("channel", "unknown", message + suggestion(item.channel, channels)))
    problems = problems_of_texts(
        {"code": item.code, **{f"pay_points.{i}.code": p.code for i, p in enumerate(item.pay_points)}},
        {"name": item.name, **{f"pay_points.{i}.name": p.name for i, p in enumerate(item.pay_points)}},
    )
    if problems:
        return invalid(*problems)
    named = Counter(point.code for point in item.pay_points)
    for index, point in enumerate(item.pay_points):
        if named[point.code] > 1:
            return invalid(Problem(f"pay_points.{index}.code", "duplicate", f"{point.code!r} is given twice"))
        if point.location is not None and point.location not in places:
            return not_found(f"pay_points.{index}.location", "location", point.location)
    return None


def _duplicate_provider(code: str) -> Refusal:
    return Refusal("payments.duplicate_code", f"there is a payment provider {code!r} already")


@frozen(kw_only=True)
class EnrolRecipient:
    number: str | None = None
    person: str | None = None
    facility: str | None = None
    provider: str
    account: str | None = None
    pay_point: str | None = None
    scheme: str | None = None


@frozen(kw_only=True)
class RecipientEnrolled:
    id: str
    provider: str


@frozen
class _Enrolment:
    """An enrolment whose references are known; exactly one of `person` and `facility` is given."""

    position: int
    scheme: str  # "": every scheme without an enrolment of its own
    person: int | None
    facility: int | None
    provider: int
    provider_code: str
    account: str | None
    point: int | None

    @property
    def address(self) -> tuple[str, int | None, int | None]:
        return self.scheme, self.person, self.facility


@frozen
class _Known:
    """What the enrolments of a batch name, found in one statement per kind."""

    persons: Mapping[str, PersonRow]
    facilities: Mapping[str, ProviderRow]
    providers: Mapping[str, Any]  # payment providers, by code or id
    points: Mapping[tuple[int, str], int]  # (payment provider, code) -> pay point


@command("payments.enrol_recipient", input=EnrolRecipient, result=RecipientEnrolled)
def enrol_recipient(context: Context, items: tuple[EnrolRecipient, ...]) -> list[RecipientEnrolled | Refusal]:
    """Say through whom a person or a facility is paid; the newest enrolment of a scheme replaces the one before."""
    known = _known(context, items)
    outcomes: list[Any] = [_enrolment(context, position, item, known) for position, item in enumerate(items)]
    accepted = [one for one in outcomes if isinstance(one, _Enrolment)]
    if not accepted:
        return outcomes
    # Enrolments of one holder at once follow each other.
    _lock(context, "persons", {e.person for e in accepted if e.person is not None})
    _lock(context, "providers", {e.facility for e in accepted if e.facility is not None})
    newest = {e.address: e for e in accepted}
    context.execute(
        _REPLACE,
        {
            "schemes": [scheme for scheme, _, _ in newest],
            "persons": [person for _, person, _ in newest],
            "facilities": [facility for _, _, facility in newest],
        },
    )
    numbers = take_ids(context.connection, recipients, len(accepted))
    insert_rows(
        context.connection,
        recipients,
        {
            "id": numbers,
            "scheme": [e.scheme for e in accepted],
            "person": [e.person for e in accepted],
            "provider": [e.facility for e in accepted],
            "payment_provider": [e.provider for e in accepted],
            "account": [e.account for e in accepted],
            "pay_point": [e.point for e in accepted],
            "active": [newest[e.address] is e for e in accepted],
        },
    )
    for one, identity in zip(accepted, context.ids.encode_all("recipients", numbers), strict=True):
        outcomes[one.position] = RecipientEnrolled(id=identity, provider=one.provider_code)
    return outcomes


_REPLACE: Final = sa.text(
    """
    UPDATE core.recipients r SET active = false
    FROM unnest(CAST(:schemes AS text[]), CAST(:persons AS bigint[]), CAST(:facilities AS bigint[]))
         AS n(scheme, person, facility)
    WHERE r.active AND r.scheme = n.scheme AND (r.person = n.person OR r.provider = n.facility)
    """
)


def _lock(context: Context, table: str, numbers: set[int]) -> None:
    if numbers:
        context.execute(
            sa.text(f"SELECT FROM core.{table} WHERE id = ANY(:numbers) ORDER BY id FOR NO KEY UPDATE"),
            {"numbers": sorted(numbers)},
        )


def _known(context: Context, items: Sequence[EnrolRecipient]) -> _Known:
    providers = dict(context.named(payment_providers, {item.provider for item in items}))
    numbers = sorted({row.id for row in providers.values()})
    points = context.execute(
        sa.select(pay_points.c.payment_provider, pay_points.c.code, pay_points.c.id).where(
            pay_points.c.payment_provider == sa.any_(sa.literal(numbers, ARRAY(sa.BigInteger))),
            pay_points.c.code
            == sa.any_(sa.literal(sorted({i.pay_point for i in items if i.pay_point is not None}), ARRAY(sa.Text))),
        )
    )
    return _Known(
        resolve_persons(context, {name for i in items if (name := i.person or i.number) is not None}),
        resolve_providers(context, {i.facility for i in items if i.facility is not None}),
        providers,
        {(point.payment_provider, point.code): point.id for point in points},
    )


def _enrolment(context: Context, position: int, item: EnrolRecipient, known: _Known) -> _Enrolment | Refusal:
    holders = [name for name in ("number", "person", "facility") if getattr(item, name) is not None]
    if len(holders) != 1:
        return invalid(Problem("number", "required", "name one of number, person, facility"))
    facility = known.facilities.get(item.facility) if item.facility is not None else None
    person = known.persons.get(item.person or item.number or "") if item.facility is None else None
    if facility is None and person is None:
        what = "provider" if item.facility is not None else "person"
        return not_found(holders[0], what, getattr(item, holders[0]))
    provider = known.providers.get(item.provider)
    if provider is None:
        return not_found("provider", "payment provider", item.provider)
    if item.scheme is not None and item.scheme not in context.settings.schemes:
        message = f"there is no scheme {item.scheme!r}{suggestion(item.scheme, context.settings.schemes)}"
        return invalid(Problem("scheme", "unknown", message))
    channel = context.app.channels[provider.channel]
    if channel.needs_account and not item.account:
        return invalid(Problem("account", "required", f"the channel {channel.name} pays to accounts"))
    if channel.needs_pay_point and not item.pay_point:
        return invalid(Problem("pay_point", "required", f"the channel {channel.name} pays at pay points"))
    point = None if item.pay_point is None else known.points.get((provider.id, item.pay_point))
    if item.pay_point is not None and point is None:
        return not_found("pay_point", "pay point", item.pay_point)
    return _Enrolment(
        position, item.scheme or "", person.id if person else None, facility.id if facility else None,
        provider.id, provider.code, item.account, point,
    )  # fmt: skip


@frozen(kw_only=True)
class SubmitOrders:
    claims_batch: str | None = None
    payroll: str | None = None


@frozen(kw_only=True)
class OrdersSubmitted:
    submitted: int
    failed: int


RETRIABLE: Final = ("failed", "returned")
NO_ACCOUNT: Final = "no_account"
# The recipient's own enrolment for the scheme wins over the one for every scheme.
_TO_SUBMIT: Final = sa.text(
    """
    SELECT o.id, r.payment_provider FROM core.orders o JOIN core.order_current t ON t."order" = o.id
    LEFT JOIN LATERAL (
        SELECT payment_provider FROM core.recipients r
        WHERE r.active AND r.scheme IN (o.scheme, '')
          AND (r.person = o.person OR r.provider = o.provider)
        ORDER BY r.scheme DESC LIMIT 1) r ON true
    WHERE o.source_kind = :kind AND o.source = :source AND t.state = 'approved' ORDER BY o.id FOR UPDATE OF t
    """
)


@command("payments.submit", input=SubmitOrders, result=OrdersSubmitted)
def submit(context: Context, items: tuple[SubmitOrders, ...]) -> list[OrdersSubmitted | Refusal]:
    """Send a batch's approved orders to their payment providers; those without an account stay, with the reason."""
    return [_submit(context, item) for item in items]


def batch_of(context: Context, claims_batch: str | None, payroll: str | None) -> tuple[str, Batch] | Refusal:
    """The batch that a caller names, with the kind of its source."""
    if (claims_batch is None) == (payroll is None):
        return invalid(Problem("claims_batch", "required", "name one of claims_batch and payroll"))
    field_name, kind, name = (
        ("claims_batch", "claims", claims_batch) if claims_batch is not None else ("payroll", "payroll", payroll or "")
    )
    source = context.app.sources.get(kind)
    found = None if source is None else source.find(context, name)
    return not_found(field_name, "batch", name) if found is None else (kind, found)


def _submit(context: Context, item: SubmitOrders) -> OrdersSubmitted | Refusal:
    batch = batch_of(context, item.claims_batch, item.payroll)
    if isinstance(batch, Refusal):
        return batch
    kind, source = batch
    if not source.approved:
        return Refusal(f"{kind}.wrong_state", "the batch is not approved; ask somebody to approve it first")
    rows = context.execute(_TO_SUBMIT, {"kind": kind, "source": source.number}).all()
    sent = [row for row in rows if row.payment_provider is not None]
    move_orders(context, [Move(row.id, "submitted", payment_provider=row.payment_provider) for row in sent])
    note_reasons(context, {row.id: NO_ACCOUNT for row in rows if row.payment_provider is None})
    return OrdersSubmitted(submitted=len(sent), failed=len(rows) - len(sent))


@frozen(kw_only=True)
class ReportedPayment:
    order: str
    status: Literal["paid", "failed", "returned"]
    amount: Amount
    reference: str | None = None
    reason: str | None = None


@frozen(kw_only=True)
class Reconcile:
    provider: str
    rows: tuple[ReportedPayment, ...]


@frozen(kw_only=True)
class Reconciled:
    matched: int
    already_reconciled: int
    wrong_amount: int
    unknown: int
    conflicts: int


@command("payments.reconcile", input=Reconcile, result=Reconciled)
def reconcile(context: Context, items: tuple[Reconcile, ...]) -> list[Reconciled | Refusal]:
    """Take what a payment provider reports, row by row in its order; what is paid settles its source and posts."""
    return [_reconcile(context, item) for item in items]


def _reconcile(context: Context, item: Reconcile) -> Reconciled | Refusal:
    provider = next((row for _, row in context.named(payment_providers, [item.provider])), None)
    if provider is None:
        return not_found("provider", "payment provider", item.provider)
    numbers = [context.ids.decode("orders", row.order) for row in item.rows]
    known = locked_orders(context, [n for n in numbers if n is not None])
    states = {number: row.state for number, row in known.items() if row.payment_provider == provider.id}
    outcomes: list[str] = []
    moved: list[tuple[Any, ReportedPayment]] = []
    for number, row in zip(numbers, item.rows, strict=True):
        outcome = _judge(row, known.get(number) if number in states else None, states)
        outcomes.append(outcome)
        if outcome == "matched" and number is not None:
            states[number] = row.status
            moved.append((known[number], row))
    _apply(context, moved)
    _keep(context, provider.id, item.rows, numbers, outcomes)
    counted = Counter(outcomes)
    return Reconciled(
        matched=counted["matched"], already_reconciled=counted["already_reconciled"],
        wrong_amount=counted["wrong_amount"], unknown=counted["unknown"], conflicts=counted["conflicts"],
    )  # fmt: skip


def _judge(row: ReportedPayment, order: Any, states: dict[int, str]) -> str:
    """What becomes of a reported row (contract-kernel.md, payments.reconcile)."""
    if order is None:
        return "unknown"
    try:
        amount = to_minor(Decimal(row.amount), order.currency)
    except NotExact:
        return "wrong_amount"
    if amount != order.amount_minor:
        return "wrong_amount"
    state = states[order.id]
    if state == row.status:
        return "already_reconciled"
    return "matched" if ORDER_STATES.allows(state, row.status) else "conflicts"


def _apply(context: Context, moved: Sequence[tuple[Any, ReportedPayment]]) -> None:
    """Move, post and settle in waves: an order that is paid and returned in one file goes through both in turn."""
    wave: list[tuple[Any, ReportedPayment]] = []
    for order, row in moved:
        if any(order.id == earlier.id for earlier, _ in wave if row.status == "returned"):
            _apply_wave(context, wave)
            wave = []
        wave.append((order, row))
    _apply_wave(context, wave)


def _apply_wave(context: Context, wave: Sequence[tuple[Any, ReportedPayment]]) -> None:
    if not wave:
        return
    move_orders(context, [Move(order.id, row.status, row.reason, row.reference) for order, row in wave])
    sums: Counter[tuple[str, str]] = Counter()
    for order, row in wave:
        sums[order.scheme, row.status] += order.amount_minor
    for (scheme, status), amount in sorted(sums.items()):
        if status == "paid":
            post(context, scheme, "payments.reconcile", {PAYABLE: amount, CASH: -amount})
        elif status == "returned":
            post(context, scheme, "payments.reconcile", {CASH: amount, PAYABLE: -amount})
    by_kind: dict[str, list[Settled]] = {}
    for order, row in wave:
        by_kind.setdefault(order.source_kind, []).append(
            Settled(order.id, order.scheme, order.source, order.entitlement, row.status, order.amount_minor)
        )
    for kind, settled in sorted(by_kind.items()):
        context.app.sources[kind].settle(context, settled)


def _keep(
    context: Context,
    provider: int,
    rows: Sequence[ReportedPayment],
    numbers: Sequence[int | None],
    outcomes: Sequence[str],
) -> None:
    if rows:
        insert_rows(
            context.connection,
            reconciliation_rows,
            {
                "payment_provider": [provider] * len(rows),
                "order_named": [row.order[:200] for row in rows],
                "order": list(numbers),
                "status": [row.status for row in rows],
                "amount": [format(row.amount, "f") for row in rows],
                "reference": [row.reference for row in rows],
                "reason": [row.reason for row in rows],
                "outcome": list(outcomes),
                "received_on": [context.today] * len(rows),
                "audit": [context.audit] * len(rows),
            },
        )


@frozen(kw_only=True)
class RetryOrder:
    order: str
    reason: str | None = None


@frozen(kw_only=True)
class OrderRetried:
    """`retries`: the order that failed or came back, of which this one is the next attempt."""

    id: str
    retries: str
    status: str


@command("payments.retry", input=RetryOrder, result=OrderRetried)
def retry(context: Context, items: tuple[RetryOrder, ...]) -> list[OrderRetried | Refusal]:
    """Order a failed or returned payment once more; each order is retried once."""
    numbers = [context.ids.decode("orders", item.order) for item in items]
    known = locked_orders(context, [n for n in numbers if n is not None])
    taken = retried(context, list(known))
    outcomes: list[Any] = [None] * len(items)
    chosen: list[tuple[int, Any, str | None]] = []
    for position, (item, number) in enumerate(zip(items, numbers, strict=True)):
        order = None if number is None else known.get(number)
        if order is None:
            outcomes[position] = not_found("order", "order", item.order)
        elif order.state not in RETRIABLE:
            message = f"the order is {order.state}; only a failed or returned one is paid once more"
            outcomes[position] = Refusal("payments.not_failed", message)
        elif order.id in taken:
            message = "the order was retried already; retry its latest attempt"
            outcomes[position] = Refusal("payments.already_retried", message)
        else:
            taken.add(order.id)
            chosen.append((position, order, item.reason))
    placed = place_retries(context, [order for _, order, _ in chosen], [reason for _, _, reason in chosen])
    for (position, _, _), identity, earlier in zip(
        chosen,
        context.ids.encode_all("orders", placed),
        context.ids.encode_all("orders", [order.id for _, order, _ in chosen]),
        strict=True,
    ):
        outcomes[position] = OrderRetried(id=identity, retries=earlier, status="approved")
    return outcomes


COMMANDS = (register_provider, enrol_recipient, submit, reconcile, retry)
