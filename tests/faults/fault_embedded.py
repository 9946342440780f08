"""The embedded server when those who use it are killed: an orphan is taken over, a dead one's traces do not stop it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from imis_core.database import embedded
from tests.faults.conftest import Folder
from tests.faults.harness import Deployment, client, until
from tests.faults.world import EMBEDDED, claims, make_world


@pytest.fixture
def alone(tmp_path: Path) -> Deployment:  # type: ignore[misc]
    """A deployment with an embedded server that only the processes of the test use."""
    from imis_core.opening import migrate_deployment

    with Folder() as folder:
        (folder / "imis.toml").write_text(EMBEDDED, "utf-8")
        migrate_deployment(folder)
        deployment = Deployment(folder, "", tmp_path)
        with deployment.application() as hands:
            make_world(hands)
        try:
            yield deployment  # type: ignore[misc]
        finally:
            deployment.close()
            embedded.remove(folder / "var" / "postgres")


def server_pid(deployment: Deployment) -> int | None:
    return embedded.status(deployment.folder / "var" / "postgres").pid


def test_an_orphan_is_taken_over(alone: Deployment) -> None:
    """The web process is killed, its server goes on; the next one uses it, and the last one stops it."""
    web, url = alone.web()
    with client(url) as http:
        assert http.post("/api/claims/submit", json=claims(range(2), range(1))).status_code == 200
    orphan = server_pid(alone)
    web.kill()
    assert orphan is not None
    assert server_pid(alone) == orphan
    web, url = alone.web()
    assert server_pid(alone) == orphan
    with client(url) as http:
        assert http.get("/api/claims/show", params={"claim": "C1-0"}).status_code == 200
    web.signal(signal.SIGTERM)
    assert web.ended() == 0
    assert server_pid(alone) is None


def test_everything_is_killed_and_traces_are_left(alone: Deployment) -> None:
    """Power fails: lock files, a socket, a process's number stay behind. The next start recovers what was committed."""
    web, url = alone.web()
    with client(url) as http:
        assert http.post("/api/claims/submit", json=claims(range(2), range(1))).status_code == 200
    pid = server_pid(alone)
    assert pid is not None
    web.kill()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the server")
    data = embedded.status(alone.folder / "var" / "postgres").data_folder
    assert (data / "postmaster.pid").exists()
    assert (alone.folder / "var" / "postgres" / "start.lock").exists()
    for number in (pid, os.getpid()):  # also when the number belongs to somebody else by now
        lines = (data / "postmaster.pid").read_text().splitlines()
        (data / "postmaster.pid").write_text("\n".join([str(number), *lines[1:]]) + "\n")
        web, url = alone.web()
        with client(url) as http:
            assert http.get("/api/claims/show", params={"claim": "C1-0"}).status_code == 200
        fresh = server_pid(alone)
        assert fresh not in (None, pid)
        web.kill()
        assert fresh is not None
        os.kill(fresh, signal.SIGKILL)
        until(lambda fresh=fresh: not os.path.exists(f"/proc/{fresh}"), "the end of the server")  # type: ignore[misc]
