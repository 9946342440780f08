"""Rules of changing persons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.beneficiaries.waves import in_waves
from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp


def person(number: str, **fields: Any) -> dict[str, Any]:
    return {
        "number": number, "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", **fields,
    }  # fmt: skip


def change(app: TestApp, **data: Any) -> Any:
    return app.do("beneficiaries.change_person", data)


def refusal_of(app: TestApp, **data: Any) -> Refusal:
    with pytest.raises(ImisError) as error:
        change(app, **data)
    return error.value.refusal


def show(app: TestApp, number: str) -> Any:
    return app.do("beneficiaries.show_person", {"number": number})


def test_what_is_left_out_stays(app: TestApp) -> None:
    """Only the given fields change; an attribute given as null goes; every version is in the trail."""
    app.do("locations.add", {"code": "V", "name": "V", "level": "x"})
    app.do("beneficiaries.register_person", person("P1", attributes={"phone": "1", "roof": "tin"}))
    changed = change(app, number="P1", family_name="C", location="V", attributes={"phone": None, "water": "well"})
    shown = show(app, "P1")
    assert (changed["id"], changed["number"]) == (shown["id"], "P1")
    assert (shown["given_name"], shown["family_name"], shown["location"]) == ("A", "C", "V")
    assert shown["attributes"] == {"roof": "tin", "water": "well"}
    trail = app.do("audit.trail", {"entity": shown["id"]})
    assert trail[-1]["changes"]["family_name"] == ["B", "C"]


def test_identifiers_are_replaced_as_a_whole(app: TestApp) -> None:
    """`identifiers`, where given, are all that the person has."""
    nid, tax = ({"system": system, "value": "1"} for system in ("nid", "tax"))
    app.do("beneficiaries.register_person", person("P1", identifiers=[nid, tax]))
    change(app, number="P1", identifiers=[tax, {"system": "card", "value": "2"}])
    assert [i["system"] for i in show(app, "P1")["identifiers"]] == ["tax", "card"]
    change(app, number="P1", given_name="Z")
    assert len(show(app, "P1")["identifiers"]) == 2
    change(app, number="P1", identifiers=[])
    assert show(app, "P1")["identifiers"] == []


def test_a_new_number_is_free(app: TestApp) -> None:
    """Beside `person`, `number` is the new number: a taken one is refused, a freed one can be taken in the batch."""
    app.do_all("beneficiaries.register_person", [person("P1"), person("P2")])
    assert refusal_of(app, person="P1", number="P2").code == "beneficiaries.number_taken"
    wanted = [{"person": "P1", "number": "P9"}, {"person": "P2", "number": "P1"}, {"number": "P9", "sex": "M"}]
    assert [o["number"] for o in app.do_all("beneficiaries.change_person", wanted)] == ["P9", "P1", "P9"]
    assert show(app, "P9")["sex"] == "M"


def test_unique_values_stay_unique(make_app: Callable[..., TestApp]) -> None:
    """A unique attribute of another person is refused; one that was given up can be taken."""
    rules = {"card": {"type": "text", "unique": True}, "zone": {"type": "choice", "choices": ["n"], "required": True}}
    app = make_app(plugins=[], settings={"deployment": {"attributes": rules}})
    for i in "12":
        app.do("beneficiaries.register_person", person(f"P{i}", attributes={"card": f"C{i}", "zone": "n"}))
    refusal = refusal_of(app, number="P1", attributes={"card": "C2"})
    assert (refusal.code, refusal.problems[0].path) == ("input.invalid", "attributes.card")
    outcomes = app.do_all(
        "beneficiaries.change_person", [{"number": n, "attributes": {"card": "C3"}} for n in ("P1", "P2")]
    )
    assert outcomes[0]["number"] == "P1"
    assert outcomes[1].problems[0].reason == "not_unique"
    change(app, number="P2", attributes={"card": "C1"})
    refusal = refusal_of(app, number="P1", attributes={"zone": None})
    assert [(p.path, p.reason) for p in refusal.problems] == [("attributes.zone", "required")]


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        ({"number": "X"}, "not_found", "number"),
        ({"person": "X"}, "not_found", "person"),
        ({}, "input.invalid", "person"),
        ({"number": "P1", "birth_date": "2021-01-02"}, "input.invalid", "birth_date"),
        ({"number": "P1", "given_name": ""}, "input.invalid", "given_name"),
        ({"number": "P1", "sex": "X"}, "input.invalid", "sex"),
        ({"number": "P1", "location": "X"}, "not_found", "location"),
        ({"number": "P1", "identifiers": [{"system": "", "value": "1"}]}, "input.invalid", "identifiers.0.system"),
        ({"number": "D", "birth_date": "2020-06-01"}, "input.invalid", "birth_date"),
    ],
)
def test_changes_follow_the_rules_of_a_registration(app: TestApp, data: dict[str, Any], code: str, path: str) -> None:
    """What a registration would refuse a change refuses too, with its path."""
    app.do_all("beneficiaries.register_person", [person("P1"), person("D")])
    app.do("beneficiaries.record_death", {"number": "D", "on": "2020-05-01"})
    refusal = refusal_of(app, **data)
    assert (refusal.code, refusal.problems[0].path) == (code, path)


def test_many_changes_take_the_same_statements(app: TestApp) -> None:
    """The number of statements does not depend on the number of persons."""
    app.do_all("beneficiaries.register_person", [person(f"P{i}") for i in range(60)])
    counts = []
    for chunk in (range(5), range(5, 60)):
        before = app.database.statements
        app.do_all("beneficiaries.change_person", [{"number": f"P{i}", "given_name": "Z"} for i in chunk])
        counts.append(app.database.statements - before)
    assert counts[0] == counts[1]


@given(st.lists(st.frozensets(st.integers(0, 6), max_size=3), max_size=20))
def test_waves_keep_the_order_of_what_touches(touched: list[frozenset[int]]) -> None:
    """Every item is in one wave; two that touch the same are in different waves, the earlier one first."""
    waves = in_waves(touched)
    wave_of = {position: number for number, wave in enumerate(waves) for position in wave}
    assert sorted(wave_of) == list(range(len(touched)))
    for later, keys in enumerate(touched):
        for earlier in range(later):
            if keys & touched[earlier]:
                assert wave_of[earlier] < wave_of[later]
