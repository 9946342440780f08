"""Which passwords are taken, and how one's own is changed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.security.login import caller_by_token, log_in
from imis_core.security.passwords import hash_password, password_problems, verify_password
from imis_core.testing.app import TestApp

WORDS = [f"{word} horses in the rain" for word in ("one", "two", "three", "four", "five")]


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "too_short"),
        ("nine char", "too_short"),
        ("x" * 1001, "too_long"),
        ("anna.maria", "name"),
        ("Anna-Maria2024!", "name"),
        ("123annamaria", "name"),
        ("annamariaannamaria", "name"),
        ("airamanna99", "name"),
        ("password123", "common"),
        ("P@ssw0rd2024!", "common"),
        ("Welcome2024!!", "common"),
        ("changeme123", "common"),
        ("motdepasse1", "common"),
        ("1234567890", "common"),
        ("0987654321", "common"),
        ("qwertyuiop", "common"),
        ("asdfghjkl1", "common"),
        ("aaaaaaaaaaaa", "common"),
        ("abcabcabcabc", "common"),
        ("1212121212", "common"),
        ("1q2w3e4r5t", "common"),
        ("poiuytrewq", "common"),
    ],
)
def test_what_is_guessed_first_is_refused(password: str, reason: str) -> None:
    """Too short, the name with whatever around it, what everybody takes, and rows of the keyboard."""
    assert [p.reason for p in password_problems(password, "anna.maria", 10)] == [reason]


@pytest.mark.parametrize(
    "password",
    [
        "correct horse",
        "another horse",
        "tulip gravel 7 moon",
        "пароль из слов",
        "ठूलो नदी किनार",
        "8462957103",
        "annas garden gate",
    ],
)
def test_words_of_any_script_are_taken(password: str) -> None:
    """No signs, capitals or digits are asked for: length is what counts."""
    assert password_problems(password, "anna.maria", 10) == []


def test_an_accent_is_the_same_however_it_is_typed() -> None:
    """One character or a letter with a combining accent: the same password."""
    assert verify_password(hash_password("caf\u00e9 au lait noir"), "cafe\u0301 au lait noir")


@pytest.fixture
def site(make_app: Callable[..., TestApp]) -> TestApp:
    app = make_app(plugins=[], settings={"roles": {"clerk": {}}, "security": {"password_length": 12}})
    app.do("users.add", {"name": "ann", "roles": ["clerk"], "password": WORDS[0]})
    return app


def change(app: TestApp, old: str, new: str) -> Any:
    return app.do("users.change_password", {"password": old, "new_password": new}, as_="ann")


def reasons(app: TestApp, old: str, new: str) -> list[tuple[str, str]]:
    with pytest.raises(ImisError) as caught:
        change(app, old, new)
    return [(p.path, p.reason) for p in caught.value.refusal.problems] or [("", caught.value.code)]


def test_everybody_changes_the_own_password(site: TestApp) -> None:
    """Whatever the roles, with the present one; logins end, and only the new one opens."""
    token = log_in(site, "ann", WORDS[0], "test")[0]
    assert reasons(site, WORDS[1], WORDS[2]) == [("", "users.wrong_password")]
    assert caller_by_token(site, token) is not None
    assert change(site, WORDS[0], WORDS[1]) == {"name": "ann"}
    assert caller_by_token(site, token) is None
    assert log_in(site, "ann", WORDS[1], "test")
    with pytest.raises(ImisError, match=r"auth\.failed"):
        log_in(site, "ann", WORDS[0], "test")


def test_the_deployments_length_holds(site: TestApp) -> None:
    """`password_length` of imis.toml, for one's own and for those that administrators make."""
    assert reasons(site, WORDS[0], "eleven char") == [("new_password", "too_short")]
    with pytest.raises(ImisError, match="at least 12 characters"):
        site.do("users.add", {"name": "bob", "roles": [], "password": "eleven char"})


def test_the_last_ones_are_not_taken_again(site: TestApp) -> None:
    """The present one and the two before by default; older ones may come back, and their hashes are gone."""
    for old, new in pairwise(WORDS[:4]):
        change(site, old, new)
    for used in WORDS[1:4]:
        assert reasons(site, WORDS[3], used) == [("new_password", "reused")]
    assert len(site.rows("SELECT * FROM core.earlier_passwords")) == 2
    assert change(site, WORDS[3], WORDS[0]) == {"name": "ann"}


def test_no_hash_is_told(site: TestApp) -> None:
    """Neither lists, nor history, nor audit hold a password or its hash."""
    change(site, WORDS[0], WORDS[1])
    told = [site.do("users.list"), site.do("users.show", {"user": "ann"}), site.do("audit.trail", {"entity": "ann"})]
    told += [site.rows("SELECT * FROM core.users_history"), site.rows("SELECT * FROM core.audit_entries")]
    assert "argon2" not in str(told)
    assert not any(word in str(told) for word in WORDS)


def test_a_request_changes_the_password_once(site: TestApp) -> None:
    """Each takes a core for a while on purpose: of a list the first is done and the others are refused unread."""
    items = [{"password": old, "new_password": new} for old, new in pairwise(WORDS[:3])]
    done, again = site.do_all("users.change_password", items, as_="ann")
    assert done == {"name": "ann"}
    assert [(p.path, p.reason) for p in again.problems] == [("", "too_many")]
    log_in(site, "ann", WORDS[1], "test")
