"""What can be asked of transmissions: where each stands and what to do, what providers sent, how their lines stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.payments.sources import batch_name, batch_of
from imis_core.payments.tables import payment_providers, recipients
from imis_core.payments.transmitting.gateways import reach
from imis_core.payments.transmitting.store import open_by_transmission
from imis_core.payments.transmitting.tables import (
    account_check_current,
    account_check_rows,
    account_checks,
    payment_lines,
    provider_message_outcomes,
    provider_messages,
    transmission_current,
    transmission_orders,
    transmissions,
)
from imis_core.places.tables import providers
from imis_core.queries import Listing, query
from imis_core.values import Money

State = Literal["waiting", "sending", "unknown", "accepted", "reported", "refused", "parked"]
# What somebody has to do; the states that are left out go on by themselves.
REMEDIES: Final = {
    "parked": "ask the provider what became of `correlation`, mend what `reason` says, then run payments.ask",
    "refused": "mend what the provider refuses, then run payments.retry for its failed orders and payments.submit",
}
BODY_SHOWN: Final = 10_000  # characters of a message


@frozen(kw_only=True)
class ListTransmissions:
    payroll: str | None = None
    claims_batch: str | None = None
    refunds: str | None = None
    provider: str | None = None
    state: State | None = None
    order: str | None = None


@frozen(kw_only=True)
class Transmission:
    """`correlation` names it to the provider, `batch` is what the provider calls it.

    `open`: how many of its `orders` wait for what came of them; those that were left out of it are none.
    `attempts`: how often it was sent; `due_at`: when it is looked at again; `remedy`: what somebody has to do.
    """

    id: str
    provider: str
    scheme: str
    orders: int
    open: int
    amount: Money
    state: str
    correlation: str
    batch: str | None
    attempts: int
    due_at: datetime
    reason: str | None
    remedy: str | None


@query("payments.transmissions", input=ListTransmissions, result=Transmission, listing=True)
def list_transmissions(context: Context, asked: ListTransmissions) -> Listing | Refusal:
    """Batches of orders on their way to payment providers' services, where each stands; for roles of scope all.

    `order`: the one that this order went into; none if it went into none.
    """
    # A transmission holds orders of all places.
    chosen: sa.ColumnElement[bool] = sa.literal(context.caller.everywhere)
    if batch_name(asked) is not None:
        batch = batch_of(context, asked)
        if isinstance(batch, Refusal):
            return batch
        chosen = sa.and_(chosen, transmissions.c.source_kind == batch[0], transmissions.c.source == batch[1].number)
    if asked.provider is not None:
        provider = _provider(context, asked.provider)
        if isinstance(provider, Refusal):
            return provider
        chosen = sa.and_(chosen, transmissions.c.payment_provider == provider.id)
    if asked.state is not None:
        chosen = sa.and_(chosen, transmission_current.c.state == asked.state)
    if asked.order is not None:
        members = transmission_orders
        number = context.ids.decode("orders", asked.order)
        if number is None:
            return not_found("order", "order", asked.order)
        its_own = sa.select(members.c.transmission).where(members.c.order == number).scalar_subquery()
        chosen = sa.and_(chosen, transmissions.c.id == its_own)
    select = (
        sa.select(
            transmissions.c.id, transmissions.c.scheme, transmissions.c.orders, transmissions.c.amount_minor,
            transmissions.c.currency, transmissions.c.correlation, transmission_current.c.state,
            transmission_current.c.batch, transmission_current.c.attempts, transmission_current.c.due_at,
            transmission_current.c.reason, payment_providers.c.code,
        )
        .join(transmission_current, transmission_current.c.transmission == transmissions.c.id)
        .join(payment_providers, payment_providers.c.id == transmissions.c.payment_provider)
        .where(chosen)
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[Transmission]:
        ids = context.ids.encode_all("transmissions", [row.id for row in rows])
        left = open_by_transmission(context, [row.id for row in rows])
        return [
            Transmission(
                id=identity, provider=row.code, scheme=row.scheme, orders=row.orders, open=left.get(row.id, 0),
                amount=Money(row.amount_minor, row.currency), state=row.state, correlation=row.correlation,
                batch=row.batch, attempts=row.attempts, due_at=row.due_at, reason=row.reason,
                remedy=REMEDIES.get(row.state),
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (transmissions.c.id,), build)


@frozen(kw_only=True)
class ListMessages:
    provider: str
    outcome: Literal["reconciled", "asked", "checked", "repeated", "unreadable", "no_service", "failed"] | None = None


@frozen(kw_only=True)
class Message:
    """`outcome`: None as long as nobody has read it; `body`: as it came but for secrets that redeem, its first
    10,000 characters; empty once it is older than `[retention]` keeps it."""

    id: str
    received_at: datetime
    outcome: str | None
    detail: str | None
    body: str


@query("payments.messages", input=ListMessages, result=Message, listing=True)
def list_messages(context: Context, asked: ListMessages) -> Listing | Refusal:
    """What a payment provider sent by itself, as it came, with what became of it; for roles of scope all."""
    provider = _provider(context, asked.provider)
    if isinstance(provider, Refusal):
        return provider
    outcomes = provider_message_outcomes
    select = (
        sa.select(
            provider_messages.c.id, provider_messages.c.received_at, provider_messages.c.body, outcomes.c.outcome,
            outcomes.c.detail,
        )
        .outerjoin(outcomes, outcomes.c.message == provider_messages.c.id)
        .where(sa.literal(context.caller.everywhere), provider_messages.c.payment_provider == provider.id)
    )  # fmt: skip
    if asked.outcome is not None:
        select = select.where(outcomes.c.outcome == asked.outcome)

    def build(rows: Sequence[Any]) -> list[Message]:
        ids = context.ids.encode_all("provider_messages", [row.id for row in rows])
        return [
            Message(
                id=identity, received_at=row.received_at, outcome=row.outcome, detail=row.detail,
                body=bytes(row.body).decode("utf-8", "backslashreplace")[:BODY_SHOWN],
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (provider_messages.c.id,), build)


@frozen(kw_only=True)
class ListProviders:
    pass


@frozen(kw_only=True)
class ListedProvider:
    """`service`: whether orders are transmitted to it; then `line` is closed (all is well), open (nothing goes out
    before `until`, because of `reason`) or half_open (one request tries)."""

    id: str
    code: str
    name: str
    channel: str
    service: bool
    line: str | None
    until: datetime | None
    reason: str | None


@query("payments.providers", input=ListProviders, result=ListedProvider, listing=True)
def list_providers(context: Context, asked: ListProviders) -> Listing:
    """Payment providers by code, and how the lines to those with a service stand."""
    select = sa.select(
        payment_providers.c.id, payment_providers.c.code, payment_providers.c.name, payment_providers.c.channel,
        payment_lines.c.state, payment_lines.c.until, payment_lines.c.reason,
    ).outerjoin(payment_lines, payment_lines.c.payment_provider == payment_providers.c.id)  # fmt: skip

    def build(rows: Sequence[Any]) -> list[ListedProvider]:
        ids = context.ids.encode_all("payment_providers", [row.id for row in rows])
        found = []
        for identity, row in zip(ids, rows, strict=True):
            service = reach(context.app, row) is not None
            line = (row.state or "closed") if service else None
            found.append(
                ListedProvider(
                    id=identity, code=row.code, name=row.name, channel=row.channel, service=service, line=line,
                    until=row.until if service else None, reason=row.reason if service else None,
                )
            )  # fmt: skip
        return found

    return Listing(select, (payment_providers.c.code,), build)


@frozen(kw_only=True)
class OfProvider:
    provider: str


@frozen(kw_only=True)
class AccountCheck:
    """`failures`: how many accounts the provider cannot pay to, once it has answered."""

    id: str
    asked_at: datetime
    accounts: int
    state: str
    failures: int | None
    reason: str | None


@query("payments.account_checks", input=OfProvider, result=AccountCheck, listing=True)
def list_account_checks(context: Context, asked: OfProvider) -> Listing | Refusal:
    """The checks of a payment provider's accounts, as they were asked for; for roles of scope all."""
    provider = _provider(context, asked.provider)
    if isinstance(provider, Refusal):
        return provider
    current = account_check_current
    select = (
        sa.select(
            account_checks.c.id, account_checks.c.asked_at, account_checks.c.accounts, current.c.state,
            current.c.failures, current.c.reason,
        )
        .join(current, current.c.account_check == account_checks.c.id)
        .where(sa.literal(context.caller.everywhere), account_checks.c.payment_provider == provider.id)
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[AccountCheck]:
        ids = context.ids.encode_all("account_checks", [row.id for row in rows])
        return [
            AccountCheck(
                id=identity, asked_at=row.asked_at, accounts=row.accounts, state=row.state, failures=row.failures,
                reason=row.reason,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (account_checks.c.id,), build)


@frozen(kw_only=True)
class UnpayableAccount:
    """An enrolment that holds now, of a person (`number`) or a `facility`, and why its account cannot be paid to."""

    id: str
    number: str | None
    facility: str | None
    account: str | None
    reason: str


@query("payments.unpayable_accounts", input=OfProvider, result=UnpayableAccount, listing=True)
def list_unpayable_accounts(context: Context, asked: OfProvider) -> Listing | Refusal:
    """Enrolments whose account the payment provider could not pay to when it was last asked."""
    provider = _provider(context, asked.provider)
    if isinstance(provider, Refusal):
        return provider
    rows_of, later, check = account_check_rows, account_check_rows.alias("later"), account_checks.alias("later_check")
    # A provider is asked in parts: the last check of an enrolment is the one that counts for it. It starts with what
    # was found wrong, which an index has, and not with every account that was ever asked about.
    asked_again = (
        sa.exists()
        .where(
            later.c.recipient == rows_of.c.recipient,
            later.c.account_check > rows_of.c.account_check,
            check.c.id == later.c.account_check,
            check.c.payment_provider == provider.id,
        )
        .correlate(rows_of)
    )
    select = (
        sa.select(recipients.c.id, recipients.c.account, rows_of.c.failure, persons.c.number, providers.c.code)
        .select_from(rows_of)
        .join(account_checks, account_checks.c.id == rows_of.c.account_check)
        .join(recipients, recipients.c.id == rows_of.c.recipient)
        .outerjoin(persons, persons.c.id == recipients.c.person)
        .outerjoin(providers, providers.c.id == recipients.c.provider)
        .where(
            account_checks.c.payment_provider == provider.id, rows_of.c.failure.is_not(None), sa.not_(asked_again),
            recipients.c.active, recipients.c.account == rows_of.c.account, context.scoped(recipients),
        )
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[UnpayableAccount]:
        ids = context.ids.encode_all("recipients", [row.id for row in rows])
        return [
            UnpayableAccount(id=identity, number=row.number, facility=row.code, account=row.account, reason=row.failure)
            for identity, row in zip(ids, rows, strict=True)
        ]

    return Listing(select, (recipients.c.id,), build)


def _provider(context: Context, name: str) -> Any:
    found = context.named(payment_providers, [name])
    return found[0][1] if found else not_found("provider", "payment provider", name)


QUERIES: Final = (
    list_transmissions, list_messages, list_providers, list_account_checks, list_unpayable_accounts,
)  # fmt: skip
