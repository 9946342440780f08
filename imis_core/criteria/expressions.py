"""What an expression of the criteria language says, as frozen trees. Reading text and making SQL lie beside it.

Source of the language: contract-kernel.md, Criteria.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

Kind: TypeAlias = Literal["number", "text", "bool", "date"]
# A member is a person in a household; a patient one with a household, a claim and a facility.
Unit: TypeAlias = Literal["person", "household", "member", "patient"]
Who: TypeAlias = Literal["head", "primary"]
Fact: TypeAlias = Literal["claim", "facility"]
Function: TypeAlias = Literal["count", "any", "all", "sum", "min", "max"]
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]

FUNCTIONS: Final[tuple[Function, ...]] = ("count", "any", "all", "sum", "min", "max")
OPERATORS: Final[tuple[Operator, ...]] = ("=", "!=", "<", "<=", ">", ">=")


class ExpressionError(ValueError):
    """A text that is no expression: what is wrong, and at which character (counted from 1)."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position})")
        self.message = message
        self.position = position


@frozen
class Number:
    value: Decimal


@frozen
class Text:
    value: str


@frozen
class Boolean:
    value: bool


@frozen
class Day:
    value: date


Literal_: TypeAlias = Number | Text | Boolean | Day


@frozen
class Name:
    """A built-in name or an attribute; `on` fixes the day of `age`.

    `of` a household's head or primary recipient, or of the claim or the facility that a patient is asked about with.
    """

    name: str
    of: Who | Fact | None = None
    on: date | None = None

    def __str__(self) -> str:
        return f"{self.of}.{self.name}" if self.of else self.name


@frozen
class Negative:
    operand: Expression


@frozen
class Sum:
    """a + b + c; a subtraction adds the `Negative`."""

    terms: tuple[Expression, ...]


@frozen
class Product:
    factors: tuple[Expression, ...]


@frozen
class Comparison:
    operator: Operator
    left: Expression
    right: Expression


@frozen
class OneOf:
    """operand in [values]: the same as equal to the first or to the second and so on."""

    operand: Expression
    values: tuple[Literal_, ...]


@frozen
class Missing:
    """operand is missing; `known` turns it round: operand is not missing."""

    operand: Expression
    known: bool = False


@frozen
class Not:
    operand: Expression


@frozen
class And:
    operands: tuple[Expression, ...]


@frozen
class Or:
    operands: tuple[Expression, ...]


@frozen
class Aggregate:
    """A value over the current members of a household; `argument` is what sum, min and max are taken of."""

    function: Function
    argument: Name | None = None
    where: Expression | None = field(default=None)


Expression: TypeAlias = (
    Number | Text | Boolean | Day | Name | Negative | Sum | Product
    | Comparison | OneOf | Missing | Not | And | Or | Aggregate
)  # fmt: skip


def parts(expression: Expression) -> Sequence[Expression]:
    """The expressions of which one is directly made."""
    match expression:
        case Negative(operand) | Missing(operand) | Not(operand):
            return (operand,)
        case OneOf(operand, values):
            return (operand, *values)
        case Sum(several) | Product(several) | And(several) | Or(several):
            return several
        case Comparison(_, left, right):
            return (left, right)
        case Aggregate(_, argument, where):
            return tuple(part for part in (argument, where) if part is not None)
        case _:
            return ()


def count_of(condition: Expression | None) -> Expression:
    """`count(members where condition)`; without a condition all members. `condition` speaks of a member."""
    return Aggregate("count", where=condition)


def equals(expression: Expression, value: bool | int | Decimal | str | date) -> Expression:
    """`expression = value`, the value as the literal of its type."""
    return Comparison("=", expression, literal(value))


def literal(value: bool | int | Decimal | str | date) -> Literal_:
    """A value as a literal of the language."""
    if isinstance(value, bool):
        return Boolean(value)
    if isinstance(value, (int, Decimal)):
        return Number(Decimal(value))
    return Text(value) if isinstance(value, str) else Day(value)
