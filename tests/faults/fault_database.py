"""PostgreSQL stopped at once in the middle of work: whoever asked is told, everything goes on when it is back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx

from imis_core.database import embedded
from imis_core.testing.auditor import assert_sound
from tests.faults.fault_kills import CHF, IN_THE_MIDDLE, SMALL, Undisturbed
from tests.faults.harness import Deployment, Hands, client, until
from tests.faults.world import all_done, claims, outcome_of


def test_the_server_stops_at_once_during_a_run_and_a_request(own_server: Deployment, undisturbed: Undisturbed) -> None:
    """The embedded server is started again by whoever uses it; 503 meanwhile, then the result of an undisturbed run."""

    def in_two_parts(hands: Hands) -> None:
        for part in (range(3), range(3, 6)):
            hands.do_all("claims.submit", claims(visits=part))
            hands.do("claims.process", CHF)

    expected = undisturbed(in_two_parts)
    deployment = own_server
    with deployment.application() as hands:
        all_done(hands.do_all("claims.submit", claims(visits=range(3))))
        job = hands.do("claims.process_in_background", CHF)["job"]
    deployment.slow("core.claim_valuations", 0.5)
    _, url = deployment.web()
    with client(url) as http:
        deployment.worker(SMALL)
        for visits in (range(3, 5), range(5, 6)):
            until(lambda: deployment.rows(IN_THE_MIDDLE), "a chunk in the middle of its transaction")
            answers: list[httpx.Response] = []
            key = {"Idempotency-Key": f"from {visits[0]}"}

            def send(visits: range = visits, key: Any = key, answers: Any = answers) -> None:
                answers.append(http.post("/api/claims/submit", json=claims(visits=visits), headers=key))

            deployment.slow("core.claim_line_checks", 1.0)
            sending = threading.Thread(target=send)
            sending.start()
            until(lambda: len(deployment.rows(IN_THE_MIDDLE)) > 1, "the request beside the chunk")
            stop_at_once(deployment)
            sending.join(120)
            told = answers[0].json()
            assert (answers[0].status_code, told["code"]) == (503, "database.unreachable"), told
            assert int(answers[0].headers["Retry-After"]) > 0
            until(lambda: http.get("/health/ready").status_code == 200, "the web process with the database again")
            deployment.quick("core.claim_line_checks")
            again = http.post("/api/claims/submit", json=claims(visits=visits), headers=key)
            assert again.status_code == 200, again.text
            assert "Idempotent-Replayed" not in again.headers
        deployment.quick("core.claim_valuations")

        def shown() -> Any:
            return http.get("/api/jobs/show", params={"job": job}).json()

        until(lambda: shown()["status"] == "succeeded", "the end of the run")
        assert http.post("/api/claims/process", json=CHF).status_code == 200
    with deployment.application() as hands:
        found = outcome_of(hands)
        assert_sound(hands.app)
    assert found == expected


def stop_at_once(deployment: Deployment) -> None:
    """As `pg_ctl stop -m immediate`, or a machine without power: nothing is written any more."""
    pid = embedded.status(deployment.folder / "var" / "postgres").pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the server")


def test_a_restart_between_requests_is_not_noticed(own_server: Deployment) -> None:
    """Connections that died while nobody used them are thrown away before they are used: no request fails."""
    deployment = own_server
    _, url = deployment.web()
    with client(url) as http:
        assert http.post("/api/claims/submit", json=claims(visits=range(1))).status_code == 200
        stop_at_once(deployment)
        for code in ("C0-0", "C1-0", "C2-0"):
            answer = http.get("/api/claims/show", params={"claim": code})
            assert answer.status_code == 200, answer.text


def test_sessions_that_the_server_ends(deployment: Deployment, undisturbed: Callable[..., Any]) -> None:
    """An administrator ends all sessions (a failover, a pooler's restart): the run goes on with fresh ones."""
    expected = undisturbed(lambda hands: (hands.do_all("claims.submit", claims()), hands.do("claims.process", CHF)))
    with deployment.application() as hands:
        all_done(hands.do_all("claims.submit", claims()))
        job = hands.do("claims.process_in_background", CHF)["job"]
        deployment.slow("core.claim_valuations", 0.3)
        deployment.worker(SMALL)
        for _ in range(3):
            until(lambda: deployment.rows(IN_THE_MIDDLE), "a chunk in the middle of its transaction")
            deployment.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        deployment.quick("core.claim_valuations")
        until(lambda: deployment.rows(ALL_DONE), "the end of the run")  # this process has lost its sessions too
        hands.app.database.dispose()
        assert hands.do("jobs.show", {"job": job})["result"]["valuated"] == len(claims())
        assert outcome_of(hands) == expected
        assert_sound(hands.app)


ALL_DONE = "SELECT FROM core.job_chunks HAVING count(*) > 0 AND bool_and(done_at IS NOT NULL)"
