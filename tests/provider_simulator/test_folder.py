"""Files to the simulated provider and back: as the system writes them, answered as it reads them."""

from __future__ import annotations

import io
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from imis_core.files import read_table
from imis_core.payments.bank_files.credit_transfer import Debtor, Transfer, write
from imis_core.payments.bank_files.reports import read
from imis_core.payments.cash_list_files import CashList, CashListRow, xlsx_file
from imis_core.payments.order_names import order_named
from imis_core.values import Money
from tests.provider_simulator.conftest import Provider, until

AMOUNTS = [Money(1000 + n, "USD") for n in range(40)]


def order(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def bank_file(path: Path, message: str = "FILE-1", count: int = 40) -> None:
    """A file as `payments.bank_files` writes it."""
    transfers = [
        Transfer(order(n).replace("-", ""), f"Payee {n} & Co", f"ACC{n}", AMOUNTS[n], "grant") for n in range(count)
    ]
    memory = io.BytesIO()
    total = Money(sum(amount.minor for amount in AMOUNTS[:count]), "USD")
    write(memory, message, datetime(2026, 1, 5, tzinfo=UTC), date(2026, 1, 6), Debtor(name="Agency", account="1"),
          transfers, count, total)  # fmt: skip
    path.write_bytes(memory.getvalue())


def answered(provider: Provider, name: str) -> Path:
    path = provider.watch / "out" / name
    until(path.exists)
    return path


def test_a_bank_file_is_paid_and_reported(provider: Provider) -> None:
    """The reports name each transfer with amount and reference; what failed stands in pain.002 alone."""
    provider.behave(failures=0.3)
    bank_file(provider.watch / "in" / "march.xml")
    said = {}
    for kind in ("pain.002", "camt.053", "camt.054"):
        with answered(provider, f"march-{kind}.xml").open("rb") as source:
            said[kind] = {line.order: line for line in read(source)}
    status = said["pain.002"]
    assert set(status) == {order(n) for n in range(40)}
    assert [status[order(n)].amount for n in range(40)] == [Decimal(str(amount)) for amount in AMOUNTS]
    paid = {name for name, line in status.items() if line.status == "paid"}
    assert 15 < len(paid) < 38
    for kind in ("camt.053", "camt.054"):
        assert set(said[kind]) == paid
        assert {name: line.reference for name, line in said[kind].items()} == {n: status[n].reference for n in paid}
    assert all(status[name].reason for name in set(status) - paid)
    totals = {p["status"]: p["payments"] for p in provider.running.books()["payments"]}
    assert totals == {"paid": len(paid), "failed": 40 - len(paid)}
    assert (provider.watch / "done" / "march.xml").exists()
    assert {order_named(reference) for reference in status} == set(status)


def test_a_message_id_is_paid_once(provider: Provider) -> None:
    """The same file again, also after a kill, is answered again; nothing is paid anew."""
    bank_file(provider.watch / "in" / "march.xml")
    answered(provider, "march-camt.054.xml")
    provider.kill_and_start()
    bank_file(provider.watch / "in" / "again.xml")
    first, again = (answered(provider, f"{name}-pain.002.xml").read_bytes() for name in ("march", "again"))
    assert first == again
    assert [p["payments"] for p in provider.running.books()["payments"]] == [40]


def test_files_that_cannot_be_taken(provider: Provider) -> None:
    """They are put aside with the reason, and nothing of them is paid."""
    inbox = provider.watch / "in"
    bank_file(inbox / ".draft.xml")
    text = (inbox / ".draft.xml").read_text("utf-8")
    (inbox / "sum.xml").write_text(text.replace("<NbOfTxs>40", "<NbOfTxs>41"), "utf-8")
    (inbox / "cut.xml").write_text(text[: len(text) // 2], "utf-8")
    (inbox / "letter.xml").write_text("<letter/>", "utf-8")
    (inbox / "empty.csv").write_text("order,amount,currency\n", "utf-8")
    (inbox / "other.csv").write_text("name\nAda\n", "utf-8")
    for name in ("sum.xml", "cut.xml", "letter.xml", "empty.csv", "other.csv"):
        until((provider.watch / "refused" / f"{name}.txt").exists)
    assert "announces 41" in (provider.watch / "refused" / "sum.xml.txt").read_text()
    assert (inbox / ".draft.xml").exists()
    assert provider.running.books()["batches"] == 0


def test_a_cash_list_is_paid_out(provider: Provider, tmp_path: Path) -> None:
    """The workbook as `payments.cash_lists` writes it comes back with a status for each order; the same list is paid
    once."""
    provider.behave(failures=0.3, duplicates=1.0)
    rows = [CashListRow(order(n), f"P{n}", f"Payee {n}", "H1", AMOUNTS[n]) for n in range(40)]
    made = xlsx_file(CashList("B7", "TREASURY", "Treasurer", "MAIN", "Main", 1, 1, rows), "d" * 64)
    (tmp_path / "list.xlsx").write_bytes(made)
    shutil.copy(tmp_path / "list.xlsx", provider.watch / "in" / "list.xlsx")
    for name in ("list-paid.xlsx", "list-paid-again.xlsx"):
        table = read_table(answered(provider, name))
        (chunk,) = table.chunks()
        assert chunk.columns["order"] == [order(n) for n in range(40)]
        assert chunk.columns["amount"] == [str(amount) for amount in AMOUNTS]
        failed = [r for s, r in zip(chunk.columns["status"], chunk.columns["reason"], strict=True) if s == "failed"]
        assert 4 < len(failed) < 25
        assert set(failed) <= {"did not come", "had no proof of identity", "somebody else came"}
    shutil.copy(tmp_path / "list.xlsx", provider.watch / "in" / "once-more.xlsx")
    answered(provider, "once-more-paid.xlsx")
    assert sum(p["payments"] for p in provider.running.books()["payments"]) == 40
