"""Processes killed by -9 in the middle of their work: nothing is lost, nothing is done twice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx

from tests.faults.harness import Deployment, client, until
from tests.faults.world import all_done, claims, outcome_of

Undisturbed = Callable[[Callable[[Any], object]], dict[str, Any]]
SMALL = {"imis_core.claims.background.CHUNK_ITEMS": 20, "imis_core.claims.background.CHUNK_LIMIT": 60}
IN_THE_MIDDLE = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


def test_workers_killed_in_the_middle_of_claims(deployment: Deployment, undisturbed: Undisturbed) -> None:
    """Three times the worker dies within a chunk; another one goes on: the result of an undisturbed run."""
    expected = undisturbed(lambda hands: (hands.do_all("claims.submit", claims()), hands.do("claims.process", CHF)))
    with deployment.application() as hands:
        all_done(hands.do_all("claims.submit", claims()))
        job = hands.do("claims.process_in_background", CHF)["job"]
        deployment.slow("core.claim_valuations", 0.5)
        for done in range(3):
            worker = deployment.worker(SMALL)
            until(lambda: deployment.rows(IN_THE_MIDDLE), "a chunk in the middle of its transaction")
            until(lambda least=done: hands.do("jobs.show", {"job": job})["chunks_done"] >= least, "a done chunk")  # type: ignore[misc]
            until(lambda: deployment.rows(IN_THE_MIDDLE), "a chunk in the middle of its transaction")
            worker.kill()
        assert hands.do("jobs.show", {"job": job})["status"] == "doing"
        deployment.quick("core.claim_valuations")
        deployment.worker(SMALL)
        deployment.worker(SMALL)
        until(lambda: hands.do("jobs.show", {"job": job})["status"] == "succeeded", "the end of the run")
        shown = hands.do("jobs.show", {"job": job})
        assert shown["result"]["valuated"] == shown["items"] == len(claims())
        assert any("no sign of life" in error["error"] for error in shown["errors"])
        assert outcome_of(hands) == expected


def test_a_web_process_killed_in_the_middle_of_a_batch(deployment: Deployment, undisturbed: Undisturbed) -> None:
    """A batch of claims is stored whole or not at all; sent again with its key it is stored once."""
    expected = undisturbed(lambda hands: (hands.do_all("claims.submit", claims()), hands.do("claims.process", CHF)))
    for table, command, body in (
        ("core.claim_line_checks", "claims/submit", claims()),
        ("core.claim_valuations", "claims/process", CHF),
    ):
        deployment.slow(table, 1.0)
        web, url = deployment.web()
        broken: list[Exception] = []

        def send(url: str = url, command: str = command, body: Any = body, broken: Any = broken) -> None:
            try:
                with client(url) as http:
                    http.post(f"/api/{command}", json=body, headers={"Idempotency-Key": command})
            except httpx.TransportError as error:
                broken.append(error)

        sending = threading.Thread(target=send)
        sending.start()
        until(lambda: deployment.rows(IN_THE_MIDDLE), "the request in the middle of its transaction")
        web.kill()
        sending.join(60)
        assert len(broken) == 1
        until(lambda: not deployment.rows(IN_THE_MIDDLE), "the end of the transaction")
        deployment.quick(table)
        written = deployment.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"]
        assert written == 0
        web, url = deployment.web()
        with client(url) as http:
            first = http.post(f"/api/{command}", json=body, headers={"Idempotency-Key": command})
            again = http.post(f"/api/{command}", json=body, headers={"Idempotency-Key": command})
        assert (first.status_code, again.json()) == (200, first.json())
        assert again.headers["Idempotent-Replayed"] == "true"
        web.signal(signal.SIGTERM)
        assert web.ended() == 0
    with deployment.application() as hands:
        assert outcome_of(hands) == expected


CHF = {"scheme": "chf"}
