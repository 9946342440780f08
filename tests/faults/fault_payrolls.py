"""Processes killed by -9 in the middle of a payroll: made, approved and paid once, or not at all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx

from imis_core.testing.auditor import assert_sound
from tests.faults.fault_kills import IN_THE_MIDDLE
from tests.faults.harness import Deployment, Hands, client, until
from tests.faults.world import PEOPLE, all_done

PAYROLL = {"scheme": "nafa", "package": "GRANT", "cycle": "C1"}


def grant(hands: Hands) -> None:
    """Everybody is selected for a grant; the cycle is open."""
    terms = {"amount": {"base": "100", "per_person": "10"}}
    package = {"scheme": "nafa", "code": "GRANT", "name": "Grant", "valid_from": "2020-01-01", "terms": terms}
    hands.do("benefit_packages.define", package)
    hands.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "bank_file"})
    paid = [{"number": f"N{n}", "provider": "BANK", "account": f"A{n}"} for n in range(PEOPLE)]
    all_done(hands.do_all("payments.enrol_recipient", paid))
    enrolment = hands.do("targeting.enrol", {"scheme": "nafa", "package": "GRANT", "on": "2021-06-01"})
    Hands(hands.app, "second").do("targeting.approve", {"enrolment": enrolment["id"]})
    hands.do("cycles.open", {"scheme": "nafa", "code": "C1", "starts": "2021-06-01", "ends": "2021-06-30"})


def paid_out(hands: Hands) -> dict[str, Any]:
    """What has come out of the payrolls."""
    with hands.app.database.query(hands.app.system) as connection:
        read = connection.exec_driver_sql
        entitlements = [tuple(r) for r in read(
            "SELECT g.code, e.source, t.state, t.amount_minor, t.version FROM core.entitlements e "
            "JOIN core.entitlement_current t ON t.entitlement = e.id LEFT JOIN core.groups g ON g.id = e.group "
            "ORDER BY g.code"
        )]  # fmt: skip
        orders = [tuple(r) for r in read(
            "SELECT o.amount_minor, t.state, count(*) FROM core.orders o JOIN core.order_current t ON t.order = o.id "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        )]  # fmt: skip
        payrolls = [tuple(r) for r in read("SELECT state, reason FROM core.payrolls ORDER BY id")]
    ledger = hands.do("ledger.balances", {"scheme": "nafa"})
    return {"entitlements": entitlements, "orders": orders, "payrolls": payrolls, "ledger": ledger}


def as_planned(hands: Hands) -> None:
    grant(hands)
    payroll = hands.do("payroll.generate", PAYROLL)["id"]
    Hands(hands.app, "second").do("payroll.approve", {"payroll": payroll})
    hands.do("payments.submit", {"payroll": payroll})
    hands.do("payments.reconcile", report(hands.do, payroll))


def report(do: Callable[..., Any], payroll: str) -> dict[str, Any]:
    orders = do("payments.orders", {"payroll": payroll})
    rows = [{"order": o["id"], "status": "paid", "amount": o["amount"]} for o in orders]
    return {"provider": "BANK", "rows": rows}


def test_a_payroll_through_kills_at_every_step(make_deployment: Callable[[], Deployment]) -> None:
    """The worker dies while it is generated, the web process while it is approved, submitted and reconciled."""
    with make_deployment().application() as hands:
        as_planned(hands)
        expected = paid_out(hands)
    deployment = make_deployment()
    with deployment.application() as hands:
        grant(hands)
        job = hands.do("payroll.generate_in_background", PAYROLL)["job"]
        deployment.slow("core.entitlement_states", 1.0)
        worker = deployment.worker()
        until(lambda: deployment.rows(IN_THE_MIDDLE), "the payroll in the middle of its statement")
        worker.kill()
        until(lambda: not deployment.rows(IN_THE_MIDDLE), "the end of the statement")
        assert [row["state"] for row in deployment.rows("SELECT state FROM core.payrolls")] == ["generating"]
        assert deployment.rows("SELECT count(*) AS n FROM core.entitlements")[0]["n"] == 0
        deployment.quick("core.entitlement_states")
        worker = deployment.worker()
        until(lambda: hands.do("jobs.show", {"job": job})["status"] == "succeeded", "the payroll")
        worker.signal(signal.SIGTERM)
        (done,) = hands.do("jobs.show", {"job": job})["results"]
        payroll = done["result"]["id"]
        steps: list[tuple[str, str, str, Any]] = [
            ("core.order_states", "second", "payroll/approve", {"payroll": payroll}),
            ("core.order_states", "administrator", "payments/submit", {"payroll": payroll}),
            ("core.order_states", "administrator", "payments/reconcile", None),
        ]
        for table, user, command, body in steps:
            sent = body or report(hands.do, payroll)
            before = paid_out(hands)
            deployment.slow(table, 1.0)
            kill_in_the_middle(deployment, user, command, sent)
            deployment.quick(table)
            assert paid_out(hands) == before
            assert_sound(hands.app)
            web, url = deployment.web()
            with client(url, user) as http:
                answer = http.post(f"/api/{command}", json=sent, headers={"Idempotency-Key": command})
            assert answer.status_code == 200, answer.text
            web.signal(signal.SIGTERM)
            assert_sound(hands.app)
        assert paid_out(hands) == expected


def kill_in_the_middle(deployment: Deployment, user: str, command: str, body: Any) -> None:
    """Send the request and kill the web process while it is at work."""
    web, url = deployment.web()
    broken: list[Exception] = []

    def send() -> None:
        try:
            with client(url, user) as http:
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
