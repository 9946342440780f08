"""A plain reading of the criteria language: one row at a time, exact fractions, None for missing and unknown.

Written from contract-kernel.md alone; it shares the parser and the trees with the product, nothing that computes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from attrs import field, frozen

from imis_core.criteria import expressions as e
from imis_core.values import full_years

BUILT_IN = {
    "person": {
        "sex": "text", "age": "number", "birth_date": "date", "number": "text", "location": "text",
        "relationship": "text", "recipient": "text",
    },
    "household": {"code": "text", "location": "text", "size": "number"},
}  # fmt: skip
TYPE_OF = {"text": "text", "choice": "text", "int": "number", "decimal": "number", "bool": "bool", "date": "date"}
ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@frozen
class Row:
    """A person (with `born`) or a household (with its current `members`)."""

    built_in: Mapping[str, Any]
    attributes: Mapping[str, Any]
    on: date
    declared: Mapping[str, str] | None = None  # attribute: its declared type, of this kind of row
    members: tuple[Row, ...] | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        return "person" if self.members is None else "household"

    def one(self, who: str) -> Row | None:
        key, wanted = ("relationship", "head") if who == "head" else ("recipient", "primary")
        return next((m for m in self.members or () if m.built_in[key] == wanted), None)


def met(expression: e.Expression, row: Row) -> bool:
    return read(expression, row, "bool") is True


def read(expression: e.Expression, row: Row, kind: str) -> Any:
    """The value as a kind, or None."""
    value = worth(expression, row, kind)
    return value if type_of(value) == kind else None


def type_of(value: Any) -> str | None:
    if value is None:
        return None
    names = {bool: "bool", Fraction: "number", str: "text", date: "date"}
    return names.get(type(value), "other")


def worth(expression: e.Expression, row: Row, beside: str | None) -> Any:
    """The value of an expression; `beside` is the kind of what it is used with, if that is certain."""
    match expression:
        case e.Number(value):
            return Fraction(value)
        case e.Text(value) | e.Boolean(value) | e.Day(value):
            return value
        case e.Name():
            return _name(expression, row, beside)
        case e.Negative(operand):
            number = read(operand, row, "number")
            return None if number is None else -number
        case e.Sum(terms):
            return _folded(terms, row, operator.add)
        case e.Product(factors):
            return _folded(factors, row, operator.mul)
        case e.Comparison(sign, left, right):
            return _compare(sign, left, right, row)
        case e.OneOf(operand, values):
            return _either([_compare("=", operand, value, row) for value in values])
        case e.Missing(operand, known):
            return _missing(operand, row) != known
        case e.Not(operand):
            truth = read(operand, row, "bool")
            return None if truth is None else not truth
        case e.And(operands):
            opposite = _either([_opposite(read(operand, row, "bool")) for operand in operands])
            return _opposite(opposite)
        case e.Or(operands):
            return _either([read(operand, row, "bool") for operand in operands])
        case e.Aggregate():
            return _aggregate(expression, row, beside)


def _opposite(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _either(truths: list[bool | None]) -> bool | None:
    if True in truths:
        return True
    return None if None in truths else False


def _folded(parts: tuple[e.Expression, ...], row: Row, both: Callable[[Any, Any], Any]) -> Fraction | None:
    numbers = [read(part, row, "number") for part in parts]
    total = numbers[0]
    for number in numbers[1:]:
        if total is None or number is None:
            return None
        total = both(total, number)
    return total


def _name(name: e.Name, row: Row | None, beside: str | None) -> Any:
    if name.of is not None:
        assert row is not None
        row = row.one(name.of)
    if row is None:
        return None
    if name.name == "age" and row.kind == "person":
        return Fraction(full_years(row.built_in["birth_date"], name.on or row.on))
    if name.name in BUILT_IN[row.kind]:
        value = row.built_in[name.name]
        return Fraction(value) if name.name == "size" else value
    value = row.attributes.get(name.name)
    declared = None if row.declared is None else row.declared.get(name.name)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        value = Fraction(value)
    if declared == "decimal" and isinstance(value, str):
        value = _decimal(value)
    if isinstance(value, str) and (declared == "date" or (beside == "date" and declared in (None, "text", "choice"))):
        value = _day(value)
    if declared is not None and type_of(value) not in (
        TYPE_OF[declared],
        "date" if declared in ("text", "choice") else None,
    ):
        return None
    return value


def _decimal(text: str) -> Fraction | None:
    unsigned = text.removeprefix("-")
    whole, point, rest = unsigned.partition(".")
    fine = whole.isdigit() and text.isascii() and (rest.isdigit() if point else True)
    return Fraction(text) if fine else None


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None


def _certain(expression: e.Expression, row: Row) -> str | None:
    """The kind that an expression has in every row; None for an undeclared attribute."""
    match expression:
        case e.Name(name, of, _):
            kind = "person" if of else row.kind
            if name in BUILT_IN[kind]:
                return BUILT_IN[kind][name]
            if of is not None and row.members:
                declared = row.members[0].declared
            else:
                declared = row.declared
            return None if declared is None or name not in declared else TYPE_OF[declared[name]]
        case e.Text():
            return "text"
        case e.Day():
            return "date"
        case e.Number() | e.Negative() | e.Sum() | e.Product() | e.Aggregate("count" | "sum"):
            return "number"
        case e.Aggregate("min" | "max", e.Name() as argument):
            members = row.members or ()
            return (_certain(argument, members[0]) if members else None) or "number"
        case _:
            return "bool"


def _compare(sign: str, left: e.Expression, right: e.Expression, row: Row) -> bool | None:
    a, b = worth(left, row, _certain(right, row)), worth(right, row, _certain(left, row))
    if type_of(a) != type_of(b) or type_of(a) in (None, "other"):
        return None
    if type_of(a) == "bool" and sign not in ("=", "!="):
        return None
    return ORDERS[sign](a, b)


def _missing(operand: e.Expression, row: Row) -> bool:
    if isinstance(operand, e.Aggregate) and operand.function in ("min", "max"):
        return all(worth(operand, row, kind) is None for kind in ("number", "text"))
    return worth(operand, row, None) is None


def _aggregate(aggregate: e.Aggregate, row: Row, beside: str | None) -> Any:
    assert row.members is not None
    counted = [m for m in row.members if aggregate.where is None or met(aggregate.where, m)]
    if aggregate.function == "count":
        return Fraction(len(counted))
    if aggregate.function == "any":
        return len(counted) > 0
    if aggregate.function == "all":
        return len(counted) == len(row.members)
    assert aggregate.argument is not None
    if aggregate.function == "sum":
        numbers = [v for m in counted if (v := read(aggregate.argument, m, "number")) is not None]
        return sum(numbers) if numbers else None
    if not counted:
        return None
    certain = _certain(aggregate.argument, counted[0])
    if certain is None or (certain == "text" and beside == "date" and not _is_built_in(aggregate.argument)):
        certain = beside if beside in ("number", "text", "date") else certain or "number"
    values = [v for m in counted if (v := read(aggregate.argument, m, certain)) is not None]
    if not values or certain == "bool":
        return None
    return min(values) if aggregate.function == "min" else max(values)


def _is_built_in(name: e.Name) -> bool:
    return name.name in BUILT_IN["person"]
