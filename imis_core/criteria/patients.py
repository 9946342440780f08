"""Expressions about patients of claims as SQL: a person's names, then the household's, and those of claim and facility.

Each row has a day of its own, the claim's target date, so a household's members are grouped for each row. The household
is the one that the patient lived in on that day, also if he or she left it since or died; its members are those of
today. Everything else is as in `compiling`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

import sqlalchemy as sa
from sqlalchemy.sql.selectable import LateralFromClause

from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.context import Context
from imis_core.criteria.compiling import HOUSEHOLD_KIND, OfHousehold, Reader, Row
from imis_core.criteria.expressions import Expression
from imis_core.criteria.members import Members
from imis_core.criteria.readings import Sql
from imis_core.places.tables import locations

_GROUP: Final = "patients_group"


class Patients:
    """The conditions of one statement over persons as patients; `attribute` and `condition` first, then `from_clause`.

    `on` is the day of each row and `facts` are the claim's and the facility's names, columns of what the statement
    joins persons to. An attribute is the person's, else the household's.
    """

    def __init__(self, context: Context, on: sa.ColumnElement[date], facts: Mapping[str, Sql]) -> None:
        attributes = context.settings.deployment.attributes
        self._place = locations.alias("patients_place")
        self._membership = _membership_on(on)
        self._group = groups.alias(_GROUP)
        # By name: the group of the row around the lateral select.
        self._members = Members(context, sa.literal_column(f"ARRAY[{_GROUP}.id]"), "patients_members")
        columns: dict[str, Callable[[], Sql]] = {
            "sex": lambda: persons.c.sex,
            "birth_date": lambda: persons.c.birth_date,
            "number": lambda: persons.c.number,
            "location": lambda: self._place.c.code,
            "relationship": lambda: self._membership.c.relationship,
            "recipient": lambda: self._membership.c.recipient,
            "code": lambda: self._group.c.code,
            "size": lambda: sa.cast(self._members.count(None), sa.Numeric),
        }
        member = Reader("member", Row(self._members.columns, self._members.attribute), on, attributes, None)
        household = OfHousehold(self._members, member, on, attributes)
        self._reader = Reader("patient", Row(columns, self.attribute), on, attributes, household, facts)

    def attribute(self, key: str) -> Sql:
        """The person's attribute, else the household's, as it is kept."""
        return sa.func.coalesce(
            persons.c.attributes[key], self._group.c.attributes[key], type_=persons.c.attributes.type
        )

    def condition(self, expression: Expression) -> sa.ColumnElement[bool]:
        """Whether the expression is met; unknown is not met, so this is never NULL."""
        return sa.func.coalesce(self._reader.read(expression, "bool"), sa.literal_column("false"), type_=sa.Boolean)

    def from_clause(self) -> sa.FromClause:
        """Persons with everything that was asked of them; one row per person."""
        m = self._membership
        clause: sa.FromClause = (
            persons.outerjoin(m, sa.true())
            .outerjoin(self._group, self._group.c.id == m.c.group)
            .outerjoin(self._place, self._place.c.id == persons.c.place)
        )
        return clause.outerjoin(self._members.of_each(), sa.true()) if self._members.used else clause


def _membership_on(on: sa.ColumnElement[date]) -> LateralFromClause:
    """The household of a person of the row around on a day: of those not left before, the one that is left first.

    One who was entered later than the day counts from the beginning, as the policy does.
    """
    m = memberships.c
    return (
        sa.select(m.group, m.relationship, m.recipient)
        .where(m.person == persons.c.id, m.kind == HOUSEHOLD_KIND, sa.or_(m.left_on.is_(None), m.left_on >= on))
        .order_by(m.left_on.asc().nulls_last(), m.id)
        .limit(1)
        .correlate(persons)
        .lateral("patients_membership")
    )
