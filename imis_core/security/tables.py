"""Tables of security: users with roles and scope, tokens, and the log of exact look-ups outside a caller's scope."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.database.tables import edited, identity, instant, mass, metadata, reference, text

users = edited(
    "users",
    metadata,
    identity(),
    text("name"),
    text("password", nullable=True, info={"history": False}),  # argon2id; null: cannot log in with a password
    Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("roles", ARRAY(sa.Text), nullable=False),
    Column("places", ARRAY(sa.BigInteger), nullable=False),
    Column("providers", ARRAY(sa.BigInteger), nullable=False),
    UniqueConstraint("name"),
    noun="users",
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", sa.LargeBinary, primary_key=True),  # SHA-256 of the token; the token itself is never kept
    reference("user", "users", index=True),
    text("client"),
    instant("created_at"),
    instant("expires_at"),
    instant("revoked_at", nullable=True),
)

# A contracted provider may look up any person by exact number: each look-up leaves a row.
lookups = mass(
    "lookups",
    metadata,
    identity(),
    instant("at"),
    reference("user", "users"),
    reference("person", "persons"),
    text("command"),
    Index("ix_lookups_user_at", "user", "at"),
)
