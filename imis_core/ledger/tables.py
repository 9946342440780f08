"""Tables of the ledger: entries and their postings, append-only; a statement trigger checks that entries balance."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index

from imis_core.database.tables import day, identity, mass, metadata, minor, reference, text

entries = mass(
    "ledger_entries",
    metadata,
    identity(),
    text("scheme"),
    text("currency"),
    day("booked_on"),
    text("purpose"),  # coverage.enrol, contributions.record, claims.process, ...: the command that moved money
    Column("audit", sa.BigInteger, nullable=False),
    noun="ledger_entries",
)

postings = mass(
    "ledger_postings",
    metadata,
    reference("entry", "ledger_entries", primary_key=True),
    Column("account", sa.Text, primary_key=True),
    minor("amount"),  # debit positive, credit negative
    Index("ix_ledger_postings_account", "account"),
)
