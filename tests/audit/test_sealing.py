"""Sealing of the audit log, and what a check of it finds. The intruder is a superuser of the database."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from imis_core import audit_seals
from imis_core.audit_seals import last_seals, seal_due
from imis_core.audit_verification import Verification, seals_of_lines, told_in_words, verify
from imis_core.jobs_worker import Worker
from imis_core.testing.app import TestApp
from tests.audit.conftest import Superuser

_numbers = count(1)


def work(app: TestApp, entries: int = 3) -> None:
    """Some commands, one entry each."""
    for _ in range(entries):
        number = next(_numbers)
        app.do("locations.add", {"code": f"L{number}", "name": f"Place {number}", "level": "region"})


def settle(app: TestApp) -> None:
    """Wait until all entries are final: other tests have transactions on the same server."""
    final = sa.text(
        "SELECT coalesce(bool_and(tx < pg_snapshot_xmin(pg_current_snapshot())), true) AS final "
        "FROM core.audit_entries WHERE tx < pg_snapshot_xmax(pg_current_snapshot())"
    )
    limit = time.monotonic() + 60
    while not app.rows(final.text)[0]["final"]:
        assert time.monotonic() < limit, "some transaction does not end"
        time.sleep(0.02)


def seal(app: TestApp) -> int:
    settle(app)
    return seal_due(app)


def check(app: TestApp, lines: list[str] | None = None) -> Verification:
    (found,) = [one for one in verify(app, seals_of_lines(lines or ())) if one.log == "audit"]
    return found


def wrong(found: Verification) -> list[tuple[str, int]]:
    return [(finding.what, finding.id) for finding in found.findings]


def entries(app: TestApp) -> list[int]:
    return [row["id"] for row in app.rows("SELECT id FROM core.audit_entries ORDER BY tx, id")]


def test_an_untouched_log_is_whole(app: TestApp) -> None:
    """Everything that is final is sealed once, later entries follow in a seal of their own, and the check says so."""
    work(app)
    assert seal(app) == 3
    assert seal(app) == 0
    work(app, 2)
    assert check(app).unsealed == 2
    assert seal(app) == 2
    found = check(app)
    assert (found.is_whole, found.seals, found.sealed, found.unsealed) == (True, 2, 5, 0)
    assert (found.first, found.last) == (min(entries(app)), max(entries(app)))
    work(app, 1)
    found = check(app)
    assert (found.is_whole, found.unsealed, found.unsealed_from) == (True, 1, max(entries(app)))
    assert any("1 entries are not sealed yet" in line for line in told_in_words(found))


@pytest.mark.parametrize(
    "change",
    [
        "at = at + interval '1 microsecond'",
        "actor = actor + 1",
        "approver = 7",
        "command = 'locations.rename'",
        "accepted = 2",
        "refused = 1",
        "digest = reverse(digest)",
        "input = jsonb_set(input, '{0,name}', '\"Other\"')",
        "input = NULL",
        "tx = (tx::text::bigint - 1)::text::xid8",
    ],
)
def test_a_changed_entry_is_found(app: TestApp, superuser: Superuser, change: str) -> None:
    """Whatever column of a sealed entry is changed, the check names that entry and no other."""
    work(app)
    seal(app)
    middle = entries(app)[1]
    superuser(f"UPDATE core.audit_entries SET {change} WHERE id = :id", id=middle)
    assert wrong(check(app)) == [("changed", middle)]


def test_a_removed_entry_is_found(app: TestApp, superuser: Superuser) -> None:
    """The first, one in the middle and the last one: each is named."""
    work(app, 5)
    seal(app)
    ids = entries(app)
    superuser("DELETE FROM core.audit_entries WHERE id = ANY(:ids)", ids=[ids[0], ids[2], ids[4]])
    assert wrong(check(app)) == [("removed", ids[0]), ("removed", ids[2]), ("removed", ids[4])]


def test_an_inserted_entry_is_found(app: TestApp, superuser: Superuser) -> None:
    """An entry among the sealed ones that no seal knows."""
    work(app)
    seal(app)
    columns = "tx, at, actor, command, accepted, refused, digest, input"
    middle = entries(app)[1]
    superuser(f"INSERT INTO core.audit_entries (id, {columns}) SELECT -5, {columns} FROM core.audit_entries "
              "WHERE id = :id", id=middle)  # fmt: skip
    assert wrong(check(app)) == [("inserted", -5)]


def test_reordered_entries_are_found(app: TestApp, superuser: Superuser) -> None:
    """Two entries that change places are both not what was sealed."""
    work(app)
    seal(app)
    first, second, _ = entries(app)
    superuser("UPDATE core.audit_entries SET id = -id WHERE id = ANY(:ids)", ids=[first, second])
    superuser("UPDATE core.audit_entries SET id = :b WHERE id = -:a", a=first, b=second)
    superuser("UPDATE core.audit_entries SET id = :b WHERE id = -:a", a=second, b=first)
    assert wrong(check(app)) == [("changed", first), ("changed", second)]


def test_changed_removed_and_swapped_seals_are_found(app: TestApp, superuser: Superuser) -> None:
    """A seal cannot be changed, taken out or moved: its digest needs the key and the seal before."""
    for _ in range(4):
        work(app, 2)
        seal(app)
    superuser("UPDATE core.audit_seals SET at = at + interval '1 day' WHERE number = 4")
    assert wrong(check(app)) == [("seal", 4)]
    superuser("UPDATE core.audit_seals SET at = at - interval '1 day' WHERE number = 4")
    assert check(app).is_whole
    superuser("DELETE FROM core.audit_seals WHERE number = 2")
    kinds = {what for what, _ in wrong(check(app))}
    assert {"seal", "inserted"} <= kinds
    superuser("UPDATE core.audit_seals SET number = number - 1 WHERE number > 2")
    assert ("seal", 2) in wrong(check(app))


def test_a_cut_off_end_is_found_by_the_seals_in_the_log(
    app: TestApp, superuser: Superuser, caplog: pytest.LogCaptureFixture
) -> None:
    """With the last seals and their entries gone the rest is whole by itself; what was logged tells of the end."""
    with caplog.at_level(logging.INFO, audit_seals.__name__):
        for _ in range(3):
            work(app, 2)
            seal(app)
    logged = [f'{{"level": "info", "event": "{message}"}}' for message in caplog.messages]
    assert check(app, logged).is_whole
    assert check(app, logged).kept == 3
    superuser("DELETE FROM core.audit_entries WHERE id IN (SELECT id FROM core.audit_entries ORDER BY tx DESC LIMIT 2)")
    superuser("DELETE FROM core.audit_seals WHERE number = 3")
    assert check(app).is_whole
    assert wrong(check(app, logged)) == [("cut_off", 3)]
    work(app, 1)
    seal(app)  # a new third seal takes the place of the lost one
    assert wrong(check(app, logged)) == [("cut_off", 3)]


def test_the_last_seal_goes_into_a_backup(app: TestApp, superuser: Superuser) -> None:
    """A backup keeps the last seal of each log, and finds a log that was emptied."""
    work(app)
    seal(app)
    with app.database.query(app.system) as connection:
        kept = last_seals(connection)
    assert check(app, kept).is_whole
    superuser("TRUNCATE core.audit_seals, core.audit_entries")
    found = check(app)
    assert (found.is_whole, found.last_seal) == (True, None)
    assert "nothing is proved" in told_in_words(found)[0]
    assert wrong(check(app, kept)) == [("cut_off", 1)]


def test_another_key_is_told(app: TestApp) -> None:
    """Seals of another key prove nothing, and the check says that it is the key."""
    work(app)
    seal(app)
    app.seals_key = bytes(32)
    assert ("key", 1) in wrong(check(app))


def test_a_running_transaction_holds_back_what_came_after_it(app: TestApp) -> None:
    """Only what is older than every running transaction is sealed, so that a late commit is never left out."""
    with app.database.command(app.system) as (connection, _):
        connection.execute(sa.text("SELECT pg_current_xact_id()"))
        work(app, 2)
        assert seal_due(app) == 0
    assert seal(app) == 2
    assert check(app).is_whole


def test_one_sealer_at_a_time(app: TestApp) -> None:
    """While another process seals, this one does nothing."""
    work(app)
    with app.database.query(app.system) as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": audit_seals.LOCK})
        assert seal_due(app) == 0
    assert seal(app) == 3


def test_a_backlog_is_sealed_in_bounded_seals(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seal has a greatest size and costs the same few statements whatever it holds."""
    work(app, 7)
    monkeypatch.setattr(audit_seals, "SEALED_ROWS_MAX", 3)
    assert seal(app) == 7
    found = check(app)
    assert (found.is_whole, found.seals, found.sealed) == (True, 3, 7)


def test_a_seal_costs_the_same_statements_whatever_it_holds(app: TestApp) -> None:
    """Opening, state, rows, seal; a look at a log that has nothing stops before the seal."""
    for entries in (1, 6, 0):
        work(app, entries)
        settle(app)
        before = app.database.statements
        assert seal_due(app) == entries
        assert app.database.statements - before == (4 if entries else 3) + 3  # the log of reads has nothing


def test_a_restored_database_goes_on(app: TestApp, superuser: Superuser) -> None:
    """Entries of another server have transactions yet to come; they keep their seals, and new ones are sealed too."""
    work(app, 4)
    superuser("UPDATE core.audit_entries SET tx = (tx::text::bigint + 1000000000)::text::xid8")
    work(app, 2)  # the first entries after the restore, before the first look of the sealer
    assert seal(app) == 4
    assert seal(app) == 2
    work(app, 3)
    assert seal(app) == 3
    found = check(app)
    assert (found.is_whole, found.sealed, found.unsealed) == (True, 9, 0)
    old, new = entries(app)[-1], entries(app)[0]
    superuser("UPDATE core.audit_entries SET refused = 9 WHERE id = ANY(:ids)", ids=[old, new])
    assert sorted(wrong(check(app))) == sorted([("changed", old), ("changed", new)])


def test_the_application_cannot_change_what_is_sealed(app: TestApp) -> None:
    """Its role only adds entries and seals."""
    work(app)
    seal(app)
    for statement in (
        "UPDATE core.audit_seals SET number = 9", "DELETE FROM core.audit_seals",
        "UPDATE core.audit_entries SET actor = 9", "DELETE FROM core.audit_entries",
    ):  # fmt: skip
        with (
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
            app.database.command(app.system) as (connection, _),
        ):
            connection.execute(sa.text(statement))


def test_a_worker_seals(app: TestApp) -> None:
    """The worker seals by itself what is there, within seconds."""
    work(app)
    worker = Worker(app)
    worker.start()
    try:
        limit = time.monotonic() + timedelta(seconds=20).total_seconds()
        while check(app).sealed < 3 and time.monotonic() < limit:
            threading.Event().wait(0.1)
    finally:
        worker.stop()
    found = check(app)
    assert found.is_whole
    assert found.sealed >= 3


def test_the_check_reads_nothing_twice(app: TestApp) -> None:
    """Two statements a log besides the opening, however many seals there are."""
    for _ in range(5):
        work(app, 1)
        seal(app)
    before = app.database.statements
    check(app)
    assert app.database.statements - before == 1 + 2 * len(audit_seals.LOGS)


def test_lines_of_any_log_are_read(tmp_path: Path) -> None:
    """Seals are found in plain lines and in JSON, and other lines are passed over."""
    digest = "ab" * 32
    lines = [
        "started",
        f"2021-01-01 INFO audit seal audit 3 17 99 {digest}",
        f'{{"event":"audit seal audit 4 1 1 {digest}"}}',
    ]
    (tmp_path / "log").write_text("\n".join(lines), "utf-8")
    with (tmp_path / "log").open() as file:
        assert [(s.log, s.number) for s in seals_of_lines(file)] == [("audit", 3), ("audit", 4)]
