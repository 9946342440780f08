"""Tables of imports: what was loaded from which file, so that the same file twice changes nothing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, UniqueConstraint

from imis_core.database.tables import identity, instant, mass, metadata, text

file_loads = mass(
    "file_loads",
    metadata,
    identity(),
    text("kind"),
    text("path"),
    text("digest"),  # SHA-256 of the file's bytes
    instant("at"),
    Column("loaded", sa.Integer, nullable=False),
    Column("unchanged", sa.Integer, nullable=False),
    Column("refused", sa.Integer, nullable=False),
    Column("audit", sa.BigInteger, nullable=False),
    UniqueConstraint("kind", "path", "digest", "at"),
)
