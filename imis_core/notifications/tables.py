"""Tables of notifications: what is told to whom, and every state that a message went through."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, Table

from imis_core.database.tables import ALL_SEEN, identity, instant, mass, metadata, reference, text

# Exactly one of person, user and to says whom. A person's address is looked up when the message goes out.
notifications = mass(
    "notifications",
    metadata,
    identity(),
    reference("person", "persons", nullable=True),
    reference("user", "users", nullable=True),
    text("to", nullable=True),
    text("subject", nullable=True),
    text("text"),
    text("about_noun", nullable=True),
    Column("about", sa.BigInteger, nullable=True),  # the number of what it is about, in its noun
    Column("queued_by", sa.BigInteger, nullable=False),
    instant("queued_at"),
    Column("audit", sa.BigInteger, nullable=False),
    CheckConstraint('num_nonnulls(person, "user", "to") = 1', name="one_recipient"),
    CheckConstraint("(about_noun IS NULL) = (about IS NULL)", name="about_whole"),
    Index("ix_notifications_about", "about", "about_noun", postgresql_where=sa.text("about IS NOT NULL")),
    noun="notifications",
    scope=lambda table, caller: sa.or_(
        sa.literal(caller.everywhere),
        table.c.queued_by == caller.user,
        table.c.user == caller.user,
        caller.sees_person_of(table.c.person),
    ),
    # Who queued it and which user it is for are no part of row security's scope, so those rows stand open to it.
    row_security=f"{ALL_SEEN} OR person IS NULL OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)",
)

notification_states = mass(
    "notification_states",
    metadata,
    reference("notification", "notifications", primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    text("state"),
    text("reason", nullable=True),
    text("notifier", nullable=True),  # through which it went, or was tried
    Column("audit", sa.BigInteger, nullable=False),
)

# What stands in a message in the place of `{secret}`: encrypted, and gone once it was told or is worth nothing.
notification_secrets = Table(
    "notification_secrets",
    metadata,
    reference("notification", "notifications", primary_key=True),
    Column("content", sa.LargeBinary, nullable=True),
)

notification_current = Table(
    "notification_current",
    metadata,
    reference("notification", "notifications", primary_key=True),
    text("state"),
    Column("version", sa.Integer, nullable=False),
    Column("attempts", sa.Integer, nullable=False, server_default="0"),  # since it was queued, or queued again
    text("reason", nullable=True),  # why the last attempt failed
    Index("ix_notification_current_queued", "notification", postgresql_where=sa.text("state = 'queued'")),
)
