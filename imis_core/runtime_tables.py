"""Tables of the doors: audit entries, idempotency keys, approvals, events with their deliveries."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Column, Index, Sequence, Table
from sqlalchemy.dialects.postgresql import JSONB

from imis_core.database.tables import CORE, day, document, edited, identity, instant, mass, metadata, reference, text


class TransactionId(sa.types.UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction number."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


# Taken at the start of a command, so that every row it writes can name the entry that is written at its end.
audit_ids: Final = Sequence("audit_ids", schema=CORE, metadata=metadata)

audit_entries = mass(
    "audit_entries",
    metadata,
    Column("id", sa.BigInteger, primary_key=True),
    Column("tx", TransactionId, nullable=False, server_default=sa.text("pg_current_xact_id()")),  # sealed below xmin
    instant("at"),
    Column("actor", sa.BigInteger, nullable=False),
    Column("approver", sa.BigInteger, nullable=True),
    text("command"),
    Column("accepted", sa.Integer, nullable=False),
    Column("refused", sa.Integer, nullable=False),
    text("digest"),  # of the request as received
    Column("input", JSONB(none_as_null=True), nullable=True),  # of small requests, secrets masked
    Index("ix_audit_entries_tx_id", "tx", "id"),  # the order of sealing
)

# Who read which person: a row for each answer that tells of persons. The role that reads adds rows, nothing else.
reads = mass(
    "reads",
    metadata,
    identity(),
    Column("tx", TransactionId, nullable=False, server_default=sa.text("pg_current_xact_id()")),  # sealed below xmin
    instant("at"),
    Column("user", sa.BigInteger, nullable=False),
    text("query"),
    Column("persons", sa.ARRAY(sa.BigInteger), nullable=False),
    Index("ix_reads_persons", "persons", postgresql_using="gin"),
    Index("ix_reads_user_at", "user", "at"),
    Index("ix_reads_tx_id", "tx", "id"),  # the order of sealing
    readers_add=True,
)

# What the sealing job has chained (docs/decisions, 'Sealing'): a seal stands for the rows of one log up to (tx, last).
audit_seals = mass(
    "audit_seals",
    metadata,
    Column("log", sa.Text, primary_key=True),  # audit | reads
    Column("number", sa.BigInteger, primary_key=True),  # 1, 2, 3 ... of its log
    instant("at"),
    text("key"),  # which key, not the key
    Column("floor", sa.BigInteger, nullable=False),  # rows up to this id were sealed before the database was restored
    Column("tx", sa.BigInteger, nullable=False),
    Column("last", sa.BigInteger, nullable=False),
    Column("top", sa.BigInteger, nullable=False),  # the highest id that any seal of the log so far has
    Column("count", sa.Integer, nullable=False),
    Column("rows", sa.LargeBinary, nullable=False),  # 24 bytes a row: its id and a code over its content
    Column("digest", sa.LargeBinary, nullable=False),  # over all of this and the digest before
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", sa.BigInteger, primary_key=True),
    Column("key", sa.Text, primary_key=True),
    text("digest"),
    instant("at"),
    Column("answer", sa.JSON(none_as_null=True), nullable=True),  # not JSONB: a repeated answer is the same text
    Index("ix_idempotency_at", "at"),
)

approvals = edited(
    "approvals",
    metadata,
    identity(),
    text("command"),
    document("request", info={"history": False}),  # the inputs, secrets included: shown to nobody, dropped at the end
    Column("single", sa.Boolean, nullable=False),
    day("business_date"),
    reference("maker", "users"),
    instant("requested_at"),
    instant("expires_at"),
    text("state"),  # awaiting_approval | approved | rejected | withdrawn
    Column("approvers", sa.ARRAY(sa.BigInteger), nullable=False),
    text("reason", nullable=True),
    document("error", nullable=True),
    # A change request of the registry (true), or a command under [approvals].
    Column("change", sa.Boolean, nullable=False, server_default=sa.false()),
    text("asked_because", nullable=True),
    # The places that the maker reached when asking; null: everything. Only who reaches all of them sees it.
    Column("places", sa.ARRAY(sa.BigInteger), nullable=True),
    noun="approvals",
    scope=lambda table, caller: caller.sees_request(table.c.maker, table.c.places),
)

events = mass(
    "events",
    metadata,
    identity(),
    text("name"),
    text("key"),  # deliveries of one key keep their order
    document("payload"),
    instant("at"),
    Column("audit", sa.BigInteger, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    reference("event", "events", primary_key=True),
    Column("subscriber", sa.Text, primary_key=True),
    text("state"),  # pending | done | parked
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    instant("next_at"),
    text("error", nullable=True),
    Index("ix_deliveries_pending", "next_at", postgresql_where=sa.text("state = 'pending'")),
)
