"""A real server at debug level with real secrets: none of them is in its logs, answers, tables or process lists."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from imis_core.database import embedded
from imis_core.opening import migrate_deployment

SETTINGS = """
[deployment]
name = "secretive"
country = "XX"
currency = "USD"
[plugins]
enabled = []
[roles.clerk]
permissions = ["users.*", "locations.*"]
[approvals]
"users.add" = { roles = ["administrator"] }
"""
# Everything of every library is logged, then the server runs as `imis` runs it.
START = (
    "import logging, sys\n"
    "from imis_core.cli import main\n"
    "if __name__ == '__main__':\n"
    "    from imis_core.redaction import guarded_standard_error\n"
    "    guard = guarded_standard_error()\n"
    "    guard.__enter__()\n"  # before the handler takes hold of the stream
    "    logging.basicConfig(level=logging.DEBUG)\n"
    "    for name in ('sqlalchemy', 'sqlalchemy.engine', 'procrastinate', 'uvicorn', 'psycopg', 'litestar'):\n"
    "        logging.getLogger(name).setLevel(logging.DEBUG)\n"
    "    raise SystemExit(main(['-C', sys.argv[1], '--debug', 'serve', '--port', sys.argv[2]]))\n"
)
IMIS = "from imis_core.cli import main; raise SystemExit(main())"
FIRST, SECOND, WRONG = "violet-anchor-first-9", "violet-anchor-second-9", "violet-anchor-wrong-9"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Path]:
    """A migrated deployment with an embedded database, and the administrator's password given on standard input."""
    # As root the database runs under another account, which cannot enter pytest's own folders.
    folder = Path(tempfile.mkdtemp(prefix="imis-secrets-"))
    folder.chmod(0o755)
    try:
        (folder / "imis.toml").write_text(SETTINGS)
        migrate_deployment(folder)
        yield folder
        embedded.remove(folder / "var" / "postgres")
    finally:
        shutil.rmtree(folder)


class Listener:
    """Reads all command lines of the machine again and again, and keeps every one that it saw."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            for process in os.listdir("/proc"):
                if process.isdigit():
                    try:
                        self.seen.add(Path(f"/proc/{process}/cmdline").read_bytes())
                    except OSError:
                        continue  # it has ended meanwhile


def everything_stored(deployment: Path) -> str:
    """Every row of every table, as the owner of the database sees it."""
    with embedded.acquire(deployment / "var" / "postgres") as lease, psycopg.connect(lease.url("secretive")) as owner:
        tables = owner.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        rows = [owner.execute(f'SELECT to_jsonb(t)::text FROM "{s}"."{n}" t').fetchall() for s, n in tables]
    return str(rows)


def imis(deployment: Path, *arguments: str, given: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-c", IMIS, "-C", str(deployment), "--debug", *arguments]
    return subprocess.run(command, input=given + "\n", capture_output=True, text=True, timeout=120)


def test_no_secret_is_told(deployment: Path, tmp_path: Path) -> None:
    """Passwords right, wrong and new, tokens, cookies, keys and the database's password: only where they belong."""
    with Listener() as processes:
        given = imis(deployment, "user", "passwd", "administrator", given=FIRST)
        assert given.returncode == 0, given.stderr
        told, answers, secret = serve_and_ask(deployment, tmp_path)
        for command in (["check"], ["doctor"], ["user", "add", "eve", "--role", "clerk"]):
            ran = imis(deployment, *command, given=SECOND)
            told += ran.stdout + ran.stderr
    secret |= {
        "key": (deployment / "keys" / "ids.key").read_text().strip(),
        "database": (deployment / "var" / "postgres" / "secret").read_text().strip(),
        "first": FIRST, "second": SECOND, "wrong": WRONG,
    }  # fmt: skip
    assert all(len(value) > 10 for value in secret.values())
    stored = everything_stored(deployment)
    for name, value in secret.items():
        assert value not in told, f"the log tells the {name}"
        assert value not in given.stdout + given.stderr, name
        assert value not in answers, f"an answer tells the {name}"
        assert value not in stored, f"a table keeps the {name}"
        assert not any(value.encode() in line for line in processes.seen), f"a process list shows the {name}"
    assert "argon2" not in told + answers
    assert "Traceback" in told  # it is a log at debug level, of failures too
    assert "users.add" in stored


def serve_and_ask(deployment: Path, tmp_path: Path) -> tuple[str, str, dict[str, str]]:
    """What a server said, what it answered beside the secrets that were asked for, and those."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script, log = tmp_path / "start.py", tmp_path / "log"
    script.write_text(START)
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(script), str(deployment), str(port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "serving" in line, log.read_text()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                answers, secret = ask(client, deployment)
            process.terminate()
            out, _ = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()
    return line + out + log.read_text(), answers, secret


def ask(client: httpx.Client, deployment: Path) -> tuple[str, dict[str, str]]:
    """Log in, work, and send secrets where they do not belong; the answers without those that hand secrets out."""
    told: list[httpx.Response] = []

    def post(path: str, data: Any, **headers: str) -> httpx.Response:
        answer = client.post(path, json=data, headers=headers)
        told.append(answer)
        return answer

    login = {"name": "administrator", "password": FIRST}
    token = client.post("/api/auth/token", json=login).json()["token"]
    begun = client.post("/api/auth/session", json=login)
    session = next(iter(SimpleCookie(begun.headers["set-cookie"]).values())).value
    secret = {"token": token, "session": session, "csrf": begun.json()["csrf"]}
    bearer = f"Bearer {token}"
    post("/api/auth/token", {**login, "password": WRONG})
    post("/api/auth/token", {**login, "password": [WRONG]})
    post("/api/auth/token", {"name": "administrator", "passwort": FIRST})
    post("/api/auth/session", {**login, "new_password": {"a": SECOND}})
    for number, password in enumerate((SECOND, [SECOND], {"x": SECOND}, "short")):
        user = {"name": f"ann{number}", "roles": ["clerk"], "password": password}
        post("/api/users/add", user, Authorization=bearer, **{"Idempotency-Key": f"k{number}"})
    twice = [{"name": "bob", "roles": ["clerk"], "password": password} for password in (SECOND, FIRST)]
    post("/api/users/add", twice, Authorization=bearer)
    post("/api/users/change", {"user": "ann0", "password": WRONG, "must_change": True}, Authorization=bearer)
    post("/api/users/change_password", {"password": WRONG, "new_password": SECOND}, Authorization=bearer)
    post("/api/users/disable", {"user": "ann0", "reason": "left"}, Authorization=bearer)
    post("/api/locations/add", {"code": "R1", "name": "x", "level": "region"}, Cookie=f"__Host-imis-session={session}")
    post("/api/locations/add", {}, Authorization=f"Bearer {token}x")
    for path in ("/api/users/list", "/api/users/own_logins", "/api/users/logins", "/api/audit/trail?entity=ann0",
                 "/api/approvals/pending", "/api/users/show?user=ann0", f"/api/users/list?token={WRONG}", "/metrics",
                 "/api/users/locked", "/health/ready"):  # fmt: skip
        told.append(client.get(path, headers={"Authorization": bearer}))
    assert {a.status_code for a in told} >= {200, 202, 401, 403, 404, 409, 422}, [a.text for a in told]
    # A failure that nobody foresaw, with its traceback.
    with embedded.acquire(deployment / "var" / "postgres") as lease, psycopg.connect(lease.url("secretive")) as owner:
        owner.execute("ALTER TABLE core.locations RENAME TO locations_away")
        owner.commit()
        told.append(client.get("/api/locations/list", headers={"Authorization": bearer}))
        owner.execute("ALTER TABLE core.locations_away RENAME TO locations")
    assert told[-1].status_code == 500, told[-1].text
    return "".join(str(a.headers) + a.text for a in told), secret
