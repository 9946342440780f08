"""Payments that a simulated provider has paid and that come back: books, list, callbacks, statement and files tell."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from imis_core.payments.bank_files.reports import read
from imis_core.provider_simulator.behaviour import RETURN_REASONS
from tests.provider_simulator.conftest import Listener, Provider, payments, until
from tests.provider_simulator.test_folder import answered, bank_file


def back(provider: Provider) -> bool:
    """Whether something was paid and all that comes back has."""
    books = provider.running.books()
    return bool(books["payments"]) and not books["to_come_back"]


def counted(provider: Provider) -> dict[str, int]:
    return {p["status"]: p["payments"] for p in provider.running.books()["payments"]}


def test_what_came_back_is_told_everywhere(provider: Provider, listener: Listener) -> None:
    """REVERSED in the list with the reason, `returned` in the books and the statement, a callback for each."""
    provider.behave(returns=0.4, failures=0.2, delay_seconds=0.2)
    provider.send("C1", payments(50), listener.url)
    until(lambda: "pending" not in counted(provider) and back(provider))
    rows = {row["requestId"]: row for row in provider.details(**{"X-CorrelationID": "C1"}).json()}
    came_back = {name for name, row in rows.items() if row["status"] == "REVERSED"}
    assert 5 < len(came_back) < 30
    assert {rows[name]["statusDetail"] for name in came_back} <= set(RETURN_REASONS)
    assert {rows[name]["errorInformation"] for name in came_back} == {None}
    totals = counted(provider)
    assert (totals["returned"], sum(totals.values())) == (len(came_back), 50)
    statement = list(csv.DictReader(io.StringIO(provider.running.statement().decode())))
    assert {row["order"] for row in statement if row["status"] == "returned"} == came_back
    assert all(row["reason"] in RETURN_REASONS for row in statement if row["status"] == "returned")
    told = until(lambda: len(listener.got) > len(came_back) and [m for m in listener.got if m["requestId"] != "C1"])
    assert {m["requestId"] for m in told} == came_back
    first = told[0]
    counts = [first[name] for name in ("TotalTransactions", "completed", "failed", "ongoing", "returned")]
    assert counts == [1, 0, 0, 0, 1]
    assert first["returned_amount"] == first["totalAmount"] == rows[first["requestId"]]["amount"]
    assert first["note"] in RETURN_REASONS


def test_it_is_paid_until_it_comes_back_also_after_a_kill(provider: Provider, listener: Listener) -> None:
    """Later, as it is told; a process that was killed goes on where it was, and nothing comes back twice."""
    provider.behave(returns=1.0, return_seconds=2.0, lost=1.0)
    provider.send("C1", payments(10), listener.url)
    until(lambda: counted(provider) == {"paid": 10})
    assert provider.running.books()["to_come_back"] == 10
    provider.kill_and_start()
    until(lambda: counted(provider) == {"returned": 10})
    assert (provider.running.books()["to_come_back"], listener.got) == (0, [])


def test_the_same_payments_come_back_in_every_run(provider: Provider, listener: Listener) -> None:
    """Who it is depends on the seed and the payment, not on the batch that it was in."""
    provider.behave(returns=0.3)
    provider.send("C1", payments(40), listener.url)
    provider.send("C2", list(reversed(payments(40))), listener.url)
    until(lambda: sum(counted(provider).values()) == 80 and "pending" not in counted(provider) and back(provider))
    first, second = (
        {row["requestId"] for row in provider.details(**{"X-CorrelationID": name, "status": "REVERSED"}).json()}
        for name in ("C1", "C2")
    )
    assert first == second
    assert 3 < len(first) < 25


def returned_file(provider: Provider, name: str) -> Path:
    found: Any = until(lambda: list((provider.watch / "out").glob(f"{name}-returned-*.xml")))
    (path,) = found
    return Path(path)


def test_a_bank_tells_of_returns_by_a_notification_of_credits(provider: Provider) -> None:
    """They were debited and reported as paid; a camt.054 of its own has the credits. Asked again it is told again."""
    provider.behave(returns=0.4)
    bank_file(provider.watch / "in" / "march.xml")
    with answered(provider, "march-pain.002.xml").open("rb") as source:
        assert {line.status for line in read(source)} == {"paid"}
    with returned_file(provider, "march").open("rb") as source:
        lines = list(read(source))
    assert {line.status for line in lines} == {"returned"}
    assert 5 < len(lines) == counted(provider)["returned"]
    assert all(line.reason and line.reference for line in lines)
    first = returned_file(provider, "march").read_bytes()
    bank_file(provider.watch / "in" / "again.xml")
    assert returned_file(provider, "again").read_bytes() == first


def test_cash_does_not_come_back(provider: Provider) -> None:
    """What was paid out by hand is gone."""
    provider.behave(returns=1.0)
    lines = ["order,amount,currency,recipient"]
    lines += [f"{n:08x}-0000-4000-8000-000000000000,12.00,USD,P{n}" for n in range(5)]
    (provider.watch / "in" / "list.csv").write_text("\n".join(lines), "utf-8")
    answered(provider, "list-paid.xlsx")
    assert counted(provider) == {"paid": 5}
