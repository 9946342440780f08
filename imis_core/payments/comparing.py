"""Comparing our orders with the books of a payment provider: what differs, with what to do, and totals of all sides.

The provider's statement has every payment of its books (CSV, XLSX, NDJSON: order, status, amount; also read are
currency and reference). Nothing is moved here: somebody settles a difference, by the commands its remedy names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import field, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_returning, insert_rows
from imis_core.errors import ImisError, Refusal, not_found
from imis_core.ledger.book import CASH
from imis_core.payments.comparing_statements import (
    COUNTED,
    DIFFERENCES,
    EQUAL,
    FRESH_TABLE,
    JOINED,
    LEDGER,
    ROWS,
    SIDES,
)
from imis_core.payments.order_names import order_numbers
from imis_core.payments.orders import AWAITED
from imis_core.payments.provider_tables import columns_of, opened_table
from imis_core.payments.reconciling import UnreadableRow
from imis_core.payments.tables import book_comparisons, payment_providers
from imis_core.values import MINOR_UNITS, Money

if TYPE_CHECKING:
    from imis_core.files import TableFile

NOUN: Final = "book_comparisons"
STATUSES: Final = ("paid", "failed", "returned", "pending")
COLUMNS: Final = ("order", "status", "amount", "currency", "reference")
NEEDED: Final = ("order", "status", "amount")
UNREADABLE_MAX: Final = 1_000  # rows that are named; all are counted
_DIGITS_MAX: Final = 18  # of an amount, before the point: more than 64 bits hold of any currency

Code = Literal[
    "paid_twice", "amount_differs", "paid_not_reconciled", "failed_not_reconciled", "returned_not_reconciled",
    "paid_and_retried", "paid_there_failed_here", "paid_there_returned_here", "failed_there_paid_here",
    "returned_there_reversed_here", "pending_there_paid_here", "pending_there_failed_here", "missing_there",
    "missing_there_paid_here", "never_sent", "other_provider", "unknown_order",
]  # fmt: skip

REMEDIES: Final[dict[str, str]] = {
    "paid_twice": "the provider paid it more than once: have it take back what was too much",
    "amount_differs": "ask the provider which amount left; have it corrected there, or reconcile what it corrected",
    "paid_not_reconciled": "have the provider asked (payments.ask), or reconcile its file (payments.reconcile_file): "
    "the order becomes paid",
    "failed_not_reconciled": "have the provider asked, or reconcile its file: the order fails and can be retried",
    "returned_not_reconciled": "have the provider asked (payments.ask for the transmission that payments.transmissions "
    "finds by the order), or reconcile its file: the order is returned and can be retried",
    "paid_and_retried": "paid although it was reported as failed, and ordered again: hold or cancel the retry "
    "(payments.hold, payments.cancel); if that was paid too, have one of the two taken back",
    "paid_there_failed_here": "paid although it was reported as failed: never retry it; have the provider confirm, "
    "then settle it with the recipient",
    "paid_there_returned_here": "we hold it for returned: have the provider show the return before it is retried",
    "failed_there_paid_here": "we hold it for paid: have the provider confirm, then reconcile it as returned, so that "
    "it can be retried",
    "returned_there_reversed_here": "it was reversed, so no file makes it returned: of a payroll, have it owed back "
    "(payroll.recover, unless it is already) and end that with `repaid` (payroll.end_recovery), which books the cash",
    "pending_there_paid_here": "we hold it for paid and the provider does not know yet: compare again later",
    "pending_there_failed_here": "it may still be paid: do not retry it until the provider says that it failed",
    "missing_there": "the provider does not list it: ask for it (payments.ask for what was transmitted); it is sent "
    "again only when the provider says that it never had it",
    "missing_there_paid_here": "we hold it for paid and the provider does not list it: ask for a proof of payment, "
    "or a statement of another period",
    "never_sent": "the provider lists an order that was not sent: find out who told it to pay; hold it (payments.hold)",
    "other_provider": "it was sent through another payment provider: compare with that one's books, too",
    "unknown_order": "no order of ours: money that left without an order is claimed back from the provider",
}


@frozen(kw_only=True)
class CompareBooks:
    """`content`: the provider's statement as base64; `order` is an order's id, or its number where that was sent.

    `since`: orders from before that day count only where the statement names them.
    """

    provider: str
    name: str
    content: bytes = field(repr=False, metadata={"secret": "unrecorded"})
    since: date | None = None


@frozen(kw_only=True)
class DifferenceCount:
    code: str
    payments: int
    remedy: str


@frozen(kw_only=True)
class BookTotal:
    """Payments of a status: of the statement (each order once), or of our orders."""

    status: str
    payments: int
    amount: Money


@frozen(kw_only=True)
class LedgerTotal:
    """What left by payments in a scheme: by its orders (paid or reversed), and by its ledger. `ties`: both agree."""

    scheme: str
    orders: Money
    ledger: Money
    ties: bool


@frozen(kw_only=True)
class BooksCompared:
    """`rows` and `orders`: how many were compared, `equal` of them say the same. `unreadable`: rows that say nothing.

    The differences themselves are listed by payments.book_differences.
    """

    id: str
    rows: int
    orders: int
    equal: int
    differences: tuple[DifferenceCount, ...]
    theirs: tuple[BookTotal, ...]
    ours: tuple[BookTotal, ...]
    ledger: tuple[LedgerTotal, ...]
    unreadable: int
    unreadable_rows: tuple[UnreadableRow, ...]


@command("payments.compare_books", input=CompareBooks, result=BooksCompared)
def compare_books(context: Context, items: tuple[CompareBooks, ...]) -> list[BooksCompared | Refusal]:
    """Compare the orders sent through a provider with the statement of its books; every difference with what to do."""
    return [_compare(context, item) for item in items]


COMMANDS = (compare_books,)


def _compare(context: Context, item: CompareBooks) -> BooksCompared | Refusal:
    if not context.caller.everywhere:
        return Refusal("permission.denied", "only a role of scope all compares books: they name every order")
    provider = next((row for _, row in context.named(payment_providers, [item.provider])), None)
    if provider is None:
        return not_found("provider", "payment provider", item.provider)
    for statement in FRESH_TABLE:
        context.execute(statement)
    try:
        with opened_table(item.name, item.content) as (name, table):
            rows, unreadable = _read(context, name, table)
    except ImisError as error:
        return error.refusal
    context.execute(COUNTED)
    number = insert_returning(
        context.connection,
        book_comparisons,
        {
            "payment_provider": [provider.id],
            "file": [name],
            "digest": [hashlib.sha256(item.content).hexdigest()],
            "rows": [rows],
            "compared_on": [context.today],
            "audit": [context.audit],
        },
        returning="id",
    )[0][0]
    since = None if item.since is None else datetime.combine(item.since, time.min, context.now.tzinfo)
    units = {"currencies": list(MINOR_UNITS), "decimals": list(MINOR_UNITS.values())}
    context.execute(JOINED, {"provider": provider.id, "since": since, "open": list(AWAITED), **units})
    found = {r.code: r.n for r in context.execute(DIFFERENCES, {"comparison": number, "audit": context.audit})}
    both = context.execute(SIDES, {"currency": context.settings.deployment.currency, **units}).all()
    return BooksCompared(
        id=context.ids.encode(NOUN, number), rows=rows, orders=sum(row.n for row in both if row.side == "ours"),
        equal=context.execute(EQUAL).scalar_one(),
        differences=tuple(
            DifferenceCount(code=code, payments=found[code], remedy=remedy)
            for code, remedy in REMEDIES.items()
            if code in found
        ),
        theirs=_totals(both, "theirs"), ours=_totals(both, "ours"),
        ledger=tuple(_ledger(context)), unreadable=len(unreadable), unreadable_rows=tuple(unreadable[:UNREADABLE_MAX]),
    )  # fmt: skip


def _totals(rows: Sequence[Any], side: str) -> tuple[BookTotal, ...]:
    return tuple(
        BookTotal(status=row.status, payments=row.n, amount=Money(int(row.minor), row.currency))
        for row in rows
        if row.side == side
    )


def _ledger(context: Context) -> Iterator[LedgerTotal]:
    for row in context.execute(LEDGER, {"cash": CASH}):
        orders, ledger = Money(int(row.orders), row.currency), Money(int(row.ledger), row.currency)
        yield LedgerTotal(scheme=row.scheme, orders=orders, ledger=ledger, ties=orders == ledger)


def _read(context: Context, name: str, table: TableFile) -> tuple[int, list[UnreadableRow]]:
    """The statement's rows into the temporary table, chunk by chunk; how many, and those that say nothing."""
    named = columns_of(name, table, NEEDED)
    unreadable = [UnreadableRow(row=p.row, field=p.field, code=p.code) for p in table.problems]
    count = 0
    for chunk in table.chunks():
        cells = [chunk.columns[named[column]] if column in named else [None] * len(chunk) for column in COLUMNS]
        good: list[tuple[Any, ...]] = []
        for place, row in zip(chunk.row_numbers, zip(*cells, strict=True), strict=True):
            wrong = _wrong(row)
            if wrong is None:
                good.append((place, *row))
            else:
                unreadable.append(UnreadableRow(row=place, field=wrong, code="format"))
        if good:
            count += len(good)
            _write(context, good)
    unreadable.sort(key=lambda error: error.row)
    return count, unreadable


def _write(context: Context, rows: Sequence[tuple[Any, ...]]) -> None:
    places, orders, statuses, amounts, currencies, references = zip(*rows, strict=True)
    insert_rows(
        context.connection,
        ROWS,
        {
            "place": places,
            "named": [order[:200] for order in orders],
            "order": order_numbers(context, orders),
            "status": [status.strip().lower() for status in statuses],
            "amount": [amount.strip() for amount in amounts],
            "currency": [None if c is None else c.strip().upper() for c in currencies],
            "reference": references,
        },
    )


def _wrong(row: Sequence[str | None]) -> str | None:
    """The field that makes a row say nothing."""
    order, status, amount, currency, _ = row
    if currency is not None and currency.strip().upper() not in MINOR_UNITS:
        return "currency"
    if order is None:
        return "order"
    if status is None or status.strip().lower() not in STATUSES:
        return "status"
    try:
        value = Decimal((amount or "").strip())
    except InvalidOperation:
        return "amount"
    return None if value.is_finite() and value >= 0 and value.adjusted() < _DIGITS_MAX else "amount"
