"""Who read which person is logged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


class _Xid8(sa.types.UserDefinedType[str]):
    def get_col_spec(self, **_: object) -> str:
        return "xid8"


revision = "core_0015"
down_revision = "core_0014"


def upgrade() -> None:
    op.create_table(
        "reads",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tx", _Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user", sa.BigInteger(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("persons", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reads")),
        schema="core",
    )
    op.create_index("ix_reads_persons", "reads", ["persons"], unique=False, schema="core", postgresql_using="gin")
    op.create_index("ix_reads_tx_id", "reads", ["tx", "id"], unique=False, schema="core")
    op.create_index("ix_reads_user_at", "reads", ["user", "at"], unique=False, schema="core")
