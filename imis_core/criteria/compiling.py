"""Expressions of one statement as SQL over all persons or households at once: no query per row, no loop.

Aggregates over members are grouped once and joined once, however many expressions ask for them. Which rows are asked
about (scope, status, places) is the caller's WHERE; this module only says what is true of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects import postgresql

from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.context import Context
from imis_core.criteria import readings
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
    Who,
)
from imis_core.criteria.kinds import BUILT_IN, Attributes, Kinds, common_kind, kinds_of, rule_of
from imis_core.criteria.members import Members
from imis_core.criteria.readings import Sql, missing
from imis_core.places.tables import locations

HOUSEHOLD_KIND: Final = "household"  # of the group whose relationship and recipient are a person's

ValueKind: TypeAlias = Literal["number", "text", "bool", "date", "json"]


@frozen
class Value:
    """A column of a statement; NULL is missing. Kind `json`: an undeclared attribute as it is kept."""

    column: Sql
    kind: ValueKind


class Criteria:
    """The expressions of one statement over `unit`, the table of persons or of groups.

    `on` is the reference date: a literal or a scalar sub-select, no column of another table. `only` limits the members
    that are grouped to those of some groups (an array of keys, or a select of keys); give it when few are asked about.
    First ask for conditions and values, last for `from_clause`. `name` tells two of them in one statement apart.
    """

    def __init__(
        self,
        context: Context,
        unit: Literal["person", "household"],
        on: sa.ColumnElement[date],
        *,
        only: sa.Select[Any] | sa.ColumnElement[Any] | None = None,
        name: str = "criteria",
    ) -> None:
        self.unit: sa.Table = persons if unit == "person" else groups
        self._everywhere = context.caller.everywhere
        attributes = context.settings.deployment.attributes
        on = sa.cast(on, sa.Date)
        self._place = locations.alias(f"{name}_place")
        self._membership = memberships.alias(f"{name}_membership")
        self._members = Members(context, only, f"{name}_members")
        self._used: set[sa.FromClause] = set()
        self._closed = False
        columns: dict[str, Callable[[], Sql]] = {
            "location": lambda: self._joined(self._place).c.code,
            "code": lambda: groups.c.code,
            "size": lambda: sa.cast(self._members.count(None), sa.Numeric),
        }
        if unit == "person":
            columns = {
                "sex": lambda: persons.c.sex,
                "birth_date": lambda: persons.c.birth_date,
                "number": lambda: persons.c.number,
                "location": lambda: self._joined(self._place).c.code,
                "relationship": lambda: self._joined(self._membership).c.relationship,
                "recipient": lambda: self._joined(self._membership).c.recipient,
            }
        member = Reader("member", Row(self._members.columns, self._members.attribute), on, attributes, None)
        row = Row(columns, lambda key: self.unit.c.attributes[key])
        self._reader = Reader(unit, row, on, attributes, OfHousehold(self._members, member, on, attributes))

    def condition(self, expression: Expression) -> sa.ColumnElement[bool]:
        """Whether the expression is met; unknown is not met, so this is never NULL."""
        self._open()
        return sa.func.coalesce(self._reader.read(expression, "bool"), sa.literal_column("false"), type_=sa.Boolean)

    def value(self, expression: Expression, kind: Kind | None = None) -> Value:
        """What the expression is worth, NULL where missing; `kind`: read as that kind, else missing."""
        self._open()
        own: ValueKind = kind or self._reader.kinds(expression).own or "json"
        if own == "json":
            return Value(self._reader.json(expression), own)
        return Value(self._reader.read(expression, own), own)

    def key(self, expression: Expression) -> Value:
        """The value's plain text, to look it up in a table: numbers without trailing zeros, `true`, ISO dates."""
        self._open()
        return Value(self._reader.key(expression), "text")

    def whole(self) -> sa.ColumnElement[bool]:
        """Whether the caller sees every current member of a household: of others the answers would leave some out."""
        self._open()
        if self._everywhere or self.unit is persons:
            return sa.true()
        really = sa.func.core.group_sizes(postgresql.array([groups.c.id])).table_valued("id", "members")
        size = sa.select(really.c.members).scalar_subquery()
        return self._members.count(None) == sa.func.coalesce(size, sa.literal_column("0"))

    def from_clause(self) -> sa.FromClause:
        """The unit with everything that the expressions asked so far look at; one row per person or household."""
        self._closed = True
        clause: sa.FromClause = self.unit
        if self._membership in self._used:
            own = sa.and_(
                self._membership.c.person == persons.c.id,
                self._membership.c.kind == HOUSEHOLD_KIND,
                self._membership.c.left_on.is_(None),
            )
            clause = clause.outerjoin(self._membership, own)
        if self._place in self._used:
            clause = clause.outerjoin(self._place, self._place.c.id == self.unit.c.place)
        if self._members.used:
            clause = clause.outerjoin(self._members.grouped(), self._members.key == groups.c.id)
        return clause

    def _joined(self, table: sa.FromClause) -> sa.FromClause:
        self._used.add(table)
        return table

    def _open(self) -> None:
        if self._closed:
            raise RuntimeError("ask for every condition and value before from_clause()")


@frozen
class Row:
    """Where the names of one row come from: built-in columns (`age` is computed), and attributes as jsonb."""

    columns: Mapping[str, Callable[[], Sql]]
    attribute: Callable[[str], Sql]


class Reader:
    """Expressions about one kind of row as SQL."""

    def __init__(
        self, unit: Unit, row: Row, on: Sql, attributes: Attributes | None, beyond: OfHousehold | None,
        facts: Mapping[str, Sql] | None = None,
    ) -> None:  # fmt: skip
        self._unit = unit
        self._row = row
        self._on = on
        self._attributes = attributes
        self._beyond = beyond if unit in ("household", "patient") else None
        self._facts = facts or {}

    def kinds(self, expression: Expression) -> Kinds:
        return kinds_of(expression, self._unit, self._attributes)

    def read(self, expression: Expression, kind: Kind) -> Sql:
        """The expression as a kind: NULL where it is missing, unknown, or of another kind."""
        if kind not in self.kinds(expression).readable:
            return missing(kind)
        match expression:
            case Number() | Text() | Boolean() | Day():
                return readings.constant(expression)
            case Name():
                return self._name(expression, kind)
            case Aggregate():
                return self._household(expression).read(expression, kind)
            case Negative(operand):
                return sa.literal_column("0", sa.Numeric) - self.read(operand, "number")
            case Sum(terms):
                return readings.balanced([self.read(term, "number") for term in terms], multiply=False)
            case Product(factors):
                return readings.balanced([self.read(factor, "number") for factor in factors], multiply=True)
            case Not(operand):
                return readings.opposite(self.read(operand, "bool"))
            case And(operands):
                return sa.and_(*(self.read(operand, "bool") for operand in operands))
            case Or(operands):
                return sa.or_(*(self.read(operand, "bool") for operand in operands))
            case Comparison(operator, left, right):
                common = common_kind(self.kinds(left), self.kinds(right))
                if common is None:
                    return missing("bool")
                if common == "json":
                    return readings.compare_json(operator, self.json(left), self.json(right))
                return readings.compare(operator, self.read(left, common), self.read(right, common), common)
            case OneOf(operand, values):
                return sa.or_(*(self.read(Comparison("=", operand, value), "bool") for value in values))
            case Missing(operand, known):
                absent = self._absent(operand)
                return readings.opposite(absent) if known else absent

    def json(self, expression: Expression) -> Sql:
        """An undeclared attribute as it is kept."""
        if not isinstance(expression, Name):
            raise TypeError("only an attribute has no kind of its own")
        if expression.of == "claim" or expression.of == "facility":
            raise TypeError("what is asked of a claim has a kind of its own")
        if expression.of is not None:
            return self._household(expression).of(expression.of).json(Name(expression.name, None, expression.on))
        return self._row.attribute(expression.name)

    def key(self, expression: Expression) -> Sql:
        own = self.kinds(expression).own
        if own == "text":
            return self.read(expression, own)
        if own == "number":
            return sa.cast(sa.func.trim_scale(self.read(expression, own)), sa.Text)
        if own == "bool":
            return sa.cast(self.read(expression, own), sa.Text)
        if own == "date":
            return sa.func.to_char(self.read(expression, own), "YYYY-MM-DD", type_=sa.Text)
        value = self.json(expression)
        number = sa.cast(sa.func.trim_scale(readings.from_json(value, "number")), sa.Text)
        truth = sa.cast(readings.from_json(value, "bool"), sa.Text)
        return sa.func.coalesce(readings.from_json(value, "text"), number, truth, type_=sa.Text)

    def _household(self, expression: Expression) -> OfHousehold:
        if self._beyond is None:
            raise ValueError(f"{expression} is asked of a {self._unit}; only a household has members")
        return self._beyond

    def _name(self, name: Name, kind: Kind) -> Sql:
        if name.of == "claim" or name.of == "facility":
            return self._facts[str(name)]
        if name.of is not None:
            return self._household(name).of(name.of).read(Name(name.name, None, name.on), kind)
        if name.name in BUILT_IN[self._unit]:
            if name.name == "age":
                on = self._on if name.on is None else readings.constant(Day(name.on))
                return readings.years_between(self._row.columns["birth_date"](), on)
            return self._row.columns[name.name]()
        rule = rule_of(name, self._unit, self._attributes)
        decimal_text = rule is not None and rule.type == "decimal"
        return readings.from_json(self._row.attribute(name.name), kind, decimal_text=decimal_text)

    def _absent(self, operand: Expression) -> Sql:
        kinds = self.kinds(operand)
        if kinds.own is None:
            value = self.json(operand)
            return sa.or_(value.is_(None), readings.json_type(value) == sa.literal_column("'null'", sa.Text))
        if isinstance(operand, Aggregate) and len(kinds.readable) > 1:
            # The least of an undeclared attribute: numbers, or texts, whatever is known.
            return sa.and_(*(self.read(operand, kind).is_(None) for kind in sorted(kinds.readable - {"date"})))
        return self.read(operand, kinds.own).is_(None)


class OfHousehold:
    """Answers of a household's members, head and primary recipient, from the grouped select."""

    def __init__(self, members: Members, member: Reader, on: Sql, attributes: Attributes | None) -> None:
        self._members = members
        self._member = member
        self._on = on
        self._attributes = attributes

    def of(self, who: Who) -> Reader:
        columns = {name: partial(self._members.first, who, name) for name in self._members.columns}
        row = Row(columns, lambda key: self._members.first_attribute(who, key))
        return Reader("member", row, self._on, self._attributes, None)

    def read(self, aggregate: Aggregate, kind: Kind) -> Sql:
        where = None if aggregate.where is None else self._member.read(aggregate.where, "bool")
        if aggregate.function == "count":
            return sa.cast(self._members.count(where, aggregate.where), sa.Numeric)
        if aggregate.function == "any":
            return self._members.count(where, aggregate.where) > 0
        if aggregate.function == "all":
            return self._members.every(where, aggregate.where)
        assert aggregate.argument is not None
        argument = self._member.read(aggregate.argument, kind)
        return self._members.combined(aggregate, kind, argument, where)
