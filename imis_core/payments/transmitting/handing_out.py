"""Vouchers for those who hand them out: who gets which, with what redeems it, as a listing and as lists to be cut up.

The one place where the numbers of vouchers are shown. Both queries have one permission, and the log of reads has whose
vouchers were seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payments.cash_list_files import PDF_MEDIA_TYPE
from imis_core.payments.entitlements import with_beneficiaries
from imis_core.payments.sources import batch_name, batch_of
from imis_core.payments.tables import order_current, orders, pay_points, payment_providers, recipients
from imis_core.payments.transmitting.cancelling import CANCELLABLE, good_until, made_at_sql
from imis_core.payments.transmitting.gateways import reached
from imis_core.payments.transmitting.tables import (
    transmission_orders,
    voucher_cancellations,
    voucher_numbers,
)
from imis_core.payments.transmitting.voucher_numbers import number_of
from imis_core.places.lookup import places_below, resolve_locations
from imis_core.places.tables import locations, providers
from imis_core.queries import Listing, query
from imis_core.values import Money

TEMPLATE: Final = Path(__file__).with_name("voucher_list.typ")
PERMISSION: Final = "payments.vouchers"
VOUCHERS_MAX: Final = 500  # of one list; a place with more gets several
LISTS_MAX: Final = 5_000  # vouchers of all lists that are made at once


@frozen(kw_only=True)
class ListVouchers:
    """`location`: only who lives there or below."""

    payroll: str | None = None
    claims_batch: str | None = None
    refunds: str | None = None
    pay_point: str | None = None
    location: str | None = None


@frozen(kw_only=True)
class Voucher:
    """A voucher that was made and not redeemed. `recipient`: a person's number or a facility's code.

    `voucher_number` redeems it, with `serial`; None as long as the provider has not told it, and for a voucher that is
    not to be handed out: its order is held, or it is being cancelled (`cancelling`). `good_until`: its last day; None:
    any.
    """

    order: str
    recipient: str
    name: str
    beneficiary: str | None
    provider: str
    pay_point: str | None
    location: str | None
    amount: Money
    status: str
    cancelling: bool
    good_until: date | None
    serial: str | None
    voucher_number: str | None = field(repr=False)  # a field called `number` names a person to the log of reads


@query(PERMISSION, input=ListVouchers, result=Voucher, listing=True)
def list_vouchers(context: Context, asked: ListVouchers) -> Listing | Refusal:
    """Vouchers that wait to be redeemed, with the numbers that redeem them: for who hands them out; by recipient."""
    select = _select(context, asked)
    if isinstance(select, Refusal):
        return select
    return Listing(select, (_RECIPIENT, orders.c.id), lambda rows: _built(context, rows))


def _built(context: Context, rows: Sequence[Any]) -> list[Voucher]:
    ids = context.ids.encode_all("orders", [row.id for row in rows])
    return [
        Voucher(
            order=identity, recipient=row.recipient, name=row.name, beneficiary=row.beneficiary, provider=row.provider,
            pay_point=row.point_code, location=row.location, amount=Money(row.amount_minor, row.currency),
            status=row.state, cancelling=row.cancelling,
            good_until=good_until(context.settings, row.provider, row.made_at or context.now), serial=row.serial,
            voucher_number=number_of(context, row.id, row.sealed) if _stands(row) else None,
        )
        for identity, row in zip(ids, rows, strict=True)
    ]  # fmt: skip


def _stands(row: Any) -> bool:
    """Whether a voucher may be given to its holder."""
    return row.state == "accepted" and not row.cancelling


_RECIPIENT: Final = sa.func.coalesce(persons.c.number, providers.c.code)
_NAME: Final = sa.func.coalesce(providers.c.name, sa.func.concat_ws(" ", persons.c.given_name, persons.c.family_name))
_MADE_AT: Final = sa.literal_column(made_at_sql(f"{transmission_orders.fullname}.transmission"), sa.DateTime(True))


def _select(context: Context, asked: ListVouchers | MakeVoucherLists) -> sa.Select[Any] | Refusal:
    """The vouchers that are asked for, as far as the caller may see whom they are for."""
    able = [number for number, one in reached(context).items() if one.service.numbers is not None]
    chosen = [
        context.scoped(orders), order_current.c.state.in_(CANCELLABLE), payment_providers.c.id == any_of(able),
        sa.not_(transmission_orders.c.left_out),
    ]  # fmt: skip
    kinds = tuple(context.app.sources)
    if batch_name(asked) is not None:
        batch = batch_of(context, asked)
        if isinstance(batch, Refusal):
            return batch
        kinds = (batch[0],)
        chosen += [orders.c.source_kind == batch[0], orders.c.source == batch[1].number]
    if asked.pay_point is not None:
        points = [row.id for _, row in context.named(pay_points, [asked.pay_point])]
        if not points:
            return not_found("pay_point", "pay point", asked.pay_point)
        chosen.append(recipients.c.pay_point == any_of(points))
    if asked.location is not None:
        place = resolve_locations(context, {asked.location}, within_scope=True).get(asked.location)
        if place is None:
            return not_found("location", "location", asked.location)
        chosen.append(locations.c.id == any_of(places_below(context.connection, (place.id,))))
    clause, beneficiary = with_beneficiaries(
        context,
        orders.join(order_current, order_current.c.order == orders.c.id)
        .join(transmission_orders, transmission_orders.c.order == orders.c.id)
        .join(recipients, recipients.c.id == order_current.c.recipient)
        .join(payment_providers, payment_providers.c.id == order_current.c.payment_provider)
        .outerjoin(pay_points, pay_points.c.id == recipients.c.pay_point)
        .outerjoin(persons, persons.c.id == orders.c.person)
        .outerjoin(providers, providers.c.id == orders.c.provider)
        .outerjoin(locations, locations.c.id == sa.func.coalesce(persons.c.place, providers.c.location))
        .outerjoin(voucher_numbers, voucher_numbers.c.order == orders.c.id)
        .outerjoin(voucher_cancellations, voucher_cancellations.c.order == orders.c.id),
        kinds,
    )
    return (
        sa.select(
            orders.c.id, orders.c.person, orders.c.amount_minor, orders.c.currency, order_current.c.state,
            _RECIPIENT.label("recipient"), _NAME.label("name"), beneficiary.label("beneficiary"),
            payment_providers.c.code.label("provider"), payment_providers.c.name.label("provider_name"),
            pay_points.c.code.label("point_code"), pay_points.c.name.label("point_name"),
            locations.c.code.label("location"), locations.c.name.label("location_name"),
            voucher_numbers.c.serial, voucher_numbers.c.number.label("sealed"),
            voucher_cancellations.c.order.is_not(None).label("cancelling"), _MADE_AT.label("made_at"),
        )
        .select_from(clause)
        .where(*chosen)
    )  # fmt: skip


# --- lists to be cut up


@frozen(kw_only=True)
class MakeVoucherLists:
    """`by_location`: a list for each place where holders live, else for each pay point."""

    payroll: str | None = None
    claims_batch: str | None = None
    refunds: str | None = None
    pay_point: str | None = None
    location: str | None = None
    by_location: bool = False


@frozen(kw_only=True)
class VoucherList:
    """`missing`: vouchers for this place that are on no list, because the provider has not told their numbers; counted
    with the first part."""

    provider: str
    pay_point: str | None
    location: str | None
    part: int
    parts: int
    vouchers: int
    missing: int
    name: str
    media_type: str
    content: bytes = field(repr=False)


@frozen(kw_only=True)
class VoucherLists:
    files: tuple[VoucherList, ...]


@query("payments.voucher_lists", input=MakeVoucherLists, result=VoucherLists, permission=PERMISSION)
def make_voucher_lists(context: Context, asked: MakeVoucherLists) -> VoucherLists | Refusal:
    """Lists of a batch's vouchers to be handed out, as PDF: each row is signed, cut, and its right part given away."""
    batch = batch_of(context, asked)
    if isinstance(batch, Refusal):
        return batch
    select = _select(context, asked)
    if isinstance(select, Refusal):
        return select
    place = locations.c.code if asked.by_location else pay_points.c.code
    stand = select.where(order_current.c.state == "accepted", voucher_cancellations.c.order.is_(None))
    ordered = stand.order_by(payment_providers.c.code, place.nulls_first(), _RECIPIENT, orders.c.id)
    rows = context.execute(ordered.limit(LISTS_MAX + 1)).all()
    if len(rows) > LISTS_MAX:
        message = f"more than {LISTS_MAX} vouchers; ask for those of one pay point or location, or export {PERMISSION}"
        return invalid(Problem("location" if asked.pay_point else "pay_point", "too_many", message))
    context.tells_of(row.person for row in rows if row.person is not None)
    return VoucherLists(files=tuple(_lists(context, rows, by_location=asked.by_location)))


def _lists(context: Context, rows: Sequence[Any], *, by_location: bool) -> list[VoucherList]:
    """The rows (sorted by provider and place) as lists; all documents are made at once."""
    from imis_core.files.pdf import render_all  # a web process that prints nothing does without the typesetter

    found: list[tuple[Any, int, int, list[Voucher], int]] = []
    for _, together in groupby(rows, key=lambda row: (row.provider, row.location if by_location else row.point_code)):
        group = list(together)
        vouchers = [one for one in _built(context, group) if one.voucher_number is not None]
        parts = max(1, -(-len(vouchers) // VOUCHERS_MAX))
        for part in range(parts):
            chosen = vouchers[part * VOUCHERS_MAX : (part + 1) * VOUCHERS_MAX]
            found.append((group[0], part + 1, parts, chosen, 0 if part else len(group) - len(vouchers)))
    documents = [_document(context, first, part, parts, chosen, by_location) for first, part, parts, chosen, _ in found]
    return [
        VoucherList(
            provider=first.provider, pay_point=None if by_location else first.point_code,
            location=first.location if by_location else None, part=part, parts=parts, vouchers=len(chosen),
            missing=missing, name=_file_name(first, part, parts, by_location=by_location), media_type=PDF_MEDIA_TYPE,
            content=content,
        )
        for (first, part, parts, chosen, missing), content in zip(found, render_all(TEMPLATE, documents), strict=True)
    ]  # fmt: skip


def _file_name(first: Any, part: int, parts: int, *, by_location: bool) -> str:
    place = first.location if by_location else first.point_code
    numbered = [str(part)] if parts > 1 else []
    return "-".join(["vouchers", first.provider, *([place] if place else []), *numbered]) + ".pdf"


def _document(
    context: Context, first: Any, part: int, parts: int, vouchers: Sequence[Voucher], by_location: bool
) -> Mapping[str, Any]:
    place = (first.location, first.location_name) if by_location else (first.point_code, first.point_name)
    said = [f"{first.provider} {first.provider_name}", *([" ".join(place)] if place[0] is not None else [])]
    return {
        "title": "Vouchers",
        "place": " · ".join([*said, *([f"part {part} of {parts}"] if parts > 1 else [])]),
        "on": context.today.isoformat(),
        "rows": [
            [
                one.recipient, one.name, one.beneficiary or "",
                one.recipient, f"{one.amount} {one.amount.currency}", one.serial, one.voucher_number,
                "" if one.good_until is None else one.good_until.isoformat(),
            ]
            for one in vouchers
        ],
    }  # fmt: skip


QUERIES: Final = (list_vouchers, make_voucher_lists)
