"""Files of payment providers: read, reconciled, listed row by row with what became of each."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from imis_core.errors import ImisError
from imis_core.payments import reconciling
from imis_core.payments.bank_files import reporting
from imis_core.testing.app import TestApp
from tests.payments.debts import Debts


@pytest.fixture
def debts(app: TestApp) -> Debts:
    """Three orders of 1200.00 that were sent to the post office."""
    debts = Debts(app, ("P1", "P2", "P3"))
    app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    app.do_all("payments.enrol_recipient", [{"number": f"P{i}", "provider": "POST"} for i in (1, 2, 3)])
    debts.order()
    app.do("payments.submit", {"payroll": "B7"})
    return debts


def upload(debts: Debts, content: bytes, name: str = "march.csv") -> Any:
    """What the answer counts, without zeros and empty lists."""
    data = {"provider": "POST", "name": name, "content": base64.b64encode(content).decode()}
    answer = debts.app.do("payments.reconcile_file", data)
    return {key: value for key, value in answer.items() if value}


def csv(*lines: str) -> bytes:
    return "\n".join(["order,status,amount,reference", *lines]).encode()


def states(debts: Debts) -> list[str]:
    return [order["status"] for order in debts.orders()]


def test_a_file_twice_changes_nothing_the_second_time(debts: Debts) -> None:
    """Each row moves its order once; the same file again is already reconciled."""
    one, two, _ = (order["id"] for order in debts.orders())
    file = csv(f"{one},paid,1200.00,R1", f"{two},FAILED,1200,R2")
    assert upload(debts, file) == {"matched": 2}
    assert states(debts) == ["paid", "failed", "submitted"]
    settled = list(debts.settled)
    assert upload(debts, file) == {"already_reconciled": 2}
    assert debts.settled == settled


def test_rows_that_cannot_be_read_are_listed_and_the_others_taken(debts: Debts) -> None:
    """Row (from 1), field and code of each; the file's other rows are reconciled."""
    one, two, three = (order["id"] for order in debts.orders())
    file = csv(
        f"{one},paid,1200.00,R1", f"{two},given,1200.00,", f"{three},paid,,", "", f"{two},paid,1x,", f"a,b{',' * 9}c"
    )
    assert upload(debts, file) == {
        "matched": 1,
        "rows": [
            {"row": 2, "field": "status", "code": "choice"},
            {"row": 3, "field": "amount", "code": "required"},
            {"row": 5, "field": "amount", "code": "format"},
            {"row": 6, "field": None, "code": "files.ragged"},
        ],
    }
    assert states(debts) == ["paid", "submitted", "submitted"]


def test_a_workbook_is_read_like_a_csv_file(debts: Debts) -> None:
    """XLSX with numbers for amounts, capitals in the heading, and columns that are nobody's matter."""
    one, two, _ = (order["id"] for order in debts.orders())
    memory = io.BytesIO()
    book = xlsxwriter.Workbook(memory, {"in_memory": True})
    rows = (
        ("Order", "Name", "Status", "Amount", "Currency"),
        (one, "Awa", "paid", 1200, "usd"),
        (two, "Awa", "paid", 1200, "EUR"),
    )
    sheet = book.add_worksheet()
    for number, row in enumerate(rows):
        sheet.write_row(number, 0, row)
    book.close()
    assert upload(debts, memory.getvalue(), "march.xlsx") == {"matched": 1, "wrong_amount": 1}


def test_every_row_is_listed_with_its_outcome(debts: Debts) -> None:
    """`payments.reconciliation` lists all rows as they came, with file and place, or those of one outcome."""
    one, two, _ = (order["id"] for order in debts.orders())
    upload(debts, csv(f"{one},paid,1200.00,R1", f"{two},paid,,", f"{two},paid,1.00,R2", "X9,returned,5,"))
    row = {"order": one, "status": "failed", "amount": "1200", "reason": "closed"}
    debts.app.do("payments.reconcile", {"provider": "POST", "rows": [row]})
    listed = debts.app.do("payments.reconciliation", {"provider": "POST"})
    assert [(r["file"], r["row"], r["order"], r["outcome"]) for r in listed] == [
        ("march.csv", 1, one, "matched"),
        ("march.csv", 3, two, "wrong_amount"),
        ("march.csv", 4, "X9", "unknown"),
        (None, 1, one, "conflicts"),
    ]
    (conflict,) = debts.app.do("payments.reconciliation", {"provider": "POST", "outcome": "conflicts"})
    assert (conflict["status"], conflict["amount"], conflict["reason"]) == ("failed", "1200", "closed")


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "march.csv", "files.empty"),
        (b"order,amount\nx,1\n", "march.csv", "input.invalid"),
        (b"order,status,amount\n\xff\xfe,paid,1\n", "march.csv", "files.encoding"),
        (b"%PDF-1.7", "march.pdf", "files.format"),
        (b"order,status,amount\nx,paid,1\n", "a" * 300, "input.invalid"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(debts: Debts, content: bytes, name: str, code: str) -> None:
    """The reader's error is told with the file's own name, and nothing of where it was read from."""
    with pytest.raises(ImisError) as caught:
        upload(debts, content, name)
    assert caught.value.code == code
    assert "imis-" not in str(caught.value)
    assert states(debts) == ["submitted"] * 3


def test_a_name_with_folders_is_only_a_name(debts: Debts, tmp_path: Path) -> None:
    """The file's name never leads out of where it is read."""
    one = debts.orders()[0]["id"]
    target = tmp_path / "evil.csv"
    assert upload(debts, csv(f"{one},paid,1200.00,R1"), str(target)) == {"matched": 1}
    assert not target.exists()
    assert debts.app.do("payments.reconciliation", {"provider": "POST"})[0]["file"] == "evil.csv"


def test_a_long_report_is_taken_part_by_part(debts: Debts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later part says of an order meets what an earlier one did; the outcomes are those of one part."""
    monkeypatch.setattr(reconciling, "PART", 2)
    one, two, three = (order["id"] for order in debts.orders())
    file = csv(f"{one},paid,1200.00,R1", f"{one},paid,1200.00,R1", f"{two},failed,1200.00,R2",
               f"{one},returned,1200.00,R3", f"{three},paid,12.00,R4", f"{two},paid,1200.00,R5")  # fmt: skip
    assert upload(debts, file) == {"matched": 3, "already_reconciled": 1, "wrong_amount": 1, "conflicts": 1}
    assert states(debts) == ["returned", "failed", "submitted"]
    assert [(move.state, move.was) for move in debts.settled] == [
        ("paid", "submitted"), ("failed", "submitted"), ("returned", "paid"),
    ]  # fmt: skip


def test_a_message_that_breaks_off_changes_nothing(debts: Debts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were taken before the end turned out to be missing are given back: the file is refused as a whole."""
    monkeypatch.setattr(reconciling, "PART", 1)
    monkeypatch.setattr(reporting, "PART", 1)
    one = debts.orders()[0]["id"].replace("-", "")
    row = f"<TxInfAndSts><OrgnlEndToEndId>{one}</OrgnlEndToEndId><TxSts>ACSC</TxSts></TxInfAndSts>"
    message = (
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>{row * 3}</CstmrPmtStsRpt>'
    )
    with pytest.raises(ImisError) as caught:
        upload(debts, message.encode(), "report.xml")
    assert caught.value.code == "file.format"
    assert states(debts) == ["submitted"] * 3
    assert debts.app.do("payments.reconciliation", {"provider": "POST"}) == []
