"""Persons of grievances are found by an index: a merge asks for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "grievance_0002"
down_revision = "grievance_0001"


def upgrade() -> None:
    for column in ("person", "reporter_person"):
        op.create_index(
            f"ix_grievances_{column}",
            "grievances",
            [column],
            unique=False,
            schema="grievance",
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
