"""Files that payment providers send back: their rows read and checked here, judged by reconciliation itself.

Tables (CSV, XLSX, NDJSON) have a row a payment, cash lists among them (`cash_list_returns`); banks send messages of ISO
20022 (`bank_files.reports`).
"""

from __future__ import annotations

from typing import Final

from attrs import field, fields_dict, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError, Refusal
from imis_core.parsing import InvalidInput, parse
from imis_core.payments.cash_list_files import SIGNED
from imis_core.payments.cash_list_returns import MARKS, checked_list
from imis_core.payments.provider_tables import columns_of, opened_table, rows_of
from imis_core.payments.reconciling import Reconciled, Report, ReportedPayment, UnreadableRow, take_report

COLUMNS: Final = tuple(fields_dict(ReportedPayment))
NEEDED: Final = ("order", "status", "amount")
LISTED: Final = tuple(column for column in SIGNED if column not in COLUMNS)  # what a cash list says besides


@frozen(kw_only=True)
class ReconcileFile:
    """`content`: a CSV, XLSX or NDJSON file as base64, with the columns order, status and amount at least.

    Also read are reference, reason and currency; other columns (names, signatures) are the provider's own matter.
    A bank's report is XML: pain.002, camt.053 or camt.054 of ISO 20022. A cash list that was filled in must be one that
    was written for this provider, and is compared with it row by row.
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
    pending = 0
    try:
        if item.content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            report, unreadable, pending = _read_bank_report(context, item)
        else:
            report, unreadable, pending = _read(context, item)
    except ImisError as error:
        return error.refusal
    counted = take_report(context, item.provider, report)
    if isinstance(counted, Refusal):
        return counted
    return FileReconciled(
        matched=counted["matched"], already_reconciled=counted["already_reconciled"],
        wrong_amount=counted["wrong_amount"], unknown=counted["unknown"], conflicts=counted["conflicts"],
        rows=tuple(unreadable), pending=pending,
    )  # fmt: skip


def _read_bank_report(context: Context, item: ReconcileFile) -> tuple[Report, list[UnreadableRow], int]:
    # Imported here: a web process that reads no files does without their libraries.
    from imis_core.files import FileProblem
    from imis_core.payments.bank_files.reporting import read_bank_report

    try:
        return read_bank_report(context, item.name, item.content)
    except FileProblem as problem:
        raise ImisError(Refusal(problem.code, problem.message)) from None


def _read(context: Context, item: ReconcileFile) -> tuple[Report, list[UnreadableRow], int]:
    """The rows of the file, those that cannot be used, and how many of a cash list are unpaid.

    Raises `ImisError` for a file that cannot be read as a whole.
    """
    with opened_table(item.name, item.content) as (name, table):
        named = columns_of(name, table, NEEDED)
        unreadable = [UnreadableRow(row=p.row, field=p.field, code=p.code) for p in table.problems]
        is_list = set(named) >= MARKS
        found = list(rows_of(table, named, (*COLUMNS, *LISTED) if is_list else COLUMNS))
    unpaid = 0
    if is_list:
        found, wrong, unpaid = checked_list(context, item.provider, name, found)
        unreadable += wrong
    rows: list[ReportedPayment] = []
    places: list[int] = []
    for place, cells in found:
        try:
            rows.append(parse(given(cells), ReportedPayment))
            places.append(place)
        except InvalidInput as error:
            unreadable += [UnreadableRow(row=place, field=p.path, code=p.reason) for p in error.problems]
    unreadable.sort(key=lambda error: error.row)
    return Report(rows, places, name), unreadable, unpaid


def given(cells: dict[str, str]) -> dict[str, str]:
    """A row's cells by field; statuses and currencies are taken in capitals or not."""
    found = {column: cell for column, cell in cells.items() if column in COLUMNS}
    if "status" in found:
        found["status"] = found["status"].lower()
    if "currency" in found:
        found["currency"] = found["currency"].upper()
    return found
