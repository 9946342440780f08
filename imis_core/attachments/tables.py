"""Tables of attachments: what was stored, by its digest, and what it is about. The bytes lie in files, not here."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index

from imis_core.database.tables import identity, instant, mass, metadata, text

# No row security: who may see a row depends on what it is about, which is a row of any noun of any plugin. The room's
# one condition (`attachments.visibility.seen`) is the wall, and the scope below its narrowest reading.
attachments = mass(
    "attachments",
    metadata,
    identity(),
    text("name"),
    text("media_type"),
    Column("size", sa.BigInteger, nullable=False),  # bytes
    text("digest"),  # SHA-256 in hexadecimal, the file's name in the store
    text("about_noun", nullable=True),
    Column("about", sa.BigInteger, nullable=True),  # the number of what it is about, in its noun
    Column("added_by", sa.BigInteger, nullable=False),
    instant("added_at"),
    Column("audit", sa.BigInteger, nullable=False),
    CheckConstraint("(about_noun IS NULL) = (about IS NULL)", name="about_whole"),
    Index("ix_attachments_about", "about", "about_noun", postgresql_where=sa.text("about IS NOT NULL")),
    noun="attachments",
    scope=lambda table, caller: sa.or_(
        table.c.added_by == caller.user, sa.and_(table.c.about_noun.is_(None), sa.literal(caller.everywhere))
    ),
)
