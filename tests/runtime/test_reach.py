"""Whom an administrator of some places or of a facility sees and changes, and what he or she may give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

PASSWORD = "correct horse"
ROLES = {
    "local": {"permissions": ["users.*", "beneficiaries.list"], "scope": "place"},
    "clinic_boss": {"permissions": ["users.*", "claims.submit"], "scope": "provider"},
    "reader": {"permissions": ["beneficiaries.list"], "scope": "place"},
    "clerk": {"permissions": ["beneficiaries.*"], "scope": "place"},
    "clinic": {"permissions": ["claims.submit"], "scope": "provider"},
    "all_seeing": {"permissions": [], "scope": "all"},
    "central": {"permissions": ["beneficiaries.list"], "scope": "all"},
    "central_boss": {"permissions": ["users.*"], "scope": "all"},
}
COMMANDS = (
    ("users.change", {"must_change": True}),
    ("users.disable", {}),
    ("users.enable", {}),
    ("users.unlock", {}),
    ("users.end_logins", {}),
)

# What an administrator of D1 wants to give, and how it is refused.
GIVEN: tuple[tuple[dict[str, Any], str | None], ...] = (
    ({"roles": ["reader"], "places": ["V1"]}, None),
    ({"roles": ["local"], "places": ["D1"]}, None),
    ({"roles": ["reader"], "places": ["D2"]}, "input.invalid:places.0=not_found"),
    ({"roles": ["reader"], "places": ["R1"]}, "input.invalid:places.0=not_found"),
    ({"roles": ["reader"], "places": ["NO"]}, "input.invalid:places.0=not_found"),
    ({"roles": ["clinic"], "providers": ["HC1"]}, "permission.denied"),
    ({"roles": ["clinic"], "providers": ["HC2"]}, "input.invalid:providers.0=not_found"),
    ({"roles": ["clerk"], "places": ["D1"]}, "permission.denied"),
    ({"roles": ["central"]}, "permission.denied"),
    ({"roles": ["all_seeing"]}, "permission.denied"),
    ({"roles": ["reader", "all_seeing"], "places": ["D1"]}, "permission.denied"),
    ({"roles": ["administrator"]}, "permission.denied"),
)


@pytest.fixture
def site(make_app: Callable[..., TestApp]) -> TestApp:
    """Districts D1 (with V1 and the facility HC1) and D2 (with HC2), and users of each."""
    app = make_app(plugins=[], settings={"roles": ROLES})
    for code, parent in (("R1", None), ("D1", "R1"), ("V1", "D1"), ("D2", "R1")):
        level = {"R": "region", "D": "district", "V": "village"}[code[0]]
        app.do("locations.add", {"code": code, "name": code, "level": level} | ({"parent": parent} if parent else {}))
    for n in "12":
        app.do("providers.register", {"code": f"HC{n}", "name": f"HC{n}", "location": f"D{n}"})
    for name, roles, places, providers in (
        ("boss1", ["local"], ["D1"], []), ("village1", ["clerk"], ["V1"], []), ("nurse1", ["clinic"], [], ["HC1"]),
        ("chief1", ["clinic_boss"], [], ["HC1"]), ("clerk2", ["clerk"], ["D2"], []),
        ("nurse2", ["clinic"], [], ["HC2"]),
        ("both", ["clerk"], ["D1", "D2"], []), ("nurses", ["clinic"], [], ["HC1", "HC2"]),
        ("mixed", ["clerk", "clinic"], ["D1"], ["HC2"]), ("above", ["clerk"], ["R1"], []),
        ("middle", ["central"], [], []), ("new1", ["reader"], ["D1"], []),
    ):  # fmt: skip
        fields = {"roles": roles, "places": places, "providers": providers, "password": PASSWORD}
        app.do("users.add", {"name": name, **fields})
    return app


def code_of(app: TestApp, name: str, data: dict[str, Any], as_: str) -> str | None:
    """The refusal's code, with the reasons of its problems; None if it was done."""
    try:
        app.do(name, data, as_=as_)
    except ImisError as error:
        return ":".join([error.refusal.code, *(f"{p.path}={p.reason}" for p in error.refusal.problems)])
    return None


def test_who_lies_wholly_within_the_own_reach_is_there(site: TestApp) -> None:
    """Lists, logins, locks and holders of roles tell of those users, and of nobody who reaches beyond."""
    _sees(site, "boss1", ["boss1", "village1", "nurse1", "chief1", "new1"])
    _sees(site, "chief1", ["nurse1", "chief1"])


def _sees(site: TestApp, who: str, seen: list[str]) -> None:
    assert [u["name"] for u in site.do("users.list", {}, as_=who)] == seen
    held = {name for role in site.do("users.roles", {}, as_=who) for name in (*role["users"], *role["disabled_users"])}
    assert held == set(seen)
    cells = site.do("users.role_matrix", {"name": "users.list"}, as_=who)
    assert sum(cell["users"] for cell in cells) == len(seen)
    everybody = [u["name"] for u in site.do("users.list")]
    assert len(everybody) >= 13
    for name in everybody:
        found = code_of(site, "users.show", {"user": name}, who)
        assert (found is None) == (name in seen), name
        assert code_of(site, "users.logins", {"user": name}, who) == found
    assert code_of(site, "users.show", {"user": "clerk2"}, who) == code_of(site, "users.show", {"user": "nobody"}, who)


def test_others_users_are_not_there(site: TestApp) -> None:
    """By name and by id alike they answer like a user that is not; who sees everything is refused; nothing changes."""
    before = site.rows("SELECT * FROM core.users ORDER BY id")
    ids = {u["name"]: u["id"] for u in site.do("users.list")}
    for command, fields in COMMANDS:
        nobody = code_of(site, command, {"user": "nobody", **fields}, "boss1")
        for name in ("clerk2", "nurse2", "both", "nurses", "mixed", "above"):
            assert code_of(site, command, {"user": name, **fields}, "boss1") == nobody, (command, name)
            assert code_of(site, command, {"user": ids[name], **fields}, "boss1") == nobody, (command, name)
        assert code_of(site, command, {"user": "middle", **fields}, "boss1") == "permission.denied", command
        assert code_of(site, command, {"user": "village1", **fields}, "chief1") == nobody, command
    assert site.rows("SELECT * FROM core.users ORDER BY id") == before
    for command, fields in COMMANDS:
        assert code_of(site, command, {"user": "village1", **fields}, "boss1") is None, command


def test_nobody_gives_more_than_the_own(site: TestApp) -> None:
    """To new and to known users only places, facilities, scopes and permissions that one has oneself."""
    for position, (fields, code) in enumerate(GIVEN):
        assert code_of(site, "users.add", {"name": f"made{position}", **fields}, "boss1") == code, fields
        change = {"user": "new1", "places": [], "providers": [], **fields}
        assert code_of(site, "users.change", change, "boss1") == code, fields


def test_a_facilitys_administrator_gives_facilities_only(site: TestApp) -> None:
    """A role of scope place is wider than the own."""
    for fields, code in (
        ({"roles": ["clinic"], "providers": ["HC1"]}, None),
        ({"roles": ["clinic"], "providers": ["HC2"]}, "input.invalid:providers.0=not_found"),
        ({"roles": ["reader"]}, "permission.denied"),
    ):
        assert code_of(site, "users.add", {"name": "made", **fields}, "chief1") == code, fields


def test_a_password_is_not_set_for_who_may_more(site: TestApp) -> None:
    """Logging in as somebody who may more would be the same as having it; the own password may always be changed."""
    change = {"password": "battery staple"}
    assert code_of(site, "users.change", {"user": "village1", **change}, "boss1") == "permission.denied"
    assert code_of(site, "users.change", {"user": "new1", **change}, "boss1") is None
    assert code_of(site, "users.change", {"user": "boss1", **change}, "boss1") is None


def test_one_does_not_widen_oneself(site: TestApp) -> None:
    """Neither by a change nor by making a second self that reaches further."""
    assert code_of(site, "users.change", {"user": "boss1", "roles": ["local", "clerk"]}, "boss1") == "users.same_person"
    assert code_of(site, "users.change", {"user": "boss1", "places": ["R1"]}, "boss1") == "users.same_person"
    twin = {"name": "twin", "roles": ["local", "clerk"], "places": ["D1"]}
    assert code_of(site, "users.add", twin, "boss1") == "permission.denied"


def test_a_name_is_taken_in_the_whole_deployment(site: TestApp) -> None:
    """The documented exception: names are unique, so taking one that is taken says so."""
    taken = {"name": "clerk2", "roles": ["reader"], "places": ["D1"]}
    assert code_of(site, "users.add", taken, "boss1") == "users.name_taken"


def test_locks_of_addresses_and_of_others_are_not_shown(site: TestApp) -> None:
    """An address is of no place: it is shown to, and unlocked by, who sees everything."""
    insert = (
        "INSERT INTO core.login_failures (subject, failures, failed_at, locked_until) SELECT "
        "'name:' || encode(sha256(convert_to(name, 'UTF8')), 'hex'), 9, now(), '2100-01-01' FROM core.users UNION ALL "
        "VALUES ('address:192.0.2.1', 9, now(), timestamptz '2100-01-01'), ('name:00', 9, now(), '2100-01-01')"
    )
    with site.database.command(site.system) as (connection, _):
        connection.exec_driver_sql(insert)
    shown = {lock["name"] for lock in site.do("users.locked", {}, as_="boss1")}
    assert shown == {"boss1", "village1", "nurse1", "chief1", "new1"}
    assert {lock["kind"] for lock in site.do("users.locked")} == {"user", "address", "unknown_name"}
    assert code_of(site, "users.unlock", {"address": "192.0.2.1"}, "boss1") == "permission.denied"
    assert site.do("users.unlock", {"address": "192.0.2.1"}, as_="administrator")["forgotten"] == 1


def test_the_whole_deployments_administrator_reaches_all_but_who_may_everything(site: TestApp) -> None:
    """Scope all without all permissions: every place, and roles that may what the giver may not."""
    site.do("users.add", {"name": "chief", "roles": ["central_boss"]})
    assert code_of(site, "users.add", {"name": "made", "roles": ["clerk"], "places": ["D2"]}, "chief") is None
    assert code_of(site, "users.change", {"user": "middle", "roles": ["administrator"]}, "chief") == "permission.denied"
    assert {"clerk2", "middle", "chief"} <= {u["name"] for u in site.do("users.list", {}, as_="chief")}
