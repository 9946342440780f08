"""Cash lists as files: the same content as a PDF to print and sign and as a workbook to read. It reads no database.

A list's digest is made with the deployment's key from all that the list says: nobody without the key makes a list that
says something else under the same digest, and the same orders give the same digest, and the same bytes, every time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from imis_core.ids import Ids
from imis_core.values import Money

TEMPLATE: Final = Path(__file__).with_name("cash_list.typ")
TITLE: Final = "Cash payment list"
SIGNED: Final = ("order", "recipient", "name", "beneficiary", "amount", "currency")  # what the digest stands for
COLUMNS: Final = (*SIGNED, "signature")
# Filled in by whoever pays out, and only these: the workbook's other cells are locked.
ANSWERS: Final = ("status", "reference", "reason")
STATUSES: Final = ("paid", "failed", "returned")
TOTAL_LINE: Final = "total"
DIGEST_LINE: Final = "digest "
PDF_MEDIA_TYPE: Final = "application/pdf"
XLSX_MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_WIDTHS: Final = (38, 16, 32, 18, 14, 10, 30, 10, 20, 30)  # characters
_ROW_HEIGHT: Final = 28  # points; room for a signature
# Every workbook carries when it was made; the same list has the same bytes.
_MADE_AT: Final = datetime(2000, 1, 1, tzinfo=UTC)


@frozen
class CashListRow:
    """An order on a list, as it is printed."""

    order: str
    recipient: str
    name: str
    beneficiary: str
    amount: Money


@frozen
class CashList:
    """One list: the orders of one batch that are paid at one pay point (or by the provider itself), `part` from 1."""

    batch: str
    provider: str
    provider_name: str
    pay_point: str | None
    pay_point_name: str | None
    part: int
    parts: int
    rows: Sequence[CashListRow] = field(repr=False)

    @property
    def total(self) -> Money:
        """The sum; all orders of a batch are of one scheme, so they have one currency."""
        return Money(sum(row.amount.minor for row in self.rows), self.rows[0].amount.currency)

    @property
    def name(self) -> str:
        """The name of its files without the ending."""
        part = f"-{self.part}" if self.parts > 1 else ""
        return "-".join(["cash-list", self.provider, *([self.pay_point] if self.pay_point else [])]) + part

    def digest(self, ids: Ids) -> str:
        """What the list says, sealed with the deployment's key; hexadecimal."""
        said = [self.batch, *self._place(), self.parts, self.part, self.cells()]
        return ids.seal(json.dumps(said, ensure_ascii=False))

    def cells(self) -> list[list[str]]:
        """The rows as text, without the box for the signature."""
        return [
            [row.order, row.recipient, row.name, row.beneficiary, str(row.amount), row.amount.currency]
            for row in self.rows
        ]

    def _place(self) -> list[str | None]:
        return [self.provider, self.provider_name, self.pay_point, self.pay_point_name]

    def place(self) -> str:
        """Who pays, and where."""
        texts = [f"{self.provider} {self.provider_name}"]
        if self.pay_point is not None:
            texts.append(f"{self.pay_point} {self.pay_point_name}")
        if self.parts > 1:
            texts.append(f"part {self.part} of {self.parts}")
        return " · ".join(texts)


def pdf_files(lists: Sequence[tuple[CashList, str]]) -> list[bytes]:
    """A PDF for each list with its digest: pages with the columns' names and page numbers, the total on the last."""
    # Imported here and below: a web process that writes no lists does without the libraries of files.
    from imis_core.files.pdf import render_all

    return render_all(TEMPLATE, [_document(one, digest) for one, digest in lists])


def _document(one: CashList, digest: str) -> Mapping[str, Any]:
    return {
        "title": TITLE,
        "batch": one.batch,
        "place": one.place(),
        "columns": [name.capitalize() for name in COLUMNS],
        "rows": one.cells(),
        "orders": len(one.rows),
        "total": str(one.total),
        "currency": one.total.currency,
        "digest": digest,
    }


def xlsx_file(one: CashList, digest: str) -> bytes:
    """A workbook with the list on one protected sheet: names of columns, an order per row, the total, the digest.

    What became of each payment (`ANSWERS`) can be filled in, nothing else; the workbook comes back as the report.
    """
    import xlsxwriter

    memory = io.BytesIO()
    book = xlsxwriter.Workbook(memory, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    book.set_properties({"title": TITLE, "comments": one.place(), "created": _MADE_AT})
    sheet = book.add_worksheet("List")
    bold, cell = book.add_format({"bold": True, "border": 1}), book.add_format({"border": 1, "valign": "vcenter"})
    right = book.add_format({"border": 1, "valign": "vcenter", "align": "right"})
    amount = COLUMNS.index("amount")
    filled = book.add_format({"border": 1, "valign": "vcenter", "locked": False})
    for position, (name, width) in enumerate(zip((*COLUMNS, *ANSWERS), _WIDTHS, strict=True)):
        sheet.set_column(position, position, width)
        sheet.write_string(0, position, name, bold)
    for number, row in enumerate(one.cells(), start=1):
        sheet.set_row(number, _ROW_HEIGHT)
        for position, text in enumerate(row):
            sheet.write_string(number, position, text, right if position == amount else cell)
        sheet.write_blank(number, len(row), None, cell)
        for position in range(len(COLUMNS), len(COLUMNS) + len(ANSWERS)):
            sheet.write_blank(number, position, None, filled)
    last = len(one.rows) + 1
    status = len(COLUMNS)
    sheet.data_validation(1, status, last - 1, status, {"validate": "list", "source": list(STATUSES)})
    sheet.write_string(last, 0, TOTAL_LINE, bold)
    sheet.write_string(last, 2, f"{len(one.rows)} orders", bold)
    sheet.write_string(last, amount, str(one.total), book.add_format({"bold": True, "border": 1, "align": "right"}))
    sheet.write_string(last, amount + 1, one.total.currency, bold)
    sheet.write_string(last + 1, 0, f"{DIGEST_LINE}{digest}")
    # Amounts are text, exact to the minor unit; the sheet is to be read, not computed with.
    sheet.ignore_errors({"number_stored_as_text": f"A1:G{last + 1}"})
    sheet.protect("", {"select_locked_cells": True})
    sheet.freeze_panes(1, 0)
    sheet.repeat_rows(0)
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.set_header(f"&L{_printed(TITLE)}&C{_printed(one.place())}&R{_printed(one.batch)}"[:255])
    sheet.set_footer("&RPage &P of &N")
    book.close()
    return memory.getvalue()


def _printed(text: str) -> str:
    """Text in a header, where an ampersand begins an instruction."""
    return text.replace("&", "&&")
