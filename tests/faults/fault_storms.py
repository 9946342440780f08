"""Many at once on the same rows: deadlocks, lost transactions, one policy: bounded retries, no update is lost."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from imis_core.testing.auditor import assert_sound
from tests.faults.fault_kills import CHF
from tests.faults.harness import Deployment, client, until
from tests.faults.world import all_done, claims

CONNECTIONS = 16
ROUNDS = 6


def storm(url: str, command: str, bodies: list[list[dict[str, Any]]]) -> list[httpx.Response]:
    """Each list of bodies by a connection of its own, all at once; every answer."""
    barrier = threading.Barrier(len(bodies))
    with client(url) as logged_in:
        headers = {"Authorization": logged_in.headers["Authorization"]}

        def send(mine: list[dict[str, Any]]) -> list[httpx.Response]:
            with httpx.Client(base_url=url, timeout=120, headers=headers) as http:
                barrier.wait(60)
                return [http.post(f"/api/{command}", json=body) for body in mine]

        with ThreadPoolExecutor(len(bodies)) as pool:
            return [answer for answers in pool.map(send, bodies) for answer in answers]


def counted(deployment: Deployment) -> dict[str, int]:
    return {row["code"]: int(row["name"]) for row in deployment.rows("SELECT code, name FROM core.locations")}


def told(answers: list[httpx.Response]) -> Counter[str]:
    """How often which outcome; nothing but done and busy."""
    found = Counter("done" if a.status_code == 200 else f"{a.status_code} {a.json()['code']}" for a in answers)
    assert set(found) <= {"done", "503 database.busy"}, found
    for answer in answers:
        assert answer.status_code == 200 or int(answer.headers["Retry-After"]) > 0
    return found


def test_a_storm_of_deadlocks(breaking: Deployment) -> None:
    """Two counters are locked in both orders by 16 connections: each that is answered 200 counts once, in both."""
    _, url = breaking.web()
    rng = random.Random(7)
    orders = [{"first": "A", "second": "B"}, {"first": "B", "second": "A"}]
    bodies = [[rng.choice(orders) for _ in range(2)] for _ in range(CONNECTIONS)]
    found = told(storm(url, "breaking/swap", bodies))
    assert found["done"] > CONNECTIONS / 2
    assert counted(breaking) == {"A": found["done"], "B": found["done"]}
    deadlocks = breaking.rows("SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks[0]["n"] > 0


def test_a_storm_of_lost_transactions(breaking: Deployment) -> None:
    """A third of the transactions are lost as under strict isolation: retried within bounds, counted once each."""
    _, url = breaking.web()
    found = told(storm(url, "breaking/lose", [[{"counter": "A", "share": 33}] * ROUNDS] * CONNECTIONS))
    assert found["done"] > CONNECTIONS * ROUNDS / 2
    assert counted(breaking)["A"] == found["done"]
    lost = told(storm(url, "breaking/lose", [[{"counter": "B", "share": 100}]]))
    assert lost == {"503 database.busy": 1}
    assert counted(breaking)["B"] == 0


def test_two_workers_on_one_policy(deployment: Deployment) -> None:
    """Two processes valuate claims of the same persons at once: deductible and ceiling are used up once."""
    with deployment.application() as hands:
        all_done(hands.do_all("claims.submit", claims(range(4), range(8))))
        deployment.slow("core.claim_results", 0.2)
        urls = [deployment.web()[1] for _ in range(2)]
        halves = [[c["code"] for c in claims(range(4), range(start, 8, 2))] for start in range(2)]
        barrier = threading.Barrier(2)

        def process(url: str, mine: list[str]) -> list[int]:
            with client(url) as http:
                barrier.wait(60)
                return [
                    http.post("/api/claims/process", json={**CHF, "claims": mine[i : i + 4]}).status_code
                    for i in range(0, len(mine), 4)
                ]

        with ThreadPoolExecutor(2) as pool:
            statuses = list(pool.map(process, urls, halves))
        assert statuses == [[200] * 4, [200] * 4]
        paid = deployment.rows(
            "SELECT p.number, sum(r.payable_minor)::bigint AS paid, sum(r.deducted_milli)::bigint AS deducted "
            "FROM core.claim_results r JOIN core.claims c ON c.id = r.claim JOIN core.persons p ON p.id = c.person "
            "GROUP BY p.number ORDER BY p.number"
        )
        # Eight visits of 1, 2, 3, 1, 2, 3, 1, 2 drugs and a laboratory: 1980.00 each, less 35.00, capped at 900.00.
        assert [(row["paid"], row["deducted"]) for row in paid] == [(90_000, 3_500_000)] * 4
        assert_sound(hands.app)


def test_prices_change_during_valuation(deployment: Deployment) -> None:
    """What is being valuated keeps the prices of its check; what comes after the change has the new ones."""
    with deployment.application() as hands:
        first = [{**c, "from": "2021-02-01"} for c in claims(range(6), range(1))]
        all_done(hands.do_all("claims.submit", first))
        deployment.slow("core.claim_results", 1.0)
        _, url = deployment.web()
        with client(url) as http, ThreadPoolExecutor(1) as pool:
            processing = pool.submit(http.post, "/api/claims/process", json=CHF)
            until(lambda: deployment.rows(IN_THE_MIDDLE), "the valuation in the middle")
            prices = {"code": "PL", "valid_from": "2021-03-01", "prices": {"DRUG": "10", "LAB": "6"}}
            hands.do("catalogue.define_price_list", prices)
            later = [{**c, "code": f"L{c['code']}", "from": day} for c in first for day in ("2021-04-01",)]
            all_done(hands.do_all("claims.submit", later))
            assert processing.result(120).json()["valuated"] == len(first)
        deployment.quick("core.claim_results")
        hands.do("claims.process", CHF)
        shown = [hands.do("claims.show", {"claim": c["code"]}) for c in first]
        assert {tuple(line["unit_price"] for line in c["lines"]) for c in shown} == {("100.00", "60.00")}
        shown = [hands.do("claims.show", {"claim": c["code"]}) for c in later]
        assert {tuple(line["unit_price"] for line in c["lines"]) for c in shown} == {("10.00", "6.00")}
        assert_sound(hands.app)


IN_THE_MIDDLE = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
