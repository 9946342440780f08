"""Tables of payments: payment providers, pay points, recipients, orders with their states, reconciliation, cash lists.

Payments know where an order comes from only as (source kind, source id).
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint

from imis_core.database.tables import ALL_SEEN, day, edited, identity, instant, mass, metadata, minor, reference, text

_PAYEE_SEEN: Final = (
    f"{ALL_SEEN} OR provider = ANY ((SELECT core.scope_providers())::bigint[])"
    " OR EXISTS (SELECT FROM core.providers f WHERE f.id = provider"
    " AND f.location = ANY ((SELECT core.scope_places())::bigint[]))"
    " OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)"
)

payment_providers = edited(
    "payment_providers",
    metadata,
    identity(),
    text("code"),
    text("name"),
    text("channel"),
    # Whose account bank files are paid from; null: no bank files for this provider yet.
    text("debtor_name", nullable=True),
    text("debtor_account", nullable=True),
    text("debtor_bank", nullable=True),
    UniqueConstraint("code"),
    noun="payment_providers",
)

pay_points = edited(
    "pay_points",
    metadata,
    identity(),
    reference("payment_provider", "payment_providers"),
    text("code"),
    text("name"),
    reference("location", "locations", nullable=True),
    text("hours", nullable=True),
    UniqueConstraint("payment_provider", "code"),
    noun="pay_points",
)

# The account mapper: where a person or a facility is paid; one active address per scheme ('' = every other scheme).
recipients = edited(
    "recipients",
    metadata,
    identity(),
    text("scheme"),
    reference("person", "persons", nullable=True),
    reference("provider", "providers", nullable=True),
    reference("payment_provider", "payment_providers"),
    text("account", nullable=True),
    reference("pay_point", "pay_points", nullable=True),
    Column("active", sa.Boolean, nullable=False),
    CheckConstraint("(person IS NULL) <> (provider IS NULL)", name="one_holder"),
    Index(
        "uq_recipients_person",
        "person",
        "scheme",
        unique=True,
        postgresql_where=sa.text("active AND person IS NOT NULL"),
    ),
    Index(
        "uq_recipients_provider",
        "provider",
        "scheme",
        unique=True,
        postgresql_where=sa.text("active AND provider IS NOT NULL"),
    ),
    noun="recipients",
    scope=lambda table, caller: caller.sees_payee(table.c.person, table.c.provider),
    row_security=_PAYEE_SEEN,
)

orders = mass(
    "orders",
    metadata,
    identity(),
    text("scheme"),
    text("source_kind"),
    Column("source", sa.BigInteger, nullable=False),  # the batch that ordered it: a payment request, a payroll
    Column("entitlement", sa.BigInteger, nullable=False),  # what is owed, in the source's numbering
    Column("attempt", sa.Integer, nullable=False),
    reference("retries", "orders", nullable=True),
    reference("person", "persons", nullable=True),
    reference("provider", "providers", nullable=True),
    minor("amount_minor"),
    text("currency"),
    instant("ordered_at"),
    Column("approved_by", sa.BigInteger, nullable=False),
    Column("audit", sa.BigInteger, nullable=False),
    UniqueConstraint("source_kind", "source", "entitlement", "attempt"),
    CheckConstraint("(person IS NULL) <> (provider IS NULL)", name="one_recipient"),
    # Few orders are tried again: the index costs nothing when a batch is ordered.
    Index("ix_orders_retries", "retries", postgresql_where=sa.text("retries IS NOT NULL")),
    noun="orders",
    scope=lambda table, caller: caller.sees_payee(table.c.person, table.c.provider),
    row_security=_PAYEE_SEEN,
)

order_states = mass(
    "order_states",
    metadata,
    reference("order", "orders", primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    text("state"),
    text("reason", nullable=True),
    text("reference", nullable=True),
    Column("audit", sa.BigInteger, nullable=False),
)

order_current = Table(
    "order_current",
    metadata,
    reference("order", "orders", primary_key=True),
    text("state"),
    Column("version", sa.Integer, nullable=False),
    reference("payment_provider", "payment_providers", nullable=True),  # through whom it was submitted
    reference("recipient", "recipients", nullable=True),  # the enrolment, with its account or pay point, it was sent to
    text("reason", nullable=True),
    postgresql_with={"fillfactor": 60},  # it changes four times at least: room for the new versions beside the old
)

# What went through each provider on a day of the application's clock, by currency (`limits`).
payment_days = Table(
    "payment_days",
    metadata,
    reference("payment_provider", "payment_providers", primary_key=True),
    day("day", primary_key=True),
    text("currency", primary_key=True),
    minor("amount_minor"),
)

# Every row of every file or callback, with what became of it.
reconciliation_rows = mass(
    "reconciliation_rows",
    metadata,
    identity(),
    reference("payment_provider", "payment_providers"),
    text("file", nullable=True),  # the name of the file that brought it
    Column("row", sa.Integer, nullable=False),  # its place in the file or in the rows that were sent, from 1
    text("order_named"),
    Column("order", sa.BigInteger, nullable=True),
    text("status"),
    text("amount"),
    text("reference", nullable=True),
    text("reason", nullable=True),
    text("outcome"),  # matched | already_reconciled | wrong_amount | conflicts | unknown
    day("received_on"),
    Column("audit", sa.BigInteger, nullable=False),
    Index(None, "payment_provider", "id"),
)

# What was written for those who pay in cash; the same orders give the same digest, and so the same files.
cash_lists = mass(
    "cash_lists",
    metadata,
    identity(),
    text("source_kind"),
    Column("source", sa.BigInteger, nullable=False),
    reference("payment_provider", "payment_providers"),
    reference("pay_point", "pay_points", nullable=True),
    text("digest"),
    reference("pdf", "attachments"),
    reference("xlsx", "attachments"),
    Column("audit", sa.BigInteger, nullable=False),
    UniqueConstraint("digest"),
)

# Bank files that were written. An order stands in one of them and never in another: it would be paid twice.
bank_files = mass(
    "bank_files",
    metadata,
    identity(),
    text("source_kind"),
    Column("source", sa.BigInteger, nullable=False),
    reference("payment_provider", "payment_providers"),
    Column("orders", sa.Integer, nullable=False),
    minor("amount_minor"),
    text("currency"),
    day("execute_on"),
    text("digest"),
    reference("attachment", "attachments"),
    Column("audit", sa.BigInteger, nullable=False),
    Index(None, "source_kind", "source"),
    noun="bank_files",
)

bank_file_orders = mass(
    "bank_file_orders",
    metadata,
    reference("order", "orders", primary_key=True),
    reference("file", "bank_files", index=True),
)

# Our orders beside the books of a payment provider: what was compared, and every difference.
book_comparisons = mass(
    "book_comparisons",
    metadata,
    identity(),
    reference("payment_provider", "payment_providers"),
    text("file"),
    text("digest"),
    Column("rows", sa.Integer, nullable=False),
    day("compared_on"),
    Column("audit", sa.BigInteger, nullable=False),
    noun="book_comparisons",
)

book_differences = mass(
    "book_differences",
    metadata,
    identity(),
    reference("comparison", "book_comparisons", index=True),
    Column("place", sa.Integer, nullable=True),  # of the row in the file, from 1; null: the statement has no row of it
    text("order_named", nullable=True),
    Column("order", sa.BigInteger, nullable=True),
    text("code"),
    text("here", nullable=True),  # the order's state
    text("there", nullable=True),  # what the statement says of it
    minor("amount_minor", nullable=True),
    text("currency", nullable=True),
    text("amount_there", nullable=True),
    text("currency_there", nullable=True),
    text("reference", nullable=True),
    Column("audit", sa.BigInteger, nullable=False),
)
