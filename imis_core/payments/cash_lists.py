"""Cash lists: for each pay point that pays a batch in cash, the list of its orders, as PDF and as workbook."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.attachments.store import NewFile, store_files
from imis_core.audit import write_facts
from imis_core.beneficiaries.tables import persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning
from imis_core.errors import Refusal, not_found
from imis_core.payments.cash_list_files import (
    PDF_MEDIA_TYPE,
    XLSX_MEDIA_TYPE,
    CashList,
    CashListRow,
    pdf_files,
    xlsx_file,
)
from imis_core.payments.channels import CASH_LIST
from imis_core.payments.entitlements import with_beneficiaries
from imis_core.payments.sources import batch_name, batch_of
from imis_core.payments.tables import cash_lists, order_current, orders, pay_points, payment_providers, recipients
from imis_core.places.tables import providers
from imis_core.values import Money

# Of one list, or fewer if the provider's limits say so; a larger pay point gets several parts, each to be paid out by
# one person.
ORDERS_MAX: Final = 500
LISTED: Final = ("submitted", "accepted")


@frozen(kw_only=True)
class MakeCashLists:
    payroll: str | None = None
    claims_batch: str | None = None
    refunds: str | None = None
    pay_point: str | None = None


@frozen(kw_only=True)
class CashListMade:
    """`pay_point`: None for orders that the provider pays itself; `pdf` and `xlsx` are attachments."""

    provider: str
    pay_point: str | None
    part: int
    parts: int
    orders: int
    amount: Money
    pdf: str
    xlsx: str
    digest: str


@frozen(kw_only=True)
class CashListsMade:
    files: tuple[CashListMade, ...]


@command("payments.cash_lists", input=MakeCashLists, result=CashListsMade)
def make_cash_lists(context: Context, items: tuple[MakeCashLists, ...]) -> list[CashListsMade | Refusal]:
    """Write the lists of a batch's orders that were sent to be paid in cash; the same orders give the same files."""
    return [_make(context, item) for item in items]


COMMANDS = (make_cash_lists,)


def _make(context: Context, item: MakeCashLists) -> CashListsMade | Refusal:
    if not context.caller.everywhere:
        # A list that left out what its maker does not see would be signed as if it were whole.
        return Refusal("permission.denied", "only a role of scope all makes cash lists: they name every order")
    batch = batch_of(context, item)
    if isinstance(batch, Refusal):
        return batch
    points = None
    if item.pay_point is not None:
        points = [row.id for _, row in context.named(pay_points, [item.pay_point])]
        if not points:
            return not_found("pay_point", "pay point", item.pay_point)
    kind, source = batch
    name = _batch_name(context, batch_name(item) or "")
    lists = _lists(context, name, _listed(context, kind, source.number, points))
    return _stored(context, kind, source.number, lists)


def _batch_name(context: Context, given: str) -> str:
    """The batch as it stands on the list: its id in one spelling, however it was typed."""
    entity = context.ids.decode_any(given)
    return given if entity is None else context.ids.encode(*entity)


def _listed(context: Context, kind: str, source: int, points: Sequence[int] | None) -> Sequence[Any]:
    """The batch's orders that are on their way through providers of the channel cash_list; one statement."""
    clause, beneficiary = with_beneficiaries(
        context,
        orders.join(order_current, order_current.c.order == orders.c.id)
        .join(recipients, recipients.c.id == order_current.c.recipient)
        .join(payment_providers, payment_providers.c.id == order_current.c.payment_provider)
        .outerjoin(pay_points, pay_points.c.id == recipients.c.pay_point)
        .outerjoin(persons, persons.c.id == orders.c.person)
        .outerjoin(providers, providers.c.id == orders.c.provider),
        (kind,),
    )
    recipient = sa.func.coalesce(persons.c.number, providers.c.code)
    statement = (
        sa.select(
            orders.c.id, orders.c.amount_minor, orders.c.currency, recipient.label("recipient"),
            sa.func.coalesce(
                providers.c.name, sa.func.concat_ws(" ", persons.c.given_name, persons.c.family_name)
            ).label("name"),
            beneficiary.label("beneficiary"),
            payment_providers.c.id.label("provider"), payment_providers.c.code.label("provider_code"),
            payment_providers.c.name.label("provider_name"),
            pay_points.c.id.label("point"), pay_points.c.code.label("point_code"),
            pay_points.c.name.label("point_name"),
        )
        .select_from(clause)
        .where(
            orders.c.source_kind == kind, orders.c.source == source, order_current.c.state.in_(LISTED),
            payment_providers.c.channel == CASH_LIST.name,
            context.scoped(orders),
        )
        .order_by(payment_providers.c.code, pay_points.c.code.nulls_first(), recipient, orders.c.id)
    )  # fmt: skip
    if points is not None:
        statement = statement.where(pay_points.c.id == any_of(points))
    return context.execute(statement).all()


def _lists(context: Context, batch: str, rows: Sequence[Any]) -> list[tuple[Any, CashList]]:
    """The rows (sorted by provider and pay point) as lists, each with its first row."""
    found = []
    for _, together in groupby(rows, key=lambda row: (row.provider, row.point)):
        group = list(together)
        most = min(ORDERS_MAX, context.settings.limits_of(group[0].provider_code).orders_per_file or ORDERS_MAX)
        parts = -(-len(group) // most)
        for part in range(parts):
            chosen = group[part * most : (part + 1) * most]
            first = chosen[0]
            outside = context.ids.encode_all("orders", [row.id for row in chosen])
            listed = [
                CashListRow(
                    identity, row.recipient, row.name, row.beneficiary or "", Money(row.amount_minor, row.currency)
                )
                for identity, row in zip(outside, chosen, strict=True)
            ]
            found.append(
                (
                    first,
                    CashList(
                        batch, first.provider_code, first.provider_name, first.point_code, first.point_name,
                        part + 1, parts, listed,
                    ),
                )
            )  # fmt: skip
    return found


def _stored(context: Context, kind: str, source: int, lists: Sequence[tuple[Any, CashList]]) -> CashListsMade:
    """Write the files of lists that are not there yet, and name those of all."""
    digests = [one.digest(context.ids) for _, one in lists]
    known = _known(context, digests)
    fresh = [(first, one, digest) for (first, one), digest in zip(lists, digests, strict=True) if digest not in known]
    documents = pdf_files([(one, digest) for _, one, digest in fresh])
    files = []
    for (_, one, digest), pdf in zip(fresh, documents, strict=True):
        files.append(NewFile(f"{one.name}.pdf", PDF_MEDIA_TYPE, pdf))
        files.append(NewFile(f"{one.name}.xlsx", XLSX_MEDIA_TYPE, xlsx_file(one, digest)))
    numbers = store_files(context, files)
    if fresh:
        insert_returning(
            context.connection,
            cash_lists,
            {
                "source_kind": [kind] * len(fresh),
                "source": [source] * len(fresh),
                "payment_provider": [first.provider for first, _, _ in fresh],
                "pay_point": [first.point for first, _, _ in fresh],
                "digest": [digest for _, _, digest in fresh],
                "pdf": numbers[0::2],
                "xlsx": numbers[1::2],
                "audit": [context.audit] * len(fresh),
            },
            conflict="(digest) DO NOTHING",
        )
        write_facts(
            context,
            [{"provider": one.provider, "pay_point": one.pay_point, "orders": len(one.rows), "amount": str(one.total),
              "currency": one.total.currency, "digest": digest} for _, one, digest in fresh],
        )  # fmt: skip
        known = _known(context, digests)  # of two that make a list at once, the first one's files are the list's
    pdfs = context.ids.encode_all("attachments", [known[digest].pdf for digest in digests])
    books = context.ids.encode_all("attachments", [known[digest].xlsx for digest in digests])
    made = [
        CashListMade(
            provider=one.provider, pay_point=one.pay_point, part=one.part, parts=one.parts, orders=len(one.rows),
            amount=one.total, pdf=pdf, xlsx=book, digest=digest,
        )
        for (_, one), pdf, book, digest in zip(lists, pdfs, books, digests, strict=True)
    ]  # fmt: skip
    return CashListsMade(files=tuple(made))


def _known(context: Context, digests: Sequence[str]) -> dict[str, Any]:
    rows = context.execute(
        sa.select(cash_lists.c.digest, cash_lists.c.pdf, cash_lists.c.xlsx).where(
            cash_lists.c.digest == any_of(digests, sa.Text)
        )
    )
    return {row.digest: row for row in rows}
