"""Rules of groups: members, heads, recipients, leaving and death."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError, Refusal
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp

ADULT, CHILD = "1980-01-01", "2015-01-01"


def new(number: str | None = None, relationship: str = "other", born: str = ADULT, **fields: Any) -> dict[str, Any]:
    named = {} if number is None else {"number": number}
    return {
        "given_name": "A", "family_name": "B", "sex": "F", "birth_date": born, "relationship": relationship,
        **named, **fields,
    }  # fmt: skip


def register(app: TestApp, *members: dict[str, Any], code: str = "H1", **fields: Any) -> Any:
    return app.do("beneficiaries.register_group", {"code": code, "members": list(members), **fields})


def roles(shown: dict[str, Any]) -> tuple[Any, Any, Any]:
    return shown["head"], shown["primary"], shown["alternate"]


def refusal_of(app: TestApp, name: str, data: dict[str, Any]) -> Refusal:
    with pytest.raises(ImisError) as error:
        app.do(name, data)
    return error.value.refusal


def show(app: TestApp, code: str = "H1", **as_: Any) -> Any:
    return app.do("beneficiaries.show_group", {"group": code}, **as_)


def test_members_are_listed_in_the_order_of_registration(app: TestApp) -> None:
    """The result names the group and its members with ids, numbers and relationships, in the order given."""
    result = register(app, new("P2", "spouse"), new("P1", "head"), new("P3", "child", CHILD))
    assert [(m["number"], m["relationship"]) for m in result["members"]] == [
        ("P2", "spouse"), ("P1", "head"), ("P3", "child"),
    ]  # fmt: skip
    shown = show(app)
    assert shown["id"] == result["id"]
    assert [m["id"] for m in shown["members"]] == [m["id"] for m in result["members"]]


def test_the_first_adult_leads_where_nobody_is_named(app: TestApp) -> None:
    """No head: the first adult in order of registration; no primary: likewise, each on its own."""
    register(app, new("C", "child", CHILD), new("A1"), new("A2", recipient="primary"), code="H1")
    register(app, new("D", "child", CHILD), new("B1"), new("B2", "head"), code="H2")
    assert roles(show(app, "H1")) == ("A1", "A2", None)
    assert roles(show(app, "H2")) == ("B2", "B1", None)
    register(app, new("E", "child", CHILD), new("F", "child", CHILD), code="H3")
    assert roles(show(app, "H3")) == ("E", "E", None)


def test_an_adult_has_the_deployments_age(app: TestApp) -> None:
    """Somebody is an adult from the birthday on which the age of majority is reached."""
    register(app, new("Y", born="2003-01-02"), new("Z", born="2003-01-01"))
    assert roles(show(app)) == ("Z", "Z", None)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"relationship": "head"}, "beneficiaries.two_heads"),
        ({"recipient": "primary"}, "beneficiaries.two_primaries"),
        ({"recipient": "alternate"}, "beneficiaries.two_alternates"),
    ],
)
def test_one_of_each_at_most(app: TestApp, fields: dict[str, Any], code: str) -> None:
    """Two heads, primaries or alternates in one registration are refused, and nothing is written."""
    data = {"members": [{**new("P1"), **fields}, {**new("P2"), **fields}]}
    assert refusal_of(app, "beneficiaries.register_group", data).code == code
    assert app.do("beneficiaries.list") == []


def test_a_group_has_members(app: TestApp) -> None:
    """A group without members is `input.invalid` at `members`."""
    refusal = refusal_of(app, "beneficiaries.register_group", {"members": []})
    assert (refusal.code, refusal.problems[0].path) == ("input.invalid", "members")


def test_members_live_where_the_group_does(app: TestApp) -> None:
    """A new member without a place inherits the group's; one with a place keeps it."""
    app.do_all("locations.add", [{"code": c, "name": c, "level": "x"} for c in "AB"])
    register(app, new("P1"), new("P2", location="B"), location="A")
    assert [p["location"] for p in app.do("beneficiaries.list")] == ["A", "B"]
    assert show(app)["location"] == "A"


def test_an_existing_person_is_named_alone(app: TestApp) -> None:
    """`person` or `number` alone is an existing person; with other fields a new one, whose number must be free."""
    plain = {k: v for k, v in new("P1").items() if k != "relationship"}
    known = app.do("beneficiaries.register_person", plain)
    result = register(app, {"person": known["id"], "relationship": "head"}, code="H1")
    assert result["members"] == [{"id": known["id"], "number": "P1", "relationship": "head"}]
    cases = [
        ({"number": "P9", "relationship": "head"}, "not_found", "members.0.number"),
        ({"person": "P9", "relationship": "head"}, "not_found", "members.0.person"),
        (new("P1"), "beneficiaries.number_taken", "members.0.number"),
        ({"number": "P1", "relationship": "head"}, "beneficiaries.already_member", "members.0.number"),
        ({**new(), "person": "P1"}, "input.invalid", "members.0.person"),
        ({"relationship": "head"}, "input.invalid", "members.0.given_name"),
    ]
    for member, code, path in cases:
        refusal = refusal_of(app, "beneficiaries.register_group", {"members": [member]})
        assert (refusal.code, refusal.problems[0].path) == (code, path)
    assert len(app.do("beneficiaries.list")) == 1


def test_one_group_of_each_kind(app: TestApp) -> None:
    """A person is in at most one group of a kind; a group of another kind is another matter."""
    register(app, new("P1"))
    register(app, {"number": "P1", "relationship": "head"}, code="S1", kind="school")
    shown = app.do("beneficiaries.show_person", {"number": "P1"})
    assert [(g["code"], g["kind"], g["relationship"]) for g in shown["groups"]] == [
        ("H1", "household", "head"), ("S1", "school", "head"),
    ]  # fmt: skip


def test_items_of_a_batch_follow_one_another(app: TestApp) -> None:
    """A later group of a batch finds the persons, codes and numbers of the earlier ones."""
    batch = [
        {"code": "H1", "members": [new("P1")]},
        {"code": "H1", "members": [new("P2")]},
        {"code": "H3", "members": [new("P1")]},
        {"code": "H4", "members": [{"number": "P1", "relationship": "head"}]},
        {"code": "S1", "kind": "school", "members": [{"number": "P1", "relationship": "head"}]},
        {"code": "H6", "members": [new("P6"), new("P6")]},
        {"code": "H7", "members": [new("P6")]},
        {"code": "H8", "members": [{"number": "P2", "relationship": "head"}]},
    ]
    outcomes = app.do_all("beneficiaries.register_group", batch)
    assert [o.code if isinstance(o, Refusal) else o["code"] for o in outcomes] == [
        "H1", "beneficiaries.duplicate_code", "beneficiaries.number_taken", "beneficiaries.already_member", "S1",
        "beneficiaries.number_taken", "H7", "not_found",
    ]  # fmt: skip
    assert [p["number"] for p in app.do("beneficiaries.list")] == ["P1", "P6"]
    assert [g["code"] for g in app.rows("SELECT code FROM core.groups ORDER BY code")] == ["H1", "H7", "S1"]


def test_codes_are_made_where_none_is_given(app: TestApp) -> None:
    """Groups without a code get different ones."""
    outcomes = app.do_all("beneficiaries.register_group", [{"members": [new()]} for _ in range(3)])
    assert len({o["code"] for o in outcomes}) == 3


def test_a_new_head_or_recipient_replaces_the_old(app: TestApp) -> None:
    """The old head becomes `other`, the old primary and alternate become nothing."""
    register(app, new("A", "head", recipient="primary"), new("B", "spouse", recipient="alternate"))
    shown = app.do("beneficiaries.add_member", {"group": "H1", **new("C", "head", recipient="primary")})
    assert roles(shown) == ("C", "C", "B")
    assert [(m["number"], m["relationship"], m["recipient"]) for m in shown["members"]] == [
        ("A", "other", None), ("B", "spouse", "alternate"), ("C", "head", "primary"),
    ]  # fmt: skip
    shown = app.do("beneficiaries.set_recipient", {"group": "H1", "person": "A", "recipient": "alternate"})
    assert roles(shown) == ("C", "C", "A")
    shown = app.do("beneficiaries.change_head", {"group": "H1", "number": "B"})
    assert roles(shown) == ("B", "C", "A")
    shown = app.do("beneficiaries.set_recipient", {"group": "H1", "person": "C", "recipient": "none"})
    assert roles(shown) == ("B", "A", None)
    assert shown == show(app)


def test_who_is_no_member_is_neither_head_nor_recipient(app: TestApp) -> None:
    """A person outside the group is `beneficiaries.not_a_member`; an unknown one is not found."""
    register(app, new("A"))
    register(app, new("B"), code="H2")
    for name, extra in (
        ("change_head", {}), ("set_recipient", {"recipient": "primary"}), ("remove_member", {}),
    ):  # fmt: skip
        data = {"group": "H1", "person": "B", **extra}
        assert refusal_of(app, f"beneficiaries.{name}", data).code == "beneficiaries.not_a_member"
        refusal = refusal_of(app, f"beneficiaries.{name}", {**data, "person": "X"})
        assert (refusal.code, refusal.problems[0].path) == ("not_found", "person")
        refusal = refusal_of(app, f"beneficiaries.{name}", {**data, "group": "X"})
        assert (refusal.code, refusal.problems[0].path) == ("not_found", "group")
        assert refusal_of(app, f"beneficiaries.{name}", {**data, "number": "A"}).code == "input.invalid"


def test_the_next_adult_follows_a_head_who_leaves(app: TestApp) -> None:
    """Who leaves is replaced as head and primary by the first adult; the last day in the group is kept."""
    register(app, new("A", "head"), new("C", "child", CHILD), new("B", "spouse"))
    app.clock.set(app.clock.today().replace(month=3))
    data = {"group": "H1", "person": "A", "on": "2021-02-01", "reason": "moved"}
    shown = app.do("beneficiaries.remove_member", data)
    assert roles(shown) == ("B", "B", None)
    assert [m["number"] for m in shown["members"]] == ["C", "B"]
    rows = app.rows("SELECT left_on::text, left_reason FROM core.memberships WHERE left_on IS NOT NULL")
    assert [tuple(r.values()) for r in rows] == [("2021-02-01", "moved")]
    back = app.do("beneficiaries.add_member", {"group": "H1", "number": "A", "relationship": "other"})
    assert [m["number"] for m in back["members"]] == ["C", "B", "A"]
    versions = app.rows(
        "SELECT h.version, h.relationship, h.left_on::text FROM core.memberships_history h "
        "JOIN core.persons p ON p.id = h.person WHERE p.number = 'A' ORDER BY h.id, h.version"
    )
    assert [tuple(v.values()) for v in versions] == [
        (1, "head", None), (2, "head", "2021-02-01"), (1, "other", None),
    ]  # fmt: skip


def test_nobody_leaves_before_joining(app: TestApp) -> None:
    """The last day in a group is not before the first, and not in the future."""
    register(app, new("A"))
    for on in ("2020-12-31", "2021-01-02"):
        refusal = refusal_of(app, "beneficiaries.remove_member", {"group": "H1", "person": "A", "on": on})
        assert refusal.problems[0].path == "on"


def test_a_group_without_members_rests(app: TestApp) -> None:
    """When the last member leaves the group is inactive, until somebody joins again."""
    register(app, new("A"))
    shown = app.do("beneficiaries.remove_member", {"group": "H1", "person": "A"})
    assert (shown["status"], shown["head"], shown["members"]) == ("inactive", None, [])
    shown = app.do("beneficiaries.add_member", {"group": "H1", **new("B", "child", CHILD)})
    assert (shown["status"], shown["head"]) == ("active", "B")


def test_the_dead_leave_their_groups(app: TestApp) -> None:
    """A death ends every membership on its day; the group has a new head, and the dead join nothing."""
    register(app, new("A", "head", "1950-01-01"), new("B", "spouse"))
    register(app, {"number": "A", "relationship": "head"}, code="C1", kind="club")
    result = app.do("beneficiaries.record_death", {"number": "A", "on": "2021-01-01"})
    assert (result["code"], result["number"], roles(result)) == ("H1", "A", ("B", "B", None))
    assert show(app, "C1")["status"] == "inactive"
    assert app.do("beneficiaries.show_person", {"number": "A"})["groups"] == []
    data = {"group": "H1", "number": "A", "relationship": "other"}
    assert refusal_of(app, "beneficiaries.add_member", data).code == "beneficiaries.wrong_state"


def test_a_member_moves_between_groups_in_one_batch(app: TestApp) -> None:
    """In one batch of removals and one of additions, each item sees what the earlier ones did."""
    register(app, new("A"), new("B"))
    register(app, new("C"), code="H2")
    outcomes = app.do_all(
        "beneficiaries.remove_member", [{"group": "H1", "person": "A"}, {"group": "H1", "person": "A"}]
    )
    assert roles(outcomes[0]) == ("B", "B", None)
    assert outcomes[1].code == "beneficiaries.not_a_member"
    joins = [{"group": g, "number": "A", "relationship": "head"} for g in ("H2", "H1")]
    outcomes = app.do_all("beneficiaries.add_member", joins)
    assert roles(outcomes[0]) == ("A", "C", None)
    assert outcomes[1].code == "beneficiaries.already_member"


def test_a_caller_works_in_his_places(app: TestApp) -> None:
    """A group of another place is not found; codes are unique beyond what a caller sees; a place is needed."""
    app.do_all("locations.add", [{"code": c, "name": c, "level": "x"} for c in "AB"])
    numbers = {r["code"]: r["id"] for r in app.rows("SELECT id, code FROM core.locations")}
    user = app.as_user("clerk").user
    a = Caller(user, "clerk", (), frozenset({"*"}), everywhere=False, places=(numbers["A"],))
    b = evolve(a, places=(numbers["B"],))
    group = {"code": "H1", "location": "A", "members": [new("P1"), new("P2")]}
    assert app.do("beneficiaries.register_group", group, as_=a)["code"] == "H1"
    for fields in ({"code": "H1", "location": "B"}, {"location": "A"}, {}):
        data = {"members": [new("P3")], **fields}
        outcome = app.do_all("beneficiaries.register_group", [data], as_=b)[0]
        assert outcome.code == {"B": "beneficiaries.duplicate_code", "A": "not_found"}.get(
            fields.get("location", ""), "input.invalid"
        )
    with pytest.raises(ImisError) as error:
        show(app, as_=b)
    assert error.value.code == "not_found"
    stolen = {"code": "H2", "location": "B", "members": [{"number": "P1", "relationship": "head"}]}
    assert app.do_all("beneficiaries.register_group", [stolen], as_=b)[0].code == "not_found"
    assert app.do("beneficiaries.change_head", {"group": "H1", "person": "P2"}, as_=a)["head"] == "P2"


def test_who_sees_a_part_of_a_group_does_not_change_it(app: TestApp) -> None:
    """A group with members in places that the caller does not see is `beneficiaries.hidden_members`."""
    app.do_all("locations.add", [{"code": c, "name": c, "level": "x"} for c in "AB"])
    register(app, new("P1", "head", location="B"), new("P2", recipient="primary"), location="A")
    place = app.rows("SELECT id FROM core.locations WHERE code = 'A'")[0]["id"]
    a = Caller(app.as_user("clerk").user, "clerk", (), frozenset({"*"}), everywhere=False, places=(place,))
    for name, extra in (("change_head", {}), ("remove_member", {}), ("record_death", None)):
        data = {"person": "P2"} if extra is None else {"group": "H1", "person": "P2"}
        outcome = app.do_all(f"beneficiaries.{name}", [data], as_=a)[0]
        assert outcome.code == "beneficiaries.hidden_members"
    assert [m["number"] for m in show(app, as_=a)["members"]] == ["P2"]
    assert roles(show(app)) == ("P1", "P2", None)


def test_a_batch_takes_a_constant_number_of_statements(app: TestApp) -> None:
    """Five groups cost as many statements as four hundred; so do additions."""

    def statements(prefix: str, count: int) -> tuple[int, int]:
        groups = [{"code": f"{prefix}{i}", "members": [new(), new(None, "child", CHILD)]} for i in range(count)]
        joins = [{"group": f"{prefix}{i}", **new(None, "parent")} for i in range(count)]
        start = app.database.statements
        app.do_all("beneficiaries.register_group", groups)
        middle = app.database.statements
        app.do_all("beneficiaries.add_member", joins)
        return middle - start, app.database.statements - middle

    statements("W", 1)  # the first command of an application also reads the roles
    assert statements("A", 5) == statements("B", 400)


class Model:
    """A plain household: a list of [number, adult, relationship, recipient], with the rules written out again."""

    def __init__(self) -> None:
        self.members: list[list[Any]] = []

    def find(self, number: str) -> list[Any] | None:
        return next((m for m in self.members if m[0] == number), None)

    def head(self, member: list[Any]) -> None:
        for other in self.members:
            if other[2] == "head" and other is not member:
                other[2] = "other"
        member[2] = "head"

    def receive(self, member: list[Any], kind: str | None) -> None:
        for other in self.members:
            if kind is not None and other[3] == kind:
                other[3] = None
        member[3] = kind

    def settle(self) -> None:
        if not self.members:
            return
        first = next((m for m in self.members if m[1]), self.members[0])
        if all(m[2] != "head" for m in self.members):
            first[2] = "head"
        if all(m[3] != "primary" for m in self.members):
            first[3] = "primary"


RELATIONSHIPS = st.sampled_from(["head", "spouse", "child", "other"])
WHO = st.integers(0, 5)
MOVES = st.one_of(
    st.tuples(st.just("add"), WHO, RELATIONSHIPS, st.sampled_from([None, "primary", "alternate"])),
    st.tuples(st.just("remove"), WHO),
    st.tuples(st.just("head"), WHO),
    st.tuples(st.just("recipient"), WHO, st.sampled_from(["primary", "alternate", "none"])),
    st.tuples(st.just("death"), WHO),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(adults=st.lists(st.booleans(), min_size=6, max_size=6), moves=st.lists(MOVES, max_size=12))
def test_a_group_follows_a_plain_model(app: TestApp, adults: list[bool], moves: list[tuple[Any, ...]]) -> None:
    """After any commands the group is as a plain model says: one head, one primary, at most one alternate."""
    run = app.rows("SELECT count(*) AS n FROM core.groups")[0]["n"]
    code, numbers = f"H{run}", [f"{run}-{i}" for i in range(6)]
    register(app, new(numbers[0], born=ADULT if adults[0] else CHILD), code=code)
    people = [new(n, born=ADULT if adult else CHILD) for n, adult in zip(numbers, adults, strict=True)][1:]
    for one in people:
        one.pop("relationship")
    app.do_all("beneficiaries.register_person", people)
    model, dead = Model(), set()
    model.members.append([numbers[0], adults[0], "other", None])
    model.settle()
    for kind, who, *rest in moves:
        number, member = numbers[who], model.find(numbers[who])
        data: dict[str, Any] = {"group": code, "number": number}
        name, expected = "", None
        if kind == "add":
            name = "add_member"
            data |= {"relationship": rest[0], **({"recipient": rest[1]} if rest[1] else {})}
            if number in dead:
                expected = "beneficiaries.wrong_state"
            elif member is not None:
                expected = "beneficiaries.already_member"
            else:
                member = [number, adults[who], "other", None]
                model.members.append(member)
                if rest[0] == "head":
                    model.head(member)
                else:
                    member[2] = rest[0]
                if rest[1]:
                    model.receive(member, rest[1])
        elif kind == "death":
            name, data = "record_death", {"number": number}
            expected = "beneficiaries.wrong_state" if number in dead else None
            dead.add(number)
            model.members = [m for m in model.members if m is not member]
        elif member is None:
            name = {"remove": "remove_member", "head": "change_head", "recipient": "set_recipient"}[kind]
            data |= {"recipient": rest[0]} if rest else {}
            expected = "beneficiaries.not_a_member"
        elif kind == "remove":
            name = "remove_member"
            model.members.remove(member)
        elif kind == "head":
            name = "change_head"
            model.head(member)
        else:
            name = "set_recipient"
            data |= {"recipient": rest[0]}
            model.receive(member, None if rest[0] == "none" else rest[0])
        model.settle()
        outcome = app.do_all(f"beneficiaries.{name}", [data])[0]
        assert (outcome.code if isinstance(outcome, Refusal) else None) == expected
        shown = show(app, code)
        found = [(m["number"], m["relationship"], m["recipient"]) for m in shown["members"]]
        assert found == [(m[0], m[2], m[3]) for m in model.members]
        if found:
            assert [m[1] for m in found].count("head") == 1
            assert [m[2] for m in found].count("primary") == 1
            assert [m[2] for m in found].count("alternate") <= 1
