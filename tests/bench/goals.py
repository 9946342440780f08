"""Figures without a floor, reported against their goals: start-up, memory, a command over REST, throughput.

A deployment is scaffolded and served by the command line in a process of its own; clients are processes too.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import httpx
import psutil

from imis_core.database import embedded
from tests.bench import cases
from tests.bench.measure import DEPLOYMENT, bench

IMIS: Final = str(Path(sys.executable).with_name("imis"))
PASSWORD: Final = "a long bench password"
CLIENTS: Final = 8
FAMILIES: Final = 200
TOML: Final = f"""
[deployment]
name = "bench"
country = "{DEPLOYMENT["country"]}"
currency = "USD"
[plugins]
enabled = ["health_insurance"]
[schemes.chf]
type = "health_insurance"
"""


def goals() -> list[str]:
    """A table of figures beside their goals."""
    rows = [("`imis --help`", f"{_help():.2f} s", "0.3 s")]
    with _deployment() as folder, _served(folder) as (url, process, ready):
        rows.append(("ready to serve, embedded database included", f"{ready:.1f} s", "3 s"))
        token = _token(url)
        _fill(url, token)
        one = _client(url, token, "S", 200)
        rows.append(
            (
                "claims.submit (5 lines) over REST, p50, one client",
                f"{statistics.median(one) * 1000:.1f} ms",
                "15 ms",
            )
        )
        checks = _eligibility(url, token, 300)
        median = f"{statistics.median(checks) * 1000:.1f} ms"
        rows.append(("eligibility.check over REST, p50, one client", median, "5 ms"))
        each = 150
        with ProcessPoolExecutor(CLIENTS) as pool:
            list(pool.map(time.sleep, [1.0] * CLIENTS))  # all clients are there before the clock runs
            started = time.perf_counter()
            asked = list(pool.map(_eligibility, *zip(*[(url, token, each) for _ in range(CLIENTS)], strict=True)))
            rate = sum(len(times) for times in asked) / (time.perf_counter() - started)
            rows.append((f"eligibility.check over REST from {CLIENTS} clients", f"{rate:,.0f}/s", "400/s"))
            started = time.perf_counter()
            done = list(pool.map(_registrations, *zip(*[(url, token, n, each) for n in range(CLIENTS)], strict=True)))
            rate = sum(len(d) for d in done) / (time.perf_counter() - started)
        rows.append((f"commands/s from {CLIENTS} clients (beneficiaries.register_person)", f"{rate:,.0f}/s", "300/s"))
        memory = psutil.Process(process.pid).memory_info().rss // 2**20
        rows.append(("memory of the web process after that", f"{memory} MB", "150 MB"))
    for name, count in _statements().items():
        rows.append((f"statements of {name}, one item, token included", str(count), "12"))
    return ["| figure | measured | goal |", "| --- | --- | --- |", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]


def _help() -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([IMIS, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@contextmanager
def _deployment() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="imis-goals-"))
    folder.chmod(0o755)
    (folder / "imis.toml").write_text(TOML)
    try:
        _imis(folder, "migrate")
        _imis(folder, "user", "passwd", "administrator", text=PASSWORD + "\n")
        yield folder
    finally:
        embedded.remove(folder / "var" / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


def _imis(folder: Path, *arguments: str, text: str | None = None) -> None:
    subprocess.run([IMIS, *arguments], cwd=folder, check=True, capture_output=True, input=text, text=True)


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    process = subprocess.Popen([IMIS, "serve", "--port", str(port)], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < 60:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.02)
        yield url, process, time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _token(url: str) -> str:
    answer = httpx.post(f"{url}/api/auth/token", json={"name": "administrator", "password": PASSWORD})
    return str(answer.raise_for_status().json()["token"])


def _post(client: httpx.Client, name: str, data: object) -> object:
    noun, verb = name.split(".")
    answer = client.post(f"/api/{noun}/{verb}", json=data)
    answer.raise_for_status()
    return answer.json()


def _fill(url: str, token: str) -> None:
    """The same world as the claims' case, through the front door."""

    class Door:
        """What `cases.insured_families` calls of an application, over HTTP."""

        def __init__(self, client: httpx.Client) -> None:
            self._client = client

        def do(self, name: str, data: object) -> object:
            return _post(self._client, name, data)

        def do_all(self, name: str, items: object) -> list[object]:
            answers = _post(self._client, name, items)
            assert isinstance(answers, list)
            return [a["result"] for a in answers]

    with _session(url, token) as client:
        cases.insured_families(Door(client), FAMILIES)  # type: ignore[arg-type]


def _session(url: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def _client(url: str, token: str, prefix: str, count: int) -> list[float]:
    """Seconds of each of `count` single claims."""
    times = []
    with _session(url, token) as client:
        for claim in cases.claim_inputs(count, FAMILIES, prefix):
            started = time.perf_counter()
            _post(client, "claims.submit", claim)
            times.append(time.perf_counter() - started)
    return times


def _eligibility(url: str, token: str, count: int) -> list[float]:
    """Seconds of each of `count` questions, one after the other, by the plainest client, for it shares the cores."""
    times = []
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    for n in itertools.islice(itertools.cycle(range(FAMILIES)), count):
        address = f"/api/eligibility/check?number={n:07d}0&provider=HC01&items=I01&on=2021-06-01"
        started = time.perf_counter()
        connection.request("GET", address, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        times.append(time.perf_counter() - started)
    connection.close()
    return times


def _registrations(url: str, token: str, client_number: int, count: int) -> list[float]:
    """Small commands one after the other, as a desk would send them; the plainest client, for it shares the cores."""
    times = []
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for n in range(count):
        person = {
            "number": f"L{client_number}{n:06d}", "given_name": "A", "family_name": "B", "sex": "F",
            "birth_date": "1990-01-01",
        }  # fmt: skip
        started = time.perf_counter()
        connection.request("POST", "/api/beneficiaries/register_person", json.dumps(person), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        times.append(time.perf_counter() - started)
    connection.close()
    return times


def _statements() -> dict[str, int]:
    """Statements of single commands: those of the door and the one that reads the token."""
    with bench() as at:
        prepared = at.clone(at.template())
        with at.app(prepared) as app:
            cases.insured_families(app, 10)
            caller = app.as_user("administrator")
            family = cases._family(999)
            found = {}

            def count(name: str, data: dict[str, object]) -> dict[str, object]:
                before = app.database.statements
                answer: dict[str, object] = app.do(name, data, as_=caller)
                found[name] = app.database.statements - before + 1
                return answer

            count("beneficiaries.register_group", family)
            policy = count(
                "coverage.enrol", {"scheme": "chf", "package": "B", "group": family["code"], "on": "2021-01-01"}
            )
            count(
                "contributions.record",
                {"coverage": policy["id"], "amount": policy["due"], "receipt": "R", "on": "2021-01-01"},
            )
            count("claims.submit", cases.claim_inputs(1, 10, "X")[0])
            count("eligibility.check", {"number": "00000010", "provider": "HC01", "items": ["I01"]})
        return found
