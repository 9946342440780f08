"""Table of imports: a digest of every row that was loaded, so that the same row again changes nothing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column

from imis_core.database.tables import mass, metadata

# `key` is the digest of what names the entity where a later row replaces it, and else the digest itself. The entry with
# the greatest `audit` is the one that holds: a row that was changed and changed back goes through its command again.
imported_rows = mass(
    "imported_rows",
    metadata,
    Column("kind", sa.Text, primary_key=True),
    Column("key", sa.LargeBinary, primary_key=True),
    Column("audit", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("digest", sa.LargeBinary, nullable=False),
)
