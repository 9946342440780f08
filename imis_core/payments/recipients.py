"""Who pays and who is paid: payment providers with their pay points, and the recipients enrolled with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, insert_rows, take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.naming import problems_of_texts
from imis_core.payments.tables import pay_points, payment_providers, recipients
from imis_core.places.lookup import LocationRow, ProviderRow, resolve_locations, resolve_providers


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


Address = tuple[str, int | None, int | None]  # scheme ('': every other one), person or facility


@frozen
class Enrolment:
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
    def address(self) -> Address:
        return self.scheme, self.person, self.facility

    @property
    def route(self) -> tuple[int, str | None, int | None]:
        """Where the money goes: payment provider, account, pay point."""
        return self.provider, self.account, self.point


@frozen
class _Known:
    """What the enrolments of a batch name, found in one statement per kind."""

    persons: Mapping[str, PersonRow]
    facilities: Mapping[str, ProviderRow]
    providers: Mapping[str, Any]  # payment providers, by code or id
    points: Mapping[tuple[int, str], int]  # (payment provider, code) -> pay point


ENROL: Final = "payments.enrol_recipient"


def judge(context: Context, items: Sequence[EnrolRecipient]) -> list[Enrolment | Refusal]:
    """What would become of enrolments, in order, without writing them; a constant number of statements."""
    known = _known(context, items)
    return [_enrolment(context, position, item, known) for position, item in enumerate(items)]


def addresses_of(context: Context, holders: Sequence[Address]) -> dict[Address, tuple[int, str | None, int | None]]:
    """Where these holders are paid now: the routes of their active enrolments, of exactly the scheme that is named."""
    rows: Sequence[Any] = context.execute(
        _ADDRESSES,
        {
            "schemes": [scheme for scheme, _, _ in holders],
            "persons": [person for _, person, _ in holders],
            "facilities": [facility for _, _, facility in holders],
        },
    ).all()
    return {(r.scheme, r.person, r.provider): (r.payment_provider, r.account, r.pay_point) for r in rows}


@command(ENROL, input=EnrolRecipient, result=RecipientEnrolled)
def enrol_recipient(context: Context, items: tuple[EnrolRecipient, ...]) -> list[RecipientEnrolled | Refusal]:
    """Say through whom a person or a facility is paid; the newest enrolment of a scheme replaces the one before."""
    outcomes: list[Any] = list(judge(context, items))
    accepted = [one for one in outcomes if isinstance(one, Enrolment)]
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


# Persons and facilities each by an index of their own: a condition with OR would read every enrolment for each.
_OF_HOLDERS: Final = """
    WITH n AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:schemes AS text[]), CAST(:persons AS bigint[]), CAST(:facilities AS bigint[]))
                      AS n(scheme, person, facility)),
    old AS (
        SELECT r.* FROM n JOIN core.recipients r ON r.person = n.person AND r.scheme = n.scheme
        WHERE r.active AND r.person IS NOT NULL
        UNION ALL
        SELECT r.* FROM n JOIN core.recipients r ON r.provider = n.facility AND r.scheme = n.scheme
        WHERE r.active AND r.provider IS NOT NULL)
"""
_REPLACE: Final = sa.text(_OF_HOLDERS + "UPDATE core.recipients r SET active = false FROM old WHERE r.id = old.id")
_ADDRESSES: Final = sa.text(
    _OF_HOLDERS + "SELECT scheme, person, provider, payment_provider, account, pay_point FROM old"
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
            pay_points.c.payment_provider == any_of(numbers),
            pay_points.c.code == any_of({i.pay_point for i in items if i.pay_point is not None}, sa.Text),
        )
    )
    return _Known(
        resolve_persons(context, {name for i in items if (name := i.person or i.number) is not None}),
        resolve_providers(context, {i.facility for i in items if i.facility is not None}),
        providers,
        {(point.payment_provider, point.code): point.id for point in points},
    )


def _enrolment(context: Context, position: int, item: EnrolRecipient, known: _Known) -> Enrolment | Refusal:
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
    return Enrolment(
        position, item.scheme or "", person.id if person else None, facility.id if facility else None,
        provider.id, provider.code, item.account, point,
    )  # fmt: skip


COMMANDS = (register_provider, enrol_recipient)
