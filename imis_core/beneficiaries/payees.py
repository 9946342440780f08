"""Whom to pay what a person or a household is owed: the person, or the household's primary recipient as it is now."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from imis_core.beneficiaries.tables import memberships, persons


def payee(owed: sa.Table) -> sa.ColumnElement[Any]:
    """Whom to pay for a row of `owed` (a table of the statement, with the columns `person` and `group`).

    NULL for a household without a primary recipient. Source: contract-kernel.md, Payments.
    """
    # Looked up household by household through the index of groups. The rest is a filter of the aggregate, so that a
    # planner without statistics finds no other index for it and reads all memberships for each household.
    is_primary = sa.and_(memberships.c.recipient == "primary", memberships.c.left_on.is_(None))
    primary = (
        sa.select(sa.func.max(memberships.c.person).filter(is_primary))
        .where(memberships.c.group == owed.c.group)
        .correlate(owed)
        .scalar_subquery()
    )
    # Who turned out to be somebody else since is paid as that one.
    person = (
        sa.select(sa.func.coalesce(persons.c.merged_into, persons.c.id))
        .where(persons.c.id == owed.c.person)
        .correlate(owed)
        .scalar_subquery()
    )
    return sa.func.coalesce(person, primary)
