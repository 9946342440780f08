"""Tables of jobs: the last day on which each daily job was enqueued, and the queue library's own schema `jobs`."""

from __future__ import annotations

import sqlalchemy as sa
from procrastinate.schema import SchemaManager
from sqlalchemy import Column, Table

from imis_core.database.tables import day, metadata

schedules = Table("schedules", metadata, Column("job", sa.Text, primary_key=True), day("enqueued_on"))


def queue_schema_sql() -> str:
    """The queue library's tables and functions, to be created with `search_path` set to the schema `jobs`."""
    return SchemaManager.get_schema()
