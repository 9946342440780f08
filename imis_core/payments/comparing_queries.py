"""The differences that comparisons with the books of payment providers found, with what to do about each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.payments.comparing import NOUN, REMEDIES, Code
from imis_core.payments.tables import book_comparisons, book_differences
from imis_core.queries import Listing, query
from imis_core.values import Money


@frozen(kw_only=True)
class ListBookDifferences:
    comparison: str
    code: Code | None = None


@frozen(kw_only=True)
class BookDifference:
    """`order`, `here` and `amount` are ours, None where the statement names no order of ours; `row` (from 1),
    `row_names`, `there` and `amount_there` are the statement's, None where it has no row."""

    code: str
    remedy: str
    order: str | None
    here: str | None
    amount: Money | None
    row: int | None
    row_names: str | None
    there: str | None
    amount_there: str | None
    currency_there: str | None
    reference: str | None


@query("payments.book_differences", input=ListBookDifferences, result=BookDifference, listing=True)
def list_book_differences(context: Context, asked: ListBookDifferences) -> Listing | Refusal:
    """What a comparison with a provider's books found, in the order of its statement; what it lacks comes last."""
    table = book_differences
    number = context.ids.decode(NOUN, asked.comparison)
    # Comparisons are of whole deployments: who sees a part of it finds none.
    if number is None or not context.caller.everywhere or not _is_there(context, number):
        return not_found("comparison", "comparison", asked.comparison)
    chosen: sa.ColumnElement[bool] = table.c.comparison == number
    if asked.code is not None:
        chosen = sa.and_(chosen, table.c.code == asked.code)

    def build(rows: Sequence[Any]) -> list[BookDifference]:
        ids = context.ids.encode_all("orders", [row.order or 0 for row in rows])
        return [
            BookDifference(
                code=row.code, remedy=REMEDIES[row.code], order=None if row.here is None else identity, here=row.here,
                amount=None if row.amount_minor is None else Money(row.amount_minor, row.currency),
                row=row.place, row_names=row.order_named, there=row.there, amount_there=row.amount_there,
                currency_there=row.currency_there, reference=row.reference,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(sa.select(table).where(chosen), (table.c.id,), build)


QUERIES = (list_book_differences,)


def _is_there(context: Context, number: int) -> bool:
    chosen = sa.select(book_comparisons.c.id).where(book_comparisons.c.id == number)
    return context.execute(chosen).first() is not None
