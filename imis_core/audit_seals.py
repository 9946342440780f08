"""Sealing of the logs: rows that are final are chained by a job each second, with a key kept outside the database.

A row is final when its transaction is older than every running one (below the snapshot's xmin). A seal keeps each row's
id with a code over its content, and a digest over itself and the seal before; both need the key, so that whoever can
write to the database cannot make them. The last seconds are not sealed yet. What a seal proves, and what it does not,
is in docs/decisions; checking is in `audit_verification`.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa
from attrs import evolve, field, frozen

from imis_core.runtime_tables import audit_entries, audit_seals, reads

if TYPE_CHECKING:
    from imis_core.application import Application

SEALED_ROWS_MAX: Final = 2000  # rows of one seal; a longer backlog takes several
PAUSE_SECONDS: Final = 1.0  # between two looks for rows to seal
LOCK: Final = 0x1515_0002  # the advisory lock of the sealer, one at a time in a database
CODE_BYTES: Final = 16
ROW_BYTES: Final = 8 + CODE_BYTES
_log = logging.getLogger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Final = bytes(32)  # the digest before the first seal


@frozen
class SealedLog:
    """A log that is sealed: an insert-only table with `id` and `tx`, and the columns that its codes cover, in order."""

    name: str
    table: sa.Table
    covered: tuple[str, ...]

    def rows(self) -> sa.Select[Any]:
        """A SELECT of the log's rows as their codes take them: columns that are no numbers or dates as text."""
        columns = [c if isinstance(c.type, (sa.Integer, sa.DateTime)) else sa.cast(c, sa.Text) for c in self._columns]
        return sa.select(*[c.label(name) for c, name in zip(columns, self.covered, strict=True)])

    @property
    def _columns(self) -> list[sa.Column[Any]]:
        return [self.table.c[name] for name in self.covered]


AUDIT_LOG: Final = SealedLog("audit", audit_entries, tuple(c.name for c in audit_entries.columns))
READS_LOG: Final = SealedLog("reads", reads, tuple(c.name for c in reads.columns))
LOGS: Final = (AUDIT_LOG, READS_LOG)


@frozen
class SealKey:
    """The secret of the seals, from `keys/seals.key`."""

    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """What tells one key from another without giving it away."""
        return self._code(b"name", b"").hex()[:16]

    def row_code(self, log: str, row: Sequence[Any]) -> bytes:
        """The code over a row's content."""
        return self._code(b"row", msgspec.json.encode([log, *[_plain(value) for value in row]]))[:CODE_BYTES]

    def seal_digest(self, before: bytes, seal: Seal) -> bytes:
        """The digest of a seal, over its content and the digest before."""
        told = [
            seal.log, seal.number, _plain(seal.at), seal.key, seal.floor, seal.tx, seal.last, seal.top, seal.count
        ]  # fmt: skip
        return self._code(b"seal", before + msgspec.json.encode(told) + b"\x00" + seal.rows)

    def _code(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self.secret, purpose + b"\x00" + content, hashlib.sha256)


def _plain(value: Any) -> Any:
    """Instants as microseconds, so that no session's time zone changes a code."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    return value


@frozen(kw_only=True)
class Seal:
    """One seal as it is stored; `rows` holds `count` pairs of id and code."""

    log: str
    number: int
    at: datetime
    key: str
    floor: int
    tx: int
    last: int
    top: int
    count: int
    rows: bytes
    digest: bytes = b""

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """The id and the code of each row, in the order of sealing."""
        for start in range(0, len(self.rows), ROW_BYTES):
            yield int.from_bytes(self.rows[start : start + 8], "big"), self.rows[start + 8 : start + ROW_BYTES]

    def line(self) -> str:
        """The seal as the log and the backups keep it; `audit_verification.seals_of_lines` reads it."""
        return f"audit seal {self.log} {self.number} {self.count} {self.last} {self.digest.hex()}"


# The last seal, and whether rows came from another server, whose transactions are yet to come on this one: a dump was
# restored. `highest` is then the last row that came with it.
_STATE: Final = """
SELECT pg_try_advisory_xact_lock(:lock) AS ours, s.*,
    coalesce(s.tx >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint, false) OR r.highest IS NOT NULL AS restored,
    greatest(s.top, r.highest) AS highest
FROM (VALUES (1)) AS one(n)
LEFT JOIN (
    SELECT number, floor, tx, last, top, digest FROM core.audit_seals
    WHERE log = :log ORDER BY number DESC LIMIT 1) s ON true
CROSS JOIN LATERAL (
    SELECT max(id) AS highest FROM {table}
    WHERE id > coalesce(s.top, 0) AND tx >= pg_snapshot_xmax(pg_current_snapshot())) r
"""


def seal_due(app: Application) -> int:
    """Seal the rows that are final and not sealed yet; returns their number. Nothing if another process is at it.

    Each seal is a transaction of three statements, of at most `SEALED_ROWS_MAX` rows.
    """
    sealed = 0
    for log in LOGS:
        while count := _seal(app, log):
            sealed += count
            if count < SEALED_ROWS_MAX:
                break
    return sealed


def _seal(app: Application, log: SealedLog) -> int:
    key = SealKey(app.seals_key)
    with app.database.query(app.system, writes=True) as connection:
        state = connection.execute(
            sa.text(_STATE.format(table=log.table.fullname)), {"lock": LOCK, "log": log.name}
        ).one()
        if not state.ours:
            return 0
        floor, place, top = state.floor or 0, (state.tx or 0, state.last or 0), state.top or 0
        bound: sa.ColumnElement[bool] = log.table.c.tx < sa.text("pg_snapshot_xmin(pg_current_snapshot())")
        if state.restored:
            # What the other server had not sealed yet is sealed first, then a new order begins behind it.
            bound = log.table.c.id <= state.highest
        rows = connection.execute(_unsealed(log, floor, place).where(bound).limit(SEALED_ROWS_MAX)).all()
        if not rows and not state.restored:
            return 0
        if rows:
            place = (int(rows[-1].tx), rows[-1].id)
            top = max(top, max(row.id for row in rows))
        if state.restored and len(rows) < SEALED_ROWS_MAX:
            floor, place, top = state.highest, (0, 0), state.highest
        seal = Seal(
            log=log.name, number=(state.number or 0) + 1, at=app.clock.now(), key=key.name, floor=floor,
            tx=place[0], last=place[1], top=top, count=len(rows),
            rows=b"".join(row.id.to_bytes(8, "big") + key.row_code(log.name, row) for row in rows),
        )  # fmt: skip
        seal = _signed(key, seal, bytes(state.digest or _NOTHING))
        connection.execute(sa.insert(audit_seals).values(**_values(seal)))
    _log.info("%s", seal.line())
    return max(len(rows), 1)


def _unsealed(log: SealedLog, floor: int, place: tuple[int, int]) -> sa.Select[Any]:
    table = log.table
    behind = sa.text("(tx, id) > (CAST(CAST(:tx AS text) AS xid8), :id)").bindparams(
        sa.bindparam("tx", place[0], sa.BigInteger), sa.bindparam("id", place[1], sa.BigInteger)
    )
    return log.rows().where(behind, table.c.id > floor).order_by(table.c.tx, table.c.id)


def _signed(key: SealKey, seal: Seal, before: bytes) -> Seal:
    return evolve(seal, digest=key.seal_digest(before, seal))


def _values(seal: Seal) -> dict[str, Any]:
    return {name: getattr(seal, name) for name in (c.name for c in audit_seals.columns)}


def last_seals(connection: sa.Connection) -> list[str]:
    """The last seal of each log as a line, for backups: with it a later check finds a tail that was cut off."""
    newest = sa.select(audit_seals.c.log, sa.func.max(audit_seals.c.number).label("number")).group_by(audit_seals.c.log)
    last = newest.subquery()
    rows = connection.execute(
        sa.select(audit_seals)
        .join(last, sa.and_(audit_seals.c.log == last.c.log, audit_seals.c.number == last.c.number))
        .order_by(audit_seals.c.log)
    )
    return [seal_of(row).line() for row in rows]


def seal_of(row: Any) -> Seal:
    """A stored seal."""
    return Seal(**{**row._mapping, "rows": bytes(row.rows), "digest": bytes(row.digest)})
