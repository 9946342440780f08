"""Tables of employment: employers, spells of employment, and declared wages with their contributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from imis_core.database.tables import (
    ALL_SEEN,
    CORE,
    by_place,
    day,
    edited,
    identity,
    mass,
    metadata,
    minor,
    reference,
    text,
)

if TYPE_CHECKING:
    from imis_core.security.caller import Caller

employers = edited(
    "employers",
    metadata,
    identity(),
    text("scheme"),
    text("code"),
    text("name"),
    text("class", nullable=True),  # sector or class of risk, as the scheme's contribution terms name it
    reference("place", "locations", nullable=True, index=True),
    day("registered_on"),
    UniqueConstraint("code"),
    noun="employers",
    **by_place(),
)


_their_employers = sa.table("employers", sa.column("id"), sa.column("place"), schema=CORE)


def _sees_employment(table: sa.Table, caller: Caller) -> sa.ColumnElement[bool]:
    """Who sees the employer or the person sees what joins them."""
    if caller.everywhere:
        return sa.true()
    employer = _their_employers.c
    here = sa.exists().where(employer.id == table.c.employer, caller.sees_place(employer.place))
    return sa.or_(here, caller.sees_person_of(table.c.person))


_SEEN = (
    f"{ALL_SEEN} OR EXISTS (SELECT FROM core.employers e WHERE e.id = employer)"
    " OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)"
)

employments = edited(
    "employments",
    metadata,
    identity(),
    reference("employer", "employers", index=True),
    reference("person", "persons", index=True),
    text("scheme"),  # the employer's, for who sees the person and not the employer
    day("starts"),
    day("ends", nullable=True),  # the last day; null: it goes on
    minor("wage_minor", nullable=True),  # per month, as agreed
    text("currency"),
    # A person has one spell at a time with one employer; spells with several employers may overlap.
    ExcludeConstraint(
        (sa.text("int8range(employer, employer, '[]')"), "&&"),
        (sa.text("int8range(person, person, '[]')"), "&&"),
        (sa.text("daterange(starts, ends, '[]')"), "&&"),
        using="gist",
    ),
    CheckConstraint("ends IS NULL OR starts <= ends", name="order"),
    noun="employments",
    scope=_sees_employment,
    row_security=_SEEN,
)

# Every declaration that was ever made; `wages` points to those that hold.
wage_declarations = mass(
    "wage_declarations",
    metadata,
    identity(),
    text("scheme"),
    reference("employer", "employers"),
    reference("person", "persons"),
    day("month"),  # its first day
    minor("wage_minor"),
    Column("days", sa.Integer, nullable=True),  # worked or paid
    text("class", nullable=True),  # the employer's, when it was declared
    reference("package_version", "package_versions", nullable=True, index=True),  # whose rates; null: none had any
    minor("employee_minor"),
    minor("employer_minor"),
    minor("state_minor"),
    text("currency"),
    Column("replaces", sa.BigInteger, nullable=True),  # the declaration of the same month before this one
    day("declared_on"),
    Column("audit", sa.BigInteger, nullable=False),
    Index("ix_wage_declarations_audit", "audit"),
    CheckConstraint("month = date_trunc('month', month)::date", name="month"),
    scope=_sees_employment,
    row_security=_SEEN,
)

# The declaration that holds for a person, an employer and a month in a scheme.
wages = Table(
    "wages",
    metadata,
    identity(),
    reference("employer", "employers"),
    day("month"),
    reference("person", "persons"),
    text("scheme"),
    reference("declaration", "wage_declarations"),
    minor("wage_minor"),
    Column("days", sa.Integer, nullable=True),
    minor("employee_minor"),
    minor("employer_minor"),
    minor("state_minor"),
    text("currency"),
    UniqueConstraint("employer", "month", "person", "scheme"),
    Index("ix_wages_person_month", "person", "month"),
    info={"scope": _sees_employment, "row_security": _SEEN},
)
