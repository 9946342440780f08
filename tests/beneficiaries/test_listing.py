"""Lists of persons and groups by what names them, within the caller's scope."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

PEOPLE = (
    ("N1", "Ana", "Berg", "F", "1985-05-17", [{"system": "nid", "value": "77"}]),
    ("N2", "Ben", "Berg", "M", "2015-02-01", [{"system": "passport", "value": "77"}]),
    ("77", "Cleo", "Dahl", "F", "1990-01-31", []),
)


@pytest.fixture
def people(app: TestApp) -> TestApp:
    members = [
        {"number": number, "given_name": given, "family_name": family, "sex": sex, "birth_date": born,
         "identifiers": identifiers, "relationship": "head" if number == "N1" else "other"}
        for number, given, family, sex, born, identifiers in PEOPLE
    ]  # fmt: skip
    app.do("locations.add", {"code": "A", "name": "A", "level": "district"})
    app.do("beneficiaries.register_group", {"code": "G1", "location": "A", "members": members[:2]})
    app.do("beneficiaries.register_group", {"code": "G2", "members": members[2:]})
    return app


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"identifier": "77"}, ["77", "N1", "N2"]),
        ({"identifier": "77", "system": "nid"}, ["N1"]),
        ({"system": "passport"}, ["N2"]),
        ({"identifier": "N1"}, ["N1"]),
        ({"identifier": "N1", "system": "nid"}, []),
        ({"family_name": "be"}, ["N1", "N2"]),
        ({"family_name": "be", "given_name": "B"}, ["N2"]),
        ({"sex": "F"}, ["77", "N1"]),
        ({"born_from": "1985-05-17", "born_to": "1990-01-31"}, ["77", "N1"]),
        ({"born_from": "1990-02-01"}, ["N2"]),
        ({"id": "nobody"}, []),
    ],
)
def test_persons_are_listed_by_what_names_them(people: TestApp, asked: dict[str, Any], numbers: list[str]) -> None:
    """Every filter narrows the list; an identifier without a system is a number too."""
    found = people.do("beneficiaries.list", asked)
    assert [person["number"] for person in found] == numbers


def test_a_listed_person_is_the_one_shown(people: TestApp) -> None:
    """The list tells of a person what the single query tells, but for the groups."""
    shown = people.do("beneficiaries.show_person", {"number": "N1"})
    del shown["groups"]
    assert people.do("beneficiaries.list", {"id": shown["id"]}) == [shown]


def test_groups_are_listed_with_their_members(people: TestApp) -> None:
    """A listed group is the one shown, and is found by id, code, place and member."""
    [listed] = people.do("beneficiaries.list_groups", {"code": "G1"})
    shown = people.do("beneficiaries.show_group", {"group": "G1"})
    assert {name: listed[name] for name in shown} == shown
    for asked in ({"id": listed["id"]}, {"location": "A"}, {"person": "N2"}, {"person": listed["members"][0]["id"]}):
        assert people.do("beneficiaries.list_groups", asked) == [listed]
    assert [g["code"] for g in people.do("beneficiaries.list_groups")] == ["G1", "G2"]
    with pytest.raises(ImisError) as caught:
        people.do("beneficiaries.list_groups", {"person": "N9"})
    assert caught.value.code == "not_found"


def test_a_groups_version_grows_with_its_members(people: TestApp) -> None:
    """Joining and leaving count as changes of the group; a member who left is not listed."""
    [before] = people.do("beneficiaries.list_groups", {"code": "G1"})
    people.do("beneficiaries.remove_member", {"group": "G1", "number": "N2"})
    [after] = people.do("beneficiaries.list_groups", {"code": "G1"})
    assert after["version"] > before["version"]
    assert [m["number"] for m in after["members"]] == ["N1"]
    assert people.do("beneficiaries.list_groups", {"person": "N2"}) == []


def test_who_sees_one_place_lists_its_groups(people: TestApp) -> None:
    """Groups outside the caller's places are not there."""
    people.do("locations.add", {"code": "B", "name": "B", "level": "district"})
    admin = people.as_user("administrator")
    from attrs import evolve

    [place] = [row["id"] for row in people.rows("SELECT id FROM core.locations WHERE code = 'B'")]
    stranger = evolve(admin, everywhere=False, places=(place,))
    assert people.do("beneficiaries.list_groups", as_=stranger) == []
