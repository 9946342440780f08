"""The books of a simulated provider: one SQLite file that holds what it took, what came of it, and what it still tells.

Whatever was acknowledged is committed: a process that is killed goes on where it was. One process holds the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from imis_core.errors import Refusal, Unavailable
from imis_core.provider_simulator.behaviour import Behaviour

FILE: Final = "books.sqlite"
PENDING, PAID, FAILED, RETURNED = "IN_PROGRESS", "COMPLETED", "FAILED", "REVERSED"
SETTLED_AT_ONCE: Final = 5_000  # payments of one transaction

# `number` of a payment is its provider's reference; the transaction id is made of it. A payment whose `outcome` is null
# waits for somebody: a voucher that is not activated. `returns` are paid ones that come back, or have: `returned_at`;
# `told`: whether a file told of it.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, batch_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, tenant TEXT NOT NULL,
    correlation TEXT NOT NULL, program TEXT, institution TEXT, callback_url TEXT, received_at REAL NOT NULL,
    payments INTEGER NOT NULL, open INTEGER NOT NULL, UNIQUE (kind, tenant, correlation));
CREATE TABLE IF NOT EXISTS payments (
    number INTEGER PRIMARY KEY, batch INTEGER NOT NULL, request_id TEXT NOT NULL, account TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL, text TEXT, status TEXT NOT NULL, outcome TEXT, reason TEXT,
    due_at REAL, completed_at REAL, UNIQUE (batch, request_id));
CREATE INDEX IF NOT EXISTS payments_due ON payments (due_at) WHERE status = 'IN_PROGRESS' AND outcome IS NOT NULL;
CREATE INDEX IF NOT EXISTS payments_request ON payments (request_id);
CREATE TABLE IF NOT EXISTS returns (
    payment INTEGER PRIMARY KEY, reason TEXT NOT NULL, due_at REAL NOT NULL, returned_at REAL,
    told INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS returns_due ON returns (due_at) WHERE returned_at IS NULL;
CREATE INDEX IF NOT EXISTS returns_untold ON returns (payment) WHERE returned_at IS NOT NULL AND told = 0;
CREATE TABLE IF NOT EXISTS vouchers (
    serial TEXT PRIMARY KEY, payment INTEGER NOT NULL UNIQUE, secret TEXT NOT NULL, group_code TEXT, state INTEGER);
CREATE TABLE IF NOT EXISTS files (batch INTEGER PRIMARY KEY, name TEXT NOT NULL, told INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS callbacks (
    number INTEGER PRIMARY KEY, url TEXT NOT NULL, correlation TEXT NOT NULL, body BLOB NOT NULL, nonce TEXT NOT NULL,
    state TEXT NOT NULL, due_at REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, answer TEXT);
CREATE INDEX IF NOT EXISTS callbacks_due ON callbacks (due_at) WHERE state = 'waiting';
"""


@frozen
class NewPayment:
    """A payment that is taken: what comes of it (None: not decided yet), and when."""

    request_id: str
    account: str
    amount_minor: int
    currency: str
    text: str | None
    outcome: str | None
    reason: str | None
    due_at: float | None


@frozen(kw_only=True)
class NewBatch:
    kind: str  # mobile | voucher | bank | cash
    tenant: str
    correlation: str
    program: str | None = None
    institution: str | None = None
    callback_url: str | None = None


@frozen
class NewCallback:
    """A message to be sent, or one that is lost on purpose (`state` is lost)."""

    url: str
    correlation: str
    body: bytes
    nonce: str
    due_at: float
    state: str = "waiting"


class Books:
    """The file, held by this process alone. Raises `Unavailable` (`simulator.in_use`) if another one has it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / FILE, isolation_level=None, timeout=0)
        self._db.row_factory = sqlite3.Row
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # what was acknowledged outlives the machine, too
            self._db.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            message = f"the books in {folder} cannot be opened ({error}); stop the simulator that has them"
            raise Unavailable(Refusal("simulator.in_use", message)) from None

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on the disk when it ends."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def rows(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        return self._db.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        found: sqlite3.Row | None = self._db.execute(sql, parameters).fetchone()
        return found

    def change(self, sql: str, *parameters: Any) -> None:
        self._db.execute(sql, parameters)

    def change_all(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._db.executemany(sql, parameters)

    @property
    def behaviour(self) -> Behaviour:
        """As it was last set, also by an earlier process."""
        found = self.row("SELECT value FROM settings WHERE name = 'behaviour'")
        return Behaviour() if found is None else Behaviour(**json.loads(found["value"]))

    @behaviour.setter
    def behaviour(self, wanted: Behaviour) -> None:
        said = json.dumps(asdict(wanted))
        self.change("INSERT OR REPLACE INTO settings (name, value) VALUES ('behaviour', ?)", said)

    def batch(self, kind: str, tenant: str, correlation: str) -> sqlite3.Row | None:
        sql = "SELECT * FROM batches WHERE kind = ? AND tenant = ? AND correlation = ?"
        return self.row(sql, kind, tenant, correlation)

    def take(self, new: NewBatch, batch_id: str, payments: Sequence[NewPayment], now: float) -> int:
        """Write a batch with its payments, in the caller's transaction; its number."""
        self.change(
            "INSERT INTO batches (batch_id, kind, tenant, correlation, program, institution, callback_url, received_at,"
            " payments, open) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            batch_id, new.kind, new.tenant, new.correlation, new.program, new.institution, new.callback_url, now,
            len(payments), len(payments),
        )  # fmt: skip
        number = int(self._db.execute("SELECT last_insert_rowid()").fetchone()[0])
        self.change_all(
            "INSERT INTO payments (batch, request_id, account, amount_minor, currency, text, status, outcome, reason,"
            f" due_at) VALUES ({number}, ?, ?, ?, ?, ?, '{PENDING}', ?, ?, ?)",
            [
                (p.request_id, p.account, p.amount_minor, p.currency, p.text, p.outcome, p.reason, p.due_at)
                for p in payments
            ],
        )
        return number

    def settle(self, now: float) -> list[sqlite3.Row]:
        """Let come of payments what is due, in the caller's transaction; rows of the settled ones, by number."""
        settled = self.rows(
            "UPDATE payments SET status = outcome, completed_at = ?1 WHERE number IN (SELECT number FROM payments WHERE"
            f" status = '{PENDING}' AND outcome IS NOT NULL AND due_at <= ?1 ORDER BY due_at LIMIT {SETTLED_AT_ONCE})"
            " RETURNING number, batch, request_id, amount_minor, currency, status, reason",
            now,
        )
        counted: dict[int, int] = {}
        for row in settled:
            counted[row["batch"]] = counted.get(row["batch"], 0) + 1
        self.change_all(
            "UPDATE batches SET open = open - ? WHERE number = ?", [(n, batch) for batch, n in counted.items()]
        )
        self.change_all(
            "UPDATE vouchers SET state = 5 WHERE payment = ? AND state = 2",
            [(row["number"],) for row in settled if row["status"] == PAID],
        )
        return sorted(settled, key=lambda row: int(row["number"]))

    def plan_returns(self, planned: Sequence[tuple[int, str, float]]) -> None:
        """Let paid payments come back, each with its reason and when; what was paid out by hand (cash, vouchers) does
        not. In the caller's transaction."""
        self.change_all(
            "INSERT INTO returns (payment, reason, due_at) SELECT p.number, ?2, ?3 FROM payments p "
            "JOIN batches b ON b.number = p.batch WHERE p.number = ?1 AND b.kind IN ('mobile', 'bank')", planned,
        )  # fmt: skip

    def take_back(self, now: float) -> list[sqlite3.Row]:
        """Let come back what is due, in the caller's transaction; rows of the payments, by number."""
        back = self.rows(
            f"UPDATE payments SET status = '{RETURNED}', reason = due.reason FROM (SELECT payment, reason FROM returns "
            f"WHERE returned_at IS NULL AND due_at <= ? ORDER BY due_at LIMIT {SETTLED_AT_ONCE}) due "
            "WHERE number = due.payment RETURNING *",
            now,
        )
        self.change_all("UPDATE returns SET returned_at = ? WHERE payment = ?", [(now, row["number"]) for row in back])
        return sorted(back, key=lambda row: int(row["number"]))

    def add_callbacks(self, new: Sequence[NewCallback]) -> None:
        self.change_all(
            "INSERT INTO callbacks (url, correlation, body, nonce, state, due_at) VALUES (?, ?, ?, ?, ?, ?)",
            [(c.url, c.correlation, c.body, c.nonce, c.state, c.due_at) for c in new],
        )


def transaction_id(number: int) -> str:
    """The provider's reference of a payment."""
    return f"T{number:011d}"
