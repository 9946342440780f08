"""SQL of one value: literals, a JSON value read as a kind, comparisons of two values. No reading ever raises.

What is of another kind than wanted reads as missing (NULL), never as an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeEngine

from imis_core.criteria.expressions import Boolean, Day, Kind, Literal_, Number, Operator, Text

Sql: TypeAlias = sa.ColumnElement[Any]

TYPES: Final[dict[Kind, TypeEngine[Any]]] = {
    "number": sa.Numeric(), "text": sa.Text(), "bool": sa.Boolean(), "date": sa.Date(),
}  # fmt: skip
# A day of the calendar from year 1 on: other text would make the cast raise.
_LONG: Final = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
_SHORT: Final = "(0[469]|11)-(0[1-9]|[12][0-9]|30)"
_FEBRUARY: Final = "02-(0[1-9]|1[0-9]|2[0-8])"
_LEAP: Final = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
_ISO_DATE: Final = f"^(?!0000)([0-9]{{4}}-({_LONG}|{_SHORT}|{_FEBRUARY})|{_LEAP})$"
_DECIMAL: Final = "^-?[0-9]{1,61}([.][0-9]{1,60})?$"  # as attributes keep declared decimals
_JSON_TYPES: Final[dict[Kind, str]] = {"number": "number", "text": "string", "bool": "boolean", "date": "string"}


def missing(kind: Kind) -> Sql:
    """The missing value of a kind."""
    return sa.cast(sa.null(), TYPES[kind])


def constant(value: Literal_) -> Sql:
    """A literal with its type, so that the database never guesses one."""
    match value:
        case Number(number):
            return sa.cast(sa.literal(number, sa.Numeric), sa.Numeric)
        case Boolean(truth):
            return sa.literal_column("true" if truth else "false", sa.Boolean)
        case Text(text):
            return sa.cast(sa.literal(text, sa.Text), sa.Text)
        case Day(day):
            return sa.cast(sa.literal(day, sa.Date), sa.Date)


def from_json(value: Sql, kind: Kind, *, decimal_text: bool = False) -> Sql:
    """A jsonb value as a kind. `decimal_text`: of a declared decimal, which is kept as text."""
    of_type = json_type(value) == _word(_JSON_TYPES[kind])
    text = as_text(value)
    if kind == "text":
        return sa.case((of_type, text))
    if kind == "date":
        return sa.case((sa.and_(of_type, text.regexp_match(_ISO_DATE)), sa.cast(text, sa.Date)))
    if kind == "number" and decimal_text:
        written = sa.and_(json_type(value) == _word("string"), text.regexp_match(_DECIMAL))
        return sa.case((of_type, sa.cast(value, sa.Numeric)), (written, sa.cast(text, sa.Numeric)))
    return sa.case((of_type, sa.cast(value, TYPES[kind])))


def text_to_date(text: Sql) -> Sql:
    """Text as the ISO date that it is."""
    return sa.case((text.regexp_match(_ISO_DATE), sa.cast(text, sa.Date)))


def json_type(value: Sql) -> Sql:
    return sa.func.jsonb_typeof(value, type_=sa.Text)


def as_text(value: Sql) -> Sql:
    """A JSON value's text: of a string without its quotes."""
    return value.op("#>>", return_type=sa.Text())(sa.literal_column("'{}'::text[]"))


def _word(word: str) -> Sql:
    return sa.literal_column(f"'{word}'", sa.Text)


def compare(operator: Operator, left: Sql, right: Sql, kind: Kind) -> Sql:
    """Two values of one kind. Text is ordered by code point, in every database alike; booleans have no order."""
    if operator == "=":
        return left == right
    if operator == "!=":
        return left != right
    if kind == "bool":
        return missing("bool")
    if kind == "text":
        left = sa.collate(left, "C")
    match operator:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right


def compare_json(operator: Operator, left: Sql, right: Sql) -> Sql:
    """Two JSON values by their types: at most one of the three readings is known."""
    kinds: tuple[Kind, ...] = ("number", "text", "bool") if operator in ("=", "!=") else ("number", "text")
    return sa.func.coalesce(
        *(compare(operator, from_json(left, kind), from_json(right, kind), kind) for kind in kinds), type_=sa.Boolean
    )


def opposite(truth: Sql) -> Sql:
    """NOT in parentheses, which SQLAlchemy leaves out where `IS NULL` follows and then binds tighter."""
    return Grouping(sa.not_(truth))


def years_between(born: Sql, on: Sql) -> Sql:
    """Full years on a day, as `imis_core.values.full_years` counts them."""
    return sa.cast(sa.func.floor((_digits(on) - _digits(born)) / 10000), sa.Numeric)


def _digits(day: Sql) -> Sql:
    """A date as the number YYYYMMDD: years are whole ten thousands of it."""

    def part(name: str) -> Sql:
        return sa.func.date_part(_word(name), day, type_=sa.Double())

    return part("year") * 10000 + part("month") * 100 + part("day")


def balanced(values: Sequence[Sql], multiply: bool) -> Sql:
    """Exact numbers added or multiplied in pairs, so that long rows of them do not nest deeply."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    left, right = balanced(values[:middle], multiply), balanced(values[middle:], multiply)
    return left * right if multiply else left + right
