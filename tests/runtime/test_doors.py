"""The door for writes: outcomes in order, nothing for what is refused, all or nothing where asked, each key once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import Reply, command, run_command
from imis_core.context import Context
from imis_core.database.engine import LOST
from imis_core.errors import ImisError, Refusal
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp

PERSON = {"given_name": "Ama", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
CALLS: list[str] = []


@frozen(kw_only=True)
class Note:
    text: str
    then: str = ""


@frozen(kw_only=True)
class Noted:
    text: str


@command("probe.note", input=Note, result=Noted)
def note(context: Context, items: tuple[Note, ...]) -> list[Noted | Refusal]:
    """Add a place, then do what the item says."""
    CALLS.append("note")
    good = [item for item in items if item.then != "refuse"]
    for item in good:
        context.execute(
            sa.text("INSERT INTO core.schedules (job, enqueued_on) VALUES (:job, :day)"),
            {"job": item.text, "day": context.today},
        )
    if any(item.then == "raise" for item in items):
        raise RuntimeError("in the middle of the work")
    if any(item.then == "lose" for item in items) and len(CALLS) < 3:
        context.execute(sa.text("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = 'deadlock_detected'; END $$"))
    if any(item.then == "wait" for item in items):
        time.sleep(0.3)
    return [Noted(text=i.text) if i in good else Refusal("probe.refused", "as asked") for i in items]


@command("probe.short", input=Note, result=Noted)
def short(context: Context, items: tuple[Note, ...]) -> list[Noted | Refusal]:
    """Forget an outcome."""
    return []


@pytest.fixture
def probe(make_app: Callable[..., TestApp], make_plugin: Callable[..., ModuleType]) -> TestApp:
    CALLS.clear()
    plugin = make_plugin("probe", nouns={"probe": 1001}, commands=(note, short))
    roles = {
        "clerk": {"permissions": ["beneficiaries.*"]},
        "one": {"permissions": ["probe.note"]},
        "all": {"permissions": ["*"]},
        "none": {},
    }
    return make_app(extra={"probe": plugin}, plugins=["probe"], settings={"roles": roles})


def counts(app: TestApp) -> dict[str, int]:
    """Rows of every table of ours."""
    names = app.rows(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname IN ('core', 'jobs')"
    )
    union = " UNION ALL ".join(f"SELECT '{r['name']}' AS name, count(*) FROM {r['name']}" for r in names)
    return {r["name"]: r["count"] for r in app.rows(union)}


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name in after if after[name] != before[name]}


def administrator(app: TestApp) -> Caller:
    return app.as_user("administrator")


def noted(app: TestApp) -> set[str]:
    return {r["job"] for r in app.rows("SELECT job FROM core.schedules")}


def test_outcomes_come_per_item_and_in_order(probe: TestApp) -> None:
    """Results and refusals stand where their items stood, those of a wrong form among them."""
    items = [{"text": "a"}, {"text": "b", "then": "refuse"}, {"txt": "c"}, {"text": "d"}]
    outcomes = probe.do_all("probe.note", items)
    assert [getattr(o, "code", o) for o in outcomes] == [{"text": "a"}, "probe.refused", "input.invalid", {"text": "d"}]
    assert noted(probe) == {"a", "d"}


def test_nothing_is_written_when_all_is_refused(probe: TestApp) -> None:
    """A request whose items are all refused leaves no row anywhere, the audit log included."""
    probe.do("beneficiaries.register_person", {**PERSON, "number": "N1"})
    before = counts(probe)
    probe.do_all("probe.note", [{"text": "a", "then": "refuse"}, {"nothing": 1}])
    refusals = probe.do_all("beneficiaries.register_person", [{**PERSON, "number": "N1"}])
    assert isinstance(refusals[0], Refusal)
    assert changed(before, counts(probe)) == set()


def test_an_exception_rolls_the_whole_batch_back(probe: TestApp) -> None:
    """A defect in a handler leaves nothing of any item of the batch."""
    before = counts(probe)
    with pytest.raises(RuntimeError):
        probe.do_all("probe.note", [{"text": "a"}, {"text": "b", "then": "raise"}])
    assert changed(before, counts(probe)) == set()


def test_an_atomic_batch_is_all_or_nothing(probe: TestApp) -> None:
    """One refused item of an atomic batch undoes the others; without one it is as any batch."""
    before = counts(probe)
    outcomes = probe.do_all("probe.note", [{"text": "a"}, {"text": "b", "then": "refuse"}], atomic=True)
    assert isinstance(outcomes[1], Refusal)
    assert changed(before, counts(probe)) == set()
    probe.do_all("probe.note", [{"text": "a"}, {"text": "b"}], atomic=True)
    assert noted(probe) == {"a", "b"}


def test_a_handler_that_forgets_an_item_is_a_defect(probe: TestApp) -> None:
    """There is an outcome for every input, or the batch fails."""
    with pytest.raises(AssertionError, match=r"probe\.short answered 0 outcomes for 1 inputs"):
        probe.do("probe.short", {"text": "a"})


def test_a_transaction_that_lost_is_run_again(probe: TestApp) -> None:
    """Deadlocks and serialization failures are retried, with nothing left of the lost attempts."""
    assert LOST
    probe.do("probe.note", {"text": "a", "then": "lose"})
    assert len(CALLS) == 3
    assert noted(probe) == {"a"}


def test_an_unknown_name_is_not_found_with_a_suggestion(probe: TestApp) -> None:
    """A command or query that nobody registered is `not_found`."""
    with pytest.raises(ImisError, match=r"did you mean 'probe\.note'") as caught:
        probe.do("probe.notes", {})
    assert caught.value.code == "not_found"


def test_too_many_items_are_refused(probe: TestApp) -> None:
    """One request has a bound."""
    with pytest.raises(ImisError) as caught:
        run_command(probe, "probe.note", [{}] * 50_001, administrator(probe))
    assert caught.value.refusal.problems[0].reason == "too_many"


@pytest.mark.parametrize(
    ("role", "allowed"), [("clerk", False), ("one", True), ("all", True), ("none", False), ("administrator", True)]
)
def test_a_permission_is_denied_by_default(probe: TestApp, role: str, allowed: bool) -> None:
    """A dotted name, `noun.*` and `*` grant; nothing else does; refused before anything is read."""
    caller = probe.as_user(f"user-{role}", role)
    if allowed:
        assert run_command(probe, "probe.note", [{"text": "a"}], caller).refusals == []
    else:
        with pytest.raises(ImisError) as caught:
            run_command(probe, "probe.note", [{"wrong": 1}], caller)
        assert caught.value.code == "permission.denied"


def test_a_permission_for_a_noun_grants_its_commands_and_queries(probe: TestApp) -> None:
    """`beneficiaries.*` grants every command and query of the noun, and of no other."""
    clerk = probe.as_user("clara", "clerk")
    person = probe.do("beneficiaries.register_person", PERSON, as_=clerk)
    assert probe.do("beneficiaries.show_person", {"person": person["id"]}, as_=clerk)["id"] == person["id"]
    with pytest.raises(ImisError) as caught:
        probe.do("users.list", {}, as_=clerk)
    assert caught.value.code == "permission.denied"


def once(app: TestApp, key: str, items: list[dict[str, Any]], as_: Caller | None = None) -> Reply:
    return run_command(app, "probe.note", items, as_ or administrator(app), key=key)


def test_the_same_request_under_a_key_has_one_effect(probe: TestApp) -> None:
    """The second request with a key gets the first one's answer, refusals included, and does nothing."""
    items = [{"text": "a"}, {"then": "refuse", "text": "b"}, {"text": 1}]
    first = once(probe, "k", items)
    before = counts(probe)
    second = once(probe, "k", [dict(reversed(item.items())) for item in items])  # the order of members does not matter
    assert second.outcomes == first.outcomes
    assert (first.repeated, second.repeated) == (False, True)
    assert changed(before, counts(probe)) == set()
    assert len(CALLS) == 1


def test_a_key_of_another_request_is_refused(probe: TestApp) -> None:
    """Same key, other content: `idempotency.key_reused`, and nothing is done."""
    once(probe, "k", [{"text": "a"}])
    for items in ([{"text": "b"}], [{"text": "a"}, {"text": "b"}]):
        with pytest.raises(ImisError) as caught:
            once(probe, "k", items)
        assert caught.value.code == "idempotency.key_reused"
    assert noted(probe) == {"a"}


def test_a_refused_request_keeps_its_answer_under_the_key(probe: TestApp) -> None:
    """The answer of a request that was refused is the answer of its repetition as well."""
    once(probe, "k", [{"text": "a", "then": "refuse"}])
    again = once(probe, "k", [{"text": "a", "then": "refuse"}])
    assert again.repeated
    assert again.refusals[0].code == "probe.refused"


def test_a_failed_request_does_not_use_its_key_up(probe: TestApp) -> None:
    """After an exception nothing happened, so the same key may be sent again."""
    with pytest.raises(RuntimeError):
        once(probe, "k", [{"text": "a", "then": "raise"}])
    assert not once(probe, "k", [{"text": "b"}]).repeated


def test_a_key_belongs_to_its_user(probe: TestApp) -> None:
    """Two users may use the same key for different requests."""
    once(probe, "k", [{"text": "a"}])
    assert not once(probe, "k", [{"text": "b"}], probe.as_user("other")).repeated


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "\ud800", "a\x00"])
def test_a_key_has_a_form(probe: TestApp, key: str) -> None:
    """A key has 1 to 200 printable characters."""
    with pytest.raises(ImisError) as caught:
        once(probe, key, [{"text": "a"}])
    assert caught.value.refusal.problems[0].path == "idempotency-key"


def test_concurrent_twins_are_done_once(probe: TestApp) -> None:
    """The twin of a running request waits for it and takes its answer."""
    replies: list[Reply] = []
    caller = administrator(probe)

    def send() -> None:
        replies.append(once(probe, "k", [{"text": "a", "then": "wait"}], caller))

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.repeated for r in replies) == [False, True, True]
    assert {str(r.outcomes) for r in replies} == {str(({"text": "a"},))}
    assert len(CALLS) == 1


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("item", [{"text": deep(5000)}, {"text": "\ud800"}, {"text": 10**5000}, {"\ud800": 1}, 5, None])
def test_an_odd_item_refuses_only_itself(probe: TestApp, item: Any) -> None:
    """An item that no JSON could hold is `input.invalid`; its neighbours are done."""
    outcomes = run_command(probe, "probe.note", [{"text": "a"}, item], administrator(probe), key="k").outcomes
    assert outcomes[0] == {"text": "a"}
    assert outcomes[1].code == "input.invalid"


def test_a_command_has_one_audit_entry(probe: TestApp) -> None:
    """Who, when, what, how many, and the request's digest; the input where it is one item."""
    probe.do_all("probe.note", [{"text": "a"}, {"text": "b", "then": "refuse"}, {"text": "c"}])
    probe.do("probe.note", {"text": "d"})
    batch, single = probe.rows("SELECT * FROM core.audit_entries WHERE command = 'probe.note' ORDER BY id")
    assert (batch["accepted"], batch["refused"], batch["input"]) == (2, 1, None)
    assert (single["accepted"], single["refused"], single["input"]) == (1, 0, [{"text": "d"}])
    assert batch["digest"] != single["digest"]
    assert batch["at"] == probe.clock.now()
    names = probe.rows("SELECT name FROM core.users WHERE id = :id", id=batch["actor"])
    assert names[0]["name"] == "administrator"


def test_passwords_are_in_neither_log_nor_digest(probe: TestApp) -> None:
    """A secret is masked in the entry, sealed in its digest, hashed in its row and left out of the history."""
    for name in ("ann", "bob"):
        probe.do("users.add", {"name": name, "roles": [], "password": "correct horse"})
    rows = probe.rows("SELECT input, digest FROM core.audit_entries WHERE command = 'users.add' ORDER BY id")
    assert rows[0]["input"] == [{"name": "ann", "roles": [], "password": "***"}]
    from imis_core.audit import request_digest

    assert rows[0]["digest"] != request_digest("users.add", [{"name": "ann", "roles": [], "password": "correct horse"}])
    columns = probe.rows("SELECT column_name FROM information_schema.columns WHERE table_name = 'users_history'")
    assert "password" not in {r["column_name"] for r in columns}


def test_a_key_tells_two_passwords_apart(probe: TestApp) -> None:
    """Sealing secrets does not make two requests with different passwords the same."""
    data = {"name": "ann", "roles": [], "password": "correct horse"}
    run_command(probe, "users.add", [data], administrator(probe), key="k")
    with pytest.raises(ImisError) as caught:
        run_command(probe, "users.add", [{**data, "password": "another horse"}], administrator(probe), key="k")
    assert caught.value.code == "idempotency.key_reused"
