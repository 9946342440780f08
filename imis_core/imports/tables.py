"""Table of imports: a digest of every row that was loaded, so that the same row again changes nothing."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column

from imis_core.database.tables import mass, metadata

imported_rows = mass(
    "imported_rows",
    metadata,
    Column("kind", sa.Text, primary_key=True),
    Column("digest", sa.LargeBinary, primary_key=True),
    Column("audit", sa.BigInteger, nullable=False),
)
