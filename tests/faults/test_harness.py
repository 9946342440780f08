"""The one fault test that runs with the suite: what the others stand on works, processes start, answer and stop."""

from __future__ import annotations

import signal

from tests.faults.harness import Deployment, client, until
from tests.faults.world import claims, outcome_of


def test_a_worker_and_a_web_process_do_a_run_and_stop(deployment: Deployment) -> None:
    """A run begun over HTTP is done by the worker; both end with 0 when they are told to stop."""
    web, url = deployment.web()
    worker = deployment.worker()
    with client(url) as http:
        answer = http.post("/api/claims/submit", json=claims())
        assert all("result" in one for one in answer.json()), answer.text[:500]
        job = http.post("/api/claims/process_in_background", json={"scheme": "chf"}).json()["job"]
        until(
            lambda: http.get("/api/jobs/show", params={"job": job}).json()["status"] == "succeeded",
            "the end of the run",
        )
    for process in (worker, web):
        process.signal(signal.SIGTERM)
    assert (worker.ended(), web.ended()) == (0, 0)
    with deployment.application() as hands:
        assert len(outcome_of(hands)["claims"]) == 2 * len(claims())  # lines
