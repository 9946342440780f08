"""Random expressions over random households: the database answers what a plain reading of the language answers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.criteria.compiling import Criteria
from imis_core.criteria.expressions import Expression
from imis_core.criteria.parser import parse_expression
from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application
from tests.criteria import oracle
from tests.criteria.worlds import TODAY, World, build, context_of

DECLARED = {
    "person": {"flag": "bool", "amount": "decimal", "day": "date", "water": "text"},
    "group": {"rooms": "int", "roof": "choice", "since": "date", "owned": "bool"},
}
KINDS = ("number", "text", "bool", "date")


def _declaration() -> dict[str, Any]:
    choices = {"choice": {"choices": ["well", "river"]}}
    return {
        name: {"type": kind, "of": of, **choices.get(kind, {})}
        for of in DECLARED
        for name, kind in DECLARED[of].items()
    }


class Populated:
    """An application whose database holds the world. No attrs class: those are shown whole by hypothesis."""

    def __init__(self, app: TestApp, world: World) -> None:
        self.app = app
        self.world = world


@pytest.fixture(scope="module", params=["free", "declared"])
def populated(request: pytest.FixtureRequest, playground: Playground) -> Iterator[Populated]:
    declared = DECLARED if request.param == "declared" else None
    more = {"attributes": _declaration()} if declared else {}
    with test_application(playground, TODAY, {"deployment": more}, plugins=()) as app:
        yield Populated(app, build(app, seed=7, households=120, declared=declared))


LITERALS = (
    "0", "1", "2", "3.5", "0.1", "18", "60", "'well'", "'river'", "''", "'o''k'", "'F'", "'D1'", "'H01'", "true",
    "false", "date '2020-02-29'", "date '2003-03-01'", "date '2021-03-01'", "date '0001-01-01'", "date '9999-12-31'",
)  # fmt: skip
ATTRIBUTES = ("flag", "amount", "day", "water", "`odd name`")
OF_GROUPS = ("rooms", "roof", "since", "owned")
OF_PERSON = ("sex", "age", "age on date '2020-02-29'", "birth_date", "number", "location", "relationship", "recipient")
OF_HOUSEHOLD = ("code", "location", "size")


def _names(unit: str) -> list[str]:
    persons = [*OF_PERSON, *ATTRIBUTES]
    if unit != "household":
        return persons
    return [
        *OF_HOUSEHOLD,
        *ATTRIBUTES,
        *OF_GROUPS,
        *(f"{who}.{name}" for who in ("head", "primary") for name in persons),
    ]


@st.composite
def values(draw: st.DrawFn, unit: str, depth: int) -> str:
    shape = draw(st.sampled_from(("literal", "name", "name", "aggregate", "arithmetic", "minus", "condition")))
    if shape == "aggregate" and unit == "household":
        return draw(aggregates(depth))
    if shape == "arithmetic" and depth:
        sign = draw(st.sampled_from(("+", "-", "*")))
        text = f"{draw(values(unit, depth - 1))} {sign} {draw(values(unit, depth - 1))}"
        return f"({text})" if draw(st.booleans()) else text
    if shape == "minus" and depth:
        return f"-{draw(names_or_numbers(unit))}"
    if shape == "condition" and depth:
        return f"({draw(conditions(unit, depth - 1))})"
    if shape == "literal":
        return draw(st.sampled_from(LITERALS))
    return draw(st.sampled_from(_names(unit)))


def names_or_numbers(unit: str) -> st.SearchStrategy[str]:
    return st.sampled_from((*_names(unit), "1", "2.5"))


@st.composite
def aggregates(draw: st.DrawFn, depth: int) -> str:
    function = draw(st.sampled_from(("count", "any", "all", "sum", "min", "max")))
    argument = f"{draw(st.sampled_from(_names('member')))} of " if function in ("sum", "min", "max") else ""
    where = f" where {draw(conditions('member', max(depth - 1, 0)))}" if draw(st.booleans()) else ""
    return f"{function}({argument}members{where})"


@st.composite
def conditions(draw: st.DrawFn, unit: str, depth: int) -> str:
    shape = draw(st.sampled_from(("compare", "compare", "in", "missing", "bare", "not", "and", "or", "aggregate")))
    if shape in ("and", "or") and depth:
        joined = f" {shape} ".join(draw(st.lists(conditions(unit, depth - 1), min_size=2, max_size=3)))
        return f"({joined})" if draw(st.booleans()) else joined
    if shape == "not" and depth:
        return f"not {draw(conditions(unit, depth - 1))}"
    if shape == "in":
        listed = ", ".join(draw(st.lists(st.sampled_from(LITERALS), min_size=1, max_size=3)))
        return f"{draw(values(unit, depth))} in [{listed}]"
    if shape == "missing":
        return f"{draw(values(unit, depth))} is {draw(st.sampled_from(('', 'not ')))}missing"
    if shape == "aggregate" and unit == "household":
        return draw(aggregates(depth))
    if shape == "bare":
        return draw(st.sampled_from(_names(unit)))
    sign = draw(st.sampled_from(("=", "!=", "<", "<=", ">", ">=")))
    return f"{draw(values(unit, depth))} {sign} {draw(values(unit, depth))}"


def expressions(unit: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.one_of(conditions(unit, 2), values(unit, 2)), min_size=15, max_size=15)


def comparable(value: Any) -> Any:
    return Fraction(value) if isinstance(value, Decimal) else value


def check(app: TestApp, rows: dict[int, oracle.Row], unit: Any, texts: list[str]) -> None:
    """All expressions in one statement: met or not, and the value as every kind, for every row."""
    parsed: list[Expression] = [parse_expression(text) for text in texts]
    with context_of(app) as context:
        criteria = Criteria(context, unit, sa.literal(TODAY))
        columns: list[Any] = []
        for expression in parsed:
            columns.append(criteria.condition(expression))
            columns += [criteria.value(expression, kind).column for kind in KINDS]
        labelled = [column.label(f"v{place}") for place, column in enumerate(columns)]
        answers = context.execute(sa.select(criteria.unit.c.id, *labelled).select_from(criteria.from_clause())).all()
    assert sorted(answer[0] for answer in answers) == sorted(rows)
    for key, *found in answers:
        for place, (text, expression) in enumerate(zip(texts, parsed, strict=True)):
            row = rows[key]
            met, *read = found[5 * place : 5 * place + 5]
            assert met is oracle.met(expression, row), (text, key)
            for kind, value in zip(KINDS, read, strict=True):
                assert comparable(value) == oracle.read(expression, row, kind), (text, kind, key)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(texts=expressions("household"))
def test_households(populated: Populated, texts: list[str]) -> None:
    """What an expression says of a household is the same in the database and in the plain reading."""
    check(populated.app, populated.world.households, "household", texts)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(texts=expressions("person"))
def test_persons(populated: Populated, texts: list[str]) -> None:
    """What an expression says of a person is the same in the database and in the plain reading."""
    check(populated.app, populated.world.persons, "person", texts)
