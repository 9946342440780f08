"""Backup and restore with real databases, embedded and by address: the same deployment comes back, or nothing does."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.attachments.store import FOLDER
from imis_core.database import embedded
from imis_core.deployment import load_settings
from imis_core.errors import ImisError
from imis_core.opening import migrate_deployment
from imis_core.operations.archive import FILES, KEYS, read_archive
from imis_core.operations.archive import SETTINGS as SETTINGS_FILES

from .conftest import AWA, CLAIM, LETTER, Answer, opened, restored, saved

SELECTS = (
    "SELECT * FROM core.persons ORDER BY id", "SELECT * FROM core.claims ORDER BY id",
    "SELECT * FROM core.claim_current ORDER BY claim", "SELECT * FROM core.ledger_postings ORDER BY entry, account",
    "SELECT * FROM core.audit_entries ORDER BY id", "SELECT * FROM core.persons_history ORDER BY id, version",
"SELECT * FROM core.users ORDER BY id",
    "SELECT * FROM grievance.grievances ORDER BY id", "SELECT * FROM jobs.procrastinate_jobs ORDER BY id",
)  # fmt: skip


def content(folder: Path) -> dict[str, Any]:
    """What a deployment answers and holds, to be compared."""
    with opened(folder) as app:
        with app.database.query(app.system) as connection:
            rows = {sql: [tuple(map(str, row)) for row in connection.execute(sa.text(sql))] for sql in SELECTS}
        return {
            **rows,
            "claim": app.run("claims.show", {"claim": "C-1"}, app.system),
            "family": app.run("beneficiaries.list", {}, app.system),
            "balances": app.run("ledger.balances", {"scheme": "chf"}, app.system),
        }  # fmt: skip


def refused(code: str, call: Callable[[], object]) -> str:
    with pytest.raises(ImisError) as caught:
        call()
    assert caught.value.code == code
    return str(caught.value)


def use_again(folder: Path) -> None:
    """The same requests with their keys get their answers and make nothing new; a new claim gets a new number."""
    with opened(folder) as app:
        before = app.run("claims.show", {"claim": "C-1"}, app.system)
        again = app.run_one("claims.submit", CLAIM, app.system, key="claim-1")
        assert again.repeated
        assert again.outcomes[0]["id"] == before["id"]
        with pytest.raises(ImisError) as caught:
            app.run_one("claims.submit", CLAIM, app.system, key="another")
        assert caught.value.code == "claims.duplicate_code"
        fresh = app.run("claims.submit", {**CLAIM, "code": "C-2"}, app.system)
        assert fresh["id"] != before["id"]
        with app.database.query(app.system) as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM core.claims")).scalar_one() == 2
            wrong = "SELECT count(*) FROM (SELECT FROM core.ledger_postings GROUP BY entry HAVING sum(amount) <> 0) x"
            assert connection.execute(sa.text(wrong)).scalar_one() == 0
        with (
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),  # the grants are back too
            app.database.command(app.system) as (connection, _),
        ):
            connection.execute(sa.text("DELETE FROM core.audit_entries"))


def test_an_embedded_deployment_comes_back_as_it_was(living: Path, archive: Path, base: Path) -> None:
    """Into an empty folder: rows, answers, ids, keys and files are those of before; work goes on without duplicates."""
    there = base / "again"
    there.mkdir()
    done = restored(there, archive)
    assert (done.behind, done.kept) == (False, ())
    assert (done.audit_is_whole, "1 seals of log files or backups were compared" in "\n".join(done.audit)) == (
        True,
        True,
    )
    assert content(there) == content(living)
    assert [p.read_bytes() for p in (there / "var" / FOLDER).rglob("*") if p.is_file()] == [LETTER]
    assert (there / "keys" / "ids.key").read_bytes() == (living / "keys" / "ids.key").read_bytes()
    assert stat.S_IMODE((there / "keys" / "ids.key").stat().st_mode) == 0o600
    assert (there / "packages" / "chf" / "note.txt").read_text() == "kept with the packages"
    use_again(there)


def test_embedded_to_a_server_and_back_by_address(
    living: Path, archive: Path, base: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive goes to a database by address with roles of other names; a backup of that one comes back again."""
    service, owner = server("restored")
    monkeypatch.setenv("IMIS_DATABASE_URL", service)
    monkeypatch.setenv("IMIS_DATABASE_OWNER_URL", owner)
    there = base / "there"
    there.mkdir()
    restored(there, archive)
    second = saved(there, base / "second.tar")
    assert not (there / "var" / "postgres").exists()
    use_again(there)
    monkeypatch.delenv("IMIS_DATABASE_URL")
    monkeypatch.delenv("IMIS_DATABASE_OWNER_URL")
    back = base / "back"
    back.mkdir()
    restored(back, second.path)
    assert content(back) == content(living)


def test_an_archive_is_private_and_nothing_is_overwritten(living: Path, archive: Path, tmp_path: Path) -> None:
    """Mode 0600, never over another file, nothing left of an attempt; in a folder it gets a name with the time."""
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    refused("backup.exists", lambda: saved(living, archive))
    refused("backup.no_folder", lambda: saved(living, tmp_path / "no" / "file.tar"))
    named = saved(living, tmp_path).path
    assert named.name.startswith("living-2")
    assert list(tmp_path.iterdir()) == [named]


def test_old_archives_go_when_a_new_one_is_whole(living: Path, tmp_path: Path) -> None:
    """`--keep 2` leaves two of this deployment's; files of others stay, those of one called `living-2` too."""
    others = ("other.imis.tar", "living-2-20200101T000000Z.imis.tar", "living-anonymised-20200101T000000Z.imis.tar")
    for name in ("living-20200101T000000Z.imis.tar", "living-20200102T000000Z.imis.tar", *others):
        (tmp_path / name).write_text("old")
    done = saved(living, tmp_path, keep=2)
    assert [p.name for p in done.removed] == ["living-20200101T000000Z.imis.tar"]
    assert {p.name for p in tmp_path.iterdir()} == {"living-20200102T000000Z.imis.tar", done.path.name, *others}


def test_archives_in_the_deployments_own_folder_are_not_in_the_next_one(base: Path) -> None:
    """Neither those that are whole nor the one that is being written."""
    folder = base / "small"
    (folder / "backups").mkdir(parents=True)
    (folder / "imis.toml").write_text('[deployment]\nname = "small"\ncountry = "XX"\ncurrency = "USD"\n', "utf-8")
    migrate_deployment(folder)
    saved(folder, folder / "backups" / "first.imis.tar")
    second = saved(folder, folder / "backups" / "second.imis.tar")
    inside = [name for name in read_archive(second.path).manifest["files"] if name.startswith(SETTINGS_FILES)]
    assert inside == ["settings/imis.toml"]


def test_what_was_restored_stays_whatever_comes_after(
    archive: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database is there, a failure of letting it go does not take its keys and files away."""
    real = embedded.Lease.release

    def failing(lease: embedded.Lease) -> None:
        real(lease)
        raise OSError("it went away")

    there = base / "again"
    there.mkdir()
    monkeypatch.setattr(embedded.Lease, "release", failing)
    with pytest.raises(OSError, match="it went away"):
        restored(there, archive)
    monkeypatch.undo()
    assert (there / "keys" / "ids.key").exists()
    with opened(there) as app:
        assert app.run("claims.show", {"claim": "C-1"}, app.system)["code"] == "C-1"


def test_the_archive_says_what_is_in_it(living: Path, archive: Path) -> None:
    """Revisions, counts of every table, digests, and no password of the database's logins."""
    manifest = read_archive(archive).manifest
    assert manifest["rows"]["core.persons"] == 2
    assert manifest["rows"]["core.audit_entries"] > 5
    assert manifest["revisions"]["core"].startswith("core_")
    assert manifest["revisions"]["grievance"].startswith("grievance_")
    assert manifest["attachments"] == {"count": 1, "bytes": len(LETTER)}
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert names[0] == "imis-backup.json"
    assert f"{KEYS}ids.key" in names
    assert not [n for n in names if n.startswith(f"{FILES}postgres")]
    secret = (living / "var" / "postgres" / "secret").read_bytes().strip()
    assert secret not in archive.read_bytes()


def test_without_keys_a_restore_asks_for_them(living: Path, base: Path, there: Path) -> None:
    """An archive for a carrier: its restore needs the key in its place, and takes no other one."""
    path = saved(living, base / "travelling.tar", with_keys=False).path
    assert "ids.key" in refused("restore.key_missing", lambda: restored(there, path))
    assert [p.name for p in there.iterdir()] == ["imis.toml"]
    (there / "keys").mkdir()
    (there / "keys" / "ids.key").write_text("00" * 16)
    refused("restore.other_key", lambda: restored(there, path))
    shutil.copytree(living / "keys", there / "keys", dirs_exist_ok=True)
    restored(there, path)
    assert content(there)["claim"] == content(living)["claim"]


def test_a_restore_tells_of_an_audit_that_is_not_what_was_sealed(
    living: Path, archive: Path, base: Path, there: Path, imis: Callable[..., Answer]
) -> None:
    """A manifest that keeps another seal than the database's: restored, told, exit code 1."""
    line = read_archive(archive).manifest["audit_seals"][0]
    other = line[:-8] + ("0" * 8 if not line.endswith("0" * 8) else "1" * 8)
    path = rewritten(archive, base / "other.tar", lambda m: m.update(audit_seals=[other]))
    answer = imis("-C", there, "restore", path)
    assert (answer.code, "cut_off" in answer.out) == (1, True)
    assert imis("-C", there, "audit", "verify", "--seals", archive).code == 0


def test_a_restore_goes_into_an_empty_database_only(living: Path, archive: Path) -> None:
    """`restore.not_empty`, and the living deployment is as it was."""
    before = content(living)
    refused("restore.not_empty", lambda: restored(living, archive))
    assert content(living) == before
    assert (living / "keys" / "ids.key").exists()


def test_a_restore_into_another_deployment_is_refused(archive: Path, base: Path) -> None:
    """The name of the folder's settings must be the backup's."""
    (base / "imis.toml").write_text('[deployment]\nname = "other"\ncountry = "XX"\ncurrency = "USD"\n')
    refused("restore.other_deployment", lambda: restored(base, archive))
    assert [p.name for p in base.iterdir()] == ["imis.toml"]


def spoilt(archive: Path, target: Path, at: float) -> Path:
    """A copy with one byte changed."""
    data = bytearray(archive.read_bytes())
    data[int(len(data) * at)] ^= 0x40
    target.write_bytes(data)
    return target


def test_a_damaged_archive_restores_nothing(archive: Path, there: Path, tmp_path: Path) -> None:
    """A changed byte, a cut end or a file of another kind: a clear code, and not a file or a row is written."""
    with tarfile.open(archive) as tar:
        part = tar.getmember("database/00000001")
    size = archive.stat().st_size
    inside = (part.offset_data + part.size / 2) / size
    for at in (inside, (part.offset_data - 400) / size):
        assert refused("restore.damaged", lambda at=at: restored(there, spoilt(archive, tmp_path / "x.tar", at)))
    whole = archive.read_bytes()
    for length in (len(whole) // 2, part.offset_data + 10, len(whole) - 11_000):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        refused("restore.damaged", lambda: restored(there, tmp_path / "cut.tar"))
    (tmp_path / "text.tar").write_text("no backup at all" * 100)
    refused("restore.not_a_backup", lambda: restored(there, tmp_path / "text.tar"))
    (tmp_path / "empty.tar").write_bytes(b"")
    refused("restore.not_a_backup", lambda: restored(there, tmp_path / "empty.tar"))
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(__file__, "settings/imis.toml")
    refused("restore.not_a_backup", lambda: restored(there, tmp_path / "other.tar"))
    assert [p.name for p in there.iterdir()] == ["imis.toml"]


def rewritten(archive: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The archive with another manifest, its digest right again: as a program of ours might wrongly write one."""
    import hashlib
    import io

    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            source = old.extractfile(member)
            assert source is not None
            data = source.read()
            if member.name == "manifest.json":
                manifest = json.loads(data)
                change(manifest)
                data = json.dumps(manifest).encode()
                digest = hashlib.sha256(data).hexdigest().encode()
            if member.name == "manifest.sha256":
                data = digest
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target


def test_counts_that_do_not_agree_roll_everything_back(archive: Path, base: Path, there: Path) -> None:
    """All or nothing: a table with another count than the manifest's leaves an empty database and no files."""
    wrong = rewritten(archive, base / "wrong.tar", lambda m: m["rows"].update({"core.claims": 7}))
    assert "core.claims has 1 rows" in refused("restore.failed", lambda: restored(there, wrong))
    assert not (there / "keys" / "ids.key").exists()
    assert [p for p in (there / "var" / FOLDER).rglob("*") if p.is_file()] == []
    restored(there, archive)  # the database is empty still
    use_again(there)


def test_a_backup_of_a_newer_version_is_refused(archive: Path, base: Path, there: Path) -> None:
    """`restore.newer` names the revision; of another form: `restore.other_format`."""
    newer = rewritten(archive, base / "newer.tar", lambda m: m["revisions"].update({"core": "core_9999"}))
    assert "core_9999" in refused("restore.newer", lambda: restored(there, newer))
    data = archive.read_bytes().replace(b'"imis_backup": 1', b'"imis_backup": 9', 1)
    (base / "form.tar").write_bytes(data)
    refused("restore.other_format", lambda: restored(there, base / "form.tar"))


def test_a_backup_under_load_is_one_moment(
    archive: Path, base: Path, there: Path, on_server: Callable[[str], Path]
) -> None:
    """While commands run, the archive's counts belong together: as many audit entries of a command as rows it made."""
    busy = on_server("busy")
    restored(busy, archive)
    stop = threading.Event()
    with opened(busy) as app:

        def work() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                place = {"code": f"P{number}", "name": "P", "level": "region"}
                app.run("locations.add", place, app.system)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            time.sleep(0.2)
            path = saved(busy, base / "busy.tar").path
        finally:
            stop.set()
            thread.join()
    restored(there, path)
    with opened(there) as app, app.database.query(app.system) as connection:
        row = connection.execute(
            sa.text(
                "SELECT (SELECT count(*) FROM core.locations), "
                "(SELECT count(*) FROM core.audit_entries WHERE command = 'locations.add')"
            )
        ).one()
    assert row[0] == row[1] > 1


KILLED = """
import sys
from pathlib import Path
from imis_core.operations import restore
def stop(statements):
    print("ready", flush=True)
    sys.stdin.readline()
restore._checks = stop
restore.restore(Path(sys.argv[1]), Path(sys.argv[2]), lambda _: None)
"""


def test_a_restore_that_is_killed_may_be_run_again(archive: Path, living: Path, base: Path, there: Path) -> None:
    """kill -9 when everything but the commit is done: the database is empty, and the next attempt does the whole."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(there), str(archive)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.communicate()
    restored(there, archive)
    assert content(there) == content(living)


def test_no_password_is_on_a_command_line(
    living: Path, base: Path, there: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """`pg_dump` gets its password by the environment: neither its arguments nor ours hold it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    from imis_core.database.embedded_server import programs_folder

    for name in ("pg_dump", "psql"):
        wrapper = programs / name
        wrapper.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/said\nexec {programs_folder()}/{name} "$@"\n')
        wrapper.chmod(0o755)
    monkeypatch.setenv("IMIS_POSTGRES_PROGRAMS", str(programs))
    restored(there, saved(living, base / "x.tar").path)
    said = (tmp_path / "said").read_text()
    assert said.count("--dbname=") == 2
    passwords = [(living / "var" / "postgres" / "secret").read_text().strip()]
    passwords.append(str(sa.make_url(load_settings(there).database.url).password))
    assert not [password for password in passwords if password in said]
    monkeypatch.setenv("IMIS_POSTGRES_PROGRAMS", str(tmp_path))
    refused("database.no_programs", lambda: saved(living, base / "y.tar"))
    assert not (base / "y.tar").exists()


def test_the_command_line(living: Path, base: Path, imis: Callable[..., Answer]) -> None:
    """`imis backup` prints where, how much and how long; `imis restore --check` what is inside; errors are one line."""
    done = imis("-C", living, "backup", base / "one.tar")
    assert (done.code, done.out.startswith(f"{base / 'one.tar'}: ")) == (0, True)
    assert done.out.rstrip().endswith(" s")
    again = imis("-C", living, "backup", base / "one.tar")
    assert (again.code, again.err.splitlines()[-1].split(": ")[1]) == (2, "backup.exists")
    inside = imis("restore", base / "one.tar", "--check")
    assert (inside.code, "living of 2" in inside.out) == (0, True)
    there = base / "there"
    there.mkdir()
    back = imis("-C", there, "restore", base / "one.tar")
    assert (back.code, "ledger zero" in back.out) == (0, True)
    assert json.loads((living / "var" / "last_backup.json").read_text())["path"] == str(base / "one.tar")
    assert os.path.exists(there / "imis.toml")
    assert (
        AWA["number"] in imis("-C", there, "run", "beneficiaries.show_person", "--data", '{"person": "100000001"}').out
    )
