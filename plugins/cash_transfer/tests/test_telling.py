"""Recipients are told that a payment is on its way, where the deployment wants it, and each of them once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.events import deliver_due
from imis_core.testing.app import TestApp

from .conftest import SETTINGS, MakeApp


def approved_payroll(app: TestApp, define: Any, register: Any, approved: Any, *codes: str) -> Any:
    """These households are owed 10.00 each in the cycle C1, and somebody agreed to it."""
    define(app, unit="household", amount={"base": "10"}, frequency={"every": "month"})
    register(app, *codes)
    approved(app)
    app.do("cycles.open", {"scheme": "safe", "code": "C1", "starts": "2023-01-01", "ends": "2023-01-31"})
    payroll = app.do("payroll.generate", {"scheme": "safe", "package": "P", "cycle": "C1"})
    return app.do("payroll.approve", {"payroll": payroll["id"]}, as_="ben")


def work_off(app: TestApp) -> None:
    """Deliver the events, and do what they began."""
    while deliver_due(app):
        pass
    for _ in range(3):  # the run is cut, then its chunks are worked off
        app.queue.run_due()


def messages(app: TestApp) -> list[tuple[str, str]]:
    rows = app.rows(
        "SELECT p.number, n.text FROM core.notifications n JOIN core.persons p ON p.id = n.person "
        "JOIN core.orders o ON o.id = n.about AND n.about_noun = 'orders' AND o.person = p.id ORDER BY o.id"
    )
    return [(row["number"], row["text"]) for row in rows]


@pytest.mark.parametrize("wanted", [True, False])
def test_each_recipient_is_told_once(
    make_app: MakeApp, define: Callable[..., None], register: Callable[..., None], approved: Any, wanted: bool
) -> None:
    """One message for each order that stands, with amount and cycle; none without the setting; never a second one."""
    own = {"cash_transfer": {"tell_recipients": wanted}}
    app = make_app(today=date(2023, 1, 1), settings={**SETTINGS, "plugins": own}, plugins=["cash_transfer"])
    payroll = approved_payroll(app, define, register, approved, "H1", "H2", "H3")
    first = app.do("payments.orders", {"payroll": payroll["id"]})[0]
    app.do("payments.hold", {"order": first["id"], "reason": "asked"})
    work_off(app)
    work_off(app)
    told = messages(app)
    assert {number for number, _ in told} == (
        {o["recipient"] for o in app.do("payments.orders", {"payroll": payroll["id"]})[1:]} if wanted else set()
    )
    assert {text for _, text in told} <= {"Your payment of 10.00 USD for C1 is on its way to you."}
    assert len(told) == (2 if wanted else 0)


def test_what_did_not_arrive_is_not_told_as_on_its_way(
    make_app: MakeApp, define: Callable[..., None], register: Callable[..., None], approved: Any
) -> None:
    """A worker that comes late tells those whose payment goes on, or has arrived by then."""
    own = {"cash_transfer": {"tell_recipients": True}}
    app = make_app(today=date(2023, 1, 1), settings={**SETTINGS, "plugins": own}, plugins=["cash_transfer"])
    payroll = approved_payroll(app, define, register, approved, "H1", "H2", "H3", "H4")
    ends = ["failed", "paid", "returned", "accepted"]
    with app.database.command(app.system) as (connection, _):
        for number, state in zip(app.rows("SELECT id FROM core.orders ORDER BY id"), ends, strict=True):
            change = sa.text('UPDATE core.order_current SET state = :state WHERE "order" = :id')
            connection.execute(change, {**number, "state": state})
    work_off(app)
    stand = [o["recipient"] for o in app.do("payments.orders", {"payroll": payroll["id"]}) if o["status"] in ends[1::2]]
    assert sorted(number for number, _ in messages(app)) == sorted(stand)
