"""Alembic's environment for every history; the runner hands over the connection, the schema and what to check."""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table="alembic_version",
    version_table_schema=attributes["schema"],
    target_metadata=attributes.get("metadata"),
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
    for check in attributes.get("checks", ()):
        check(attributes["connection"])
