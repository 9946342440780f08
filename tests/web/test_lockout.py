"""Guessing passwords over real HTTP: pauses by name and address, alike for names that nobody has; forced changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from imis_core.protection import SecurityTable
from imis_core.security import lockout
from imis_core.testing.app import TestApp

PASSWORD = "correct horse battery"
SETTINGS = {
    "roles": {"clerk": {"permissions": ["locations.*"]}, "boss": {"permissions": ["users.*"]}},
    "security": {"failures_per_name": 3, "failures_per_address": 6, "pause_seconds": 60, "pause_max_minutes": 4},
}


@pytest.fixture
def site(
    make_app: Callable[..., TestApp], served_at: Callable[[TestApp], AbstractContextManager[Any]], hands: Any
) -> Iterator[Any]:
    app = make_app(plugins=[], settings=SETTINGS)
    with served_at(app) as made:
        for name in ("ann", "bob"):
            app.do("users.add", {"name": name, "roles": ["clerk"], "password": PASSWORD})
        app.clock = hands
        yield made


def attempt(site: Any, name: str, password: str, address: str = "10.0.0.1", **more: Any) -> tuple[int, str]:
    answer = site.anyone.post(
        "/api/auth/token", json={"name": name, "password": password, **more}, headers={"X-Forwarded-For": address}
    )
    return answer.status_code, answer.json().get("code", "")


def wait_told(site: Any, name: str, address: str = "10.0.0.1") -> int:
    answer: httpx.Response = site.anyone.post(
        "/api/auth/token", json={"name": name, "password": PASSWORD}, headers={"X-Forwarded-For": address}
    )
    assert (answer.status_code, answer.json()["code"]) == (429, "auth.locked"), answer.text
    assert answer.headers["retry-after"] == str(answer.json()["retry_after"])
    return int(answer.headers["retry-after"])


def test_a_name_is_locked_for_growing_pauses(site: Any) -> None:
    """After three failures 60 seconds, then 120, then 240 at most; the right password does not help meanwhile."""
    for _ in range(3):
        assert attempt(site, "ann", "wrong horses") == (401, "auth.failed")
    for seconds in (60, 120, 240, 240):
        assert wait_told(site, "ann", "10.9.9.9") == seconds
        site.app.clock.wait(seconds=seconds - 1)
        assert wait_told(site, "ann") == 1
        site.app.clock.wait(seconds=1)
        assert attempt(site, "ann", "wrong horses", "10.0.0.2") == (401, "auth.failed")
    assert attempt(site, "bob", PASSWORD) == (200, "")


def test_a_name_that_nobody_has_is_locked_alike(site: Any) -> None:
    """Answer for answer the same, so that nobody learns who is a user."""
    told: list[list[dict[str, Any]]] = []
    for name in ("ann", "nobody"):
        answers = [
            site.anyone.post("/api/auth/token", json={"name": name, "password": "wrong horses"}) for _ in range(5)
        ]
        told.append([{**a.json(), "status": a.status_code} for a in answers])
        site.app.clock.wait(hours=2)
    assert [a["status"] for a in told[0]] == [401, 401, 401, 429, 429]
    assert told[0] == told[1]
    assert "nobody" not in str(site.app.rows("SELECT * FROM core.login_failures"))


def test_an_address_is_locked_whatever_the_names(site: Any) -> None:
    """Trying one password on many names is guessing too; other addresses go on."""
    for number in range(6):
        assert attempt(site, f"user{number}", PASSWORD) == (401, "auth.failed")
    assert wait_told(site, "ann") == 60
    assert attempt(site, "ann", PASSWORD, "10.0.0.2") == (200, "")


def test_a_network_of_one_machine_is_one_address(site: Any) -> None:
    """An IPv6 machine has 2^64 addresses, and they count together."""
    for number in range(6):
        assert attempt(site, f"user{number}", PASSWORD, f"2001:db8::{number:x}")[0] == 401
    assert wait_told(site, "ann", "2001:db8::ffff") == 60
    assert attempt(site, "ann", PASSWORD, "2001:db8:0:1::1") == (200, "")


def test_a_login_forgets_the_names_failures_and_time_does(site: Any) -> None:
    """Two failures before a success do not count; an hour after the last one nothing does."""
    for _ in range(2):
        assert attempt(site, "ann", "wrong horses")[0] == 401
    assert attempt(site, "ann", PASSWORD)[0] == 200
    for _ in range(2):
        assert attempt(site, "ann", "wrong horses")[0] == 401
    site.app.clock.wait(minutes=61)
    for _ in range(2):
        assert attempt(site, "ann", "wrong horses")[0] == 401
    assert attempt(site, "ann", PASSWORD)[0] == 200


def test_an_administrator_sees_and_lifts_locks(site: Any) -> None:
    """Users by name, addresses as they are, names of nobody untold; lifting lets in at once."""
    for name, address in (("ann", "10.0.0.1"), ("nobody", "10.0.0.3")):
        for _ in range(3):
            attempt(site, name, "wrong horses", address)
    for number in range(6):
        attempt(site, f"user{number}", PASSWORD, "2001:db8::1")
    locked = site.app.do("users.locked")
    assert {(r["kind"], r["name"]) for r in locked} == {
        ("user", "ann"), ("unknown_name", None), ("address", "2001:db8::/64"),
    }  # fmt: skip
    shown = site.app.do("users.show", {"user": "ann"})
    assert (shown["failures"], shown["locked_until"]) == (3, "2021-01-01T12:01:00Z")
    assert site.app.do("users.unlock", {"user": "ann"}) == {"forgotten": 1}
    assert site.app.do("users.unlock", {"address": "2001:db8::/64"}) == {"forgotten": 1}
    assert attempt(site, "ann", PASSWORD, "2001:db8::2") == (200, "")
    assert site.app.do("users.show", {"user": "ann"})["last_login"] == "2021-01-01T12:00:00Z"


def test_a_new_password_lifts_the_lock(site: Any) -> None:
    """Who forgot it and got a new one comes in at once."""
    for _ in range(3):
        attempt(site, "ann", "wrong horses")
    site.app.do("users.change", {"user": "ann", "password": "another horse"})
    assert attempt(site, "ann", "another horse") == (200, "")


def test_an_open_browser_is_no_place_to_guess_from(site: Any) -> None:
    """A wrong present password counts like a failed login, and locks the change and the door."""
    token = site.token("ann")
    headers = {"Authorization": f"Bearer {token}"}
    answers = [
        site.anyone.post(
            "/api/users/change_password", json={"password": f"wrong {n}", "new_password": "quite another horse"},
            headers=headers,
        )
        for n in range(4)
    ]  # fmt: skip
    assert [a.json()["code"] for a in answers] == [*["users.wrong_password"] * 3, "auth.locked"]
    assert answers[-1].status_code == 429
    assert wait_told(site, "ann") == 60


def test_a_given_password_is_changed_at_the_first_login(site: Any) -> None:
    """Without an own one nobody comes in; with it the given one is gone, and the change is in the audit log."""
    site.app.do("users.change", {"user": "ann", "password": "given by the boss", "must_change": True})
    assert attempt(site, "ann", "given by the boss") == (403, "auth.password_change_required")
    assert attempt(site, "ann", "given by the boss", new_password="short") == (422, "input.invalid")
    assert attempt(site, "ann", "wrong", new_password="my very own words") == (401, "auth.failed")
    assert attempt(site, "ann", "given by the boss", new_password="given by the boss") == (422, "input.invalid")
    assert attempt(site, "ann", "given by the boss", new_password="my very own words") == (200, "")
    assert attempt(site, "ann", "given by the boss") == (401, "auth.failed")
    assert attempt(site, "ann", "my very own words") == (200, "")
    last = site.app.rows("SELECT command, input::text AS input FROM core.audit_entries ORDER BY id DESC LIMIT 1")[0]
    assert last["command"] == "users.change_password"
    assert "my very own words" not in last["input"]


def test_a_disabled_user_is_told_nothing_and_comes_back_when_enabled(site: Any) -> None:
    """Disabled, the right password is as wrong as any; enabled, it works again."""
    site.app.do("users.disable", {"user": "ann"})
    assert attempt(site, "ann", PASSWORD) == (401, "auth.failed")
    assert site.app.do("users.enable", {"user": "ann"})["disabled"] is False
    assert attempt(site, "ann", PASSWORD) == (200, "")


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, None), (4, None), (5, 30), (6, 60), (7, 120), (10, 900), (1000, 900)]
)
def test_the_pause_doubles_up_to_its_longest(failures: int, seconds: int | None) -> None:
    """30 seconds at the fifth failure, twice that at each further one, 15 minutes at most."""
    pause = lockout.pause_after(failures, 5, SecurityTable())
    assert pause == (None if seconds is None else timedelta(seconds=seconds))
