"""A plugin that raises, hangs or answers garbage: it is named, nothing of its work stays, the others go on."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imis_core.testing.auditor import audit
from tests.faults.fault_kills import CHF
from tests.faults.harness import Deployment, client, until
from tests.faults.world import all_done, claims

LIMITS = {"imis_core.web.authentication.STATEMENT_SECONDS_MAX": 2, "imis_core.database.engine.IDLE_SECONDS": 2}


@pytest.mark.parametrize("what", ["raise", "too_few", "garbage", "nothing"])
def test_a_command_that_raises_or_answers_garbage(breaking: Deployment, what: str) -> None:
    """500 with a request id, the log names the command and the plugin; the next request is served."""
    web, url = breaking.web()
    with client(url) as http:
        answer = http.post("/api/breaking/answer", json={"what": what})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert answer.headers["X-Request-Id"] in answer.json()["detail"]
        assert http.post("/api/claims/submit", json=claims(range(1), range(1))).status_code == 200
    assert "breaking" in web.log.read_text()


def test_a_listener_that_raises_is_parked_alone(breaking: Deployment) -> None:
    """The claims are valuated; the delivery is retried, parked with its error and the plugin's name."""
    with breaking.application() as hands:
        all_done(hands.do_all("claims.submit", claims(range(4), range(1))))
        hands.do("claims.process", CHF)
        breaking.worker({"imis_core.events.ATTEMPTS": 2})
        until(lambda: hands.do("events.deliveries", {"state": "parked"}), "the parked delivery")
        (parked,) = hands.do("events.deliveries", {"state": "parked"})
        assert parked["subscriber"] == "breaking"
        assert "breaking" in parked["error"]
        assert "does not listen" in parked["error"]
        assert {finding.code for finding in audit(hands.app)} == {"outbox.parked"}


def test_a_hook_that_answers_garbage_is_named(breaking: Deployment) -> None:
    """A payroll whose lines are garbage is not made; the answer names the plugin and the hook."""
    with breaking.application() as hands:
        terms = {"amount": {"base": "100"}}
        package = {"scheme": "nafa", "code": "GRANT", "name": "G", "valid_from": "2020-01-01", "terms": terms}
        hands.do("benefit_packages.define", package)
        hands.do("cycles.open", {"scheme": "nafa", "code": "C1", "starts": "2021-06-01", "ends": "2021-06-30"})
        _, url = breaking.web()
        with client(url) as http:
            asked = {"scheme": "nafa", "package": "GRANT", "cycle": "C1"}
            answer = http.post("/api/payroll/generate", json=asked)
            assert (answer.status_code, answer.json()["code"]) == (500, "plugins.failed"), answer.text
            assert "breaking" in answer.json()["detail"]
            assert "imis_payroll_lines_sql" in answer.json()["detail"]
            job = http.post("/api/payroll/generate_in_background", json=asked).json()["job"]
            breaking.worker({"imis_core.jobs.RETRIES": 1})
            until(lambda: hands.do("jobs.show", {"job": job})["status"] == "failed", "the parked run")
            told = hands.do("jobs.show", {"job": job})["errors"][0]["error"]
            assert "'breaking' failed in imis_payroll_lines_sql" in told
        (payroll,) = breaking.rows("SELECT state, reason FROM core.payrolls")
        assert payroll["state"] == "failed"
        assert "'breaking' failed in imis_payroll_lines_sql" in payroll["reason"]
        assert breaking.rows("SELECT count(*) AS n FROM core.entitlements")[0]["n"] == 0


def test_a_command_that_hangs_in_the_database(breaking: Deployment) -> None:
    """Its statement is broken off after the limit: 503 `database.timeout`; what it held is free."""
    _, url = breaking.web(LIMITS)
    with client(url) as http:
        hang = {"where": "database", "counter": "A", "seconds": 600}
        began = time.monotonic()
        answer = http.post("/api/breaking/hang", json=hang)
        assert (answer.status_code, answer.json()["code"]) == (503, "database.timeout")
        assert time.monotonic() - began < 60
        assert http.post("/api/breaking/swap", json={"first": "A", "second": "B"}).status_code == 200


def test_a_command_that_hangs_elsewhere_frees_what_it_holds(breaking: Deployment) -> None:
    """Nobody can break off foreign code: but its session is ended, so that others do not wait for its rows."""
    _, url = breaking.web(LIMITS)
    with client(url) as http, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(http.post, "/api/breaking/hang", json={"where": "python", "counter": "A", "seconds": 12})
        until(lambda: breaking.rows("SELECT FROM pg_stat_activity WHERE state = 'idle in transaction'"), "the hang")
        with client(url) as other:
            assert other.get("/health/ready").status_code == 200
            until(
                lambda: other.post("/api/breaking/swap", json={"first": "A", "second": "B"}).status_code == 200,
                "the row that was held",
            )
        assert not hanging.done()
        answer = hanging.result(60)
        assert (answer.status_code, answer.json()["code"]) in ((503, "database.timeout"), (503, "database.unreachable"))


@pytest.mark.parametrize("where", ["database", "python"])
def test_a_worker_told_to_stop_does_not_wait_for_what_hangs(breaking: Deployment, where: str) -> None:
    """After the bound the job is given back and the process ends with 0; another worker does it."""
    with breaking.application() as hands:
        all_done(hands.do_all("claims.submit", claims(range(4), range(1))))
        job = hands.do("claims.process_in_background", CHF)["job"]
        drain = {"imis_core.jobs_worker.DRAIN_SECONDS": 1.0, "imis_core.jobs_worker.GIVE_UP_SECONDS": 1.0}
        if where == "database":
            breaking.slow("core.claim_valuations", 600)
            worker = breaking.worker(drain)
            until(lambda: breaking.rows(SLEEPING), "the chunk")
        else:
            worker = breaking.worker(drain, hang="imis_core.claims.background.process_checked")
            until(lambda: breaking.rows(HELD), "the chunk")
        worker.signal(signal.SIGTERM)
        assert worker.ended(60) == 0, worker.log.read_text()
        if where == "database":
            breaking.quick("core.claim_valuations")
        until(lambda: not breaking.rows(SLEEPING), "the end of the statement")
        assert hands.do("claims.show", {"claim": "C0-0"})["status"] == "checked"
        breaking.worker({"imis_core.jobs.STALLED_SECONDS": 600.0})  # nobody has to miss the first one
        until(lambda: hands.do("jobs.show", {"job": job})["status"] == "succeeded", "the end of the run")
        assert hands.do("jobs.show", {"job": job})["errors"] == []


SLEEPING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
HELD = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' "
    "AND query LIKE '%job_%'"
)
