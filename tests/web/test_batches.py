"""Lists, all or nothing, idempotency keys and approvals, over real HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

GOOD = {"code": "A", "amount": "1"}
BAD = {"code": "B", "amount": 1.5}


def entries(site: Any, command: str) -> int:
    """How many audit entries a command has: one for each time that it did something."""
    found = site.app.rows("SELECT count(*) AS n FROM core.audit_entries WHERE command = :command", command=command)
    return int(found[0]["n"])


def test_a_list_answers_in_order(site: Any) -> None:
    """200 with a result or an error for each item."""
    answer = site.client.post("/api/probe/write", json=[GOOD, BAD, "text", {**GOOD, "code": "C"}])
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()
    assert first == {"result": {"code": "A", "amount": "1"}}
    assert (second["error"]["code"], second["error"]["errors"][0]["path"]) == ("input.invalid", "amount")
    assert third["error"]["code"] == "input.invalid"
    assert fourth["result"]["code"] == "C"


def test_an_empty_list_answers_an_empty_list(site: Any) -> None:
    """Nothing to do is no error."""
    for command in ("write", "hold"):
        answer = site.client.post(f"/api/probe/{command}", json=[])
        assert (answer.status_code, answer.json()) == (200, [])


def test_atomic_does_all_or_nothing(site: Any) -> None:
    """One refused item: its code and status, its problems at its position, and nothing is written."""
    before = entries(site, "probe.write")
    answer = site.client.post("/api/probe/write?atomic=true", json=[GOOD, BAD])
    document = answer.json()
    assert (answer.status_code, document["code"], document["status"]) == (422, "input.invalid", 422)
    assert document["errors"][0]["path"] == "1.amount"
    assert [o["error"]["code"] for o in document["outcomes"]] == ["batch.rolled_back", "input.invalid"]
    assert entries(site, "probe.write") == before
    answer = site.client.post("/api/probe/write?atomic=true", json=[GOOD, GOOD])
    assert (answer.status_code, len(answer.json())) == (200, 2)
    assert entries(site, "probe.write") == before + 1


def test_a_repeated_key_gives_the_stored_answer(site: Any) -> None:
    """Same key, same request: the same answer, marked, done once; another body is refused."""
    headers = {"Idempotency-Key": "one"}
    before = entries(site, "probe.write")
    first = site.client.post("/api/probe/write", json=GOOD, headers=headers)
    second = site.client.post("/api/probe/write", json=dict(reversed(GOOD.items())), headers=headers)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert entries(site, "probe.write") == before + 1
    other = site.client.post("/api/probe/write", json={"code": "Z"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency.key_reused")


def test_a_refusal_is_repeated_too(site: Any) -> None:
    """A refused request with a key is refused the same way again."""
    headers = {"Idempotency-Key": "two"}
    first, second = (site.client.post("/api/probe/write", json=BAD, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 422
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"


def test_keys_belong_to_their_user(site: Any) -> None:
    """Another user's same key is another key."""
    headers = {"Idempotency-Key": "three"}
    site.client.post("/api/probe/write", json=GOOD, headers=headers)
    answer = site.login("clara", "clerk").post("/api/probe/write", json={"code": "mine"}, headers=headers)
    assert answer.json()["code"] == "mine"


def test_two_requests_at_once_with_one_key_are_done_once(site: Any) -> None:
    """The twin waits for the first and gets its answer."""
    before = entries(site, "probe.write")
    body = {"code": "twin", "pause": True}

    def send(_: int) -> Any:
        return site.client.post("/api/probe/write", json=body, headers={"Idempotency-Key": "four"})

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(send, range(2))
    assert first.json() == second.json() == {"code": "twin", "amount": None}
    assert sorted("idempotent-replayed" in a.headers for a in (first, second)) == [False, True]
    assert entries(site, "probe.write") == before + 1


def test_a_key_of_wrong_form_is_refused(site: Any) -> None:
    """A key has 1 to 200 printable characters."""
    answer = site.client.post("/api/probe/write", json=GOOD, headers={"Idempotency-Key": "x" * 201})
    assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid")


def test_a_command_that_needs_a_second_person_is_202(site: Any) -> None:
    """Stored, then done when somebody else agrees, never by its maker."""
    answer = site.client.post("/api/probe/hold", json={"code": "H"})
    assert (answer.status_code, answer.json()["status"]) == (202, "awaiting_approval")
    decision = {"approval": answer.json()["approval"]}
    own = site.client.post("/api/approvals/approve", json=decision)
    assert (own.status_code, own.json()["code"]) == (409, "approvals.same_person")
    other = site.login("carl", "checker").post("/api/approvals/approve", json=decision)
    assert other.json() == {"status": "approved", "result": {"code": "H", "amount": None}}


def test_a_list_that_needs_a_second_person_is_one_request(site: Any) -> None:
    """202 with the same approval for each item; a wrong item refuses the whole."""
    answer = site.client.post("/api/probe/hold", json=[GOOD, GOOD])
    assert answer.status_code == 202
    assert len({item["result"]["approval"] for item in answer.json()}) == 1
    answer = site.client.post("/api/probe/hold", json=[GOOD, BAD])
    assert (answer.status_code, [o["error"]["code"] for o in answer.json()]) == (
        200, ["approvals.batch_refused", "input.invalid"],
    )  # fmt: skip
