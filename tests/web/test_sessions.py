"""Browsers' sessions and programs' tokens: cookies, CSRF, ages, and their end; over real HTTP."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from imis_core.security.passwords import csrf_of
from imis_core.testing.app import TestApp

PASSWORD = "correct horse battery"
COOKIE = "__Host-imis-session"
WRITE = {"code": "P1", "name": "P1", "level": "region"}


class Browser:
    """A client with a session. httpx keeps no Secure cookies on plain HTTP, so this sends its own."""

    def __init__(self, site: Any, name: str = "ann") -> None:
        self.client: httpx.Client = site.anyone
        answer = self.client.post("/api/auth/session", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.answer = answer
        self.cookie = cookie_of(answer)
        self.csrf: str = answer.json()["csrf"]

    def headers(self, csrf: str | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return (
            {"Cookie": f"{COOKIE}={self.cookie}"} | ({} if csrf is None else {"X-CSRF-Token": csrf}) | dict(more or {})
        )

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path, headers=self.headers(None))

    def post(
        self, path: str, data: Any, csrf: str | None = "own", more: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return self.client.post(path, json=data, headers=self.headers(self.csrf if csrf == "own" else csrf, more))


def cookie_of(answer: httpx.Response) -> str:
    return SimpleCookie(answer.headers["set-cookie"])[COOKIE].value


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


Served = Callable[[TestApp], AbstractContextManager[Any]]


@pytest.fixture
def site(make_app: Callable[..., TestApp], served_at: Served, hands: Any) -> Iterator[Any]:
    app = make_app(plugins=[], settings={"roles": {"clerk": {"permissions": ["locations.*", "users.list"]}}})
    with served_at(app) as made:
        app.do("users.add", {"name": "ann", "roles": ["clerk"], "password": PASSWORD})
        app.clock = hands
        yield made


def test_a_browser_logs_in_works_and_logs_out(site: Any) -> None:
    """The cookie is unreadable for scripts, goes over TLS only and to this site only; after logout it is nobody's."""
    ann = Browser(site)
    attributes = {part.strip().lower() for part in ann.answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "secure", "samesite=strict", "path=/"} <= attributes
    assert not any(a.startswith(("domain", "max-age", "expires")) for a in attributes)
    assert ann.cookie not in ann.answer.text
    assert (ann.answer.json()["name"], ann.answer.json()["roles"]) == ("ann", ["clerk"])
    assert ann.get("/api/users/list").status_code == 200
    assert ann.get("/api/auth/session").json() == ann.answer.json()
    assert ann.post("/api/locations/add", WRITE).status_code == 200
    out = ann.post("/api/auth/logout", {})
    assert (out.status_code, cookie_of(out)) == (204, "")
    assert told(ann.get("/api/users/list")) == (401, "auth.session_ended")
    assert ann.cookie not in str(site.app.rows("SELECT * FROM core.tokens"))


def test_what_a_browser_changes_needs_the_csrf_token(site: Any) -> None:
    """None, another session's and a guessed one are refused, and nothing is done; reading needs none."""
    ann, other = Browser(site), Browser(site)
    for csrf in (None, "", "x" * 64, other.csrf, csrf_of("guessed")):
        assert told(ann.post("/api/locations/add", WRITE, csrf=csrf)) == (403, "auth.csrf")
        assert told(ann.post("/api/auth/logout", {}, csrf=csrf)) == (403, "auth.csrf")
    assert site.app.rows("SELECT * FROM core.locations") == []
    assert ann.get("/api/locations/list").status_code == 200
    assert ann.post("/api/locations/add", WRITE).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[bad"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(site: Any, headers: dict[str, str]) -> None:
    """Whatever token it sends; nor can it log a browser in as somebody else."""
    assert told(Browser(site).post("/api/locations/add", WRITE, more=headers)) == (403, "auth.csrf")
    form = {"name": "ann", "password": PASSWORD}
    assert told(site.anyone.post("/api/auth/session", json=form, headers=headers)) == (403, "auth.csrf")


def test_this_sites_own_page_does(site: Any) -> None:
    """What a browser says of a request from here, also behind a proxy that drops the port."""
    more = {"Origin": site.url, "Sec-Fetch-Site": "same-origin"}
    assert Browser(site).post("/api/locations/add", WRITE, more=more).status_code == 200


def test_a_form_without_a_media_type_logs_nobody_in(site: Any) -> None:
    """A page of another site can send what has no media type, or a form's."""
    body = f'{{"name": "ann", "password": "{PASSWORD}"}}'.encode()
    for headers in ({}, {"Content-Type": "text/plain"}):
        answer = site.anyone.post("/api/auth/session", content=body, headers=headers)
        assert told(answer) == (415, "http.unsupported_media_type")


def test_a_bearer_token_needs_no_csrf_token(site: Any) -> None:
    """A program's request is judged by its token alone, even with a cookie beside it."""
    headers = {"Authorization": f"Bearer {site.token('ann')}", "Origin": "https://elsewhere.example"}
    assert site.anyone.post("/api/locations/add", json=WRITE, headers=headers).status_code == 200
    mixed = Browser(site).headers(None) | {"Authorization": "Bearer wrong"}
    assert told(site.anyone.get("/api/users/list", headers=mixed)) == (401, "auth.invalid_token")


def test_a_token_is_no_cookie_and_a_cookie_no_token(site: Any) -> None:
    """What is stolen of one kind does not serve as the other."""
    token = site.token("ann")
    as_cookie = site.anyone.get("/api/users/list", headers={"Cookie": f"{COOKIE}={token}"})
    assert told(as_cookie) == (401, "auth.session_ended")
    as_token = site.anyone.get("/api/users/list", headers={"Authorization": f"Bearer {Browser(site).cookie}"})
    assert told(as_token) == (401, "auth.invalid_token")


@pytest.mark.parametrize("cookie", ["", "x", "x" * 5000, "ä", "%00"])
def test_a_cookie_that_is_none_of_ours_is_401(site: Any, cookie: str) -> None:
    """Garbage is nobody's, and no failure."""
    answer = site.anyone.get("/api/users/list", headers={"Cookie": f"{COOKIE}={cookie}".encode()})
    assert told(answer) == (401, "auth.session_ended")


def test_a_session_ends_when_nobody_uses_it(site: Any) -> None:
    """30 minutes idle by default; each use begins them anew."""
    ann = Browser(site)
    for _ in range(3):
        site.app.clock.wait(minutes=29)
        assert ann.get("/api/users/list").status_code == 200
    site.app.clock.wait(minutes=30)
    assert told(ann.get("/api/users/list")) == (401, "auth.session_ended")


def test_a_session_ends_after_its_day(site: Any) -> None:
    """12 hours at most by default, however busy."""
    ann = Browser(site)
    for _ in range(12 * 4 - 1):
        site.app.clock.wait(minutes=15)
        assert ann.get("/api/users/list").status_code == 200
    site.app.clock.wait(minutes=15)
    assert told(ann.get("/api/users/list")) == (401, "auth.session_ended")


def test_a_login_has_a_new_id_and_ends_the_old_one(site: Any) -> None:
    """A session that somebody planted in a browser is worth nothing after the login."""
    ann = Browser(site)
    form = {"name": "ann", "password": PASSWORD}
    again = site.anyone.post("/api/auth/session", json=form, headers=ann.headers(None))
    assert cookie_of(again) != ann.cookie
    assert told(ann.get("/api/users/list")) == (401, "auth.session_ended")
    planted = site.anyone.post("/api/auth/session", json=form, headers={"Cookie": f"{COOKIE}=planted"})
    assert cookie_of(planted) != "planted"


def test_logins_are_listed_and_ended_by_their_user(site: Any) -> None:
    """One's own, with what they call themselves; another's is not there; all of them at once."""
    form = {"name": "ann", "password": PASSWORD, "client": "the till"}
    till = {"Authorization": f"Bearer {site.anyone.post('/api/auth/token', json=form).json()['token']}"}
    other = site.client.get("/api/users/own_logins").json()["items"][0]
    ann = Browser(site)
    rows = ann.get("/api/users/own_logins").json()["items"]
    assert [(r["kind"], r["client"]) for r in rows] == [("session", rows[0]["client"]), ("token", "the till")]
    assert rows[0]["address"] == "127.0.0.1"
    assert told(ann.post("/api/users/end_own_logins", {"login": other["id"]})) == (404, "not_found")
    assert ann.post("/api/users/end_own_logins", {"login": rows[1]["id"]}).json() == {"ended": 1}
    assert site.anyone.get("/api/users/list", headers=till).status_code == 401
    assert told(ann.post("/api/users/end_own_logins", {"login": rows[1]["id"]})) == (404, "not_found")
    assert ann.post("/api/users/end_own_logins", {}).json() == {"ended": 1}
    assert told(ann.get("/api/users/own_logins")) == (401, "auth.session_ended")
    assert site.client.get("/api/users/list").status_code == 200


def test_an_administrator_sees_and_ends_the_logins_of_others(site: Any) -> None:
    """`users.logins` of one or of all; `users.end_logins` shuts out tokens and sessions at once."""
    ann, token = Browser(site), {"Authorization": f"Bearer {site.token('ann')}"}
    listed = site.client.get("/api/users/logins", params={"user": "ann"}).json()["items"]
    assert [r["kind"] for r in listed] == ["token", "session"]
    assert {r["user"] for r in site.client.get("/api/users/logins").json()["items"]} == {"ann", "administrator"}
    assert told(ann.get("/api/users/logins")) == (403, "permission.denied")
    assert site.client.post("/api/users/end_logins", json={"user": "ann"}).json() == {"ended": 2}
    assert told(ann.get("/api/users/list")) == (401, "auth.session_ended")
    assert site.anyone.get("/api/users/list", headers=token).status_code == 401
    ended = site.client.get("/api/users/logins", params={"user": "ann", "all": "true"}).json()["items"]
    assert all(r["ended"] is not None for r in ended)


@pytest.mark.parametrize(
    ("name", "data"),
    [("users.change", {"user": "ann", "password": "another horse"}), ("users.disable", {"user": "ann"})],
)
def test_a_new_password_and_disabling_end_the_sessions(site: Any, name: str, data: dict[str, Any]) -> None:
    """At once, browser and program alike."""
    ann, token = Browser(site), {"Authorization": f"Bearer {site.token('ann')}"}
    site.app.do(name, data)
    assert told(ann.get("/api/users/list")) == (401, "auth.session_ended")
    assert site.anyone.get("/api/users/list", headers=token).status_code == 401


def test_the_role_matrix_is_a_file_too(site: Any) -> None:
    """As CSV, through the ordinary export: a line a role and a command, query or permission."""
    answer = site.client.get("/api/users/role_matrix?role=clerk", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == len(site.app.commands) + len(site.app.queries)
    granted = {row["name"] for row in rows if row["granted"].lower() == "true"}
    assert {"locations.add", "users.list", "users.own_logins"} <= granted
    assert "users.add" not in granted


def test_logins_that_ended_long_ago_are_forgotten(site: Any) -> None:
    """30 days after their end (`[retention] token_days`), by the daily job of retention."""
    Browser(site)
    site.app.clock.wait(days=31)
    site.token("ann")
    site.app.jobs["core.forget"].handler(site.app, None)
    assert len(site.app.rows("SELECT * FROM core.tokens")) == 1
