"""Tables of beneficiaries: persons with identifiers, groups (households) and memberships."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table, UniqueConstraint

from imis_core.beneficiaries.functions import FUNCTIONS
from imis_core.database.tables import ALL_SEEN, by_place, day, document, edited, identity, metadata, reference, text

persons = edited(
    "persons",
    metadata,
    identity(),
    text("number"),
    text("given_name", nullable=True),
    text("family_name", nullable=True),
    text("sex"),
    day("birth_date"),
    day("death_date", nullable=True),
    text("status"),  # active | inactive
    day("status_on", nullable=True),  # since when; null: since the registration
    text("status_reason", nullable=True),  # of the status, or of the death
    day("photo_on", nullable=True),  # the photo itself is an attachment
    reference("place", "locations", nullable=True, index=True),
    day("registered_on"),
    document("attributes"),
    # Found to be the same as that person, who was kept: always the last one, so that one step finds him or her.
    reference("merged_into", "persons", nullable=True),
    UniqueConstraint("number"),
    Index("ix_persons_merged_into", "merged_into", postgresql_where=sa.text("merged_into IS NOT NULL")),
    noun="persons",
    scope=lambda table, caller: caller.sees_person(table.c.id, table.c.place),
    # Beside the caller's places: the persons whom a contracted provider looked up by exact number in this transaction.
    row_security=(
        f"{ALL_SEEN} OR place = ANY ((SELECT core.scope_places())::bigint[])"
        " OR id = ANY ((SELECT core.scope_persons())::bigint[])"
    ),
)

identifiers = Table(
    "identifiers",
    metadata,
    identity(),
    reference("person", "persons", index=True),
    text("system"),
    text("value"),
    Index("ix_identifiers_system_value", "system", "value"),
    info={
        "scope": lambda table, caller: caller.sees_person_of(table.c.person),
        "row_security": f"{ALL_SEEN} OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)",
    },
)

groups = edited(
    "groups",
    metadata,
    identity(),
    text("code"),
    text("kind"),
    text("status"),  # active | inactive
    Column("poverty", sa.Boolean, nullable=True),  # confirmed poor, or not; null: not known
    text("confirmation_number", nullable=True),  # of the confirmation
    reference("place", "locations", nullable=True, index=True),
    day("registered_on"),
    document("attributes"),
    UniqueConstraint("code"),
    noun="groups",
    # A looked-up person's groups are seen with the person; the function avoids a policy that asks itself.
    **by_place(),
)

memberships = edited(
    "memberships",
    metadata,
    identity(),
    reference("group", "groups", index=True),
    reference("person", "persons"),
    text("kind"),  # of the group: one person is in at most one group of a kind
    text("relationship"),
    text("recipient", nullable=True),  # primary | alternate
    Column("ordinal", sa.Integer, nullable=False),  # order of registration within the group
    day("joined_on"),
    day("left_on", nullable=True),  # the last day in the group
    text("left_reason", nullable=True),
    Index("uq_memberships_person_kind", "person", "kind", unique=True, postgresql_where=sa.text("left_on IS NULL")),
    Index("ix_memberships_left", "person", postgresql_where=sa.text("left_on IS NOT NULL")),  # who lived where before
    noun="memberships",
    part_of={"column": "group", "as": "members", "by": "person"},  # their changes stand in the group's trail
    scope=lambda table, caller: caller.sees_person_of(table.c.person),
    row_security=f"{ALL_SEEN} OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)",
)

# Values of attributes that are declared unique: one owner each in the whole deployment, whoever may see it.
attribute_values = Table(
    "attribute_values",
    metadata,
    Column("of", sa.Text, primary_key=True),  # person | group
    Column("attribute", sa.Text, primary_key=True),
    Column("value", sa.Text, primary_key=True),
    Column("owner", sa.BigInteger, nullable=False),
)

# Two persons who are one: what was moved and changed, so that it can be undone.
merges = edited(
    "merges",
    metadata,
    identity(),
    reference("kept", "persons", index=True),
    reference("dropped", "persons", index=True),
    text("state"),  # done | undone
    day("merged_on"),
    text("reason", nullable=True),
    document("undo", info={"history": False}),  # see `merging.py`
    noun="merges",
    scope=lambda table, caller: sa.and_(caller.sees_person_of(table.c.kept), caller.sees_person_of(table.c.dropped)),
    row_security=(
        f"{ALL_SEEN} OR (EXISTS (SELECT FROM core.persons p WHERE p.id = kept)"
        " AND EXISTS (SELECT FROM core.persons p WHERE p.id = dropped))"
    ),
)

# SQL functions that the first migration makes after the tables.
metadata.info.setdefault("functions", []).append(FUNCTIONS)
