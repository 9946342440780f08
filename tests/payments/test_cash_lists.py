"""Cash lists: per pay point a workbook and a PDF of the orders that were sent, the same for the same orders."""

from __future__ import annotations

import io
import re
import time
import zipfile
import zlib
from typing import Any

import pytest
import python_calamine
from attrs import evolve

from imis_core.attachments.store import FOLDER, read_content
from imis_core.errors import ImisError
from imis_core.ids import Ids
from imis_core.payments import cash_lists
from imis_core.payments.cash_list_files import CashList, CashListRow, pdf_files, xlsx_file
from imis_core.testing.app import TestApp
from imis_core.values import Money
from tests.payments.debts import Debts

POINTS = [{"code": "PP1", "name": "Main street"}, {"code": "PP2", "name": "Market <#set>"}]


@pytest.fixture
def debts(app: TestApp) -> Debts:
    """P1 and P2 are paid at PP1, P3 at PP2, P4 by the post office itself, P5 by a bank; all are sent."""
    debts = Debts(app, ("P1", "P2", "P3", "P4", "P5"))
    post = {"code": "POST", "name": "Post & Sons", "channel": "cash_list", "pay_points": POINTS}
    app.do("payments.register_provider", post)
    app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "bank_file"})
    for number, point in (("P1", "PP1"), ("P2", "PP1"), ("P3", "PP2"), ("P4", None)):
        app.do("payments.enrol_recipient", {"number": number, "provider": "POST", "pay_point": point})
    app.do("payments.enrol_recipient", {"number": "P5", "provider": "BANK", "account": "1"})
    debts.order()
    app.do("payments.submit", {"payroll": "B7"})
    return debts


def made(debts: Debts, **more: Any) -> Any:
    return debts.app.do("payments.cash_lists", {"payroll": "B7", **more})["files"]


def content(debts: Debts, attachment: str) -> bytes:
    number = debts.app.ids.decode("attachments", attachment)
    (row,) = debts.app.rows("SELECT digest FROM core.attachments WHERE id = :number", number=number)
    return read_content(debts.app.var / FOLDER, row["digest"])


def sheet(debts: Debts, attachment: str) -> list[list[Any]]:
    workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content(debts, attachment)))
    return workbook.get_sheet_by_index(0).to_python()


def streams(pdf: bytes) -> bytes:
    """The unpacked streams of a PDF, among them its text as codes of glyphs and the maps from glyphs to characters."""
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    # A stream whose last byte is a carriage return loses it to the line's end: it is unpacked as far as it goes.
    return b"\n".join(zlib.decompressobj().decompress(stream) for stream in found if stream[:1] == b"\x78")


def pages(pdf: bytes) -> int:
    whole = pdf + streams(pdf)
    return len(re.findall(rb"/Type\s*/Page\b", whole))


def test_there_is_a_list_for_each_pay_point(debts: Debts) -> None:
    """Orders are grouped by pay point, those without one under the provider; other channels are not listed."""
    lists = made(debts)
    assert [(one["provider"], one["pay_point"], one["orders"], one["amount"]) for one in lists] == [
        ("POST", None, 1, "1200.00"),
        ("POST", "PP1", 2, "2400.00"),
        ("POST", "PP2", 1, "1200.00"),
    ]
    assert len({one["digest"] for one in lists}) == 3
    (only,) = made(debts, pay_point="PP1")
    assert only == lists[1]
    with pytest.raises(ImisError) as caught:
        made(debts, pay_point="PP9")
    assert caught.value.code == "not_found"


def test_the_workbook_holds_the_orders_by_recipient_with_total_and_digest(debts: Debts) -> None:
    """One row per order under the columns' names, then the total and the digest; the sheet is protected."""
    _, at_point, _ = made(debts)
    ids = [order["id"] for order in debts.orders()]
    book = content(debts, at_point["xlsx"])
    assert sheet(debts, at_point["xlsx"]) == [
        [
            "order",
            "recipient",
            "name",
            "beneficiary",
            "amount",
            "currency",
            "signature",
            "status",
            "reference",
            "reason",
        ],
        [ids[0], "P1", "Awa Touray", "H-P1", "1200.00", "USD", "", "", "", ""],
        [ids[1], "P2", "Awa Touray", "H-P2", "1200.00", "USD", "", "", "", ""],
        ["total", "", "2 orders", "", "2400.00", "USD", "", "", "", ""],
        [f"digest {at_point['digest']}", "", "", "", "", "", "", "", "", ""],
    ]
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        assert b"<sheetProtection " in archive.read("xl/worksheets/sheet1.xml")


def test_the_pdf_is_whole_and_its_text_is_plain(debts: Debts) -> None:
    """A PDF of one page with text in it; names are printed as they stand, never read as instructions."""
    for one in made(debts):
        pdf = content(debts, one["pdf"])
        assert pdf.startswith(b"%PDF-")
        assert pdf.rstrip().endswith(b"%%EOF")
        assert pages(pdf) == 1
        assert len(pdf) > 5000
        assert b"Tj" in streams(pdf) or b"TJ" in streams(pdf)


def test_the_same_orders_give_the_same_files(debts: Debts) -> None:
    """Made again, a list is the same attachment; when an order is paid its list changes and the others do not."""
    first = made(debts)
    assert made(debts) == first
    assert debts.app.rows("SELECT count(*) AS count FROM core.attachments")[0]["count"] == 6
    order = debts.orders()[0]["id"]
    row = {"order": order, "status": "paid", "amount": "1200.00"}
    debts.app.do("payments.reconcile", {"provider": "POST", "rows": [row]})
    second = made(debts)
    assert [one["orders"] for one in second] == [1, 1, 1]
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, False, True]


def test_the_bytes_of_a_list_are_always_the_same() -> None:
    """PDF and workbook are made of the list alone: made again at another time they have equal bytes."""
    row = CashListRow("0b6d1f1e", "P1", "Awa Touray", "H1", Money(120000, "GMD"))
    one = CashList("B7", "POST", "Post", "PP1", "Main street", 1, 1, [row])
    first = (pdf_files([(one, "abc")]), xlsx_file(one, "abc"))
    time.sleep(2.1)  # a ZIP file tells times to two seconds
    assert (pdf_files([(one, "abc")]), xlsx_file(one, "abc")) == first


def test_the_digest_says_what_the_list_says(app: TestApp) -> None:
    """Another amount, name or place gives another digest; so does another deployment's key."""
    row = CashListRow("0b6d1f1e", "P1", "Awa Touray", "H1", Money(120000, "GMD"))
    one = CashList("B7", "POST", "Post", "PP1", "Main street", 1, 1, [row])
    others = [
        evolve(one, rows=[evolve(row, amount=Money(120001, "GMD"))]),
        evolve(one, rows=[evolve(row, name="Awa Ceesay")]),
        evolve(one, pay_point="PP2"),
        evolve(one, batch="B8"),
    ]
    digests = [other.digest(app.ids) for other in (one, *others)] + [one.digest(Ids(b"0123456789abcdef", {}))]
    assert len(set(digests)) == len(digests)
    assert one.digest(app.ids) == digests[0]


def test_a_long_list_comes_in_parts_and_many_pages(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pay point with more orders than one list holds gets several, which hold each order once."""
    monkeypatch.setattr(cash_lists, "ORDERS_MAX", 60)
    debts = Debts(app, [f"N{i:03d}" for i in range(100)])
    app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    app.do_all("payments.enrol_recipient", [{"number": f"N{i:03d}", "provider": "POST"} for i in range(100)])
    debts.order()
    app.do("payments.submit", {"payroll": "B7"})
    lists = made(debts)
    assert [(one["part"], one["parts"], one["orders"]) for one in lists] == [(1, 2, 60), (2, 2, 40)]
    listed = [row[1] for one in lists for row in sheet(debts, one["xlsx"])[1 : one["orders"] + 1]]
    assert listed == [f"N{i:03d}" for i in range(100)]
    assert [pages(content(debts, one["pdf"])) > 1 for one in lists] == [True, True]


def test_only_a_role_of_scope_all_makes_lists(debts: Debts) -> None:
    """A list that left out what its maker does not see would be signed as if it were whole."""
    limited = evolve(debts.app.as_user("lee"), everywhere=False)
    with pytest.raises(ImisError) as caught:
        debts.app.do("payments.cash_lists", {"payroll": "B7"}, as_=limited)
    assert caught.value.code == "permission.denied"
