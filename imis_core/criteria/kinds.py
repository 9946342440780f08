"""Of which kind a name or an expression is, as far as that is known before any row is read.

A built-in name and a declared attribute have a kind; an undeclared attribute has the kind of each row's JSON value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import frozen

from imis_core.criteria.expressions import (
    Aggregate,
    Boolean,
    Day,
    Expression,
    Kind,
    Name,
    Negative,
    Number,
    Product,
    Sum,
    Text,
    Unit,
)
from imis_core.deployment import AttributeRule

Attributes: TypeAlias = Mapping[str, AttributeRule]

_OF_PERSON: Final[Mapping[str, Kind]] = {
    "sex": "text", "age": "number", "birth_date": "date", "number": "text", "location": "text",
    "relationship": "text", "recipient": "text",
}  # fmt: skip
BUILT_IN: Final[Mapping[Unit, Mapping[str, Kind]]] = {
    "person": _OF_PERSON,
    "member": _OF_PERSON,
    "household": {"code": "text", "location": "text", "size": "number"},
    "patient": {**_OF_PERSON, "code": "text", "size": "number"},  # of the person, then of the household
}
# What a patient's expression may ask of the claim and of the facility.
CLAIM_NAMES: Final[Mapping[str, Mapping[str, Kind]]] = {
    "claim": {"visit_type": "text", "category": "text", "overnight": "bool", "referred": "bool"},
    "facility": {"level": "text", "care_type": "text", "location": "text", "is_first_service_point": "bool"},
}
_DECLARED: Final[Mapping[str, Kind]] = {
    "text": "text", "choice": "text", "int": "number", "decimal": "number", "bool": "bool", "date": "date",
}  # fmt: skip


@frozen
class Kinds:
    """`own`: the kind, None for that of each row's JSON value; `readable`: as what it can be compared and computed."""

    own: Kind | None
    readable: frozenset[Kind]


ANY: Final = Kinds(None, frozenset(("number", "text", "bool", "date")))


def _only(kind: Kind) -> Kinds:
    return Kinds(kind, frozenset((kind,)))


def unit_of(name: Name, unit: Unit) -> Unit:
    """Of whom a name in an expression about `unit` speaks."""
    return "member" if name.of is not None and name.of not in CLAIM_NAMES else unit


def rule_of(name: Name, unit: Unit, attributes: Attributes | None) -> AttributeRule | None:
    """The declaration of an attribute of that unit; None for built-in names and what is not declared."""
    whose = unit_of(name, unit)
    rule = (attributes or {}).get(name.name)
    if name.of in CLAIM_NAMES or name.name in BUILT_IN[whose] or rule is None:
        return None
    if whose == "patient":
        return rule
    return rule if rule.of == ("group" if whose == "household" else "person") else None


def kinds_of(expression: Expression, unit: Unit, attributes: Attributes | None) -> Kinds:
    """The kinds of an expression about a unit. A declared text may be read as the ISO date that it is."""
    match expression:
        case Number() | Negative() | Sum() | Product():
            return _only("number")
        case Text():
            return _only("text")
        case Boolean():
            return _only("bool")
        case Day():
            return _only("date")
        case Name():
            return _kinds_of_name(expression, unit, attributes)
        case Aggregate("count" | "sum"):
            return _only("number")
        case Aggregate("min" | "max", Name() as argument):
            inner = _kinds_of_name(argument, "member", attributes)
            return Kinds(inner.own or "number", inner.readable - {"bool"})
        case _:
            return _only("bool")


def _kinds_of_name(name: Name, unit: Unit, attributes: Attributes | None) -> Kinds:
    if name.of == "claim" or name.of == "facility":
        fact = CLAIM_NAMES[name.of].get(name.name)
        return ANY if fact is None else _only(fact)
    built_in = BUILT_IN[unit_of(name, unit)].get(name.name)
    if built_in is not None:
        return _only(built_in)
    rule = rule_of(name, unit, attributes)
    if rule is None:
        return ANY
    kind = _DECLARED[rule.type]
    return Kinds("text", frozenset(("text", "date"))) if kind == "text" else _only(kind)


def common_kind(left: Kinds, right: Kinds) -> Kind | Literal["json"] | None:
    """As what two values are compared: `json` by each row's JSON types, None: they never can be."""
    if left.own is None and right.own is None:
        return "json"
    if left.own is not None and left.own in right.readable:
        return left.own
    if right.own is not None and right.own in left.readable:
        return right.own
    return None
