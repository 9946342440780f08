"""Rules of duplicates: found once, decided once, merged with nothing lost, and undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.testing.app import TestApp
from tests.registry.people import household, members, nid, pairs, person, refusal_of, statements


def register(app: TestApp, *people: dict[str, Any]) -> None:
    app.do_all("beneficiaries.register_person", list(people))


def pair(app: TestApp, first: str, second: str) -> str:
    (found,) = [d["id"] for d in app.do("registry.duplicates") if (d["first"], d["second"]) == (first, second)]
    return str(found)


def decide(app: TestApp, first: str, second: str, decision: str = "same", **more: Any) -> Any:
    return app.do("registry.decide_duplicate", {"duplicate": pair(app, first, second), "decision": decision, **more})


def show(app: TestApp, number: str) -> Any:
    shown = app.do("beneficiaries.show_person", {"number": number})
    return {k: v for k, v in shown.items() if k != "version"}


# --- finding


def test_an_equal_identifier_is_exact(app: TestApp) -> None:
    """An equal system and value is score 100 with the reason `identifier`; the earlier registered is the first."""
    register(
        app,
        person("Z", identifiers=nid("1")),
        person("A", "Omar", "Bah", identifiers=nid("1"), birth_date="1950-05-05"),
        person("B", "Fatou", "Ceesay", identifiers=[{"system": "tax", "value": "1"}], birth_date="1960-06-06"),
    )
    assert app.do("registry.find_duplicates") == {"found": 1}
    (found,) = app.do("registry.duplicates")
    assert (found["first"], found["second"], found["score"], found["reasons"]) == ("Z", "A", "100.00", ["identifier"])


def test_likeness_is_below_100(app: TestApp) -> None:
    """A misspelt name with the same date of birth is found, with a score below 100 and what agrees."""
    register(app, person("P1"), person("P2", "Awa", "Tourray"), person("P3", "Haddy", "Gomez"))
    assert app.do("registry.find_duplicates") == {"found": 1}
    (found,) = app.do("registry.duplicates")
    assert 80 <= float(found["score"]) < 100
    assert found["reasons"] == ["name", "birth_date", "sex"]
    assert found["status"] == "open"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Awa", "Ceesay", "1980-01-01"), ("Hawa", "Ceesay", "1980-01-01")),  # the first letter of a name
        (("Awa", "Ceesay", "1980-01-01"), ("Ceesay", "Hawa", "1980-01-01")),  # and the names exchanged
        (("Sira", "Touray", "1970-05-05"), ("Sira", "Touray", "1971-05-05")),  # one digit of the year
        (("Sira", "Touray", "1970-05-04"), ("Sira", "Turay", "1970-04-05")),  # day and month exchanged
        (("Siri", "Sirisena", "1970-05-04"), ("Siri", "Sirisena", "1970-05-04")),  # names that begin alike
    ],
)
def test_one_mistake_hides_nobody(app: TestApp, one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Whichever of name and date of birth is mistyped, the pair is looked at; strangers of that day are no pair."""
    people = [one, other, ("Haddy", "Gomez", one[2]), ("Awa", "Touray", "1951-01-01")]
    register(app, *(person(f"P{i}", given, family, birth_date=born) for i, (given, family, born) in enumerate(people)))
    app.do("registry.find_duplicates")
    assert pairs(app) == [("P0", "P1")]


def test_a_pair_is_found_once(app: TestApp) -> None:
    """Open and decided pairs are not found again; `different` holds for good."""
    register(app, person("P1"), person("P2"))
    assert app.do("registry.find_duplicates") == {"found": 1}
    assert app.do("registry.find_duplicates") == {"found": 0}
    assert decide(app, "P1", "P2", "different", reason="twins") == {"status": "different", "kept": None, "merge": None}
    assert app.do("registry.find_duplicates") == {"found": 0}
    assert pairs(app) == []
    assert pairs(app, "different") == [("P1", "P2")]


def test_some_persons_are_compared_with_all(app: TestApp) -> None:
    """`persons`: only pairs with one of these."""
    register(app, *(person(f"P{i}") for i in range(4)))
    assert app.do("registry.find_duplicates", {"persons": ["P3"]}) == {"found": 3}
    assert pairs(app) == [("P0", "P3"), ("P1", "P3"), ("P2", "P3")]
    refusal = refusal_of(app, "registry.find_duplicates", {"persons": ["P1", "X"]})
    assert (refusal.code, refusal.problems[0].path) == ("not_found", "persons.1")


def test_pairs_are_listed_by_first_then_second(app: TestApp) -> None:
    """The list is ordered by the number of the first, then of the second."""
    register(app, person("C"), person("B"), person("A"))
    app.do("registry.find_duplicates")
    assert pairs(app) == [("B", "A"), ("C", "A"), ("C", "B")]


def test_who_sees_one_of_two_sees_no_pair(make_app: Callable[..., TestApp]) -> None:
    """A pair is seen, found and decided only by those who see both persons."""
    roles = {"clerk": {"permissions": ["registry.*", "beneficiaries.*"], "scope": "place"}}
    app = make_app(plugins=[], settings={"roles": roles})
    app.do_all("locations.add", [{"code": c, "name": c, "level": "x"} for c in "AB"])
    register(app, person("P1", location="A", identifiers=nid("1")), person("P2", location="B", identifiers=nid("1")))
    amy = app.as_user("amy", "clerk", places=["A"])
    assert app.do("registry.find_duplicates", {}, as_=amy) == {"found": 0}
    assert app.do("registry.find_duplicates") == {"found": 1}
    assert app.do("registry.duplicates", {}, as_=amy) == []
    wanted = {"duplicate": pair(app, "P1", "P2"), "decision": "same"}
    assert refusal_of(app, "registry.decide_duplicate", wanted, as_=amy).code == "not_found"
    refusal = refusal_of(app, "beneficiaries.merge", {"keep": "P1", "drop": "P2"}, as_=amy)
    assert (refusal.code, refusal.problems[0].path) == ("not_found", "drop")


# --- merging


def test_same_keeps_the_earlier_person_with_everything(app: TestApp) -> None:
    """Memberships and identifiers go over to the earlier person, and both numbers find him or her."""
    register(app, person("P1", identifiers=nid("1")))
    household(
        app,
        "H1",
        person("P2", identifiers=[*nid("1"), {"system": "tax", "value": "9"}], relationship="head"),
        person("K", "Ali", birth_date="2015-01-01"),
    )
    app.do("registry.find_duplicates")
    decided = decide(app, "P1", "P2", values={"given_name": "Hawa", "attributes": {"phone": "77"}}, reason="one card")
    assert (decided["status"], decided["kept"]) == ("same", "P1")
    assert members(app, "H1") == [("P1", "head", "primary"), ("K", "other", None)]
    shown = show(app, "P2")
    assert (shown["number"], shown["given_name"], shown["attributes"]) == ("P1", "Hawa", {"phone": "77"})
    assert [(i["system"], i["value"]) for i in shown["identifiers"]] == [("nid", "1"), ("tax", "9")]
    assert shown == show(app, "P1")
    assert [g["code"] for g in shown["groups"]] == ["H1"]
    listed = {p["number"]: p["status"] for p in app.do("beneficiaries.list")}
    assert listed["P2"] == "inactive"
    assert refusal_of(app, "beneficiaries.register_person", person("P2")).code == "beneficiaries.number_taken"


def test_a_decided_pair_is_decided(app: TestApp) -> None:
    """A second decision is a wrong state; two different persons keep their own values."""
    register(app, person("P1"), person("P2"))
    app.do("registry.find_duplicates")
    identity = pair(app, "P1", "P2")
    refusal = refusal_of(
        app,
        "registry.decide_duplicate",
        {"duplicate": identity, "decision": "different", "values": {"given_name": "X"}},
    )
    assert (refusal.code, refusal.problems[0].path) == ("input.invalid", "values")
    decide(app, "P1", "P2")
    for decision in ("same", "different"):
        data = {"duplicate": identity, "decision": decision}
        assert refusal_of(app, "registry.decide_duplicate", data).code == "registry.wrong_state"


def test_pairs_of_the_dropped_person_are_obsolete(app: TestApp) -> None:
    """Who was merged is compared no more: his or her other open pairs are obsolete until the merge is undone."""
    register(app, person("P1"), person("P2"), person("P3"))
    app.do("registry.find_duplicates")
    merge = decide(app, "P1", "P2")["merge"]
    assert (pairs(app), pairs(app, "obsolete")) == ([("P1", "P3")], [("P2", "P3")])
    app.do("registry.undo_merge", {"merge": merge})
    assert pairs(app) == [("P1", "P2"), ("P1", "P3"), ("P2", "P3")]


def test_in_one_group_the_kept_member_takes_over_the_roles(app: TestApp) -> None:
    """Two members of one group: the dropped one leaves it, and head or recipient becomes the kept one."""
    household(app, "H1", person("A", "Ali"), person("B", relationship="head", recipient="primary"), person("C"))
    app.do("beneficiaries.merge", {"keep": "C", "drop": "B"})
    assert members(app, "H1") == [("A", "other", None), ("C", "head", "primary")]


def test_in_two_groups_the_kept_person_stays_where_he_or_she_is(app: TestApp) -> None:
    """Members of two groups of a kind: the dropped one's membership ends with the reason `merged`."""
    household(app, "H1", person("A"))
    household(app, "H2", person("B"), person("C", "Ali"))
    household(app, "T1", {"number": "B"}, kind="team")
    app.do("beneficiaries.merge", {"keep": "A", "drop": "B"})
    assert members(app, "H1") == [("A", "head", "primary")]
    assert members(app, "H2") == [("C", "head", "primary")]
    assert members(app, "T1") == [("A", "head", "primary")]
    (ended,) = app.rows("SELECT left_reason FROM core.memberships WHERE left_on IS NOT NULL")
    assert ended["left_reason"] == "merged"


def test_what_cannot_be_merged(app: TestApp) -> None:
    """Nobody is merged with himself, twice, or from death into life; wrong values are told with their paths."""
    register(app, person("P1"), person("P2"), person("P3"), person("P4"))
    app.do("beneficiaries.record_death", {"number": "P4"})
    app.do("beneficiaries.merge", {"keep": "P1", "drop": "P2"})
    for keep, drop, code in (
        ("P1", "P1", "input.invalid"),
        ("P3", "P2", "registry.wrong_state"),
        ("P2", "P3", "registry.wrong_state"),
        ("P1", "P4", "beneficiaries.wrong_state"),
        ("P1", "X", "not_found"),
    ):
        assert refusal_of(app, "beneficiaries.merge", {"keep": keep, "drop": drop}).code == code
    refusal = refusal_of(app, "beneficiaries.merge", {"keep": "P1", "drop": "P3", "values": {"given_name": " x"}})
    assert (refusal.code, refusal.problems[0].path) == ("input.invalid", "values.given_name")


def test_a_batch_is_as_one_after_the_other(app: TestApp) -> None:
    """A chain of merges in one batch ends at the last one who is kept; all numbers find that person."""
    register(app, person("P1"), person("P2"), person("P3"))
    merges = app.do_all("beneficiaries.merge", [{"keep": "P2", "drop": "P1"}, {"keep": "P3", "drop": "P2"}])
    assert {show(app, n)["number"] for n in ("P1", "P2", "P3")} == {"P3"}
    refusal = refusal_of(app, "registry.undo_merge", {"merge": merges[0]["merge"]})
    assert refusal.code == "registry.wrong_state"
    app.do_all("registry.undo_merge", [{"merge": m["merge"]} for m in reversed(merges)])
    assert [show(app, n)["number"] for n in ("P1", "P2", "P3")] == ["P1", "P2", "P3"]


def test_many_merges_take_the_same_statements(app: TestApp) -> None:
    """The number of statements does not depend on the number of merges."""
    register(app, *(person(f"K{i}", identifiers=nid(f"k{i}")) for i in range(25)))
    for i in range(25):
        household(app, f"H{i}", person(f"D{i}", identifiers=nid(f"d{i}")))
    batches = [[{"keep": f"K{i}", "drop": f"D{i}"} for i in chunk] for chunk in (range(5), range(5, 25))]
    assert statements(app, "beneficiaries.merge", batches[0]) == statements(app, "beneficiaries.merge", batches[1])


def test_unique_values_go_over_and_come_back(make_app: Callable[..., TestApp]) -> None:
    """The kept person may have the dropped one's unique value, and nobody else's; undoing gives each its own."""
    rules = {"card": {"type": "text", "unique": True}}
    app = make_app(plugins=[], settings={"deployment": {"attributes": rules}})
    register(app, *(person(f"P{i}", attributes={"card": f"C{i}"}) for i in (1, 2, 3)))
    wanted = {"keep": "P1", "drop": "P2", "values": {"attributes": {"card": "C3"}}}
    assert refusal_of(app, "beneficiaries.merge", wanted).problems[0].path == "values.attributes.card"
    merge = app.do("beneficiaries.merge", {**wanted, "values": {"attributes": {"card": "C2"}}})["merge"]
    assert show(app, "P1")["attributes"] == {"card": "C2"}
    app.do("registry.undo_merge", {"merge": merge})
    assert [show(app, n)["attributes"]["card"] for n in ("P1", "P2")] == ["C1", "C2"]
    for card in ("C1", "C2"):
        refusal = refusal_of(app, "beneficiaries.register_person", person(attributes={"card": card}))
        assert refusal.problems[0].reason == "not_unique"


# --- undoing


def test_undoing_restores_what_was(app: TestApp) -> None:
    """The dropped person comes back with number, memberships, roles and identifiers, and the pair is open again."""
    household(app, "H1", person("A", identifiers=nid("1")), person("X", "Omar", "Bah"))
    household(
        app, "H2", person("B", identifiers=nid("1", "2"), relationship="head"), person("Y", "Ali", relationship="child")
    )
    app.do("registry.find_duplicates")
    before = [show(app, "A"), show(app, "B"), members(app, "H1"), members(app, "H2")]
    merge = decide(app, "A", "B", values={"given_name": "Hawa", "birth_date": "1981-02-03"})["merge"]
    assert show(app, "B")["number"] == "A"
    undone = app.do("registry.undo_merge", {"merge": merge})
    assert undone == {"status": "undone", "kept": "A", "restored": "B"}
    assert [show(app, "A"), show(app, "B"), members(app, "H1"), members(app, "H2")] == before
    assert pairs(app) == [("A", "B")]
    assert refusal_of(app, "registry.undo_merge", {"merge": merge}).code == "registry.wrong_state"
    assert decide(app, "A", "B")["kept"] == "A"


def test_what_was_changed_since_stays(app: TestApp) -> None:
    """Undoing takes back neither a value nor a head that somebody chose after the merge."""
    household(app, "H1", person("A"))
    household(app, "H2", person("B"), person("Y", "Ali"), person("Z", "Omar"))
    merge = app.do("beneficiaries.merge", {"keep": "A", "drop": "B", "values": {"given_name": "Hawa"}})["merge"]
    app.do("beneficiaries.change_person", {"person": "A", "given_name": "Haddy"})
    app.do("beneficiaries.change_head", {"group": "H2", "person": "Z"})
    app.do("registry.undo_merge", {"merge": merge})
    assert show(app, "A")["given_name"] == "Haddy"
    assert members(app, "H2") == [("B", "other", None), ("Y", "other", "primary"), ("Z", "head", None)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4), st.integers(0, 10**9))
def test_all_merges_can_be_undone_backwards(app: TestApp, chosen: list[tuple[int, int]], serial: int) -> None:
    """Whatever is merged into whatever, undoing in reverse order restores every person and every group."""
    mark = f"{serial}-{len(app.do('beneficiaries.list'))}"
    people = [person(f"{mark}P{i}", f"G{i}", identifiers=nid(f"{mark}{i}"), relationship="other") for i in range(6)]
    for code, part in (("A", people[:2]), ("B", people[2:5])):
        household(app, f"{mark}{code}", *part)
    alone = {k: v for k, v in people[5].items() if k != "relationship"}
    register(app, alone)

    def everything() -> list[Any]:
        return [
            *(show(app, p["number"]) for p in people),
            *(app.do("beneficiaries.show_group", {"group": f"{mark}{code}"}) for code in "AB"),
        ]

    before = everything()
    wanted = [{"keep": people[k]["number"], "drop": people[d]["number"]} for k, d in chosen]
    done = [o["merge"] for o in app.do_all("beneficiaries.merge", wanted) if isinstance(o, dict)]
    for merge in reversed(done):
        app.do("registry.undo_merge", {"merge": merge})
    assert everything() == before


def test_payments_of_the_dropped_person_go_over(app: TestApp) -> None:
    """What names the dropped person in other rooms follows: an address for payments, an exclusion."""
    household(app, "H1", person("B"))
    register(app, person("A"))
    app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    app.do("payments.enrol_recipient", {"number": "B", "provider": "POST", "account": "1"})
    app.do("registry.self_exclude", {"person": "B"})
    merge = app.do("beneficiaries.merge", {"keep": "A", "drop": "B"})["merge"]
    owners = "SELECT p.number FROM core.{} t JOIN core.persons p ON p.id = t.person"
    for table in ("recipients", "exclusions"):
        assert [r["number"] for r in app.rows(owners.format(table))] == ["A"]
    app.do("registry.undo_merge", {"merge": merge})
    for table in ("recipients", "exclusions"):
        assert [r["number"] for r in app.rows(owners.format(table))] == ["B"]


def test_a_cover_of_the_dropped_person_goes_over(app: TestApp) -> None:
    """Who was insured under the dropped number is insured as the kept person, and again alone after undoing."""
    terms = {"insurance_months": 12, "premium_adult": "300"}
    package = {"scheme": "chf", "code": "BASIC", "name": "B", "valid_from": "2019-01-01", "terms": terms}
    app.do("benefit_packages.define", package)
    register(app, person("A"))
    household(app, "H1", person("B"))
    policy = app.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": "H1"})
    app.do("contributions.record", {"coverage": policy["id"], "amount": policy["due"], "receipt": "R1"})

    def covered() -> list[bool]:
        return [app.do("eligibility.check", {"number": number})["eligible"] for number in ("A", "B")]

    assert covered() == [False, True]
    merge = app.do("beneficiaries.merge", {"keep": "A", "drop": "B"})["merge"]
    assert covered() == [True, True]
    app.do("registry.undo_merge", {"merge": merge})
    assert covered() == [False, True]
