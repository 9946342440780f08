"""Tables of security: users with roles and scope, their logins, failed ones, and the log of exact look-ups."""

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
    # Set with a password that somebody else made: the next login brings a new one, or is refused.
    Column("must_change", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("roles", ARRAY(sa.Text), nullable=False),
    Column("places", ARRAY(sa.BigInteger), nullable=False),
    Column("providers", ARRAY(sa.BigInteger), nullable=False),
    UniqueConstraint("name"),
    noun="users",
)

# Logins: bearer tokens of programs, and sessions of browsers, which are the same but for their cookie and idle life.
tokens = Table(
    "tokens",
    metadata,
    Column("digest", sa.LargeBinary, primary_key=True),  # SHA-256 of the token; the token itself is never kept
    Column("id", sa.BigInteger, sa.Identity(), nullable=False, unique=True),  # by which people name a login
    reference("user", "users", index=True),
    Column("session", sa.Boolean, nullable=False, server_default=sa.false()),
    text("client"),
    text("address", nullable=True),
    instant("created_at"),
    instant("expires_at"),
    instant("seen_at", nullable=True),  # of a session, to the minute
    instant("revoked_at", nullable=True),
    info={"noun": "logins"},
)

# When a user last logged in; apart from the users, whose every change is kept.
last_logins = Table(
    "last_logins",
    metadata,
    reference("user", "users", primary_key=True),
    instant("at"),
    text("client"),
)

# Failed logins, counted by name (known or not; its digest, since people type passwords there) and by address.
login_failures = Table(
    "login_failures",
    metadata,
    Column("subject", sa.Text, primary_key=True),  # security.lockout.of_name, .of_address
    Column("failures", sa.Integer, nullable=False),
    instant("failed_at"),
    instant("locked_until", nullable=True),
)

# Hashes of a user's passwords before the present one, so that it is not taken again.
earlier_passwords = Table(
    "earlier_passwords",
    metadata,
    identity(),
    reference("user", "users", index=True),
    text("password"),
    instant("replaced_at"),
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
