"""The day on which a refund took its credit; of those that were tried again, the day of their preparation stands in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "core_0034"
down_revision = "core_0033"


def upgrade() -> None:
    op.add_column("contribution_refunds", sa.Column("taken_on", sa.Date(), nullable=True), schema="core")
    op.add_column("contribution_refunds_history", sa.Column("taken_on", sa.Date(), nullable=True), schema="core")
    op.execute("ALTER TABLE core.contribution_refunds DISABLE TRIGGER USER")  # nobody changed the refunds
    op.execute("UPDATE core.contribution_refunds SET taken_on = prepared_on")
    op.execute("ALTER TABLE core.contribution_refunds ENABLE TRIGGER USER")
    op.alter_column("contribution_refunds", "taken_on", nullable=False, schema="core")
    op.execute(
        'CREATE OR REPLACE TRIGGER history_insert AFTER INSERT ON core.contribution_refunds REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "coverage", "batch", "amount_minor", "currency", "reason", "state", "rejection", "prepared_on", "taken_on", "prepared_by", "id", "version"\')'
    )
    op.execute(
        'CREATE OR REPLACE TRIGGER history_update AFTER UPDATE ON core.contribution_refunds REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION core.write_history(\'"scheme", "coverage", "batch", "amount_minor", "currency", "reason", "state", "rejection", "prepared_on", "taken_on", "prepared_by", "id", "version"\')'
    )
