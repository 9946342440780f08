"""Checks the sealed logs against their seals and says exactly what that proves. It changes nothing.

Seals and rows are read once each, in chunks, beside each other: seals by number, rows by id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import Factory, define, field, frozen

from imis_core.audit_seals import LOGS, Seal, SealedLog, SealKey, seal_of
from imis_core.runtime_tables import audit_seals

if TYPE_CHECKING:
    from imis_core.application import Application

ROWS_PER_FETCH: Final = 5000
SEALS_PER_FETCH: Final = 50
FINDINGS_MAX: Final = 1000  # findings that are listed; more are counted
_LINE: Final = re.compile(r"audit seal ([a-z_]+) (\d+) (\d+) (\d+) ([0-9a-f]{64})")


@frozen
class KeptSeal:
    """A seal as a log file or a backup kept it."""

    log: str
    number: int
    digest: str


def seals_of_lines(lines: Iterable[str]) -> Iterator[KeptSeal]:
    """The seals that stand in the lines of a log, whatever else its lines hold."""
    for line in lines:
        for log, number, _, _, digest in _LINE.findall(line):
            yield KeptSeal(log, int(number), digest)


@frozen(kw_only=True)
class Finding:
    """What is wrong: `what` is changed, removed, inserted (rows, by `id`), seal, key or cut_off (seals, by `id`)."""

    what: str
    id: int
    message: str


@define
class Verification:
    """What the check of one log proves: the sealed range, the rows that no seal stands for yet, and what is wrong."""

    log: str
    seals: int = 0
    sealed: int = 0
    first: int | None = None  # ids of the rows that are sealed
    last: int | None = None
    last_seal: int | None = None
    last_sealed_at: datetime | None = None
    unsealed: int = 0
    unsealed_from: int | None = None
    kept: int = 0  # seals of log files or backups that were compared
    wrong: int = 0
    findings: list[Finding] = Factory(list)

    @property
    def is_whole(self) -> bool:
        return self.wrong == 0

    def find(self, what: str, identity: int, message: str) -> None:
        self.wrong += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(what=what, id=identity, message=message))


def verify(app: Application, kept: Iterable[KeptSeal] = ()) -> list[Verification]:
    """Check every sealed log, also against the seals that log files or backups kept."""
    outside: dict[tuple[str, int], set[str]] = {}
    for seal in kept:
        outside.setdefault((seal.log, seal.number), set()).add(seal.digest)
    with app.database.query(app.system) as connection:
        return [_verify(connection, SealKey(app.seals_key), log, outside) for log in LOGS]


@define
class _Rows:
    """The rows of a log by id, each read once; those that no seal has asked for yet are kept."""

    rows: Iterator[Any]
    code: Any
    unclaimed: dict[int, tuple[bytes, int]] = field(factory=dict)  # id -> code, transaction
    next: Any = None
    ended: bool = False

    def read_to(self, identity: int | None) -> None:
        """Read the rows up to an id; all that are left if there is none."""
        while not self.ended:
            if self.next is None:
                self.next = next(self.rows, None)
                if self.next is None:
                    self.ended = True
                    return
            if identity is not None and self.next.id > identity:
                return
            self.unclaimed[self.next.id] = (self.code(self.next), int(self.next.tx))
            self.next = None


def _verify(
    connection: sa.Connection, key: SealKey, log: SealedLog, outside: dict[tuple[str, int], set[str]]
) -> Verification:
    told = Verification(log.name)
    read = log.rows().order_by(log.table.c.id).execution_options(yield_per=ROWS_PER_FETCH)
    rows = _Rows(iter(connection.execute(read)), lambda row: key.row_code(log.name, row))
    floor, place = 0, (0, 0)
    for seal in _chain(connection, key, log.name, told, outside):
        floor, place = seal.floor, (seal.tx, seal.last)
        entries = list(seal.entries())
        if entries:
            rows.read_to(max(identity for identity, _ in entries))
        for identity, code in entries:
            found = rows.unclaimed.pop(identity, None)
            if found is None:
                told.find("removed", identity, f"entry {identity} was sealed by seal {seal.number} and is gone")
            elif found[0] != code:
                told.find("changed", identity, f"entry {identity} is not what seal {seal.number} sealed")
            told.first = identity if told.first is None else min(told.first, identity)
            told.last = identity if told.last is None else max(told.last, identity)
        told.sealed += len(entries)
    rows.read_to(None)
    for identity, (_, tx) in sorted(rows.unclaimed.items()):
        if identity > floor and (tx, identity) > place:
            told.unsealed += 1
            told.unsealed_from = told.unsealed_from or identity
        else:
            told.find("inserted", identity, f"entry {identity} stands among sealed ones and no seal knows it")
    return told


def _chain(
    connection: sa.Connection, key: SealKey, log: str, told: Verification, outside: dict[tuple[str, int], set[str]]
) -> Iterator[Seal]:
    """The seals of a log in order, each compared with the one before and with those that were kept outside."""
    stored = connection.execute(
        sa.select(audit_seals)
        .where(audit_seals.c.log == log)
        .order_by(audit_seals.c.number)
        .execution_options(yield_per=SEALS_PER_FETCH)
    )
    before, expected = bytes(32), 1
    for row in stored:
        seal = seal_of(row)
        if seal.number != expected:
            told.find("seal", expected, f"seals {expected} to {seal.number - 1} are gone")
        if seal.key != key.name:
            told.find("key", seal.number, f"seal {seal.number} was made with another key than keys/seals.key")
        elif key.seal_digest(before, seal) != seal.digest:
            told.find("seal", seal.number, f"seal {seal.number} was changed, or does not follow the one before")
        kept = outside.pop((log, seal.number), set())
        told.kept += len(kept)
        if kept - {seal.digest.hex()}:
            told.find("cut_off", seal.number, f"seal {seal.number} is not the one that was logged: it was made again")
        before, expected = seal.digest, seal.number + 1
        told.seals += 1
        told.last_seal, told.last_sealed_at = seal.number, seal.at
        yield seal
    gone = sorted(number for name, number in outside if name == log)
    told.kept += len(gone)
    for number in gone:
        told.find("cut_off", number, f"seal {number} was logged and is gone: the end of the log was cut off")


def told_in_words(found: Verification) -> list[str]:
    """A verification as lines for people: what is proved, what is not, and what is wrong."""
    lines = []
    if found.last_seal is None:
        lines.append(
            f"{found.log}: nothing is sealed, so nothing is proved; {found.unsealed} entries wait for a worker"
        )
    else:
        at = "" if found.last_sealed_at is None else f" at {found.last_sealed_at.isoformat(timespec='seconds')}"
        lines.append(
            f"{found.log}: {found.sealed} entries ({found.first} to {found.last}) in {found.seals} seals, "
            f"the last one {found.last_seal}{at}"
        )
        if found.is_whole:
            lines.append(f"{found.log}: none of them was changed, removed, inserted or moved since it was sealed")
        waiting = f", the first {found.unsealed_from}" if found.unsealed else ""
        lines.append(f"{found.log}: {found.unsealed} entries are not sealed yet{waiting}")
    if found.kept:
        lines.append(f"{found.log}: {found.kept} seals of log files or backups were compared")
    else:
        lines.append(f"{found.log}: whether its end was cut off only seals of log files or backups can tell (--seals)")
    lines += [f"{found.log}: {finding.what}: {finding.message}" for finding in found.findings]
    if found.wrong > len(found.findings):
        lines.append(f"{found.log}: {found.wrong - len(found.findings)} more findings")
    return lines
