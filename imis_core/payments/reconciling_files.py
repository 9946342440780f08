"""Files that payment providers send back: their rows read and checked here, judged by reconciliation itself.

Tables (CSV, XLSX, NDJSON) have a row a payment; banks send messages of ISO 20022 (`bank_files.reports`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import field, fields_dict, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid
from imis_core.parsing import InvalidInput, parse
from imis_core.payments.reconciling import Reconciled, Report, ReportedPayment, UnreadableRow, take_report

if TYPE_CHECKING:
    from imis_core.files import TableFile

COLUMNS: Final = tuple(fields_dict(ReportedPayment))
NEEDED: Final = ("order", "status", "amount")


@frozen(kw_only=True)
class ReconcileFile:
    """`content`: a CSV, XLSX or NDJSON file as base64, with the columns order, status and amount at least.

    Also read are reference, reason and currency; other columns (names, signatures) are the provider's own matter.
    A bank's report is XML: pain.002, camt.053 or camt.054 of ISO 20022.
    """

    provider: str
    name: str
    content: bytes = field(repr=False, metadata={"secret": "unrecorded"})


@frozen(kw_only=True)
class FileReconciled(Reconciled):
    """The counts of the rows that could be read, and what is wrong with the others.

    `pending`: rows of a bank that say that it has taken a payment and not yet what came of it.
    """

    rows: tuple[UnreadableRow, ...]
    pending: int = 0


@command("payments.reconcile_file", input=ReconcileFile, result=FileReconciled)
def reconcile_file(context: Context, items: tuple[ReconcileFile, ...]) -> list[FileReconciled | Refusal]:
    """Take a payment provider's file: rows that can be read are reconciled, the others are listed with their errors."""
    return [_reconcile_file(context, item) for item in items]


COMMANDS = (reconcile_file,)


def _reconcile_file(context: Context, item: ReconcileFile) -> FileReconciled | Refusal:
    # Imported here and below: a web process that reads no files does without their libraries.
    from imis_core.files import FileProblem

    pending = 0
    try:
        if item.content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            from imis_core.payments.bank_files.reporting import read_bank_report

            report, unreadable, pending = read_bank_report(context, item.name, item.content)
        else:
            read = _read(item)
            if isinstance(read, Refusal):
                return read
            report, unreadable = read
    except FileProblem as problem:
        return Refusal(problem.code, problem.message)
    counted = take_report(context, item.provider, report)
    if isinstance(counted, Refusal):
        return counted
    return FileReconciled(
        matched=counted["matched"], already_reconciled=counted["already_reconciled"],
        wrong_amount=counted["wrong_amount"], unknown=counted["unknown"], conflicts=counted["conflicts"],
        rows=tuple(unreadable), pending=pending,
    )  # fmt: skip


def _read(item: ReconcileFile) -> tuple[Report, list[UnreadableRow]] | Refusal:
    """The rows of the file; raises FileProblem for one that cannot be read as a whole."""
    from imis_core.files import FileProblem, read_table

    name = Path(item.name).name or "file"
    with tempfile.TemporaryDirectory(prefix="imis-") as folder:
        path = Path(folder) / name
        try:
            path.write_bytes(item.content)
        except (OSError, ValueError):
            return invalid(Problem("name", "format", f"{name[:60]!r} is no name of a file"))
        try:
            return _rows(name, read_table(path))
        except FileProblem as problem:
            raise FileProblem(problem.code, problem.message.replace(str(path), name)) from None


def _rows(name: str, table: TableFile) -> tuple[Report, list[UnreadableRow]] | Refusal:
    named = {column.casefold(): column for column in table.columns}
    missing = [
        Problem("content", "required", f"{name} has no column {needed!r}") for needed in NEEDED if needed not in named
    ]
    if missing:
        return invalid(*missing)
    unreadable = [UnreadableRow(row=p.row, field=p.field, code=p.code) for p in table.problems]
    rows: list[ReportedPayment] = []
    places: list[int] = []
    for chunk in table.chunks():
        cells = [chunk.columns[named[column]] if column in named else [None] * len(chunk) for column in COLUMNS]
        for place, row in zip(chunk.row_numbers, zip(*cells, strict=True), strict=True):
            try:
                rows.append(parse(_given(row), ReportedPayment))
                places.append(place)
            except InvalidInput as error:
                unreadable += [UnreadableRow(row=place, field=p.path, code=p.reason) for p in error.problems]
    unreadable.sort(key=lambda error: error.row)
    return Report(rows, places, name), unreadable


def _given(cells: tuple[str | None, ...]) -> dict[str, Any]:
    """The cells that are filled, by field; statuses and currencies are taken in capitals or not."""
    given = {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell is not None}
    if "status" in given:
        given["status"] = given["status"].lower()
    if "currency" in given:
        given["currency"] = given["currency"].upper()
    return given
