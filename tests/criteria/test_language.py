"""What the text of an expression means: precedence, literals, names, limits, and errors with their position."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from imis_core.criteria.expressions import (
    Aggregate,
    And,
    Boolean,
    Comparison,
    Day,
    Expression,
    ExpressionError,
    Missing,
    Name,
    Negative,
    Not,
    Number,
    OneOf,
    Or,
    Product,
    Sum,
    Text,
)
from imis_core.criteria.parser import DEPTH_MAX, LENGTH_MAX, TIMES_MAX, parse_expression

A, B, C, ONE, TWO = Name("a"), Name("b"), Name("c"), Number(Decimal(1)), Number(Decimal(2))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a or b and c", Or((A, And((B, C))))),
        ("(a or b) and c", And((Or((A, B)), C))),
        ("not a and b", And((Not(A), B))),
        ("not a = 1", Not(Comparison("=", A, ONE))),
        ("not not a", Not(Not(A))),
        ("a + 1 < b - 2", Comparison("<", Sum((A, ONE)), Sum((B, Negative(TWO))))),
        ("a + b * 2", Sum((A, Product((B, TWO))))),
        ("(a + b) * 2", Product((Sum((A, B)), TWO))),
        ("-a * b", Product((Negative(A), B))),
        ("a - b - c", Sum((A, Negative(B), Negative(C)))),
        ("a - (b - c)", Sum((A, Negative(Sum((B, Negative(C))))))),
        ("- -a", Negative(Negative(A))),
        ("(a > 1) = b", Comparison("=", Comparison(">", A, ONE), B)),
    ],
)
def test_precedence(text: str, meaning: Expression) -> None:
    """Or binds loosest, then and, not, comparison, + and -, *, unary minus; parentheses overrule."""
    assert parse_expression(text) == meaning


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">="])
def test_comparisons(operator: str) -> None:
    """There are six comparisons."""
    assert parse_expression(f"a {operator} 1") == Comparison(operator, A, ONE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Number(Decimal(12))),
        ("1.50", Number(Decimal("1.5"))),
        ("0." + "1" * 30, Number(Decimal("0." + "1" * 30))),
        ("'it''s'", Text("it's")),
        ("''", Text("")),
        ("true", Boolean(True)),
        ("false", Boolean(False)),
        ("date '2020-01-31'", Day(date(2020, 1, 31))),
    ],
)
def test_literals(text: str, value: Expression) -> None:
    """Numbers are exact decimals, text has its quotes doubled, dates are days of the calendar."""
    assert parse_expression(text) == value


def test_lists() -> None:
    """A list has values of any kind, negative numbers among them."""
    values = (Text("a"), Number(Decimal(-1)), Boolean(True), Day(date(2020, 1, 31)))
    assert parse_expression("a in ['a', -1, true, date '2020-01-31']") == OneOf(A, values)


def test_missing() -> None:
    """`is missing` and `is not missing` ask of any value."""
    assert parse_expression("a is missing or a + b is not missing") == Or(
        (Missing(A), Missing(Sum((A, B)), known=True))
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("attends_school", Name("attends_school")),
        ("not_married", Name("not_married")),
        ("größe", Name("größe")),
        ("`where`", Name("where")),
        ("`roof type`", Name("roof type")),
        ("`a``b`", Name("a`b")),
        ("head.age", Name("age", "head")),
        ("primary.`of`", Name("of", "primary")),
        ("head", Name("head")),
        ("count", Name("count")),
        ("age on date '2021-01-01'", Name("age", on=date(2021, 1, 1))),
        ("head.age on date '2021-01-01'", Name("age", "head", date(2021, 1, 1))),
    ],
)
def test_names(text: str, name: Name) -> None:
    """A name is a word, or anything in backticks; head. and primary. say of whom; age may be taken on a date."""
    assert parse_expression(text) == name


@pytest.mark.parametrize(
    ("text", "aggregate"),
    [
        ("count(members)", Aggregate("count")),
        ("any(members where a)", Aggregate("any", where=A)),
        ("all(members where a or b)", Aggregate("all", where=Or((A, B)))),
        ("sum(debt of members)", Aggregate("sum", Name("debt"))),
        ("min(age of members where a)", Aggregate("min", Name("age"), A)),
        ("max(`my debt` of members)", Aggregate("max", Name("my debt"))),
    ],
)
def test_aggregates(text: str, aggregate: Aggregate) -> None:
    """Count, any and all are of members; sum, min and max of a name of members; where may be left out."""
    assert parse_expression(text) == aggregate


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 1, "empty"),
        ("  ", 1, "empty"),
        ("a +", 4, "found the end"),
        ("a b", 3, "expected an operator"),
        ("age AND sex", 5, "keywords are lower case"),
        ("where = 1", 1, "written `where`"),
        ("a = 1 = b", 7, "one comparison at a time"),
        ("a < b < c", 7, "one comparison at a time"),
        ("a == 1", 4, "equal is written ="),
        ("a <> 1", 4, "unequal is written !="),
        ("a / 2", 3, "no division"),
        ('a = "x"', 5, "single quotes"),
        ("a = 'x", 5, "no closing quote"),
        ("`a", 1, "no closing backtick"),
        ("a not in [1]", 3, "before a condition"),
        ("a in []", 7, "expected a value"),
        ("a in [b]", 7, "expected a value"),
        ("a in [-'x']", 8, "expected a number"),
        ("1.5.2", 1, "a number is digits"),
        ("12abc", 1, "a number is digits"),
        ("1e5", 1, "a number is digits"),
        ("1" * 31, 1, "at most 30 digits"),
        ("1." + "1" * 31, 1, "at most 30 digits"),
        ("date '2021-02-29'", 6, "no such day"),
        ("date '20210228'", 6, "no such day"),
        ("date 5", 6, "expected a day"),
        ("income on date '2021-01-01'", 8, "only age"),
        ("policy.code = 'x'", 1, "has no parts"),
        ("count(a)", 7, "expected 'members'"),
        ("sum(members)", 5, "found 'members'"),
        ("sum(a + b of members)", 7, "expected 'of'"),
        ("(a", 3, "expected ')'"),
        ("a is known", 6, "expected 'missing'"),
        ("a = '\x00'", 5, "NUL"),
        ("a = '\ud800'", 5, "surrogate"),
    ],
)
def test_errors(text: str, position: int, says: str) -> None:
    """A text that is no expression is refused with what is wrong and where."""
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert says in caught.value.message
    assert caught.value.position == position
    assert f"at character {position}" in str(caught.value)


def test_length_is_bounded() -> None:
    """An expression has at most 2,000 characters."""
    parse_expression("a" + " " * (LENGTH_MAX - 1))
    with pytest.raises(ExpressionError, match="at most 2000 characters"):
        parse_expression("a" + " " * LENGTH_MAX)


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("not ", ""), ("- ", ""), ("any(members where ", ")")])
def test_depth_is_bounded(opening: str, closing: str) -> None:
    """Parentheses, nots, signs and aggregates are at most 50 levels deep."""
    parse_expression(opening * DEPTH_MAX + "a" + closing * DEPTH_MAX)
    with pytest.raises(ExpressionError, match="at most 50 levels deep"):
        parse_expression(opening * (DEPTH_MAX + 1) + "a" + closing * (DEPTH_MAX + 1))


def test_multiplications_are_bounded() -> None:
    """Products stay within the digits that a number of the database has."""
    parse_expression("a" + "*a" * TIMES_MAX)
    with pytest.raises(ExpressionError, match="at most 100 multiplications"):
        parse_expression("a" + "*a" * (TIMES_MAX + 1))
