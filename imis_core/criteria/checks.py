"""What is wrong with an expression before any row is read: unknown names, members of a person, kinds that never fit.

Only what is certainly a mistake is a problem: an undeclared attribute may be of any kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imis_core.criteria.expressions import (
    Aggregate,
    And,
    Boolean,
    Comparison,
    Day,
    Expression,
    Kind,
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
    Unit,
    parts,
)
from imis_core.criteria.kinds import BUILT_IN, CLAIM_NAMES, Attributes, Kinds, common_kind, kinds_of, unit_of
from imis_core.errors import suggestion

_WITH_MEMBERS: Final = ("household", "patient")  # units that have members, a head, a primary recipient
_SAID: dict[Kind | None, str] = {
    "number": "a number", "text": "text", "bool": "a condition", "date": "a date", None: "an attribute",
}  # fmt: skip


def problems_of(
    expression: Expression, unit: Unit, attributes: Attributes | None, kind: Kind | None = None
) -> list[str]:
    """Every certain mistake of an expression about a unit, one sentence each; none: an empty list.

    `attributes` are those of `[deployment.attributes]`, None where attributes are free. `kind` is what the expression
    is used as: a condition is `bool`.
    """
    found = list(_Check(unit, attributes).of(expression, kind))
    return list(dict.fromkeys(found))


class _Check:
    def __init__(self, unit: Unit, attributes: Attributes | None, nested: bool = False) -> None:
        self._unit = unit
        self._attributes = attributes
        self._nested = nested

    def of(self, expression: Expression, wanted: Kind | None) -> Iterator[str]:
        """Problems of the expression and its parts; `wanted` is as what it is used, None: anything."""
        if wanted is not None and wanted not in self._kinds(expression).readable:
            own = self._kinds(expression).own
            yield f"{_shown(expression)} is {_SAID[own]}, but stands where {_SAID[wanted]} is needed"
        match expression:
            case Name():
                yield from self._name(expression)
            case Aggregate():
                yield from self._aggregate(expression)
            case Not() | And() | Or():
                yield from self._parts(expression, "bool")
            case Negative() | Sum() | Product():
                yield from self._parts(expression, "number")
            case Comparison():
                yield from self._comparison(expression)
                yield from self._parts(expression, None)
            case OneOf(operand, values):
                for value in values:
                    yield from self._comparison(Comparison("=", operand, value))
                yield from self.of(operand, None)
            case Missing():
                yield from self._parts(expression, None)
            case _:
                pass

    def _parts(self, expression: Expression, wanted: Kind | None) -> Iterator[str]:
        for part in parts(expression):
            yield from self.of(part, wanted)

    def _kinds(self, expression: Expression) -> Kinds:
        return kinds_of(expression, self._unit, self._attributes)

    def _comparison(self, comparison: Comparison) -> Iterator[str]:
        left, right = self._kinds(comparison.left), self._kinds(comparison.right)
        kind = common_kind(left, right)
        if kind is None:
            said = f"{_shown(comparison.left)} is {_SAID[left.own]}, {_shown(comparison.right)} is {_SAID[right.own]}"
            hint = "; a date is written date '2020-01-31'" if {left.own, right.own} == {"date", "text"} else ""
            yield f"{said}: they are never comparable{hint}"
        elif kind == "bool" and comparison.operator not in ("=", "!="):
            yield f"true and false have no order; compare {_shown(comparison.left)} by = or !="

    def _name(self, name: Name) -> Iterator[str]:
        if name.of == "claim" or name.of == "facility":
            if self._unit != "patient":
                yield f"{name} is asked of a {self._unit}; only where a claim is judged there is a {name.of}"
            elif name.name not in CLAIM_NAMES[name.of]:
                yield f"there is no name {name.name!r} of a {name.of}{suggestion(name.name, CLAIM_NAMES[name.of])}"
            return
        if name.of is not None and self._unit not in _WITH_MEMBERS:
            yield f"{name} is asked of a {self._unit}; only a household has a {name.of}"
            return
        whose = unit_of(name, self._unit)
        if name.name in BUILT_IN[whose]:
            return
        if name.on is not None:
            yield f"age on a date is asked of a {whose}; a household's members, its head. and primary. have an age"
        elif self._attributes is not None:
            of = {"household": ("group",), "patient": ("person", "group")}.get(whose, ("person",))
            known = [*BUILT_IN[whose], *(key for key, rule in self._attributes.items() if rule.of in of)]
            if name.name not in known:
                yield f"there is no name {name.name!r} of a {whose}{suggestion(name.name, known)}"

    def _aggregate(self, aggregate: Aggregate) -> Iterator[str]:
        if self._unit == "member" and self._nested:
            yield f"{aggregate.function}(...) stands within another; members have no members"
            return
        if self._unit not in _WITH_MEMBERS:
            yield f"{aggregate.function}(...) is asked of a {self._unit}; only a household has members"
            return
        member = _Check("member", self._attributes, nested=True)
        if aggregate.argument is not None:
            wanted: Kind | None = "number" if aggregate.function == "sum" else None
            yield from member.of(aggregate.argument, wanted)
            if member._kinds(aggregate.argument).own == "bool" and wanted is None:
                yield f"{_shown(aggregate.argument)} is {_SAID['bool']}; true and false have no least and no greatest"
        if aggregate.where is not None:
            yield from member.of(aggregate.where, "bool")


def _shown(expression: Expression) -> str:
    """An expression in a message: what is short as it is written, the rest by what it is."""
    match expression:
        case Name():
            return repr(str(expression))
        case Number(value):
            return format(value, "f")
        case Text(value):
            return repr(value)
        case Boolean(value):
            return "true" if value else "false"
        case Day(value):
            return f"date '{value}'"
        case Aggregate(function):
            return f"{function}(...)"
        case Negative() | Sum() | Product():
            return "what is computed"
        case _:
            return "a condition"
