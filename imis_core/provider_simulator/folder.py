"""The folder of a simulated provider that is paid through files: what is put into `in` is taken, `out` has the answers.

Bank files (pain.001) are answered by pain.002, camt.053 and camt.054; cash lists (XLSX, CSV) by a list of what was paid
out. A file that was taken goes to `done`, one that cannot be to `refused` with the reason beside it. A message id, or a
list with the same orders, is taken once: the same again gives the same answers and pays nothing anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from imis_core.files import FileProblem, read_table, write_table
from imis_core.provider_simulator.bank_messages import (
    REPORTS,
    Reported,
    TransferFile,
    camt_054_of_returns,
    read_transfers,
)
from imis_core.provider_simulator.behaviour import Behaviour
from imis_core.provider_simulator.books import PAID, Books, NewBatch, transaction_id
from imis_core.provider_simulator.taking import Instruction, Malformed, decided, take, unique
from imis_core.values import MINOR_UNITS, NotExact, minor_text, to_minor

LOOK_SECONDS: Final = 0.1
FOLDERS: Final = ("in", "out", "done", "refused")
CASH_REASONS: Final = ("did not come", "had no proof of identity", "somebody else came")
ANSWER_COLUMNS: Final = ("order", "status", "amount", "currency", "reference", "reason")
_ORDER: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_NEEDED: Final = ("order", "amount", "currency")
_Said = Callable[[], Iterable[str]]  # what a file says, once for each copy of it


class Folder:
    """Takes files in and writes their answers when all is known."""

    def __init__(self, books: Books, place: Path) -> None:
        self._books, self._place = books, place
        self._seen: dict[str, tuple[int, int]] = {}  # files of the last look, with size and time
        for name in FOLDERS:
            (place / name).mkdir(parents=True, exist_ok=True)

    async def run(self) -> None:
        """Look into the folder until it is told to stop."""
        while True:
            self.look()
            self.answer()
            self.tell_of_returns()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Take the files that did not change since the last look: whoever writes one may take its time."""
        seen: dict[str, tuple[int, int]] = {}
        for path in sorted((self._place / "in").iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            state = path.stat()
            seen[path.name] = (state.st_size, state.st_mtime_ns)
            if self._seen.get(path.name) != seen[path.name]:
                continue
            try:
                self._take(path)
                path.replace(self._place / "done" / path.name)
            except (Malformed, FileProblem) as problem:
                said = self._place / "refused" / f"{path.name}.txt"
                being_written = said.with_name(f".{said.name}")
                being_written.write_text(f"{problem}\n", "utf-8")
                path.replace(self._place / "refused" / path.name)
                being_written.replace(said)  # whoever waits for it finds it whole
        self._seen = seen

    def _take(self, path: Path) -> None:
        now = time.time()
        behaviour = self._books.behaviour
        if path.suffix.lower() == ".xml":
            with path.open("rb") as source:
                given: TransferFile = read_transfers(source)
            new = NewBatch(kind="bank", tenant="", correlation=given.message, institution=given.account)
            payments = decided(behaviour, given.instructions, now)
        else:
            asked = _cash_list(path)
            named = hashlib.sha256("\n".join(sorted(one.request_id for one in asked)).encode()).hexdigest()[:32]
            new = NewBatch(kind="cash", tenant="", correlation=named)
            payments = decided(behaviour, asked, now, CASH_REASONS)
        with self._books.transaction():
            batch_id, _ = take(self._books, new, payments, now)
            self._books.change(
                "INSERT INTO files (batch, name, told) SELECT number, ?1, 0 FROM batches WHERE batch_id = ?2 "
                "ON CONFLICT (batch) DO UPDATE SET name = ?1, told = 0", path.stem, batch_id,
            )  # fmt: skip
            self._books.change(
                "UPDATE returns SET told = 0 WHERE payment IN (SELECT p.number FROM payments p "
                "JOIN batches b ON b.number = p.batch WHERE b.batch_id = ?)", batch_id,
            )  # fmt: skip

    def answer(self) -> None:
        """Write what came of the files of which all is known."""
        behaviour = self._books.behaviour
        for file in self._books.rows(
            "SELECT f.name, b.number, b.kind, b.correlation, b.institution FROM files f "
            "JOIN batches b ON b.number = f.batch WHERE f.told = 0 AND b.open = 0"
        ):
            rows = self._books.rows("SELECT * FROM payments WHERE batch = ? ORDER BY number", file["number"])
            if behaviour.falls("late", file["correlation"]):
                rows.reverse()
            if file["kind"] == "bank":
                self._answer_bank(behaviour, file, rows)
            elif not behaviour.falls("lost", file["correlation"]):
                for ending in self._copies(behaviour, file["correlation"]):
                    path = self._place / "out" / f"{file['name']}-paid{ending}.xlsx"
                    write_table(path, ANSWER_COLUMNS, _paid_out(rows), "xlsx")
            with self._books.transaction():
                self._books.change("UPDATE files SET told = 1 WHERE batch = ?", file["number"])

    def _answer_bank(self, behaviour: Behaviour, file: Any, rows: list[Any]) -> None:
        at = max(row["completed_at"] for row in rows)
        about = Reported(message=file["correlation"], account=file["institution"] or "", at=at, rows=rows)
        for kind, made in REPORTS.items():
            self._report(behaviour, file, kind, kind, partial(made, about))

    def _report(self, behaviour: Behaviour, file: Any, kind: str, called: str, said: _Said) -> None:
        if behaviour.falls("lost", file["correlation"], kind):
            return
        for ending in self._copies(behaviour, file["correlation"], kind):
            path = self._place / "out" / f"{file['name']}-{called}{ending}.xml"
            draft = path.with_name(f".{path.name}")
            with draft.open("w", encoding="utf-8") as out:
                out.writelines(said())
            draft.replace(path)

    def tell_of_returns(self) -> None:
        """Write what came back of bank files that were answered: a notification for all that is new of each."""
        new = self._books.rows(
            "SELECT p.*, r.returned_at, f.name, b.correlation, b.institution FROM returns r "
            "JOIN payments p ON p.number = r.payment JOIN batches b ON b.number = p.batch "
            "JOIN files f ON f.batch = b.number WHERE r.returned_at IS NOT NULL AND r.told = 0 AND f.told = 1 "
            "ORDER BY p.batch, p.number"
        )
        behaviour = self._books.behaviour
        for _, group in groupby(new, key=lambda row: int(row["batch"])):
            rows = list(group)
            file = rows[0]
            at = max(row["returned_at"] for row in rows)
            about = Reported(message=file["correlation"], account=file["institution"] or "", at=at, rows=rows)
            kind = f"returns/{file['number']}"  # one notification may be lost, the next one not
            self._report(behaviour, file, kind, f"returned-{file['number']}", partial(camt_054_of_returns, about))
            with self._books.transaction():
                self._books.change_all(
                    "UPDATE returns SET told = 1 WHERE payment = ?", [(row["number"],) for row in rows]
                )

    @staticmethod
    def _copies(behaviour: Behaviour, *about: str) -> tuple[str, ...]:
        return ("", "-again") if behaviour.falls("duplicates", *about) else ("",)


def _paid_out(rows: list[Any]) -> Iterator[tuple[str | None, ...]]:
    for row in rows:
        paid = row["status"] == PAID
        yield (
            row["request_id"], "paid" if paid else "failed", minor_text(row["amount_minor"], row["currency"]),
            row["currency"], transaction_id(row["number"]) if paid else None, None if paid else row["reason"],
        )  # fmt: skip


def _cash_list(path: Path) -> list[Instruction]:
    """The orders of a cash list; its last lines (total, digest) are none. Raises `Malformed` and FileProblem."""
    table = read_table(path)
    named = {column.casefold(): column for column in table.columns}
    missing = [name for name in _NEEDED if name not in named]
    if missing:
        raise Malformed(f"{path.name} has no column {missing[0]!r}")
    found: list[Instruction] = []
    for chunk in table.chunks():
        cells = [chunk.columns[named[name]] for name in _NEEDED]
        names = chunk.columns[named["recipient"]] if "recipient" in named else cells[0]
        for order, amount, currency, recipient in zip(*cells, names, strict=True):
            if order is None or not _ORDER.match(order):
                continue
            minor = 0
            with suppress(NotExact, ArithmeticError):
                minor = to_minor(Decimal(amount or ""), currency) if currency in MINOR_UNITS else 0
            if minor <= 0:
                raise Malformed(f"the amount of order {order} is no number above 0 in a known currency")
            found.append(Instruction(order, recipient or "", minor, currency or "", None))
    if not found:
        raise Malformed(f"{path.name} has no orders")
    return unique(found)
