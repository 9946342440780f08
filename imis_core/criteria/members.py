"""The one grouped select over current members that all aggregates of a statement share.

A current member is one who has not left; who died has left. Each distinct aggregate is one column of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from imis_core.beneficiaries.tables import memberships, persons
from imis_core.context import Context
from imis_core.criteria.expressions import Aggregate, Expression, Kind, Who
from imis_core.criteria.readings import TYPES, Sql
from imis_core.places.tables import locations


class Members:
    """Asks for columns; `grouped` then is the select with all of them, to be joined by `key` from outside.

    `columns` and `attribute` are what the expressions about one member are made of, inside the select.
    """

    def __init__(self, context: Context, only: sa.Select[Any] | sa.ColumnElement[Any] | None, alias: str) -> None:
        self._context = context
        self._only = only
        self._alias = alias
        self._columns: dict[Hashable, tuple[str, Sql]] = {}
        self._persons = False  # whether anything of the person, not only of the membership, is looked at
        self._places = False
        self.columns: dict[str, Callable[[], Sql]] = {
            "sex": lambda: self._person().sex,
            "birth_date": lambda: self._person().birth_date,
            "number": lambda: self._person().number,
            "location": self._location,
            "relationship": lambda: memberships.c.relationship,
            "recipient": lambda: memberships.c.recipient,
        }

    @property
    def used(self) -> bool:
        return bool(self._columns)

    @property
    def key(self) -> Sql:
        return self._outside("group", sa.BigInteger())

    def attribute(self, name: str) -> Sql:
        value: Sql = self._person().attributes[name]
        return value

    def count(self, where: Sql | None, same: Expression | None = None) -> Sql:
        """How many members there are, or for how many the condition is known to hold. `same`: what it was made of."""
        counted: Sql = sa.func.count()
        if where is not None:
            counted = sa.func.count().filter(where)
        return sa.func.coalesce(self._column(("count", same), counted, sa.BigInteger()), sa.literal_column("0"))

    def every(self, where: Sql | None, same: Expression | None) -> Sql:
        """Whether every member is known to meet the condition; true of none, and without a condition."""
        truth: Sql = sa.literal_column("true", sa.Boolean)
        if where is None:
            return truth
        met = sa.func.bool_and(sa.func.coalesce(where, sa.literal_column("false")))
        return sa.func.coalesce(self._column(("all", same), met, sa.Boolean()), truth, type_=sa.Boolean)

    def combined(self, aggregate: Aggregate, kind: Kind, argument: Sql, where: Sql | None) -> Sql:
        """The sum, least or greatest of the known values; NULL without any. Texts are ordered by code point."""
        if kind == "text":
            argument = sa.collate(argument, "C")
        made: Any = getattr(sa.func, aggregate.function)(argument, type_=TYPES[kind])
        if where is not None:
            made = made.filter(where)
        return self._column((aggregate, kind), made, TYPES[kind])

    def first(self, who: Who, name: str) -> Sql:
        """A column of the head or of the primary recipient, of whom a household has one at most."""
        value = self.columns[name]()
        return self._first(who, name, value, value.type)

    def first_attribute(self, who: Who, name: str) -> Sql:
        return self._first(who, (name,), self.attribute(name), JSONB())

    def grouped(self) -> sa.FromClause:
        """The select: one row per group that has a current member."""
        return self._select().subquery(self._alias)

    def of_each(self) -> sa.FromClause:
        """The select once for each row around it, which `only` names: for expressions whose day is of that row."""
        return self._select().lateral(self._alias)

    def _select(self) -> sa.Select[Any]:
        joined: sa.FromClause = memberships
        seen = [self._context.scoped(memberships)]
        if self._persons:
            joined = joined.join(persons, persons.c.id == memberships.c.person)
            seen = [self._context.scoped(persons)]
        if self._places:
            joined = joined.outerjoin(locations, locations.c.id == persons.c.place)
        if self._only is not None:
            wanted = self._only
            group = memberships.c.group
            seen.append(group.in_(wanted) if isinstance(wanted, sa.Select) else group == sa.any_(wanted))
        columns = [column.label(label) for label, column in self._columns.values()]
        return (
            sa.select(memberships.c.group.label("group"), *columns)
            .select_from(joined)
            .where(memberships.c.left_on.is_(None), *seen)
            .group_by(memberships.c.group)
        )

    def _person(self) -> Any:
        self._persons = True
        return persons.c

    def _location(self) -> Sql:
        self._persons = self._places = True
        return locations.c.code

    def _first(self, who: Who, name: Hashable, value: Sql, kind: TypeEngine[Any]) -> Sql:
        is_one = memberships.c.relationship == "head" if who == "head" else memberships.c.recipient == "primary"
        values = sa.func.array_agg(value, type_=ARRAY(kind)).filter(is_one)
        return self._column((who, name), sa.type_coerce(values, ARRAY(kind))[1], kind)

    def _column(self, same: Hashable, column: Sql, kind: TypeEngine[Any]) -> Sql:
        label = self._columns.setdefault(same, (f"c{len(self._columns) + 1}", column))[0]
        return self._outside(label, kind)

    def _outside(self, label: str, kind: TypeEngine[Any]) -> Sql:
        # By name: the select is finished only when everything was asked.
        return sa.literal_column(f'{self._alias}."{label}"', kind)
