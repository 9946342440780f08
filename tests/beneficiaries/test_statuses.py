"""The rules of statuses and photos of persons, and of what is confirmed of households."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp

JPEG = base64.b64encode(b"\xff\xd8\xff\xe0 a picture").decode()


def refused(app: TestApp, name: str, data: dict[str, Any]) -> Refusal:
    with pytest.raises(ImisError) as error:
        app.do(name, data)
    return error.value.refusal


@pytest.fixture
def people(app: TestApp) -> TestApp:
    """The household F of P1 and P2."""
    fields = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
    members = [{**fields, "number": n, "relationship": r} for n, r in (("P1", "head"), ("P2", "spouse"))]
    app.do("beneficiaries.register_group", {"code": "F", "members": members})
    return app


def shown(app: TestApp, number: str) -> dict[str, Any]:
    found: dict[str, Any] = app.do("beneficiaries.show_person", {"number": number})
    return found


def test_a_person_is_inactive_from_a_day_for_a_reason(people: TestApp) -> None:
    """Inactive, active again, each with its day and reason; every version is kept."""
    data = {"number": "P1", "status": "inactive", "on": "2020-12-01", "reason": "moved abroad"}
    answer = people.do("beneficiaries.set_status", data)
    assert (answer["status"], answer["status_on"]) == ("inactive", "2020-12-01")
    person = shown(people, "P1")
    assert (person["status"], person["status_on"], person["status_reason"]) == (
        "inactive",
        "2020-12-01",
        "moved abroad",
    )
    assert refused(people, "beneficiaries.set_status", data).code == "beneficiaries.wrong_state"
    people.do("beneficiaries.set_status", {"number": "P1", "status": "active", "reason": "came back"})
    assert shown(people, "P1")["status"] == "active"
    rows = people.rows("SELECT status FROM core.persons_history WHERE number = 'P1' ORDER BY version")
    assert [row["status"] for row in rows] == ["active", "inactive", "active"]


def test_a_death_has_a_day_and_a_reason(people: TestApp) -> None:
    """The reason stands with the person; nobody changes the status of the dead."""
    people.do("beneficiaries.record_death", {"number": "P1", "on": "2020-12-01", "reason": "register office"})
    person = shown(people, "P1")
    assert (person["death_date"], person["status_reason"]) == ("2020-12-01", "register office")
    data = {"number": "P1", "status": "inactive", "reason": "x"}
    assert refused(people, "beneficiaries.set_status", data).code == "beneficiaries.wrong_state"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"number": "NONE", "reason": "x"}, "not_found"),
        ({"reason": "x"}, "input.invalid"),
        ({"number": "P1", "reason": " "}, "input.invalid"),
        ({"number": "P1", "reason": "x", "on": "2021-01-02"}, "input.invalid"),
    ],
)
def test_a_wrong_status_is_refused(people: TestApp, data: dict[str, str], code: str) -> None:
    """An unknown person, nobody, no reason, a day to come."""
    assert refused(people, "beneficiaries.set_status", {"status": "inactive", **data}).code == code
    assert shown(people, "P1")["status"] == "active"


def test_a_photo_has_its_day(people: TestApp) -> None:
    """The photo is an attachment of the person; the day stands with the person."""
    answer = people.do("beneficiaries.set_photo", {"number": "P1", "content": JPEG, "on": "2020-06-01"})
    assert (answer["number"], answer["photo_on"]) == ("P1", "2020-06-01")
    assert shown(people, "P1")["photo_on"] == "2020-06-01"
    [listed] = people.do("attachments.list", {"about": shown(people, "P1")["id"]})
    assert (listed["id"], listed["name"], listed["media_type"]) == (answer["photo"], "photo", "image/jpeg")
    wrong = {"number": "P1", "content": JPEG, "media_type": "image/png"}
    assert [p.path for p in refused(people, "beneficiaries.set_photo", wrong).problems] == ["content"]
    late = {"number": "P1", "content": JPEG, "on": "2021-01-02"}
    assert [p.path for p in refused(people, "beneficiaries.set_photo", late).problems] == ["on"]


def test_a_household_s_poverty_is_confirmed(people: TestApp) -> None:
    """Poverty and the number of its confirmation, at registration and changed; attributes one by one."""
    member = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", "relationship": "head"}
    people.do(
        "beneficiaries.register_group",
        {
            "code": "G",
            "poverty": True,
            "confirmation_number": "K-1",
            "attributes": {"a": 1, "b": 2},
            "members": [member],
        },
    )
    group = people.do("beneficiaries.show_group", {"group": "G"})
    assert (group["poverty"], group["confirmation_number"]) == (True, "K-1")
    change = {"group": "G", "poverty": False, "confirmation_number": "K-2", "attributes": {"a": None, "c": "x"}}
    people.do("beneficiaries.change_group", change)
    group = people.do("beneficiaries.show_group", {"group": "G"})
    assert (group["poverty"], group["confirmation_number"], len(group["members"])) == (False, "K-2", 1)
    assert people.rows("SELECT attributes FROM core.groups WHERE code = 'G'")[0]["attributes"] == {"b": 2, "c": "x"}
    assert refused(people, "beneficiaries.change_group", {"group": "NONE", "poverty": True}).code == "not_found"
    assert people.do("beneficiaries.show_group", {"group": "F"})["poverty"] is None


def test_unique_attributes_of_groups_stay_unique(make_app: Any) -> None:
    """A value that another group has is refused; one that is given up is free."""
    card = {"card": {"type": "text", "of": "group", "unique": True}}
    app = make_app(settings={"deployment": {"attributes": card}})
    member = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", "relationship": "head"}
    for code in "FG":
        data = {"code": code, "attributes": {"card": code}, "members": [member]}
        app.do("beneficiaries.register_group", data)
    change = {"group": "G", "attributes": {"card": "F"}}
    assert [p.reason for p in refused(app, "beneficiaries.change_group", change).problems] == ["not_unique"]
    app.do("beneficiaries.change_group", {"group": "F", "attributes": {"card": "H"}})
    app.do("beneficiaries.change_group", change)
    wrong = {"group": "G", "attributes": {"other": 1}}
    assert [p.reason for p in refused(app, "beneficiaries.change_group", wrong).problems] == ["unknown"]
