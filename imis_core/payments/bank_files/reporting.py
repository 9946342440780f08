"""A bank's report as rows for reconciliation: what it leaves out is taken from our own orders and files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.files import FileProblem
from imis_core.payments.bank_files.reports import Line, NoReport, read
from imis_core.payments.order_names import order_named
from imis_core.payments.reconciling import PART, Placed, Reading, ReportedPayment, UnreadableRow
from imis_core.payments.tables import bank_file_orders, orders
from imis_core.values import Amount, Money

PENDING: Final = "pending"


def read_bank_report(context: Context, name: str, content: bytes) -> Reading:
    """The payments that a message speaks of, rows that cannot be used, and how many are still on their way.

    Rows count from 1 in the order of the message. A payment whose amount the bank does not tell is taken with ours; a
    message that rejects a whole file of ours stands for all its payments. Reading the rows raises `FileProblem`
    (`file.format`), also in the middle of a file.
    """
    reading = Reading(Path(name).name or "file")
    reading.rows = _rows(context, content, reading)
    return reading


def _rows(context: Context, content: bytes, reading: Reading) -> Iterator[Placed]:
    lines = enumerate(_told(content, reading.name), start=1)
    while part := list(islice(lines, PART)):
        yield from _part(context, part, reading)


def _told(content: bytes, name: str) -> Iterator[Line]:
    try:
        yield from read(io.BytesIO(content))
    except NoReport as problem:
        raise FileProblem("file.format", f"{name}: {problem}") from None


def _part(context: Context, part: Sequence[tuple[int, Line]], reading: Reading) -> Iterator[Placed]:
    in_files = _orders_of_files(context, {line.file for _, line in part if line.file is not None})
    untold = {line.order for _, line in part if line.order is not None and line.amount is None}
    ours = _amounts(context, [order for order in untold if order is not None])
    for place, line in part:
        if line.status == PENDING:
            reading.pending += 1
        elif line.file is not None:
            found = in_files.get(line.file, ())
            if not found:
                reading.unreadable.append(UnreadableRow(row=place, field="file", code="unknown"))
            for order, owed in found:
                yield place, _row(line, order, owed)
        else:
            assert line.order is not None
            amount = ours.get(line.order) if line.amount is None else line.amount
            if not line.order:
                reading.unreadable.append(UnreadableRow(row=place, field="order", code="required"))
            elif amount is None:
                reading.unreadable.append(UnreadableRow(row=place, field="amount", code="required"))
            else:
                yield place, _row(line, line.order, amount)


def _row(line: Line, order: str, amount: Decimal) -> ReportedPayment:
    assert line.status != PENDING
    return ReportedPayment(
        order=order, status=line.status, amount=Amount(amount), reference=line.reference, reason=line.reason,
        currency=line.currency,
    )  # fmt: skip


def _amounts(context: Context, names: Sequence[str]) -> dict[str, Decimal]:
    """Our own amounts of orders, by their ids."""
    found = zip(context.ids.decode_all("orders", names), names, strict=True)
    numbers = {number: name for number, name in found if number is not None}
    rows = context.execute(
        sa.select(orders.c.id, orders.c.amount_minor, orders.c.currency).where(
            orders.c.id == any_of(numbers), context.scoped(orders)
        )
    )
    return {numbers[row.id]: _decimal(row) for row in rows}


def _orders_of_files(context: Context, names: set[str]) -> dict[str, list[tuple[str, Decimal]]]:
    """The orders of our files, by the names that the files have with the bank."""
    numbers = {number: name for name in names if (number := context.ids.decode("bank_files", order_named(name)))}
    if not numbers:
        return {}
    rows = context.execute(
        sa.select(bank_file_orders.c.file, orders.c.id, orders.c.amount_minor, orders.c.currency)
        .join(orders, orders.c.id == bank_file_orders.c.order)
        .where(bank_file_orders.c.file == any_of(numbers))
        .order_by(orders.c.id)
    ).all()
    found: dict[str, list[tuple[str, Decimal]]] = {}
    for row, identity in zip(rows, context.ids.encode_all("orders", [row.id for row in rows]), strict=True):
        found.setdefault(numbers[row.file], []).append((identity, _decimal(row)))
    return found


def _decimal(row: Any) -> Decimal:
    return Decimal(str(Money(row.amount_minor, row.currency)))
