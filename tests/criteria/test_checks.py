"""Mistakes that are certain before any row is read, and the criterion as a field of terms."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from imis_core.api import Criterion, expression_problems, parse_expression
from imis_core.deployment import AttributeRule
from imis_core.parsing import InvalidInput, parse, plain

DECLARED = {
    "debt": AttributeRule("decimal"),
    "pensioner": AttributeRule("bool"),
    "enrolled_on": AttributeRule("date"),
    "note": AttributeRule("text"),
    "water": AttributeRule("choice", "group", choices=("well", "river")),
    "rooms": AttributeRule("int", "group"),
}


@pytest.mark.parametrize(
    "text",
    [
        "count(members where age < 2 and sex = 'F') >= 1 and not any(members where pensioner)",
        "head.age < 18 or sum(debt of members) > 500",
        "water in ['well', 'river']",
        "all(members where note is not missing)",
        "rooms * 2 + size > max(age of members)",
        "min(enrolled_on of members) < date '2020-01-01'",
        "head.note < date '2020-01-01'",
        "any(members) = any(members where pensioner)",
        "primary.birth_date >= head.birth_date",
    ],
)
def test_sound_expressions(text: str) -> None:
    """What is known and fits is no problem, with a schema and without one."""
    assert expression_problems(parse_expression(text), "household", DECLARED, "bool") == []
    assert expression_problems(parse_expression(text), "household", None, "bool") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wather = 'well'", "there is no name 'wather' of a household; did you mean 'water'"),
        ("debt > 5", "there is no name 'debt' of a household"),
        ("any(members where rooms > 1)", "there is no name 'rooms' of a member"),
        ("head.rooms > 1", "there is no name 'rooms' of a member"),
        ("any(members where size > 1)", "there is no name 'size' of a member"),
        ("water > 5", "'water' is text, 5 is a number: they are never comparable"),
        ("rooms in [1, 'x']", "'rooms' is a number, 'x' is text: they are never comparable"),
        ("count(members where pensioner > true) > 1", "true and false have no order"),
        ("sum(note of members) > 1", "'note' is text, but stands where a number is needed"),
        ("max(pensioner of members) = true", "'pensioner' is a condition; true and false have no least"),
        ("water and rooms", "'rooms' is a number, but stands where a condition is needed"),
    ],
)
def test_problems_with_a_schema(text: str, says: str) -> None:
    """With declared attributes an unknown name and a kind that never fits are mistakes."""
    found = expression_problems(parse_expression(text), "household", DECLARED)
    assert [problem for problem in found if says in problem], found


@pytest.mark.parametrize(
    ("text", "unit", "says"),
    [
        ("count(members) > 1", "person", "count(...) is asked of a person; only a household has members"),
        ("head.age > 1", "person", "head.age is asked of a person; only a household has a head"),
        ("any(members where count(members) > 1)", "household", "count(...) stands within another"),
        ("any(members where head.age > 1)", "household", "head.age is asked of a member"),
        ("sum(head.age of members) > 1", "household", "head.age is asked of a member"),
        ("any(members)", "member", "only a household has members"),
        ("age on date '2020-01-01' > 1", "household", "age on a date is asked of a household"),
        ("sex < 5", "person", "'sex' is text, 5 is a number: they are never comparable"),
        ("birth_date < '2020-01-01'", "person", "a date is written date '2020-01-31'"),
        ("birth_date + 1 > 2", "person", "'birth_date' is a date, but stands where a number is needed"),
        ("age and true", "person", "'age' is a number, but stands where a condition is needed"),
        ("not 1", "person", "1 is a number, but stands where a condition is needed"),
        ("true < x", "person", "true and false have no order"),
        ("size", "household", "'size' is a number, but stands where a condition is needed"),
    ],
)
def test_problems_without_a_schema(text: str, unit: Any, says: str) -> None:
    """Members belong to households only, aggregates do not nest, and built-in names have a kind."""
    found = expression_problems(parse_expression(text), unit, None, "bool")
    assert [problem for problem in found if says in problem], found


def test_free_attributes_are_names() -> None:
    """Without declared attributes any other name is an attribute, and may be of any kind."""
    text = "anything = 1 or other = 'x' or third or fourth + 1 > 2 or any(members where size > 'x') or age = fifth"
    assert expression_problems(parse_expression(text), "household", None, "bool") == []


@frozen
class Terms:
    criteria: Criterion | None = None
    exits: tuple[Criterion, ...] = ()


def test_criterion_in_terms() -> None:
    """A criterion is read when terms are read, and is its text again outside."""
    terms = parse({"criteria": "size > 3", "exits": ["size = 0"]}, Terms)
    assert terms.criteria is not None
    assert terms.criteria.expression == parse_expression("size > 3")
    assert plain(terms) == {"criteria": "size > 3", "exits": ["size = 0"]}


def test_unreadable_criterion() -> None:
    """An unreadable criterion is a problem at its path."""
    with pytest.raises(InvalidInput) as caught:
        parse({"criteria": "size >", "exits": ["size = 0", 5]}, Terms)
    assert {(problem.path, problem.reason) for problem in caught.value.problems} == {
        ("criteria", "expression"),
        ("exits.1", "type"),
    }


@pytest.mark.parametrize(
    ("unit", "text", "says"),
    [
        ("patient", "claim.overnight and facility.level = 'hospital' and size > 2 and head.age > 3", None),
        ("patient", "claim.visit_typ = 'other'", "there is no name 'visit_typ' of a claim"),
        ("patient", "claim.overnight = 'yes'", "never comparable"),
        ("person", "claim.overnight", "only where a claim is judged there is a claim"),
        ("household", "facility.level = 'hospital'", "only where a claim is judged there is a facility"),
    ],
)
def test_claim_and_facility_are_asked_of_patients_only(unit: Any, text: str, says: str | None) -> None:
    """A patient has a person's names, a household's, and those of claim and facility; nobody else has the last two."""
    found = expression_problems(parse_expression(text), unit, None, "bool")
    assert (not found) if says is None else any(says in message for message in found), found
