"""The second person: a request waits, is approved by another, and runs against the state of that day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import field, frozen

from imis_core.commands import command, run_command
from imis_core.context import Context
from imis_core.errors import ImisError, Refusal, refused
from imis_core.security.login import log_in
from imis_core.testing.app import TestApp

TODAY = date(2021, 1, 1)


@frozen(kw_only=True)
class Pay:
    code: str
    pin: str | None = field(default=None, metadata={"secret": True})


@frozen(kw_only=True)
class Paid:
    code: str
    on: date
    by: str


@command("probe.pay", input=Pay, result=Paid)
def pay(context: Context, items: tuple[Pay, ...]) -> list[Paid | Refusal]:
    """Write a row, once for each code."""
    outcomes: list[Paid | Refusal] = []
    for item in items:
        if item.code == "raises":
            raise refused("probe.raised", "it was raised rather than returned")
        row = context.execute(
            sa.text("INSERT INTO core.schedules VALUES (:job, :day) ON CONFLICT DO NOTHING RETURNING 1"),
            {"job": item.code, "day": context.today},
        ).first()
        paid = Paid(code=item.code, on=context.today, by=context.caller.name)
        outcomes.append(Refusal("probe.taken", f"{item.code} is taken") if row is None else paid)
    return outcomes


@command("probe.seen", input=Pay, result=Pay)
def seen(context: Context, items: tuple[Pay, ...]) -> list[Pay]:
    """How many places row security shows to this command."""
    scope = context.execute(
        sa.text("SELECT current_setting('imis.scope') || current_setting('imis.places')")
    ).scalar_one()
    return [Pay(code=scope) for _ in items]


@pytest.fixture
def site(make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]) -> TestApp:
    plugin = make_plugin("probe", nouns={"probe": 1001}, commands=(pay, seen))
    roles = {
        "clerk": {"permissions": ["probe.*", "approvals.*"]},
        "finance": {"permissions": ["approvals.*"]},
        "local": {"permissions": ["approvals.*", "probe.*"], "scope": "place"},
    }
    approvals = {"probe.pay": {"roles": ["finance"]}, "users.add": {"approvers": 2}, "probe.seen": {}}
    app = make_app(extra={"probe": plugin}, plugins=["probe"], settings={"roles": roles, "approvals": approvals})
    for name, role in (("clara", "clerk"), ("fred", "finance"), ("fay", "finance"), ("leo", "local")):
        app.as_user(name, role)
    return app


def ask(app: TestApp, data: dict[str, Any], as_: str = "clara", name: str = "probe.pay") -> str:
    answer = app.do(name, data, as_=as_)
    assert answer["status"] == "awaiting_approval"
    identity: str = answer["approval"]
    return identity


def decide(app: TestApp, verb: str, approval: str, as_: str) -> Any:
    return app.do(f"approvals.{verb}", {"approval": approval, "reason": "because"}, as_=as_)


def refusal(app: TestApp, verb: str, approval: str, as_: str) -> str:
    with pytest.raises(ImisError) as caught:
        decide(app, verb, approval, as_)
    return caught.value.code


def done(app: TestApp) -> dict[str, date]:
    return {r["job"]: r["enqueued_on"] for r in app.rows("SELECT job, enqueued_on FROM core.schedules")}


def test_a_request_waits_and_runs_when_approved(site: TestApp) -> None:
    """Nothing happens at the request; at approval it runs with the maker as actor and the approver recorded."""
    approval = ask(site, {"code": "a"})
    assert done(site) == {}
    assert decide(site, "approve", approval, "fred") == {
        "status": "approved", "result": {"code": "a", "on": "2021-01-01", "by": "clara"},
    }  # fmt: skip
    (entry,) = site.rows(
        "SELECT u.name AS actor, a.name AS approver FROM core.audit_entries e JOIN core.users u ON u.id = e.actor "
        "LEFT JOIN core.users a ON a.id = e.approver WHERE e.command = 'probe.pay' AND e.approver IS NOT NULL"
    )
    assert (entry["actor"], entry["approver"]) == ("clara", "fred")
    assert refusal(site, "approve", approval, "fay") == "approvals.wrong_state"


def test_a_request_of_a_wrong_form_does_not_wait(site: TestApp) -> None:
    """What could never run is refused at once, a list as a whole."""
    with pytest.raises(ImisError) as caught:
        site.do("probe.pay", {"cod": "a"}, as_="clara")
    assert caught.value.code == "input.invalid"
    outcomes = site.do_all("probe.pay", [{"code": "a"}, {"cod": "b"}], as_="clara")
    assert [o.code for o in outcomes] == ["approvals.batch_refused", "input.invalid"]
    assert site.do("approvals.pending", as_="fred") == []


def test_a_list_is_one_request(site: TestApp) -> None:
    """All items of a list wait under one approval and run together or not at all."""
    first, second = site.do_all("probe.pay", [{"code": "a"}, {"code": "b"}], as_="clara")
    assert first == second
    result = decide(site, "approve", first["approval"], "fred")["result"]
    assert [r["code"] for r in result] == ["a", "b"]
    again = site.do_all("probe.pay", [{"code": "c"}, {"code": "b"}], as_="clara")[0]["approval"]
    assert refusal(site, "approve", again, "fred") == "probe.taken"
    assert set(done(site)) == {"a", "b"}


def test_who_asks_does_not_approve(site: TestApp) -> None:
    """`approvals.same_person`, for the administrator too."""
    approval = ask(site, {"code": "a"}, as_="administrator")
    assert refusal(site, "approve", approval, "administrator") == "approvals.same_person"
    assert decide(site, "approve", approval, "fred")["status"] == "approved"


def test_only_the_named_roles_decide(site: TestApp) -> None:
    """`roles` limits who approves and rejects; an administrator may always."""
    approval = ask(site, {"code": "a"}, as_="administrator")
    assert refusal(site, "approve", approval, "clara") == "permission.denied"
    assert refusal(site, "reject", approval, "clara") == "permission.denied"
    ben = site.as_user("ben")
    assert site.do("approvals.approve", {"approval": approval}, as_=ben)["status"] == "approved"


def test_two_approvers_are_two_persons(site: TestApp) -> None:
    """With `approvers = 2` the first approval only counts, and the same person cannot give the second."""
    approval = ask(site, {"name": "new", "roles": [], "password": "correct horse"}, "administrator", "users.add")
    (stored,) = site.rows("SELECT request::text AS request FROM core.approvals")
    assert "correct horse" not in stored["request"]  # a secret waits under the deployment's key
    assert decide(site, "approve", approval, "fred") == {"status": "awaiting_approval", "result": None}
    assert refusal(site, "approve", approval, "fred") == "approvals.same_person"
    assert decide(site, "approve", approval, "fay")["status"] == "approved"
    assert log_in(site, "new", "correct horse", "test")


def test_only_the_maker_withdraws(site: TestApp) -> None:
    """A request is taken back by whoever made it, and rejected by others; both end it."""
    approval = ask(site, {"code": "a"})
    assert refusal(site, "withdraw", approval, "fred") == "permission.denied"
    assert decide(site, "withdraw", approval, "clara")["status"] == "withdrawn"
    assert refusal(site, "approve", approval, "fred") == "approvals.wrong_state"
    other = ask(site, {"code": "b"})
    assert decide(site, "reject", other, "fred")["status"] == "rejected"
    assert refusal(site, "approve", other, "fay") == "approvals.wrong_state"
    assert done(site) == {}


def test_a_request_expires_after_thirty_days_by_the_clock(site: TestApp) -> None:
    """On the thirtieth day it is neither pending nor to be approved; the day before it is."""
    approval = ask(site, {"code": "a"})
    site.clock.set(date(2021, 1, 30))
    assert len(site.do("approvals.pending", as_="fred")) == 1
    site.clock.set(date(2021, 1, 31))
    assert site.do("approvals.pending", as_="fred") == []
    assert refusal(site, "approve", approval, "fred") == "approvals.wrong_state"
    assert refusal(site, "withdraw", approval, "clara") == "approvals.wrong_state"


@pytest.mark.parametrize("code", ["a", "raises"])
def test_a_refused_run_stays_pending_with_its_error(site: TestApp, code: str) -> None:
    """What is refused at approval leaves nothing but the reason, and may be approved again later."""
    approval = ask(site, {"code": code})
    with site.database.command(site.system) as (connection, _):
        connection.execute(sa.text("INSERT INTO core.schedules VALUES ('a', '2021-01-01')"))
    wanted = "probe.taken" if code == "a" else "probe.raised"
    assert refusal(site, "approve", approval, "fred") == wanted
    (pending,) = site.do("approvals.pending", as_="fred")
    assert pending["error"]["code"] == wanted
    with site.database.command(site.system) as (connection, _):
        connection.execute(sa.text("DELETE FROM core.schedules"))
    if code == "a":
        assert decide(site, "approve", approval, "fred")["status"] == "approved"


def test_the_business_date_is_the_requests_and_the_state_todays(site: TestApp) -> None:
    """Approved ten days later it counts from the day of the request, and what was taken meanwhile is taken."""
    approval, late = ask(site, {"code": "a"}), ask(site, {"code": "b"})
    site.clock.set(date(2021, 1, 11))
    decide(site, "approve", ask(site, {"code": "b"}), "fred")
    decide(site, "approve", approval, "fred")
    assert done(site) == {"a": TODAY, "b": date(2021, 1, 11)}
    assert refusal(site, "approve", late, "fred") == "probe.taken"


def test_the_makers_permission_is_checked_again(site: TestApp) -> None:
    """A maker who was shut out meanwhile gets nothing done."""
    approval = ask(site, {"code": "a"})
    site.do("users.disable", {"user": "clara"})
    assert refusal(site, "approve", approval, "fred") == "permission.denied"
    assert done(site) == {}


def test_a_request_runs_in_the_makers_scope(site: TestApp) -> None:
    """What an approver sees neither narrows nor widens what the maker's command sees; one who sees less decides not."""
    approval = ask(site, {"code": "a"}, "administrator", "probe.seen")
    assert refusal(site, "approve", approval, "leo") == "not_found"
    assert decide(site, "approve", approval, "fred")["result"]["code"] == "all{}"
    approval = ask(site, {"code": "a"}, "leo", "probe.seen")
    assert decide(site, "approve", approval, "administrator")["result"]["code"] == "limited{}"


def test_secrets_of_a_request_are_shown_nowhere(site: TestApp) -> None:
    """The list of what waits, the audit log and the history hold no secret; the request is dropped at the end."""
    approval = ask(site, {"code": "a", "pin": "4711"})
    (pending,) = site.do("approvals.pending", as_="fred")
    assert (pending["command"], pending["by"], pending["summary"]) == ("probe.pay", "clara", "code=a, pin=***")
    assert "4711" not in str(site.rows("SELECT * FROM core.audit_entries"))
    decide(site, "approve", approval, "fred")
    for table in ("approvals", "approvals_history", "audit_entries", "idempotency"):
        assert "4711" not in str(site.rows(f"SELECT * FROM core.{table}"))


def test_a_held_request_has_one_approval_under_its_key(site: TestApp) -> None:
    """Sent twice under one key, a request waits once."""
    clara = site.as_user("clara")
    replies = [run_command(site, "probe.pay", [{"code": "a"}], clara, key="k", single=True) for _ in range(2)]
    assert replies[0].outcomes == replies[1].outcomes
    assert replies[1].awaiting
    assert len(site.do("approvals.pending", as_="fred")) == 1


def test_an_approval_that_is_not_there_is_not_found(site: TestApp) -> None:
    """Garbage and the id of something else are `not_found`."""
    user = site.do("users.list")[0]["id"]
    for name in ("nonsense", user, ""):
        assert refusal(site, "approve", name, "fred") == "not_found"
