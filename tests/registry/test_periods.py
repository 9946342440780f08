"""Rules of registration periods and change requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from imis_core.testing.app import TestApp
from tests.registry.people import members, person, refusal_of


@pytest.fixture
def site(make_app: Callable[..., TestApp]) -> TestApp:
    """A region R with villages V and W; ben is another administrator."""
    roles = {"clerk": {"permissions": ["registry.*", "beneficiaries.add_member"], "scope": "place"}}
    app = make_app(plugins=[], settings={"roles": roles})
    app.do("locations.add", {"code": "R", "name": "R", "level": "region"})
    for code in "VW":
        app.do("locations.add", {"code": code, "name": code, "level": "village", "parent": "R"})
    app.as_user("ben", "administrator")
    return app


def group(code: str, place: str | None) -> dict[str, Any]:
    where = {} if place is None else {"location": place}
    return {"code": code, "members": [{**person(), "relationship": "head"}], **where}


def close(app: TestApp, place: str) -> None:
    app.do("registry.open_period", {"location": place, "from": "2021-01-01"})
    app.do("registry.close_period", {"location": place})


def registered(app: TestApp, place: str | None) -> bool:
    (outcome,) = app.do_all("beneficiaries.register_group", [group(f"{place}{app.clock.today()}{id(place)}", place)])
    if isinstance(outcome, dict):
        return True
    assert outcome.code == "registry.period_closed"
    return False


def test_a_place_without_a_period_is_free(site: TestApp) -> None:
    """A place that never had a period is free; while one is open too; closed, it takes no group and no member."""
    assert registered(site, "V")
    opened = site.do("registry.open_period", {"location": "V", "from": "2021-01-01", "to": "2021-03-31"})
    assert opened["state"] == "opened"
    site.do("beneficiaries.register_group", group("H1", "V"))
    assert site.do("registry.close_period", {"location": "V"})["state"] == "closed"
    assert refusal_of(site, "beneficiaries.register_group", group("H2", "V")).code == "registry.period_closed"
    joining = {"group": "H1", **person("P9"), "relationship": "child"}
    assert refusal_of(site, "beneficiaries.add_member", joining).code == "registry.period_closed"
    assert registered(site, "W")
    assert registered(site, None)
    site.do("registry.open_period", {"location": "V", "from": "2021-01-01"})
    assert len(site.do("beneficiaries.add_member", joining)["members"]) == 2


def test_the_nearest_period_decides(site: TestApp) -> None:
    """A period holds for the places below, unless they have one of their own."""
    close(site, "R")
    assert not registered(site, "V")
    site.do("registry.open_period", {"location": "V", "from": "2021-01-01"})
    assert registered(site, "V")
    assert not registered(site, "W")
    assert not registered(site, "R")


def test_a_period_has_days(site: TestApp) -> None:
    """Before its first and after its last day a period takes nobody."""
    site.do("registry.open_period", {"location": "V", "from": "2021-02-01", "to": "2021-02-28"})
    assert not registered(site, "V")
    for day, free in ((date(2021, 2, 1), True), (date(2021, 2, 28), True), (date(2021, 3, 1), False)):
        site.clock.set(day)
        assert registered(site, "V") is free


def test_a_place_has_one_open_period(site: TestApp) -> None:
    """A second open period, closing none, and an end before the start are refused; closed periods are listed."""
    assert refusal_of(site, "registry.close_period", {"location": "V"}).code == "registry.wrong_state"
    close(site, "V")
    assert refusal_of(site, "registry.close_period", {"location": "V"}).code == "registry.wrong_state"
    outcomes = site.do_all("registry.open_period", [{"location": "V", "from": "2021-01-01"}] * 2)
    assert [getattr(o, "code", "opened") for o in outcomes] == ["opened", "registry.wrong_state"]
    refusal = refusal_of(site, "registry.open_period", {"location": "W", "from": "2021-01-02", "to": "2021-01-01"})
    assert (refusal.code, refusal.problems[0].path) == ("input.invalid", "to")
    assert [p["state"] for p in site.do("registry.periods", {"location": "V"})] == ["closed", "opened"]


def test_a_batch_is_judged_place_by_place(site: TestApp) -> None:
    """Of a batch only the groups of a closed place are refused, and a caller of one village is bound by the region."""
    site.do("beneficiaries.register_group", group("H1", "V"))
    close(site, "R")
    site.do("registry.open_period", {"location": "W", "from": "2021-01-01"})
    outcomes = site.do_all("beneficiaries.register_group", [group(f"G{p}", p) for p in ("V", "W", None)])
    assert [getattr(o, "code", "done") for o in outcomes] == ["registry.period_closed", "done", "done"]
    vera = site.as_user("vera", "clerk", places=["V"])
    joining = {"group": "H1", **person("P9"), "relationship": "child"}
    assert refusal_of(site, "beneficiaries.add_member", joining, as_=vera).code == "registry.period_closed"
    assert refusal_of(site, "registry.close_period", {"location": "W"}, as_=vera).code == "not_found"


# --- change requests


def ask(app: TestApp, data: dict[str, Any], do: str = "beneficiaries.register_group") -> str:
    asked = app.do("registry.request_change", {"do": do, "with": data, "reason": "born late"})
    assert asked["status"] == "requested"
    identity: str = asked["id"]
    return identity


def test_a_change_is_run_when_somebody_else_approves(site: TestApp) -> None:
    """Nothing changes at the request; its maker does not approve it; a closed period does not stop it."""
    close(site, "V")
    change = ask(site, group("H1", "V"))
    assert refusal_of(site, "beneficiaries.show_group", {"group": "H1"}).code == "not_found"
    assert refusal_of(site, "registry.approve_change", {"change": change}).code == "registry.same_person"
    done = site.do("registry.approve_change", {"change": change}, as_="ben")
    assert (done["status"], done["result"]["code"]) == ("applied", "H1")
    assert len(members(site, "H1")) == 1
    assert refusal_of(site, "registry.approve_change", {"change": change}, as_="ben").code == "registry.wrong_state"
    (entry,) = [e for e in site.do("audit.trail", {"entity": "H1"}) if e["command"] == "beneficiaries.register_group"]
    assert (entry["actor"], entry["approver"]) == ("administrator", "ben")


def test_approvals_know_changes(site: TestApp) -> None:
    """A change is listed with the requests that wait, and can be approved among them."""
    close(site, "V")
    change = ask(site, group("H1", "V"))
    (listed,) = site.do("approvals.pending")
    assert (listed["id"], listed["command"], listed["reason"]) == (change, "beneficiaries.register_group", "born late")
    assert refusal_of(site, "approvals.approve", {"approval": change}).code == "approvals.same_person"
    assert site.do("approvals.approve", {"approval": change}, as_="ben")["status"] == "approved"
    assert site.do("approvals.pending") == []
    assert len(members(site, "H1")) == 1


def test_a_refused_change_stays_pending(site: TestApp) -> None:
    """A command that is refused gives its own error; the change waits on, and can be rejected."""
    site.do("beneficiaries.register_group", group("H1", "V"))
    change = ask(site, group("H1", "V"))
    refusal = refusal_of(site, "registry.approve_change", {"change": change}, as_="ben")
    assert refusal.code == "beneficiaries.duplicate_code"
    assert len(site.do("approvals.pending")) == 1
    assert site.do("registry.reject_change", {"change": change, "reason": "there already"})["status"] == "rejected"
    assert refusal_of(site, "registry.approve_change", {"change": change}, as_="ben").code == "registry.wrong_state"


def test_an_approved_request_under_approvals_is_no_change(make_app: Callable[..., TestApp]) -> None:
    """A closed period stops a command under [approvals], which is no change request."""
    app = make_app(plugins=[], settings={"approvals": {"beneficiaries.register_group": {}}})
    app.do("locations.add", {"code": "V", "name": "V", "level": "village"})
    close(app, "V")
    waiting = app.do("beneficiaries.register_group", group("H1", "V"))["approval"]
    app.as_user("ben", "administrator")
    refusal = refusal_of(app, "approvals.approve", {"approval": waiting}, as_="ben")
    assert refusal.code == "registry.period_closed"
    assert refusal_of(app, "registry.approve_change", {"change": waiting}, as_="ben").code == "not_found"


@pytest.mark.parametrize(
    ("do", "data", "path"),
    [
        ("beneficiaries.registr_group", {}, "do"),
        ("approvals.approve", {"approval": "x"}, "do"),
        ("registry.request_change", {"do": "x", "with": {}, "reason": "x"}, "do"),
        ("users.add", {"name": "x", "roles": []}, "do"),
        ("beneficiaries.register_group", {"members": [], "cod": "x"}, "with.cod"),
    ],
)
def test_what_could_never_run_is_refused_at_once(site: TestApp, do: str, data: dict[str, Any], path: str) -> None:
    """Unknown commands, decisions, secrets and a wrong form are wrong input with a path."""
    refusal = refusal_of(site, "registry.request_change", {"do": do, "with": data, "reason": "why"})
    assert (refusal.code, refusal.problems[0].path) == ("input.invalid", path)


def test_who_may_not_do_it_may_not_ask_for_it(site: TestApp) -> None:
    """The command runs with the maker as actor, so the maker needs its permission."""
    vera = site.as_user("vera", "clerk", places=["V"])
    data = {"do": "beneficiaries.register_group", "with": group("H1", "V"), "reason": "why"}
    assert refusal_of(site, "registry.request_change", data, as_=vera).code == "permission.denied"
