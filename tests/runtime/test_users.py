"""Users, their passwords and tokens, and the caller that a user becomes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from argon2 import extract_parameters

from imis_core.errors import ImisError
from imis_core.security import passwords
from imis_core.security.caller import Caller
from imis_core.security.login import caller_by_token, log_in
from imis_core.testing.app import TestApp

PASSWORD = "correct horse"
ROLES = {
    "clerk": {"permissions": ["beneficiaries.*"], "scope": "place"},
    "clinic": {"permissions": ["claims.submit"], "scope": "provider"},
    "boss": {"permissions": ["users.*"]},
    "local": {"permissions": ["users.*", "beneficiaries.*", "claims.submit"], "scope": "place"},
}


@pytest.fixture
def site(make_app: Callable[..., TestApp]) -> TestApp:
    app = make_app(settings={"roles": ROLES})
    for code, parent in (("R1", None), ("D1", "R1"), ("V1", "D1"), ("D2", "R1")):
        level = {"R": "region", "D": "district", "V": "village"}[code[0]]
        app.do("locations.add", {"code": code, "name": code, "level": level} | ({"parent": parent} if parent else {}))
    app.do("providers.register", {"code": "HC1", "name": "HC1"})
    return app


def add(app: TestApp, **more: Any) -> Any:
    return app.do("users.add", {"name": "ann", "roles": ["boss"], "password": PASSWORD, **more})


def problems(app: TestApp, name: str, data: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ImisError) as caught:
        app.do(name, data)
    return [(p.path, p.reason) for p in caught.value.refusal.problems] or [("", caught.value.code)]


def login(app: TestApp, name: str = "ann", password: str = PASSWORD) -> str:
    token: str = log_in(app, name, password, "test")[0]
    return token


def who(app: TestApp, token: str) -> Caller | None:
    found: Caller | None = caller_by_token(app, token)
    return found


def failure(app: TestApp, name: str, password: str) -> tuple[str, str]:
    with pytest.raises(ImisError) as caught:
        login(app, name, password)
    return caught.value.code, str(caught.value)


def test_a_user_is_added_changed_and_listed(site: TestApp) -> None:
    """What is absent in a change stays as it is."""
    user = add(site, roles=["clerk", "clinic"], places=["D1"], providers=["HC1"])
    assert (user["roles"], user["places"], user["providers"]) == (["clerk", "clinic"], ["D1"], ["HC1"])
    changed = site.do("users.change", {"user": user["id"], "places": ["D2"]})
    assert (changed["roles"], changed["places"], changed["providers"]) == (["clerk", "clinic"], ["D2"], ["HC1"])
    assert changed in site.do("users.list", {"role": "clerk"})
    assert site.do("users.list", {"role": "boss"}) == []


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"name": ""}, "name", "format"),
        ({"name": "a@b"}, "name", "format"),
        ({"name": "a:b"}, "name", "format"),
        ({"name": " a"}, "name", "format"),
        ({"roles": ["bos"]}, "roles.0", "unknown"),
        ({"password": "short"}, "password", "too_short"),
        ({"roles": ["clerk"], "places": ["X"]}, "places.0", "not_found"),
        ({"roles": ["clinic"], "providers": ["X"]}, "providers.0", "not_found"),
        ({"places": ["D1"]}, "places", "scope"),
        ({"providers": ["HC1"]}, "providers", "scope"),
    ],
)
def test_what_is_wrong_with_a_user_is_told(site: TestApp, fields: dict[str, Any], path: str, reason: str) -> None:
    """Names, roles, places, providers and passwords are checked, each with its path."""
    assert (path, reason) in problems(site, "users.add", {"name": "ann", "roles": ["boss"], **fields})


def test_a_name_is_taken_once(site: TestApp) -> None:
    """`users.name_taken`, within a batch too."""
    outcomes = site.do_all("users.add", [{"name": "ann", "roles": []}, {"name": "ann", "roles": []}])
    assert outcomes[1].code == "users.name_taken"


def test_the_scope_is_the_places_and_all_below(site: TestApp) -> None:
    """Resolved when the user comes, not when it was given: a later village is seen as well."""
    add(site, roles=["clerk"], places=["D1"])
    site.do("locations.add", {"code": "V2", "name": "V2", "level": "village", "parent": "D1"})
    numbers = {r["code"]: r["id"] for r in site.rows("SELECT id, code FROM core.locations")}
    caller = who(site, login(site))
    assert caller is not None
    assert set(caller.places) == {numbers["D1"], numbers["V1"], numbers["V2"]}
    assert not caller.everywhere
    assert caller.providers == ()


def test_a_provider_sees_what_is_its_own(site: TestApp) -> None:
    """Scope `provider` carries the providers and no place."""
    add(site, roles=["clinic"], providers=["HC1"])
    caller = who(site, login(site))
    assert caller is not None
    assert len(caller.providers) == 1
    assert (caller.places, caller.everywhere) == ((), False)


def test_several_roles_are_the_union(site: TestApp) -> None:
    """Permissions add up, and the widest scope holds; no role sees and may nothing."""
    caller = site.as_user("a", "clerk", places=["D1"])
    site.do("users.change", {"user": "a", "roles": ["clerk", "boss"]})
    wider = site.as_user("a")
    assert not caller.everywhere
    assert wider.everywhere
    assert wider.may("users.add")
    assert wider.may("beneficiaries.register_person")
    site.do("users.add", {"name": "nobody", "roles": []})
    nobody = site.as_user("nobody")
    assert not nobody.everywhere
    assert not nobody.may("users.list")


def test_a_token_lives_twelve_hours(site: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is its user's until it expires by the application's clock; only its digest is kept."""
    user = add(site)
    token = login(site)
    caller = who(site, token)
    assert caller is not None
    assert site.ids.encode("users", caller.user) == user["id"]
    assert token not in str(site.rows("SELECT * FROM core.tokens"))
    site.clock.set(date(2021, 1, 2))
    assert who(site, token) is None


@pytest.mark.parametrize("token", ["", "x", "\ud800", "\x00", "x" * 100_000])
def test_an_unknown_token_is_nobody(site: TestApp, token: str) -> None:
    """Garbage is nobody's, and no error."""
    assert who(site, token) is None


def test_a_new_password_ends_the_tokens(site: TestApp) -> None:
    """Whoever has the old one is out at once."""
    add(site)
    token = login(site)
    site.do("users.change", {"user": "ann", "roles": ["boss"]})
    assert who(site, token) is not None
    site.do("users.change", {"user": "ann", "password": "another horse"})
    assert who(site, token) is None
    assert failure(site, "ann", PASSWORD)[0] == "auth.failed"
    assert who(site, login(site, "ann", "another horse")) is not None


def test_disabling_shuts_out_at_once(site: TestApp) -> None:
    """Tokens end, and neither login nor command line knows the user any more."""
    add(site)
    token = login(site)
    assert site.do("users.disable", {"user": "ann"})["disabled"]
    assert who(site, token) is None
    assert failure(site, "ann", PASSWORD)[0] == "auth.failed"
    with pytest.raises(ImisError) as caught:
        site.as_user("ann")
    assert caught.value.code == "not_found"


def test_nobody_disables_oneself(site: TestApp) -> None:
    """The last administrator cannot lock everybody out."""
    assert problems(site, "users.disable", {"user": "administrator"}) == [("", "users.same_person")]


def test_a_failed_login_does_not_tell_why(site: TestApp) -> None:
    """Unknown name, wrong password, no password, disabled, impossible text: one and the same answer."""
    add(site)
    site.do("users.add", {"name": "silent", "roles": []})
    answers = {
        failure(site, name, password)
        for name, password in (
            ("nobody", PASSWORD), ("ann", "wrong horses"), ("silent", ""), ("ann\x00", PASSWORD), ("ann", "\ud800"),
        )
    }  # fmt: skip
    assert len(answers) == 1


def test_an_unknown_name_takes_as_long_as_a_wrong_password() -> None:
    """The decoy is a hash with the parameters of real ones, so that both are computed."""
    assert extract_parameters(passwords._DECOY) == extract_parameters(passwords.hash_password(PASSWORD))
    assert not passwords.verify_password(None, PASSWORD)
    assert not passwords.verify_password("damaged", PASSWORD)


def test_nobody_makes_users_who_reach_further(site: TestApp) -> None:
    """Whoever administers users makes no administrator, shuts none out, and does not widen the own reach."""
    boss = site.as_user("ann", "boss")
    site.as_user("root")
    for name, data in (
        ("users.add", {"name": "evil", "roles": ["administrator"]}),
        ("users.change", {"user": "root", "password": PASSWORD}),
        ("users.disable", {"user": "root"}),
    ):
        with pytest.raises(ImisError) as caught:
            site.do(name, data, as_=boss)
        assert caught.value.code == "permission.denied", name
    with pytest.raises(ImisError) as caught:
        site.do("users.change", {"user": "ann", "roles": ["boss", "clerk"]}, as_=boss)
    assert caught.value.code == "users.same_person"
    site.do("users.change", {"user": "ann", "password": PASSWORD}, as_=boss)
    assert site.do("users.add", {"name": "bob", "roles": ["clerk"], "places": ["D1"]}, as_=boss)["places"] == ["D1"]


def test_nobody_makes_users_for_other_places(site: TestApp) -> None:
    """An administrator of users of one district has no users in another one, and shuts none out there."""
    site.do("providers.register", {"code": "HC-D2", "name": "HC", "location": "D2"})
    site.do("providers.register", {"code": "HC-D1", "name": "HC", "location": "D1"})
    site.do("users.add", {"name": "there", "roles": ["clerk"], "places": ["D2"]})
    site.do("users.add", {"name": "nurse", "roles": ["clinic"], "providers": ["HC-D2"]})
    local = site.as_user("lea", "local", places=["D1"])
    for name, data in (
        ("users.add", {"name": "spy", "roles": ["clerk"], "places": ["D2"]}),
        ("users.add", {"name": "spy", "roles": ["clerk"], "places": ["D1", "R1"]}),
        ("users.add", {"name": "spy", "roles": ["clinic"], "providers": ["HC-D2"]}),
        ("users.change", {"user": "there", "password": PASSWORD}),
        ("users.change", {"user": "nurse", "password": PASSWORD}),
        ("users.disable", {"user": "there"}),
        ("users.end_logins", {"user": "nurse"}),
        ("users.unlock", {"user": "there"}),
    ):
        with pytest.raises(ImisError) as caught:
            site.do(name, data, as_=local)
        assert caught.value.code == ("input.invalid" if name == "users.add" else "not_found"), (name, data)
    site.do("users.add", {"name": "here", "roles": ["clerk"], "places": ["V1"]}, as_=local)
    site.do("users.add", {"name": "hers", "roles": ["clinic"], "providers": ["HC-D1"]}, as_=local)
    site.do("users.change", {"user": "hers", "password": PASSWORD}, as_=local)
    site.do("users.disable", {"user": "here"}, as_=local)
