"""Files that payment providers send back: their rows read and checked here, judged by reconciliation itself.

Tables (CSV, XLSX, NDJSON) have a row a payment, cash lists among them (`cash_list_returns`); banks send messages of ISO
20022 (`bank_files.reports`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from attrs import field, fields_dict, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError, Refusal
from imis_core.parsing import InvalidInput, parse
from imis_core.payments.cash_list_files import SIGNED
from imis_core.payments.cash_list_returns import MARKS, checked_list
from imis_core.payments.provider_tables import columns_of, opened_table, rows_of
from imis_core.payments.reconciling import (
    Placed,
    Reading,
    Reconciled,
    Report,
    ReportedPayment,
    UnreadableRow,
    take_report,
)

COLUMNS: Final = tuple(fields_dict(ReportedPayment))
NEEDED: Final = ("order", "status", "amount")
LISTED: Final = tuple(column for column in SIGNED if column not in COLUMNS)  # what a cash list says besides


@frozen(kw_only=True)
class ReconcileFile:
    """`content`: a CSV, XLSX or NDJSON file as base64, with the columns order, status and amount at least.

    `order` is an order's id, with or without dashes, or its number in decimal where that was sent. Also read are
    reference, reason and currency; other columns (names, signatures) are the provider's own matter.
    A bank's report is XML: pain.002, camt.053 or camt.054 of ISO 20022. A cash list that was filled in must be one that
    was written for this provider, and is compared with it row by row. A table without its columns `beneficiary` and
    `signature` is taken for a provider's own and compared with no list: that guards against slips of the pen, not
    against whoever may upload files.
    """

    provider: str
    name: str
    content: bytes = field(repr=False, metadata={"secret": "unrecorded"})


@frozen(kw_only=True)
class FileReconciled(Reconciled):
    """The counts of the rows that could be read, and what is wrong with the others.

    `pending`: rows of a bank that say that it has taken a payment and not yet what came of it; rows of a cash list
    without a status, which were not paid out yet.
    """

    rows: tuple[UnreadableRow, ...]
    pending: int = 0


@command("payments.reconcile_file", input=ReconcileFile, result=FileReconciled)
def reconcile_file(context: Context, items: tuple[ReconcileFile, ...]) -> list[FileReconciled | Refusal]:
    """Take a payment provider's file: rows that can be read are reconciled, the others are listed with their errors."""
    return [_reconcile_file(context, item) for item in items]


COMMANDS = (reconcile_file,)


def _reconcile_file(context: Context, item: ReconcileFile) -> FileReconciled | Refusal:
    is_message = item.content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    events = len(context.events)
    try:
        # A file may turn out to be unreadable after some of its rows were taken: then none of them is.
        with context.connection.begin_nested(), (_message if is_message else _table)(context, item) as reading:
            counted = take_report(context, item.provider, Report(reading.rows, reading.name))
    except ImisError as error:
        del context.events[events:]
        return error.refusal
    if isinstance(counted, Refusal):
        return counted
    return FileReconciled(
        matched=counted["matched"], already_reconciled=counted["already_reconciled"],
        wrong_amount=counted["wrong_amount"], unknown=counted["unknown"], conflicts=counted["conflicts"],
        rows=tuple(sorted(reading.unreadable, key=lambda error: error.row)), pending=reading.pending,
    )  # fmt: skip


@contextmanager
def _message(context: Context, item: ReconcileFile) -> Iterator[Reading]:
    # Imported here: a web process that reads no files does without their libraries.
    from imis_core.files import FileProblem
    from imis_core.payments.bank_files.reporting import read_bank_report

    try:
        yield read_bank_report(context, item.name, item.content)
    except FileProblem as problem:
        raise ImisError(Refusal(problem.code, problem.message)) from None


@contextmanager
def _table(context: Context, item: ReconcileFile) -> Iterator[Reading]:
    with opened_table(item.name, item.content) as (name, table):
        named = columns_of(name, table, NEEDED)
        reading = Reading(name, [UnreadableRow(row=p.row, field=p.field, code=p.code) for p in table.problems])
        found: Iterable[tuple[int, dict[str, str]]]
        if set(named) >= MARKS:
            listed = list(rows_of(table, named, (*COLUMNS, *LISTED)))
            found, wrong, reading.pending = checked_list(context, item.provider, name, listed)
            reading.unreadable += wrong
        else:
            found = rows_of(table, named, COLUMNS)
        reading.rows = _parsed(found, reading.unreadable)
        yield reading


def _parsed(rows: Iterable[tuple[int, dict[str, str]]], unreadable: list[UnreadableRow]) -> Iterator[Placed]:
    for place, cells in rows:
        try:
            yield place, parse(given(cells), ReportedPayment)
        except InvalidInput as error:
            unreadable += [UnreadableRow(row=place, field=p.path, code=p.reason) for p in error.problems]


def given(cells: dict[str, str]) -> dict[str, str]:
    """A row's cells by field; statuses and currencies are taken in capitals or not."""
    found = {column: cell for column, cell in cells.items() if column in COLUMNS}
    if "status" in found:
        found["status"] = found["status"].lower()
    if "currency" in found:
        found["currency"] = found["currency"].upper()
    return found
