"""Rules of registering and finding persons."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from attrs import evolve

from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.context import Context
from imis_core.errors import ImisError, Refusal
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker

ANNA = {"given_name": "Anna", "family_name": "Bah", "sex": "F", "birth_date": "1990-05-01"}


def person(**fields: Any) -> dict[str, Any]:
    return {**ANNA, **fields}


def refusal_of(app: TestApp, data: dict[str, Any], name: str = "beneficiaries.register_person") -> Refusal:
    with pytest.raises(ImisError) as error:
        app.do(name, data)
    return error.value.refusal


def deployment(make_app: AppMaker, **keys: Any) -> TestApp:
    return make_app(settings={"deployment": keys})


def with_places(app: TestApp) -> tuple[Caller, Caller]:
    """Places A and B, and a caller who sees A only, one who sees B only."""
    app.do_all("locations.add", [{"code": c, "name": c, "level": "district"} for c in "AB"])
    numbers = {r["code"]: r["id"] for r in app.rows("SELECT id, code FROM core.locations")}
    user = app.as_user("clerk").user
    a = Caller(user, "clerk", ("clerk",), frozenset({"*"}), everywhere=False, places=(numbers["A"],))
    return a, evolve(a, places=(numbers["B"],))


def test_a_person_is_shown_as_registered(app: TestApp) -> None:
    """What is registered is shown, with identifiers, attributes and place."""
    app.do("locations.add", {"code": "A", "name": "A", "level": "district"})
    result = app.do(
        "beneficiaries.register_person",
        person(number="N1", location="A", identifiers=[{"system": "nid", "value": "77"}], attributes={"poor": True}),
    )
    assert result["number"] == "N1"
    by_id = app.do("beneficiaries.show_person", {"person": result["id"]})
    assert by_id == app.do("beneficiaries.show_person", {"number": "N1"})
    assert by_id == {
        "id": result["id"], "number": "N1", **ANNA, "death_date": None, "status": "active", "location": "A",
        "attributes": {"poor": True}, "identifiers": [{"system": "nid", "value": "77"}], "groups": [],
        "location_id": app.do("locations.list", {"code": "A"})[0]["id"], "version": 1,
        "status_on": None, "status_reason": None, "photo_on": None,
    }  # fmt: skip
    history = app.rows("SELECT number, version, audit FROM core.persons_history")
    assert [(h["number"], h["version"]) for h in history] == [("N1", 1)]
    assert history[0]["audit"] is not None


def test_a_number_is_made_where_none_is_given(app: TestApp) -> None:
    """Generated numbers differ, and pass over those that were given by hand."""
    first = app.do("beneficiaries.register_person", person())["number"]
    ahead = [f"{int(first) + step:010d}" for step in range(1, 6)]
    outcomes = app.do_all(
        "beneficiaries.register_person", [person(), *(person(number=n) for n in ahead), person(), person()]
    )
    numbers = [first, *(o["number"] for o in outcomes)]
    assert numbers[2:7] == ahead
    assert len(set(numbers)) == len(numbers)


def test_a_number_belongs_to_one_person(app: TestApp) -> None:
    """The same number again, in the database or within a batch, is `beneficiaries.number_taken`; the first stays."""
    outcomes = app.do_all("beneficiaries.register_person", [person(number="N1"), person(number="N1", sex="M")])
    assert outcomes[0]["number"] == "N1"
    assert outcomes[1].code == "beneficiaries.number_taken"
    assert refusal_of(app, person(number="N1")).code == "beneficiaries.number_taken"
    assert [p["sex"] for p in app.do("beneficiaries.list")] == ["F"]


def test_a_number_rule_is_kept(make_app: AppMaker) -> None:
    """With a rule, given numbers are checked and generated ones satisfy it."""
    app = deployment(make_app, person_number={"length": 9, "checksum": "luhn"})
    made = app.do("beneficiaries.register_person", person())["number"]
    assert len(made) == 9
    assert refusal_of(app, person(number="1234")).code == "beneficiaries.number_length"
    assert refusal_of(app, person(number="123456789")).code == "beneficiaries.number_checksum"


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"birth_date": "2021-01-02"}, "birth_date", "future"),
        ({"birth_date": "1879-12-31"}, "birth_date", "range"),
        ({"sex": "X"}, "sex", "choice"),
        ({"given_name": None}, "given_name", "required"),
        ({"family_name": "  "}, "family_name", "required"),
        ({"number": ""}, "number", "required"),
        ({"identifiers": [{"system": "nid", "value": ""}]}, "identifiers.0.value", "required"),
        ({"attributes": {"height": 1e19}}, "attributes.height", "range"),
        ({"attributes": {"height": 1e-61}}, "attributes.height", "range"),
        ({"attributes": {"a": [[[[["deep"]]]]]}}, "attributes.a.0.0.0.0", "too_deep"),
        ({"attributes": {"a": "\x00"}}, "attributes.a", "nul"),
        ({"attributes": {"a": 2**63}}, "attributes.a", "range"),
        ({"location": "X"}, "location", "not_found"),
    ],
)
def test_a_wrong_person_is_refused_with_its_path(app: TestApp, fields: dict[str, Any], path: str, reason: str) -> None:
    """Each mistake is told with its path, and nothing is written."""
    refusal = refusal_of(app, person(**fields))
    assert [(p.path, p.reason) for p in refusal.problems] == [(path, reason)]
    assert app.do("beneficiaries.list") == []


def test_birth_on_the_edges(app: TestApp) -> None:
    """Born today and born on the first day of 1880 are both possible."""
    outcomes = app.do_all("beneficiaries.register_person", [person(birth_date=d) for d in ("2021-01-01", "1880-01-01")])
    assert not any(isinstance(o, Refusal) for o in outcomes)


def test_names_may_be_absent_where_the_deployment_says_so(make_app: AppMaker) -> None:
    """With `person_names = "optional"` a person without names is registered."""
    app = deployment(make_app, person_names="optional")
    app.do("beneficiaries.register_person", {"sex": "M", "birth_date": "2000-01-01"})
    assert app.do("beneficiaries.list")[0]["family_name"] is None


def test_free_attributes_are_kept_as_they_are(app: TestApp) -> None:
    """Without declared attributes any exact JSON is kept: text, numbers, truth values, lists and tables."""
    attributes = {"a": "text\nmore", "b": 3, "b2": 1.5, "c": False, "d": [1, ["x"]], "e": {"f": {"g": "h"}}}
    result = app.do("beneficiaries.register_person", person(attributes={**attributes, "none": None}))
    assert app.do("beneficiaries.show_person", {"person": result["id"]})["attributes"] == attributes


DECLARED = {
    "card": {"type": "text", "unique": True},
    "income": {"type": "decimal"},
    "water": {"type": "choice", "choices": ["well", "river"]},
    "visited": {"type": "date"},
    "rooms": {"type": "int", "of": "group"},
    "consent": {"type": "bool", "required": True, "masked": True},
}


@pytest.mark.parametrize(
    ("attributes", "path", "reason"),
    [
        ({}, "attributes.consent", "required"),
        ({"consent": "yes"}, "attributes.consent", "type"),
        ({"consent": True, "water": "tap"}, "attributes.water", "choice"),
        ({"consent": True, "income": 1e19}, "attributes.income", "range"),
        ({"consent": True, "income": "a lot"}, "attributes.income", "format"),
        ({"consent": True, "visited": "2021-02-30"}, "attributes.visited", "date"),
        ({"consent": True, "rooms": 3}, "attributes.rooms", "unknown"),
        ({"consent": True, "incom": "3"}, "attributes.incom", "unknown"),
    ],
)
def test_declared_attributes_are_checked(
    make_app: AppMaker, attributes: dict[str, Any], path: str, reason: str
) -> None:
    """Declared attributes have their type, choices and presence checked; others are refused."""
    app = deployment(make_app, attributes=DECLARED)
    assert [(p.path, p.reason) for p in refusal_of(app, person(attributes=attributes)).problems] == [(path, reason)]


def test_a_declared_decimal_is_text_or_a_number(make_app: AppMaker) -> None:
    """A decimal is kept as the text of what was written, with a point or without."""
    app = deployment(make_app, attributes=DECLARED)
    for given, shown in (("12.50", "12.50"), (0.1, "0.1"), (3, "3"), (1e-7, "0.0000001")):
        made = app.do("beneficiaries.register_person", person(attributes={"consent": True, "income": given}))
        person_shown = app.do("beneficiaries.show_person", {"person": made["id"]})
        assert person_shown["attributes"]["income"] == shown


def test_a_unique_attribute_has_one_owner(make_app: AppMaker) -> None:
    """A value of a unique attribute belongs to one person, in the database and within a batch."""
    app = deployment(make_app, attributes=DECLARED)
    one = person(attributes={"consent": True, "card": "C1", "income": "12.50", "visited": "2020-02-29"})
    outcomes = app.do_all("beneficiaries.register_person", [one, one])
    assert [(p.path, p.reason) for p in outcomes[1].problems] == [("attributes.card", "not_unique")]
    assert refusal_of(app, one).problems[0].reason == "not_unique"
    app.do("beneficiaries.register_person", person(attributes={"consent": True, "card": "C2"}))


def test_masked_attributes_need_a_permission(make_app: AppMaker) -> None:
    """A masked attribute is shown to callers with `beneficiaries.unmask` only."""
    app = deployment(make_app, attributes=DECLARED)
    number = app.do("beneficiaries.register_person", person(attributes={"consent": True}))["number"]
    clerk = Caller(1, "clerk", (), frozenset({"beneficiaries.show_person"}), everywhere=True)
    shown = app.do("beneficiaries.show_person", {"number": number}, as_=clerk)
    assert shown["attributes"] == {"consent": "***"}
    assert app.do("beneficiaries.show_person", {"number": number})["attributes"] == {"consent": True}


def test_a_caller_sees_the_persons_of_his_places(app: TestApp) -> None:
    """Persons of another place, and persons without a place, are not found and not listed."""
    a, b = with_places(app)
    app.do_all(
        "beneficiaries.register_person",
        [person(number="NA", location="A"), person(number="NB", location="B"), person(number="N0")],
    )
    assert [p["number"] for p in app.do("beneficiaries.list", as_=a)] == ["NA"]
    assert [p["number"] for p in app.do("beneficiaries.list", as_=b)] == ["NB"]
    assert len(app.do("beneficiaries.list")) == 3
    for number in ("NB", "N0"):
        with pytest.raises(ImisError) as error:
            app.do("beneficiaries.show_person", {"number": number}, as_=a)
        assert error.value.code == "not_found"


def test_a_caller_registers_in_his_places_only(app: TestApp) -> None:
    """Another place is not found; no place at all is for callers who see everything."""
    a, _ = with_places(app)
    outcomes = [
        app.do_all("beneficiaries.register_person", [person(**fields)], as_=a)[0]
        for fields in ({"location": "A"}, {"location": "B"}, {})
    ]
    assert isinstance(outcomes[0], dict)
    assert (outcomes[1].code, outcomes[1].problems[0].path) == ("not_found", "location")
    assert (outcomes[2].code, outcomes[2].problems[0].path) == ("input.invalid", "location")


def test_numbers_are_unique_beyond_what_a_caller_sees(app: TestApp) -> None:
    """A number of a person whom the caller does not see is taken all the same."""
    a, _ = with_places(app)
    app.do("beneficiaries.register_person", person(number="NB", location="B"))
    outcome = app.do_all("beneficiaries.register_person", [person(number="NB", location="A")], as_=a)[0]
    assert outcome.code == "beneficiaries.number_taken"


def test_a_contracted_provider_finds_by_exact_number(app: TestApp) -> None:
    """Exact look-up finds anybody by number, leaves a row in the log, and sees that person from then on."""
    clerk, _ = with_places(app)
    provider = evolve(clerk, places=(), providers=(1,))
    app.do("beneficiaries.register_person", person(number="NB", location="B"))
    for caller, exact, found in ((provider, True, {"NB"}), (provider, False, set()), (clerk, True, set())):
        with app.database.command(caller) as (connection, audit):
            context = Context(app, connection, caller, app.clock.now(), app.clock.today(), audit, "eligibility.check")
            assert set(resolve_persons(context, ["NB", "NX"], exact=exact)) == found
    log = app.rows("SELECT l.command, p.number FROM core.lookups l JOIN core.persons p ON p.id = l.person")
    assert [tuple(r.values()) for r in log] == [("eligibility.check", "NB")]


def test_the_list_is_filtered(app: TestApp) -> None:
    """By place and below, by number, by how a name begins, case apart; wildcards are plain characters."""
    app.do("locations.add", {"code": "R", "name": "R", "level": "region"})
    app.do("locations.add", {"code": "D", "name": "D", "level": "district", "parent": "R"})
    app.do_all(
        "beneficiaries.register_person",
        [person(number="1", location="D"), person(number="2", given_name="Bana%"), person(number="3", family_name="X")],
    )

    def found(**filters: Any) -> list[str]:
        return [p["number"] for p in app.do("beneficiaries.list", filters)]

    assert found(location="R") == ["1"]
    assert found(number="2") == ["2"]
    assert found(name="ba") == ["1", "2"]
    assert found(name="%") == []


def test_a_batch_takes_a_constant_number_of_statements(app: TestApp) -> None:
    """Ten persons cost as many statements as two thousand."""

    def statements(count: int) -> int:
        batch = [person(identifiers=[{"system": "s", "value": "v"}]) for _ in range(count)]
        before = app.database.statements
        assert not any(isinstance(o, Refusal) for o in app.do_all("beneficiaries.register_person", batch))
        return app.database.statements - before

    statements(1)  # the first command of an application also reads the roles
    assert statements(10) == statements(2_000)


def test_concurrent_twins_leave_one_person(app: TestApp) -> None:
    """Two commands with the same numbers at the same time: each number is registered once, the other is refused."""
    app.as_user("administrator")
    batch = [person(number=f"T{i}") for i in range(40)]

    def run(_: int) -> list[Any]:
        return app.do_all("beneficiaries.register_person", batch)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(run, range(4)))
    for outcomes in zip(*answers, strict=True):
        codes = [o.code for o in outcomes if isinstance(o, Refusal)]
        assert codes == ["beneficiaries.number_taken"] * 3
    assert app.rows("SELECT count(*) AS n FROM core.persons")[0]["n"] == 40


@pytest.mark.parametrize(
    ("on", "code", "path"),
    [("2021-01-02", "input.invalid", "on"), ("1990-04-30", "input.invalid", "on")],
)
def test_a_death_lies_between_birth_and_today(app: TestApp, on: str, code: str, path: str) -> None:
    """A death in the future or before birth is refused."""
    app.do("beneficiaries.register_person", person(number="N1"))
    refusal = refusal_of(app, {"number": "N1", "on": on}, "beneficiaries.record_death")
    assert (refusal.code, refusal.problems[0].path) == (code, path)


def test_a_person_dies_once(app: TestApp) -> None:
    """The second death is `beneficiaries.wrong_state`, also within a batch; without a group there is none to show."""
    app.do("beneficiaries.register_person", person(number="N1"))
    outcomes = app.do_all("beneficiaries.record_death", [{"number": "N1"}, {"person": "N1"}])
    assert (outcomes[0]["number"], outcomes[0]["death_date"], outcomes[0]["code"]) == ("N1", "2021-01-01", None)
    assert outcomes[1].code == "beneficiaries.wrong_state"
    shown = app.do("beneficiaries.show_person", {"number": "N1"})
    assert (shown["death_date"], shown["status"]) == (date(2021, 1, 1).isoformat(), "active")
