"""Requests that are sent more than once: with one key done once, with others told; answers that were cut off kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.faults.harness import Deployment, client
from tests.faults.world import claims

CONNECTIONS = 16
ONE = claims(range(1), range(1))[0]


@pytest.fixture
def url(deployment: Deployment) -> str:
    return deployment.web()[1]


def at_once(url: str, body: Any, keys: list[str | None]) -> list[httpx.Response]:
    """The same request from as many connections as there are keys, all at the same moment."""
    barrier = threading.Barrier(len(keys))

    def send(key: str | None) -> httpx.Response:
        with httpx.Client(base_url=url, timeout=60, headers=headers) as http:
            http.get("/health/live")
            barrier.wait(60)
            return http.post("/api/claims/submit", json=body, headers={} if key is None else {"Idempotency-Key": key})

    with client(url) as logged_in:
        headers = {"Authorization": logged_in.headers["Authorization"]}
        with ThreadPoolExecutor(len(keys)) as pool:
            return list(pool.map(send, keys))


def test_one_key_from_16_connections(deployment: Deployment, url: str) -> None:
    """Done once; all 16 get the same answer."""
    answers = at_once(url, ONE, ["the-key"] * CONNECTIONS)
    assert {a.status_code for a in answers} == {200}
    assert len({a.text for a in answers}) == 1
    assert sum("Idempotent-Replayed" not in a.headers for a in answers) == 1
    assert deployment.rows("SELECT count(*) AS n FROM core.claims")[0]["n"] == 1
    assert deployment.rows("SELECT count(*) AS n FROM core.audit_entries WHERE command = 'claims.submit'")[0]["n"] == 1


def test_other_keys_or_none_from_16_connections(deployment: Deployment, url: str) -> None:
    """Once accepted, 15 times `claims.duplicate_code`."""
    for keys in ([f"key-{n}" for n in range(CONNECTIONS)], [None] * CONNECTIONS):
        body = {**ONE, "code": f"D{keys[0]}"}
        answers = at_once(url, body, keys)
        assert sorted(a.status_code for a in answers) == [200] + [409] * (CONNECTIONS - 1)
        assert {a.json()["code"] for a in answers if a.status_code == 409} == {"claims.duplicate_code"}
        assert deployment.rows("SELECT count(*) AS n FROM core.claims WHERE code = :c", c=body["code"])[0]["n"] == 1


def test_one_key_for_another_body(url: str) -> None:
    """`idempotency.key_reused`, and nothing is done; also when both come at once."""
    with client(url) as http:
        key = {"Idempotency-Key": "K"}
        assert http.post("/api/claims/submit", json=ONE, headers=key).status_code == 200
        for body in ({**ONE, "code": "E1"}, [ONE], {**ONE, "visit_type": "emergency"}):
            answer = http.post("/api/claims/submit", json=body, headers=key)
            assert (answer.status_code, answer.json()["code"]) == (409, "idempotency.key_reused")
        assert http.get("/api/claims/show", params={"claim": "E1"}).status_code == 404


def test_the_connection_is_cut_after_the_commit(deployment: Deployment, url: str) -> None:
    """The client never hears; it sends again with the key and gets the stored answer. Nothing is done twice."""
    key = {"Idempotency-Key": "cut"}
    with client(url) as http, cutting_proxy(url) as cut_url:
        headers = {**key, "Authorization": http.headers["Authorization"]}
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{cut_url}/api/claims/submit", json=[ONE], headers=headers, timeout=60)
        assert deployment.rows("SELECT count(*) AS n FROM core.claims")[0]["n"] == 1
        answer = http.post("/api/claims/submit", json=[ONE], headers=key)
        assert answer.headers["Idempotent-Replayed"] == "true"
        assert [o["result"]["code"] for o in answer.json()] == [ONE["code"]]
    assert deployment.rows("SELECT count(*) AS n FROM core.claims")[0]["n"] == 1


@contextmanager
def cutting_proxy(url: str) -> Iterator[str]:
    """A proxy that passes one request on, waits for the first byte of the answer, and then cuts the client off."""
    target = httpx.URL(url)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(60)

        def pass_on() -> None:
            inside, _ = listener.accept()
            with inside, socket.create_connection((target.host, target.port or 80), timeout=60) as server:
                inside.settimeout(0.5)
                try:
                    while part := inside.recv(65536):
                        server.sendall(part)
                except TimeoutError:
                    pass
                assert server.recv(1)  # the answer is on its way: the transaction has been committed

        thread = threading.Thread(target=pass_on)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(60)
