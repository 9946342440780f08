"""Tables of the registry: staged imports, pairs of duplicates, registration periods, and exclusions by oneself.

Change requests are rows of the approvals' own table; merges of persons are the beneficiaries' (`merges`).
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imis_core.database.tables import ALL_SEEN, day, edited, identity, instant, metadata, reference, text

registry_imports = edited(
    "registry_imports",
    metadata,
    identity(),
    text("kind"),  # persons
    text("file"),
    Column("content_hash", sa.LargeBinary, nullable=False),  # of kind, rows and the maker's scope
    text("state"),  # awaiting_approval | loaded | partly_loaded | failed | rejected
    Column("total", sa.Integer, nullable=False),
    Column("invalid", sa.Integer, nullable=False),
    Column("loaded", sa.Integer, nullable=True),  # after approval
    reference("maker", "users"),
    instant("requested_at"),
    reference("approver", "users", nullable=True),
    text("reason", nullable=True),
    # The places of its persons; who sees all of them sees the import. None: it is for callers who see everything.
    Column("places", ARRAY(sa.BigInteger), nullable=False),
    UniqueConstraint("content_hash"),
    noun="registry_imports",
    scope=lambda table, caller: sa.true() if caller.everywhere else _within(table.c.places, caller.places),
    row_security=(f"{ALL_SEEN} OR (places <> '{{}}' AND places <@ (SELECT core.scope_places())::bigint[])"),
)


def _within(column: Column[list[int]], places: tuple[int, ...]) -> sa.ColumnElement[bool]:
    own = sa.literal(list(places), ARRAY(sa.BigInteger))
    condition: sa.ColumnElement[bool] = sa.and_(sa.func.cardinality(column) > 0, column.op("<@")(own))
    return condition


# Every row of a file as it came, with what is wrong with it and, once loaded, the person.
registry_import_rows = Table(
    "registry_import_rows",
    metadata,
    reference("import", "registry_imports", primary_key=True),
    Column("row", sa.Integer, primary_key=True),  # from 1
    Column("data", JSONB, nullable=False),
    Column("errors", JSONB, nullable=False),  # [{field, code, message}]
    reference("person", "persons", nullable=True),
    info={
        "row_security": f'{ALL_SEEN} OR EXISTS (SELECT FROM core.registry_imports i WHERE i.id = "import")',
    },
)

duplicates = edited(
    "duplicates",
    metadata,
    identity(),
    reference("first", "persons"),  # registered earlier
    reference("second", "persons", index=True),
    Column("score", sa.Numeric(5, 2), nullable=False),  # 0..100; 100: an identifier is equal
    Column("reasons", sa.ARRAY(sa.Text), nullable=False),
    text("state"),  # open | same | different | obsolete
    day("found_on"),
    reference("merge", "merges", nullable=True, index=True),  # which decided it, or made it obsolete
    text("reason", nullable=True),
    UniqueConstraint("first", "second"),
    CheckConstraint('"first" < "second"', name="order"),
    noun="duplicates",
    scope=lambda table, caller: sa.and_(caller.sees_person_of(table.c.first), caller.sees_person_of(table.c.second)),
    row_security=(
        f'{ALL_SEEN} OR (EXISTS (SELECT FROM core.persons p WHERE p.id = "first")'
        ' AND EXISTS (SELECT FROM core.persons p WHERE p.id = "second"))'
    ),
)

# Without scope: the period of a region binds those who see only a village in it.
registration_periods = edited(
    "registration_periods",
    metadata,
    identity(),
    reference("place", "locations", index=True),
    day("starts"),
    day("ends", nullable=True),  # the last day, as planned
    text("state"),  # opened | supervised | closed
    day("closed_on", nullable=True),
    CheckConstraint("ends IS NULL OR starts <= ends", name="order"),
    Index("uq_registration_periods_open", "place", unique=True, postgresql_where=sa.text("state <> 'closed'")),
    noun="registration_periods",
)

# Who asked never to be selected. A group's exclusion is the group's, a person's the person's.
exclusions = Table(
    "exclusions",
    metadata,
    identity(),
    reference("group", "groups", nullable=True),
    reference("person", "persons", nullable=True),
    text("reason", nullable=True),
    day("excluded_on"),
    Column("audit", sa.BigInteger, nullable=False),
    CheckConstraint('("group" IS NULL) <> (person IS NULL)', name="one_holder"),
    UniqueConstraint("group"),
    UniqueConstraint("person"),
    info={
        "scope": lambda table, caller: caller.sees_holder(table.c.group, table.c.person),
        "row_security": (
            f'{ALL_SEEN} OR EXISTS (SELECT FROM core.groups g WHERE g.id = "group")'
            " OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)"
        ),
    },
)

__all__ = ["duplicates", "exclusions", "registration_periods", "registry_import_rows", "registry_imports"]
