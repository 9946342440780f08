"""Working on grievances: only the listed moves, decisions that stand or are appealed, and who is told what."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError

# Ways into each state from a fresh grievance, and where the contract says one may go from there.
WAYS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "received": [],
    "open": [("move", {"status": "open"})],
    "in_progress": [("move", {"status": "open"}), ("move", {"status": "in_progress"})],
}
DECISION = {"decision": "upheld", "comment": "It was so"}
WAYS["resolved"] = [*WAYS["open"], ("resolve", DECISION)]
WAYS["closed"] = [*WAYS["resolved"], ("close", {})]
WAYS["reopened"] = [*WAYS["resolved"], ("reopen", {})]
STEPS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "move to open": ("move", {"status": "open"}, {"received": "open"}),
    "move on": ("move", {"status": "in_progress"}, {"open": "in_progress", "reopened": "in_progress"}),
    "move to resolved": ("move", {"status": "resolved"}, {}),
    "move to closed": ("move", {"status": "closed"}, {}),
    "move to reopened": ("move", {"status": "reopened"}, {}),
    "move to received": ("move", {"status": "received"}, {}),
    "resolve": ("resolve", DECISION, {"open": "resolved", "in_progress": "resolved"}),
    "close": ("close", {}, {"resolved": "closed"}),
    "reopen": ("reopen", {}, {"resolved": "reopened", "closed": "reopened"}),
    "appeal": ("appeal", {"comment": "No"}, {"resolved": "reopened", "closed": "reopened"}),
}


@pytest.mark.parametrize("state", WAYS)
def test_only_the_listed_moves_are_made(desk: Any, state: str) -> None:
    """From each state every step either leads where the contract says or is `grievances.wrong_state`."""
    for verb, data, allowed in STEPS.values():
        grievance = desk.open()
        for way, given in WAYS[state]:
            desk.step(way, grievance, **given)
        if state in allowed:
            assert desk.step(verb, grievance, **data)["status"] == allowed[state]
            assert desk.show(grievance)["status"] == allowed[state]
        else:
            with pytest.raises(ImisError) as error:
                desk.step(verb, grievance, **data)
            assert error.value.code == "grievances.wrong_state"
            assert desk.show(grievance)["status"] == state


def test_the_clock_is_done_with_the_decision_and_goes_on_after_an_appeal(desk: Any) -> None:
    """Resolved and closed are `done`; reopened goes on against the same due day, without the decision."""
    grievance = desk.open()
    desk.resolve(grievance, "partly")
    assert (desk.show(grievance)["clock"], desk.show(grievance)["decision"]) == ("done", "partly")
    desk.step("close", grievance)
    desk.app.clock.set(date(2021, 2, 1))
    assert desk.show(grievance)["clock"] == "done"
    desk.step("appeal", grievance, comment="I do not agree")
    shown = desk.show(grievance)
    assert (shown["status"], shown["clock"], shown["decision"], shown["due"]) == (
        "reopened", "breached", None, "2021-01-21",
    )  # fmt: skip
    assert [(c["kind"], c["text"]) for c in shown["comments"]] == [
        ("decision", "It was right"), ("appeal", "I do not agree"),
    ]  # fmt: skip


def test_what_is_said_stays_in_its_order_with_who_said_it(desk: Any) -> None:
    """Comments change no state; moves carry theirs; an empty one is refused."""
    grievance = desk.open()
    desk.step("comment", grievance, comment="Asked the post office", as_="anna")
    desk.step("move", grievance, status="open", comment="Taken up", as_="ben")
    with pytest.raises(ImisError) as error:
        desk.step("comment", grievance, comment=" ")
    assert error.value.code == "input.invalid"
    said = [(c["by"], c["kind"], c["text"]) for c in desk.show(grievance)["comments"]]
    assert said == [("anna", "comment", "Asked the post office"), ("ben", "move", "Taken up")]


def test_a_batch_takes_its_steps_in_turn(desk: Any) -> None:
    """A grievance named twice goes through both moves, each a version of its own; what is refused changes nothing."""
    grievance = desk.open()
    steps = [{"grievance": grievance["code"], "status": s} for s in ("in_progress", "open", "in_progress", "open")]
    outcomes = desk.app.do_all("grievances.move", steps)
    assert [getattr(o, "code", None) or o["status"] for o in outcomes] == [
        "grievances.wrong_state", "open", "in_progress", "grievances.wrong_state",
    ]  # fmt: skip
    history = desk.app.rows("SELECT status FROM grievance.grievances_history ORDER BY version")
    assert [row["status"] for row in history] == ["received", "open", "in_progress"]
    trail = desk.app.do("audit.trail", {"entity": grievance["id"]})
    assert [entry["changes"]["status"] for entry in trail] == [
        [None, "received"], ["received", "open"], ["open", "in_progress"],
    ]  # fmt: skip


@pytest.mark.parametrize("owner", ["nobody", "gone"])
def test_an_owner_is_a_user_who_can_work(desk: Any, owner: str) -> None:
    """An unknown or disabled user is `not_found` at `owner`; a user is named by name or id."""
    desk.app.as_user("gone")
    desk.app.do("users.disable", {"user": "gone"})
    grievance = desk.open()
    assert desk.step("assign", grievance, owner="administrator")["owner"] == "administrator"
    with pytest.raises(ImisError) as error:
        desk.step("assign", grievance, owner=owner)
    assert (error.value.code, error.value.refusal.problems[0].path) == ("not_found", "owner")
    assert [g["owner"] for g in desk.app.do("grievances.list", {"owner": "administrator"})] == ["administrator"]


def _told(desk: Any) -> list[tuple[str | None, str | None, str]]:
    return [(m["to"], m["person"], m["text"]) for m in desk.app.do("notifications.list")]


def test_the_complainant_is_told_the_decision(desk: Any) -> None:
    """A person or an address gets decision and comment; of a sensitive matter only that there is an answer."""
    for fields in ({"reporter": "1"}, {"reporter": "+220 7"}, {"reporter": "1", "category": "ABUSE"}):
        desk.resolve(desk.open(**fields), "upheld")
    told = _told(desk)
    assert [(to, person) for to, person, _ in told] == [(None, "1"), ("+220 7", None), (None, "1")]
    assert ["upheld. It was right" in text for _, _, text in told] == [True, True, False]


def test_nobody_is_told_of_an_anonymous_grievance(desk: Any) -> None:
    """Neither who is anonymous, nor nobody where no reporter was named."""
    desk.resolve(desk.open(reporter="1", anonymous=True))
    desk.resolve(desk.open())
    assert _told(desk) == []


def _day(desk: Any, day: date) -> None:
    desk.app.clock.set(day)
    desk.app.queue.enqueue_due()
    desk.app.queue.run_due()


def test_the_owner_is_told_once_when_time_runs_out_and_once_when_it_has(desk: Any) -> None:
    """At risk from 2021-01-17, breached from 2021-01-22; a new owner is told as well, nobody of what is done."""
    grievance, done = desk.open(), desk.open()
    desk.open()  # without an owner
    for one in (grievance, done):
        desk.step("assign", one, owner="anna" if desk.app.as_user("anna") else "")
    desk.resolve(done)
    for day in (date(2021, 1, 16), date(2021, 1, 17), date(2021, 1, 18), date(2021, 1, 22), date(2021, 1, 23)):
        _day(desk, day)
    code = grievance["code"]
    told = [("anna", f"The grievance {code} is received and {w} 2021-01-21.") for w in ("is due on", "was due on")]
    assert [(to, text) for to, _, text in _told(desk)] == told
    desk.app.as_user("ben")
    desk.step("assign", grievance, owner="ben")
    _day(desk, date(2021, 1, 24))
    assert [to for to, _, _ in _told(desk)] == ["anna", "anna", "ben"]
    assert desk.show(grievance)["status"] == "received"


def test_a_list_filters_by_clock_and_status(desk: Any) -> None:
    """The clock is computed on read, also where it is asked for."""
    late, done = desk.open("ABUSE"), desk.open()
    desk.resolve(done)
    fresh = desk.open()
    desk.app.clock.set(date(2021, 1, 10))
    for asked, expected in (
        ({"clock": "breached"}, [late]), ({"clock": "done"}, [done]), ({"clock": "on_time"}, [fresh]),
        ({"status": "received"}, [late, fresh]), ({"category": "OTHER"}, [done, fresh]),
    ):  # fmt: skip
        assert [g["code"] for g in desk.app.do("grievances.list", asked)] == [g["code"] for g in expected]


def test_the_report_says_how_many_are_dealt_with_in_time(desk: Any) -> None:
    """Per category and scheme: in time, late, waiting, breached, and the share of what could be in time."""
    in_time, late = desk.open(), desk.open()
    desk.open("ABUSE", scheme="aid")
    desk.resolve(in_time)
    desk.app.clock.set(date(2021, 1, 25))
    desk.resolve(late)
    for _ in range(2):
        desk.open()
    rows = desk.app.do("reports.run", {"report": "grievances_in_time"})
    assert [tuple(row.values()) for row in rows] == [
        ("ABUSE", "aid", 1, 0, 0, 0, 1, "0.00"), ("OTHER", None, 4, 1, 1, 2, 0, "50.00"),
    ]  # fmt: skip
    asked = {"report": "grievances_in_time", "with": {"from": "2021-01-02"}}
    assert [(r["opened"], r["in_time_percent"]) for r in desk.app.do("reports.run", asked)] == [(2, None)]


def _at_once(*calls: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_two_who_decide_at_once_let_the_order_go(desk: Any) -> None:
    """Of two grievances about one order that are opened and resolved at the same time, the last one releases it."""
    payroll = desk.payroll()
    about = {"subject": {"order": desk.orders(payroll)[0]["id"]}}
    desk.open("PAY")
    for _ in range(5):
        opened = _at_once(*[lambda: desk.open("PAY", **about)] * 2)
        assert [one["held"] for one in opened] == [True, True]
        assert desk.states(payroll)[0] == ("held", "held")
        for one in opened:
            desk.step("move", one, status="open")
        _at_once(*[lambda one=one: desk.step("resolve", one, **DECISION) for one in opened])  # type: ignore[misc]
        assert desk.states(payroll)[0] == ("approved", "approved")
