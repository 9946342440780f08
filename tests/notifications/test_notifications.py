"""Messages out: queued with the command, delivered after it, tried again a bounded number of times, and listed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from types import ModuleType
from typing import Any

import pytest
from attrs import evolve

from imis_core.api import Manifest, Message, Notifier, Outcome, Outgoing, hookimpl, notify
from imis_core.context import Context
from imis_core.errors import ImisError
from imis_core.notifications.delivery import ATTEMPTS, Deliver, deliver

TO = {"to": "+250700", "text": "Come on Monday"}


class Gateway:
    """A notifier of a plugin that does as it is told, and remembers what it was given."""

    def __init__(self, *, takes: str = "", fails: bool = False, final: bool = False, raises: bool = False) -> None:
        self.given: list[Outgoing] = []
        self.prefix, self.fails, self.final, self.raises = takes, fails, final, raises

    def send(self, _: Any, messages: Sequence[Outgoing]) -> list[Outcome]:
        self.given += messages
        if self.raises:
            raise ConnectionError("nobody answers")
        return [Outcome(not self.fails, "no credit" if self.fails else None, final=self.final)] * len(messages)

    def as_module(self) -> ModuleType:
        module = ModuleType("gateway")
        gateway = self

        @hookimpl
        def imis_plugin() -> Manifest:
            return Manifest(name="gateway", version="1", kernel=">=0.1")

        @hookimpl
        def imis_register_notifiers() -> list[Notifier]:
            return [Notifier("gateway", gateway.send, lambda message: message.to.startswith(gateway.prefix))]

        module.imis_plugin = imis_plugin  # type: ignore[attr-defined]
        module.imis_register_notifiers = imis_register_notifiers  # type: ignore[attr-defined]
        return module


def _with(make_app: Any, gateway: Gateway, **settings: Any) -> Any:
    settings = {"plugins": {"enabled": ["gateway"]}, **settings}
    return make_app(settings=settings, extra={"gateway": gateway.as_module()}, plugins=[])


def _lines(app: Any, day: str = "2021-01-01") -> list[dict[str, Any]]:
    path = app.var / "notifications" / f"{day}.ndjson"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _person(app: Any, number: str, **fields: Any) -> str:
    given = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01", **fields}
    return str(app.do("beneficiaries.register_person", {"number": number, **given})["id"])


def test_a_message_is_delivered_after_its_command(app: Any) -> None:
    """`notifications.send` queues; the job then appends a line to the day's file under var, and it is `sent`."""
    sent = app.do("notifications.send", {**TO, "subject": "Visit"})
    assert (sent["status"], _lines(app)) == ("queued", [])
    app.queue.run_due()
    line = {"id": sent["id"], "at": "2021-01-01T12:00:00Z", "to": "+250700", "person": None, "subject": "Visit"}
    assert _lines(app) == [{**line, "text": "Come on Monday", "about": None}]
    [listed] = app.do("notifications.list")
    assert (listed["status"], listed["attempts"], listed["reason"]) == ("sent", 1, None)
    app.queue.run_due()
    assert len(_lines(app)) == 1


def test_a_person_is_told_at_their_telephone_or_number(app: Any) -> None:
    """A message to a person goes to the attribute `telephone`, else to the person's number."""
    _person(app, "1", attributes={"telephone": "+257111"})
    _person(app, "2")
    app.do_all("notifications.send", [{"person": number, "text": "x"} for number in ("1", "2")])
    app.queue.run_due()
    assert [(line["to"], line["person"]) for line in _lines(app)] == [("+257111", "1"), ("2", "2")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"text": "x"}, "input.invalid"),
        ({"text": "x", "to": "a", "person": "1"}, "input.invalid"),
        ({"text": " ", "to": "a"}, "input.invalid"),
        ({"text": "x", "to": ""}, "input.invalid"),
        ({"text": "x", "person": "nobody"}, "not_found"),
    ],
)
def test_a_message_has_one_recipient_and_a_text(app: Any, data: dict[str, Any], code: str) -> None:
    """Neither or both of person and address, or nothing to say, is refused, and nothing is queued."""
    with pytest.raises(ImisError) as error:
        app.do("notifications.send", data)
    assert error.value.code == code
    assert app.do("notifications.list") == []


def test_what_is_rolled_back_is_not_told(app: Any) -> None:
    """A message exists exactly if its transaction commits."""
    app.do_all("notifications.send", [TO, {"text": "x"}], atomic=True)
    app.queue.run_due()
    assert (app.do("notifications.list"), _lines(app)) == ([], [])


def test_a_plugin_s_notifier_comes_before_the_file(make_app: Any) -> None:
    """A message goes through the first notifier that takes it; the kernel's file takes the rest."""
    gateway = Gateway(takes="+")
    app = _with(make_app, gateway)
    app.do_all("notifications.send", [TO, {"to": "desk", "text": "x"}])
    app.queue.run_due()
    assert [message.to for message in gateway.given] == ["+250700"]
    assert [line["to"] for line in _lines(app)] == ["desk"]
    through = app.rows("SELECT notifier FROM core.notification_states WHERE state = 'sent' ORDER BY notification")
    assert [row["notifier"] for row in through] == ["gateway", "file"]


@pytest.mark.parametrize(
    ("gateway", "reason"),
    [(Gateway(fails=True), "no credit"), (Gateway(raises=True), "ConnectionError: nobody answers")],
)
def test_a_message_that_does_not_get_there_is_given_up_after_five_attempts(
    make_app: Any, gateway: Gateway, reason: str
) -> None:
    """It stays queued with its reason for four attempts, each an own job later, and is failed with the fifth."""
    app = _with(make_app, gateway)
    app.do("notifications.send", TO)
    app.queue.run_due()
    assert (app.do("notifications.list")[0]["status"], len(gateway.given)) == ("queued", 1)
    for attempt in range(1, ATTEMPTS):
        pending = app.rows("SELECT args->'data'->>'attempts' AS n FROM jobs.procrastinate_jobs WHERE status = 'todo'")
        assert str(attempt) in [row["n"] for row in pending]
        deliver(app, Deliver(attempts=attempt))
    [listed] = app.do("notifications.list", {"status": "failed"})
    assert (listed["attempts"], listed["reason"]) == (ATTEMPTS, reason)
    deliver(app, Deliver())
    assert len(gateway.given) == ATTEMPTS


def test_a_final_failure_is_not_tried_again_but_may_be_by_hand(make_app: Any) -> None:
    """What a notifier calls final fails at once; `notifications.retry` queues it anew; one that was sent stays sent."""
    gateway = Gateway(fails=True, final=True)
    app = _with(make_app, gateway)
    sent = app.do("notifications.send", TO)
    app.queue.run_due()
    assert app.do("notifications.list")[0]["status"] == "failed"
    gateway.fails = False
    assert app.do("notifications.retry", {"notification": sent["id"]})["status"] == "queued"
    app.queue.run_due()
    assert app.do("notifications.list")[0]["status"] == "sent"
    states = app.rows("SELECT state FROM core.notification_states ORDER BY version")
    assert [row["state"] for row in states] == ["queued", "failed", "queued", "sent"]
    with pytest.raises(ImisError) as error:
        app.do("notifications.retry", {"notification": sent["id"]})
    assert error.value.code == "notifications.wrong_state"


def test_messages_are_seen_by_place_by_whom_they_are_for_and_by_who_sent_them(make_app: Any) -> None:
    """A message to a person is seen in that person's place, one to a user by that user, any by who queued it."""
    app = make_app(
        settings={"roles": {"clerk": {"permissions": ["notifications.*", "beneficiaries.*"], "scope": "place"}}}
    )
    for code in ("P1", "P2"):
        app.do("locations.add", {"code": code, "name": code, "level": "region"})
    _person(app, "1", location="P1")
    here, there = app.as_user("ann", "clerk", ["P1"]), app.as_user("bob", "clerk", ["P2"])
    app.do("notifications.send", {"person": "1", "text": "to 1"})
    app.do("notifications.send", {"to": "x", "text": "of bob"}, as_=there)
    with app.database.command(app.system) as (connection, audit):
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "test")
        notify(context, [Message(user=there.user, text="for bob")])
    seen = {user.name: [m["text"] for m in app.do("notifications.list", as_=user)] for user in (here, there)}
    assert seen == {"ann": ["to 1"], "bob": ["of bob", "for bob"]}
    assert len(app.do("notifications.list")) == 3
    with pytest.raises(ImisError) as error:
        app.do("notifications.send", {"person": "1", "text": "x"}, as_=there)
    assert error.value.code == "not_found"


def test_who_may_not_see_a_person_may_still_cause_a_message(make_app: Any) -> None:
    """A room tells the person concerned whoever decides; row security does not stand in the way of that."""
    app = make_app(settings={"roles": {"clerk": {"permissions": ["notifications.*"], "scope": "place"}}})
    app.do("locations.add", {"code": "P1", "name": "P1", "level": "region"})
    _person(app, "1", location="P1")
    number = app.rows("SELECT id FROM core.persons")[0]["id"]
    bob = app.as_user("bob", "clerk")
    with app.database.command(bob) as (connection, audit):
        context = Context(app, connection, bob, app.clock.now(), app.clock.today(), audit, "test")
        notify(context, [Message(person=number, text="x", about=("persons", number))])
    app.queue.run_due()
    assert [(line["person"], line["about"]) for line in _lines(app)] == [("1", app.ids.encode("persons", number))]


def test_many_messages_take_as_many_statements_as_few(app: Any) -> None:
    """Queueing and delivering a batch take a constant number of statements; delivery one more for each chunk of 500."""
    app.do_all("notifications.send", [TO])
    deliver(app, Deliver())
    counts = []
    for count in (2, 200):
        before = app.database.statements
        app.do_all("notifications.send", [TO] * count)
        deliver(app, Deliver())
        counts.append(app.database.statements - before)
    assert counts[0] == counts[1]
    assert len(_lines(app)) == 203


def test_what_lies_queued_is_taken_up_the_next_day(app: Any) -> None:
    """A message whose job was lost is delivered by the daily one."""
    app.do("notifications.send", TO)
    with app.database.command(app.system) as (connection, _):
        connection.exec_driver_sql("UPDATE jobs.procrastinate_jobs SET status = 'cancelled'")
    app.clock.set(date(2021, 1, 2))
    app.queue.enqueue_due()
    app.queue.run_due()
    assert [line["to"] for line in _lines(app, "2021-01-02")] == ["+250700"]


def test_a_secret_is_shown_to_notifiers_only_that_say_that_it_leaves(make_app: Any) -> None:
    """One that does not say so is not even asked whether it takes the message."""
    gateway = Gateway()
    app = _with(make_app, gateway)
    asked: list[Outgoing] = []
    (notifier,) = [one for one in app.notifiers.values() if one.name == "gateway"]

    def takes(message: Outgoing) -> bool:
        asked.append(message)
        return True

    app.notifiers["gateway"] = evolve(notifier, takes=takes)
    with app.database.command(app.system) as (connection, audit):
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, "test")
        notify(context, [Message(to="+250700", text="It is {secret}", secret="7734")])
    app.queue.run_due()
    [listed] = app.do("notifications.list")
    assert (listed["status"], asked, gateway.given, _lines(app)) == ("failed", [], [], [])
