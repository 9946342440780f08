"""Full disks: whoever asked is told, nothing is half done, and all goes on by itself when there is room again.

These tests mount small file systems: they need root (a container will do).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from imis_core.database import embedded
from imis_core.opening import migrate_deployment
from imis_core.testing.auditor import assert_sound
from tests.faults.conftest import Folder
from tests.faults.harness import PATIENCE_SECONDS, Deployment, client, until
from tests.faults.world import EMBEDDED, claims, make_world, outcome_of


@contextmanager
def small_disk(at: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own of that size."""
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill(at: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = at / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096):
            with suppress(OSError):  # no space left
                while True:
                    file.write(b"\0" * size)
    return ballast


def test_the_disk_of_the_database_is_full(tmp_path: Path) -> None:
    """503 `database.disk_full` (or `.unreachable`, should the server not even log any more); then it goes on."""
    with Folder() as folder, small_disk(folder, 400):
        (folder / "imis.toml").write_text(EMBEDDED, "utf-8")
        migrate_deployment(folder)
        with embedded.acquire(folder / "var" / "postgres") as lease:
            deployment = Deployment(folder, lease.url("faulty"), tmp_path)
            try:
                with deployment.application() as hands:
                    make_world(hands)
                _, url = deployment.web()
                with client(url) as http:
                    ballast = fill(folder)
                    refused = until(lambda: _first_refused(http), "the first request that finds no room")
                    assert refused.status_code == 503, refused.text
                    assert refused.json()["code"] in ("database.disk_full", "database.unreachable")
                    assert str(folder) not in refused.text
                    key = refused.request.headers["Idempotency-Key"]
                    ballast.unlink()
                    until(lambda: http.get("/health/ready").status_code == 200, "room again")
                    again = http.post("/api/claims/submit", json=claims(prefix=key), headers={"Idempotency-Key": key})
                    assert again.status_code == 200, again.text
                    assert all("result" in one for one in again.json())
                    assert http.post("/api/claims/process", json={"scheme": "chf"}).status_code == 200
                with deployment.application() as hands:
                    assert_sound(hands.app)
                    stored = {row[0].partition("-")[0] for row in outcome_of(hands)["claims"]}
                    assert any(code.startswith(key) for code in stored)
            finally:
                deployment.close()


def _first_refused(http: httpx.Client) -> Any:
    """Send batches until one does not get in."""
    key = f"K{_first_refused.__dict__.setdefault('sent', 0)}x"
    _first_refused.__dict__["sent"] += 1
    answer = http.post("/api/claims/submit", json=claims(prefix=key), headers={"Idempotency-Key": key})
    return None if answer.status_code == 200 else answer


def test_the_disk_of_the_attachments_is_full(deployment: Deployment) -> None:
    """503 `attachments.unwritable`, no row without a file; with room again the same request is stored."""
    at = deployment.folder / "var" / "attachments"
    file = {"name": "scan.pdf", "media_type": "application/pdf", "content": "QUJD" * 700_000}  # 2.1 MB
    with small_disk(at, 1):
        _, url = deployment.web()
        with client(url) as http:
            answer = http.post("/api/attachments/add", json=file, headers={"Idempotency-Key": "scan"})
            assert (answer.status_code, answer.json()["code"]) == (503, "attachments.unwritable")
            assert int(answer.headers["Retry-After"]) > 0
            assert deployment.rows("SELECT count(*) AS n FROM core.attachments")[0]["n"] == 0
            assert not [path for path in at.rglob("*") if path.is_file()]
            small = {**file, "content": "QUJD"}
            assert http.post("/api/attachments/add", json=small).status_code == 200
            subprocess.run(["mount", "-o", "remount,size=8m", str(at)], check=True)
            again = http.post("/api/attachments/add", json=file, headers={"Idempotency-Key": "scan"})
            assert (again.status_code, again.json()["size"]) == (200, 2_100_000)


def test_a_folder_without_room_for_a_database(tmp_path: Path) -> None:
    """`imis migrate` says `database.disk_full` with exit 1; with room it goes through."""
    with Folder() as folder, small_disk(folder, 20):
        (folder / "imis.toml").write_text(EMBEDDED, "utf-8")
        deployment = Deployment(folder, "", tmp_path)
        process = deployment.start("migrate")
        assert process.ended() == 1
        assert "database.disk_full" in process.log.read_text()
        subprocess.run(["mount", "-o", "remount,size=400m", str(folder)], check=True)
        again = deployment.start("migrate")
        assert again.ended() == 0, again.log.read_text()
        deployment.close()
        embedded.stop_if_unused(folder / "var" / "postgres", PATIENCE_SECONDS)


def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    """`database.folder_unwritable` with exit 1 and the way out; nothing is changed."""
    with Folder() as folder, small_disk(folder, 400):
        (folder / "imis.toml").write_text(EMBEDDED, "utf-8")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        deployment = Deployment(folder, "", tmp_path)
        for command in (("migrate",), ("worker",), ("serve", "--port", "0")):
            process = deployment.start(*command)
            assert process.ended() == 1
            told = process.log.read_text()
            assert "database.folder_unwritable" in told, told
            assert "Traceback" not in told
