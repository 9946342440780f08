"""The rules of contract-kernel.md, Criteria, one by one, answered by the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.api import Context, Criteria, count_of, equals, expression_problems, parse_expression
from imis_core.beneficiaries.tables import groups, persons
from imis_core.criteria.parser import DEPTH_MAX, LENGTH_MAX, TIMES_MAX
from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application
from tests.criteria.worlds import context_of

TODAY = date(2021, 3, 1)


def member(number: str, relationship: str, sex: str, born: str, recipient: str | None = None, **more: Any) -> Any:
    fields = {"number": number, "relationship": relationship, "sex": sex, "birth_date": born, "attributes": more}
    return {"given_name": "A", "family_name": "B", **fields, **({"recipient": recipient} if recipient else {})}


HOUSEHOLDS = (
    {
        "code": "GIRL", "location": "D1", "attributes": {"water": "well", "rooms": 2, "where": "here", "size": 99},
        "members": [
            member("1", "head", "M", "1980-05-05", pensioner=False, debt=300, attends_school=False),
            member("2", "spouse", "F", "1985-01-01", "primary", debt=250, age=5),
            member("3", "child", "F", "2020-02-29", pensioner=False, attends_school=True),
        ],
    },
    {
        "code": "OLD", "location": "D2", "attributes": {"water": "tap", "rooms": "2", "since": "2020-02-30"},
        "members": [
            member("4", "head", "F", "1960-03-02", pensioner=True, attends_school=False, debt="a lot"),
            member("5", "grandparent", "F", "1961-03-01", attends_school=True, nick="b"),
        ],
    },
    {
        "code": "YOUNG", "attributes": {"since": "2020-02-29"},
        "members": [member("6", "head", "M", "2003-03-02", debt=501),
                    member("7", "child", "M", "2021-01-01", nick="a")],
    },
    {"code": "NONE", "members": [member("8", "head", "M", "1990-01-01")]},
)  # fmt: skip


@pytest.fixture(scope="module")
def app(playground: Playground) -> Iterator[TestApp]:
    with test_application(playground, TODAY, plugins=()) as app:
        for code in ("D1", "D2"):
            app.do("locations.add", {"code": code, "name": code, "level": "district"})
        for household in HOUSEHOLDS:
            app.do("beneficiaries.register_group", household)
        app.do("beneficiaries.record_death", {"number": "8"})  # the household NONE has nobody left
        yield app


Ask = Callable[..., Any]


@pytest.fixture
def met(app: TestApp) -> Ask:
    """The codes of the households, or the numbers of the persons, that meet an expression."""

    def ask(text: str, unit: Any = "household", on: date = TODAY) -> set[str]:
        with context_of(app) as context:
            criteria = Criteria(context, unit, sa.literal(on))
            condition = criteria.condition(parse_expression(text))
            name = groups.c.code if unit == "household" else persons.c.number
            rows = context.execute(sa.select(name, condition).select_from(criteria.from_clause())).all()
        assert all(type(truth) is bool for _, truth in rows)
        return {name for name, truth in rows if truth}

    return ask


@pytest.fixture
def worth(app: TestApp) -> Ask:
    """What an expression is worth, by household code or person's number."""

    def ask(text: str, unit: Any = "household", kind: Any = None) -> Mapping[str, Any]:
        with context_of(app) as context:
            criteria = Criteria(context, unit, sa.literal(TODAY))
            value = criteria.value(parse_expression(text), kind)
            name = groups.c.code if unit == "household" else persons.c.number
            rows = context.execute(sa.select(name, value.column).select_from(criteria.from_clause())).all()
        return {row[0]: row[1] for row in rows}

    return ask


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("count(members where age < 2 and sex = 'F') >= 1 and not any(members where pensioner)", {"GIRL"}),
        ("head.age < 18 or sum(debt of members) > 500", {"GIRL", "YOUNG"}),
        ("water in ['well','river']", {"GIRL"}),
        ("all(members where attends_school is not missing)", {"OLD", "NONE"}),
    ],
)
def test_examples_of_the_contract(met: Ask, text: str, codes: set[str]) -> None:
    """The contract's own examples of households."""
    assert expression_problems(parse_expression(text), "household", None, "bool") == []
    assert met(text) == codes


def test_age_on_a_date(met: Ask) -> None:
    """`age on date` takes the age on that day, whatever the reference date."""
    assert met("age on date '2021-01-01' >= 60", "person", on=date(2000, 1, 1)) == {"4"}
    assert met("age on date '2021-03-01' >= 60", "person") == {"4", "5"}


def test_age_is_full_years_on_the_reference_date(met: Ask) -> None:
    """A person turns a year older on the birthday; who was born on 29 February on 1 March of common years."""
    assert "3" not in met("age >= 1", "person", on=date(2021, 2, 28))
    assert "3" in met("age >= 1", "person", on=date(2021, 3, 1))
    assert "3" not in met("age >= 4", "person", on=date(2024, 2, 28))
    assert "3" in met("age >= 4", "person", on=date(2024, 2, 29))
    assert "6" in met("age = 17", "person", on=date(2021, 3, 1))
    assert met("age < 0", "person", on=date(2020, 12, 31)) == {"7"}


def test_names_of_a_person(met: Ask) -> None:
    """A person has sex, birth date, number, location, relationship, recipient and attributes."""
    assert met("sex = 'M'", "person") == {"1", "6", "7", "8"}
    assert met("birth_date <= date '1961-03-01'", "person") == {"4", "5"}
    assert met("number = '3'", "person") == {"3"}
    assert met("relationship in ['spouse', 'grandparent']", "person") == {"2", "5"}
    assert met("recipient = 'primary'", "person") == {"2", "4", "6"}
    assert met("nick = 'a'", "person") == {"7"}


def test_names_of_a_household(met: Ask) -> None:
    """A household has code, location, size, attributes, and those of its head and primary recipient."""
    assert met("code = 'OLD'") == {"OLD"}
    assert met("location = 'D2'") == {"OLD"}
    assert met("location is missing") == {"YOUNG", "NONE"}
    assert met("size = 2") == {"OLD", "YOUNG"}
    assert met("size = 0") == {"NONE"}
    assert met("head.sex = 'F'") == {"OLD"}
    assert met("primary.sex = 'F'") == {"GIRL", "OLD"}
    assert met("head.pensioner") == {"OLD"}
    assert met("primary.number = '2'") == {"GIRL"}
    assert met("head.sex is missing") == {"NONE"}


def test_a_built_in_name_wins(met: Ask) -> None:
    """A built-in name wins over an attribute of the same name."""
    assert met("size = 99") == set()
    assert met("age = 5", "person") == set()
    assert met("any(members where age = 5)") == set()


def test_quoted_names(met: Ask) -> None:
    """An attribute that is called like a keyword is quoted with backticks."""
    assert met("`where` = 'here'") == {"GIRL"}


def test_current_members_only(met: Ask) -> None:
    """Who left or died is no member."""
    assert met("any(members where sex = 'M')") == {"GIRL", "YOUNG"}
    assert met("count(members) = 0") == {"NONE"}


def test_bare_boolean(met: Ask) -> None:
    """A bare boolean name is a condition; a name of another type is not met."""
    assert met("pensioner", "person") == {"4"}
    assert met("not pensioner", "person") == {"1", "3"}
    assert met("water") == met("not water") == set()


def test_missing_is_unknown_and_unknown_is_not_met(met: Ask) -> None:
    """A comparison with a missing value is unknown; and, or, not follow SQL; unknown counts as not met."""
    assert met("debt > 0", "person") == {"1", "2", "6"}
    assert met("not debt > 0", "person") == set()
    assert met("debt = debt or sex = 'F'", "person") == {"1", "2", "3", "4", "5", "6"}
    assert met("not (debt > 0 and sex = 'F')", "person") == {"1", "6", "7", "8"}
    assert met("(debt > 0) is missing", "person") == {"3", "4", "5", "7", "8"}
    assert met("debt is missing", "person") == {"3", "5", "7", "8"}
    assert met("rooms + 1 is missing") == {"OLD", "YOUNG", "NONE"}


def test_undeclared_attributes_by_their_json_type(met: Ask) -> None:
    """Another type counts as missing, never as an error."""
    assert met("rooms = 2") == {"GIRL"}
    assert met("rooms = '2'") == {"OLD"}
    assert met("rooms != 2") == met("rooms != '3'") - {"OLD"} == set()
    assert met("rooms in [2, '2']") == {"GIRL", "OLD"}
    assert met("rooms = water or rooms = rooms") == {"GIRL", "OLD"}
    assert met("debt > 0 or debt = 'a lot'", "person") == {"1", "2", "4", "6"}


def test_text_is_read_as_a_date(met: Ask) -> None:
    """An attribute compares with a date as the ISO date that it is; what is no day is missing."""
    assert met("since < date '2021-01-01'") == {"YOUNG"}
    assert met("since >= '2020'") == {"OLD", "YOUNG"}


def test_aggregates(met: Ask, worth: Ask) -> None:
    """Count, any, all, sum, min and max over members, with and without a condition."""
    assert worth("count(members where sex = 'F')") == {"GIRL": 2, "OLD": 2, "YOUNG": 0, "NONE": 0}
    assert met("any(members where sex = 'F')") == {"GIRL", "OLD"}
    assert met("any(members)") == {"GIRL", "OLD", "YOUNG"}
    assert met("all(members where sex = 'F')") == {"OLD", "NONE"}
    assert met("all(members)") == {"GIRL", "OLD", "YOUNG", "NONE"}
    assert worth("sum(debt of members)") == {"GIRL": 550, "OLD": None, "YOUNG": 501, "NONE": None}
    assert worth("sum(debt of members where sex = 'F')") == {"GIRL": 250, "OLD": None, "YOUNG": None, "NONE": None}
    assert worth("max(age of members)") == {"GIRL": 40, "OLD": 60, "YOUNG": 17, "NONE": None}
    oldest = {"GIRL": date(1980, 5, 5), "OLD": date(1960, 3, 2), "YOUNG": date(2003, 3, 2), "NONE": None}
    assert worth("min(birth_date of members)") == oldest
    assert worth("min(nick of members)", kind="text") == {"GIRL": None, "OLD": "b", "YOUNG": "a", "NONE": None}
    assert met("min(nick of members) = 'a'") == {"YOUNG"}


def test_unknown_members(met: Ask, worth: Ask) -> None:
    """A member for whom the condition is unknown is not counted; all: every member must meet it."""
    assert worth("count(members where not pensioner)")["GIRL"] == 2
    assert met("all(members where not pensioner)") == {"NONE"}
    assert met("not any(members where pensioner)") == {"GIRL", "YOUNG", "NONE"}


def test_aggregates_are_values(met: Ask, worth: Ask) -> None:
    """Aggregates are computed with and compared; one without known value makes the whole missing."""
    assert met("size - count(members where sex = 'F') > 1") == {"YOUNG"}
    assert worth("sum(debt of members) * 1.1 - size")["GIRL"] == Decimal("602.0")
    assert met("sum(debt of members) > 0 or sum(debt of members) is missing") == {"GIRL", "OLD", "YOUNG", "NONE"}
    assert met("any(members) = any(members where sex = 'F')") == {"GIRL", "OLD", "NONE"}


def test_numbers_are_exact(worth: Ask) -> None:
    """No binary fractions: 0.1 + 0.2 is 0.3, and 30 digits stay."""
    assert set(worth("0.1 + 0.2").values()) == {Decimal("0.3")}
    digits = "1234567890" * 3
    product = Fraction(int(digits)) * Fraction(Decimal(f"1.{digits}"))
    assert {Fraction(found) for found in worth(f"{digits} * 1.{digits}").values()} == {product}


def test_no_expression_raises(met: Ask) -> None:
    """The longest, deepest and widest expressions are answered."""
    nine = "9" * 30
    wide = "*".join(["a"] * (TIMES_MAX + 1))
    big = "*".join([nine] * 30)
    everyone = {household["code"] for household in HOUSEHOLDS}
    assert met(f"{wide} is missing") == everyone
    assert met(f"{big} > {big[:-1]}0 and {nine}.{nine} * -{nine}.{nine} < 0") == everyone
    assert met("+".join(["1"] * (LENGTH_MAX // 2 - 3)) + " > 9") == everyone
    assert met(" or ".join(["a"] * 390) + " or true") == everyone
    assert met("not " * DEPTH_MAX + "true") == everyone
    assert met("- " * DEPTH_MAX + "1 = 1") == everyone
    assert met("(1 + " * DEPTH_MAX + "1" + ")" * DEPTH_MAX + " = 51") == everyone
    assert met("(1 = 1 and (1 = 2 or " * (DEPTH_MAX // 2) + "true" + "))" * (DEPTH_MAX // 2)) == everyone
    assert met("any(members where " + "not (" * 24 + "a" + ")" * 24 + ")") == set()


def test_another_kind_than_possible_is_not_met(met: Ask) -> None:
    """Expressions that nobody checked answer not met, never an error."""
    for text in ("code > 5", "size = 'x'", "true < false", "size and true", "sum(sex of members) > 0"):
        assert expression_problems(parse_expression(text), "household", None, "bool")
        assert met(text) == set()


def test_keys(app: TestApp) -> None:
    """A value's text, to be looked up in a table: numbers without trailing zeros, true and false, ISO dates."""
    wanted = {
        "rooms": "2", "rooms * 1.50": "3", "water": "well", "size > 1": "true", "head.birth_date": "1980-05-05",
        "head.pensioner": "false", "rooms * 100": "200", "nothing": None,
    }  # fmt: skip
    with context_of(app) as context:
        criteria = Criteria(context, "household", sa.literal(TODAY))
        keys = [criteria.key(parse_expression(text)).column for text in wanted]
        select = sa.select(*keys).select_from(criteria.from_clause()).where(groups.c.code == "GIRL")
        assert list(context.execute(select).one()) == list(wanted.values())


def test_made_expressions(app: TestApp) -> None:
    """`count_of` counts the members that meet a member's expression; `equals` compares with a plain value."""
    with context_of(app) as context:
        criteria = Criteria(context, "household", sa.literal(TODAY))
        women = criteria.value(count_of(parse_expression("sex = 'F'")))
        everybody = criteria.value(count_of(None))
        two = criteria.condition(equals(parse_expression("rooms"), 2))
        well = criteria.condition(equals(parse_expression("water"), "well"))
        select = sa.select(women.column, everybody.column, two, well).select_from(criteria.from_clause())
        assert women.kind == "number"
        assert context.execute(select.where(groups.c.code == "GIRL")).one() == (2, 3, True, True)


def test_only_some_groups(app: TestApp) -> None:
    """Members may be grouped for some households only; theirs are the same answers."""
    with context_of(app) as context:
        few = sa.select(groups.c.id).where(groups.c.code == "OLD")
        criteria = Criteria(context, "household", sa.literal(TODAY), only=few)
        condition = criteria.condition(parse_expression("count(members where sex = 'F') = 2"))
        select = sa.select(groups.c.code).select_from(criteria.from_clause()).where(condition)
        assert context.execute(select.where(groups.c.id.in_(few))).scalars().all() == ["OLD"]


def test_members_in_places_that_the_caller_does_not_see(make_app: Any) -> None:
    """A caller who does not see a whole household is told so; nobody's unseen members are counted."""
    app = make_app(today=TODAY, plugins=(), settings={"roles": {"clerk": {"permissions": ["*"], "scope": "place"}}})
    for code in ("D1", "D2"):
        app.do("locations.add", {"code": code, "name": code, "level": "district"})
    for code, place in (("SPLIT", "D2"), ("HERE", "D1")):
        members = [
            member(f"{code}1", "head", "F", "1980-01-01") | {"location": "D1"},
            member(f"{code}2", "child", "F", "2010-01-01") | {"location": place},
        ]
        app.do("beneficiaries.register_group", {"code": code, "location": "D1", "members": members})
    answers = {}
    for name, caller in (("all", app.system), ("clerk", app.as_user("anna", "clerk", places=["D1"]))):
        with app.database.query(caller) as connection:
            context = Context(app, connection, caller, app.clock.now(), TODAY)
            criteria = Criteria(context, "household", sa.literal(TODAY))
            size, whole = criteria.value(parse_expression("size")).column, criteria.whole()
            select = sa.select(groups.c.code, size, whole).select_from(criteria.from_clause())
            answers[name] = {tuple(row) for row in context.execute(select.where(context.scoped(groups)))}
    assert answers == {
        "all": {("SPLIT", 2, True), ("HERE", 2, True)},
        "clerk": {("SPLIT", 1, False), ("HERE", 2, True)},
    }


def test_two_in_one_statement(app: TestApp) -> None:
    """Criteria of persons and of households stand in one statement under different names."""
    with context_of(app) as context:
        households = Criteria(context, "household", sa.literal(TODAY), name="households")
        people = Criteria(context, "person", sa.literal(TODAY), name="people")
        women = people.condition(parse_expression("sex = 'F' and location is missing and relationship = 'spouse'"))
        large = households.condition(parse_expression("size > 2 and location = 'D1'"))
        select = (
            sa.select(groups.c.code, persons.c.number)
            .select_from(households.from_clause().join(people.from_clause(), sa.true()))
            .where(women, large)
        )
        assert [tuple(row) for row in context.execute(select)] == []
        assert "households_members" in str(select)


def test_members_are_grouped_once(app: TestApp) -> None:
    """However many aggregates are asked for, there is one grouped select and one join to it."""
    texts = ("count(members where age < 5) > 0", "sum(debt of members) > 1", "head.age > 3", "size > 1", "size = 2")
    with context_of(app) as context:
        criteria = Criteria(context, "household", sa.literal(TODAY))
        conditions = [criteria.condition(parse_expression(text)) for text in texts]
        statement = str(sa.select(*conditions).select_from(criteria.from_clause()))
        assert statement.count("GROUP BY") == 1
        assert statement.count("core.memberships") == statement.count("core.memberships.") + 1
        with pytest.raises(RuntimeError, match="before from_clause"):
            criteria.condition(parse_expression("size > 1"))
