"""Files to a provider and back: bank files and cash lists go to the simulated one, its answers are reconciled."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import pytest

from imis_core.provider_simulator.process import Running, simulator
from imis_core.testing.app import TestApp
from tests.payments.debts import Debts
from tests.provider_simulator.conftest import until

PEOPLE = 30
PATIENCE_SECONDS = 60.0


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Running]:
    with simulator(tmp_path / "books", watch=tmp_path / "files") as running:
        running.behave(failures=0.3)
        yield running


def owed(app: TestApp, channel: str) -> Debts:
    """Persons owed 1200.00 each, their orders sent through a provider of a channel."""
    debts = Debts(app, [f"P{n}" for n in range(PEOPLE)])
    point = {"pay_points": [{"code": "MAIN", "name": "Main"}]} if channel == "cash_list" else {}
    app.do("payments.register_provider", {"code": "PAYER", "name": "Payer", "channel": channel, **point})
    how = {"pay_point": "MAIN"} if point else {}
    enrolled = [{"number": f"P{n}", "provider": "PAYER", **(how or {"account": f"00{n}"})} for n in range(PEOPLE)]
    app.do_all("payments.enrol_recipient", enrolled)
    debts.order()
    app.do("payments.submit", {"payroll": "B7"})
    return debts


def given(app: TestApp, attachment: str, tmp_path: Path, name: str) -> None:
    """A file of ours into the provider's folder, whole at once."""
    content = base64.b64decode(app.do("attachments.read", {"attachment": attachment})["content"])
    draft = tmp_path / "files" / "in" / f".{name}"
    draft.write_bytes(content)
    draft.rename(draft.with_name(name))


def reconciled(app: TestApp, tmp_path: Path, name: str) -> Any:
    """An answer of the provider's, when it is there, reconciled."""
    path = tmp_path / "files" / "out" / name
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"there is no {name}"
        time.sleep(0.05)
    content = base64.b64encode(path.read_bytes()).decode()
    return app.do("payments.reconcile_file", {"provider": "PAYER", "name": name, "content": content})


def books_agree(
    app: TestApp, provider: Running, debts: Debts, expected: Set[str] = frozenset({"paid", "failed"})
) -> None:
    """Some are paid, some not, and the provider's books, ours and the ledger say the same."""
    states = Counter(order["status"] for order in debts.orders())
    assert set(states) == expected
    content = base64.b64encode(provider.statement()).decode()
    compared = app.do("payments.compare_books", {"provider": "PAYER", "name": "books.csv", "content": content})
    assert (compared["differences"], compared["equal"]) == ([], PEOPLE)
    assert compared["ours"] == compared["theirs"]
    assert all(one["ties"] for one in compared["ledger"])


def test_a_bank_file_and_its_reports_in_any_order(app: TestApp, provider: Running, tmp_path: Path) -> None:
    """The notification comes before the status report, the statement last: each payment is settled once."""
    debts = owed(app, "bank_file")
    app.do("payments.set_bank", {"provider": "PAYER", "debtor": "Agency", "account": "DE89370400440532013000"})
    (file,) = app.do("payments.bank_files", {"payroll": "B7"})["files"]
    given(app, file["attachment"], tmp_path, "march.xml")
    notified = reconciled(app, tmp_path, "march-camt.054.xml")
    told = reconciled(app, tmp_path, "march-pain.002.xml")
    stated = reconciled(app, tmp_path, "march-camt.053.xml")
    assert notified["matched"] + told["matched"] == PEOPLE
    assert told["already_reconciled"] == notified["matched"] == stated["already_reconciled"]
    assert (told["conflicts"], told["unknown"], told["wrong_amount"], stated["matched"]) == (0, 0, 0, 0)
    books_agree(app, provider, debts)


def test_what_the_bank_sends_back(app: TestApp, provider: Running, tmp_path: Path) -> None:
    """The notification of returns comes after the status report: paid orders are returned, all books agree."""
    provider.behave(failures=0.0, returns=0.3)
    debts = owed(app, "bank_file")
    app.do("payments.set_bank", {"provider": "PAYER", "debtor": "Agency", "account": "DE89370400440532013000"})
    (file,) = app.do("payments.bank_files", {"payroll": "B7"})["files"]
    given(app, file["attachment"], tmp_path, "march.xml")
    assert reconciled(app, tmp_path, "march-pain.002.xml")["matched"] == PEOPLE
    until(lambda: not provider.books()["to_come_back"] and list((tmp_path / "files" / "out").glob("*returned*")))
    (path,) = (tmp_path / "files" / "out").glob("*returned*")
    returned = reconciled(app, tmp_path, path.name)["matched"]
    assert 2 < returned < PEOPLE
    books_agree(app, provider, debts, {"paid", "returned"})


def test_a_cash_list_and_what_was_paid_out(app: TestApp, provider: Running, tmp_path: Path) -> None:
    """The workbook goes to the pay point and comes back with what was paid to whom."""
    debts = owed(app, "cash_list")
    (made,) = app.do("payments.cash_lists", {"payroll": "B7"})["files"]
    given(app, made["xlsx"], tmp_path, "list.xlsx")
    answer = reconciled(app, tmp_path, "list-paid.xlsx")
    assert (answer["matched"], answer["rows"], answer["pending"]) == (PEOPLE, [], 0)
    books_agree(app, provider, debts)
