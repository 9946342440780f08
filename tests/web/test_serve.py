"""`serve` as an operator starts and stops it: a process of its own over a deployment's folder."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from imis_core.database import embedded
from imis_core.errors import Unavailable
from imis_core.opening import migrate_deployment
from imis_core.web.server import serve

SETTINGS = """
[deployment]
name = "served"
country = "XX"
currency = "USD"
[plugins]
enabled = []
"""
START = (
    "import sys; from pathlib import Path; from imis_core.web.server import serve\n"
    "if __name__ == '__main__':\n"
    "    serve(Path(sys.argv[1]), '127.0.0.1', int(sys.argv[2]), int(sys.argv[3]), sys.argv[3] == '1',\n"
    "          announce=lambda line: print(line, flush=True))\n"
    "    print('closed', flush=True)\n"
)


def test_a_port_in_use_is_told_before_anything_is_started(tmp_path: Path) -> None:
    """One line with the way out and exit code 1; the folder is not even looked at."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"serve\.port_in_use: port {port} .*--port") as raised:
            serve(tmp_path / "nothing", "127.0.0.1", port, 1, False)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 8000), ("127.0.0.1", 70_000), ("192.0.2.1", 8000)])
def test_an_address_that_is_none_is_told(tmp_path: Path, host: str, port: int) -> None:
    """An unknown host, a port beyond 65535 and another machine's address are one line each."""
    with pytest.raises(Unavailable, match=r"serve\.address: "):
        serve(tmp_path, host, port, 1, False)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Path]:
    """A migrated deployment with an embedded database."""
    # As root the database runs under another account, which cannot enter pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="imis-serve-"))
    folder.chmod(0o755)
    try:
        (folder / "imis.toml").write_text(SETTINGS)
        migrate_deployment(folder)
        yield folder
        embedded.remove(folder / "var" / "postgres")
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_server_starts_answers_and_stops(
    deployment: Path, tmp_path: Path, workers: int, told: signal.Signals
) -> None:
    """It says when it is ready, finishes what it does when it is told to stop, and lets the database go."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "start.py"
    script.write_text(START)
    with subprocess.Popen(
        [sys.executable, str(script), str(deployment), str(port), str(workers)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if f"http://127.0.0.1:{port}/schema" not in line:
                process.kill()
                pytest.fail(f"not ready: {line!r}, {process.communicate()[1]}")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                assert client.get("/health/ready").json() == {"status": "ready"}
                assert client.get("/api/users/list").status_code == 401
                assert "imis_http_requests_total" in client.get("/metrics").text
            began = time.monotonic()
            process.send_signal(told)
            out, err = process.communicate(timeout=40)
            assert (process.returncode, out) == (0, "closed\n"), err
            assert "Traceback" not in err, err
            assert time.monotonic() - began < 20
        finally:
            if process.poll() is None:
                process.kill()
    assert not embedded.status(deployment / "var" / "postgres").user_pids


SLOW = """
import sys, time
from pathlib import Path
from imis_core.web import routes, server
answered = routes.openapi_document
def slow(app):
    print("begun", flush=True)
    sys.stdin.readline()
    return answered(app)
routes.openapi_document = slow
server.serve(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), 1, True, announce=lambda line: print(line, flush=True))
"""


def test_a_running_request_is_finished_and_no_new_one_taken(deployment: Path, tmp_path: Path) -> None:
    """After SIGTERM new connections are refused, the running request gets its whole answer, and the exit code is 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    with subprocess.Popen(
        [sys.executable, str(script), str(deployment), str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert "/schema" in process.stdout.readline()
        answers: list[httpx.Response] = []
        thread = threading.Thread(
            target=lambda: answers.append(httpx.get(f"http://127.0.0.1:{port}/schema/openapi.json", timeout=60))
        )
        thread.start()
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        while True:  # the listening socket is closed in a moment
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except (ConnectionRefusedError, ConnectionResetError):  # reset: it stood in the queue of the closed socket
                break
            assert time.monotonic() < deadline
        assert process.poll() is None
        process.stdin.write("go\n")
        process.stdin.flush()
        thread.join(60)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in err) == (0, False), err
        assert answers[0].status_code == 200
        assert answers[0].json()["openapi"].startswith("3.")


BROKEN = (
    "import sys; from pathlib import Path; from imis_core.web import server\n"
    "def broken(folder): raise SystemExit('the web process is broken')\n"
    "if __name__ == '__main__':\n"
    "    server._web_process = broken\n"
    "    server.serve(Path(sys.argv[1]), '127.0.0.1', 0, 2, False)\n"
)


def test_web_processes_that_do_not_start_end_the_server(deployment: Path, tmp_path: Path) -> None:
    """No endless restarts: `serve.not_started`, and the database is let go."""
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    ran = subprocess.run([sys.executable, str(script), str(deployment)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "serve.not_started" in ran.stderr
    assert not embedded.status(deployment / "var" / "postgres").user_pids
