"""Tables of jobs: what schedules have enqueued, runs with their chunks, errors; and the queue library's schema."""

from __future__ import annotations

import sqlalchemy as sa
from procrastinate.schema import SchemaManager
from sqlalchemy import Column, Index, Table

from imis_core.database.tables import day, document, identity, instant, metadata, text

schedules = Table(
    "schedules",
    metadata,
    Column("job", sa.Text, primary_key=True),
    day("enqueued_on"),
    instant("slot", nullable=True),  # the begin of the last period that was enqueued; null: written before it was kept
)

# A run is known by the number that the queue gave to the job that cuts it into chunks.
job_runs = Table(
    "job_runs",
    metadata,
    Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    text("job"),
    document("input"),
    Column("maker", sa.BigInteger, nullable=False),  # a user, 0 for the application itself
    day("business_date"),
    instant("requested_at"),
    Column("item_count", sa.BigInteger, nullable=True),  # null until it is cut
)

job_chunks = Table(
    "job_chunks",
    metadata,
    Column("run", sa.BigInteger, sa.ForeignKey("core.job_runs.id"), primary_key=True),
    Column("number", sa.Integer, primary_key=True),
    Column("queued", sa.BigInteger, nullable=False, unique=True),  # the chunk's number in the queue
    Column("item_count", sa.Integer, nullable=False),
    document("data"),
    instant("done_at", nullable=True),
    document("result", nullable=True),
)

job_errors = Table(
    "job_errors",
    metadata,
    identity(),
    Column("job", sa.BigInteger, nullable=False),  # its number in the queue
    Column("attempt", sa.Integer, nullable=False),
    instant("at"),
    text("error"),
    Index("ix_job_errors_job", "job"),
)


def queue_schema_sql() -> str:
    """The queue library's tables and functions, to be created with `search_path` set to the schema `jobs`."""
    return SchemaManager.get_schema()
