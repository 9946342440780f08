"""Tables of transmissions: what goes to payment providers and what they say, and how each provider's line stands."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint

from imis_core.database.tables import ALL_SEEN, day, identity, instant, mass, metadata, minor, reference, text

# Orders that go to a provider together, in one request. `correlation` names them to the provider for ever.
transmissions = mass(
    "transmissions",
    metadata,
    identity(),
    reference("payment_provider", "payment_providers"),
    text("scheme"),
    text("currency"),
    text("source_kind"),
    Column("source", sa.BigInteger, nullable=False),
    Column("orders", sa.Integer, nullable=False),
    minor("amount_minor"),
    text("correlation"),
    day("placed_on"),
    Column("audit", sa.BigInteger, nullable=False),
    UniqueConstraint("correlation"),
    Index(None, "payment_provider", "placed_on"),
    noun="transmissions",
)

transmission_states = mass(
    "transmission_states",
    metadata,
    reference("transmission", "transmissions", primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    text("state"),
    text("reason", nullable=True),
    instant("at"),
    Column("audit", sa.BigInteger, nullable=False),
)

# `attempts`: how often it was sent; `tries`: what was tried since it last moved. `due_at`: when somebody looks again;
# of one that is being sent, from when on whoever sends it is taken for dead. `asked_at`: when the provider's list about
# it was last asked for.
transmission_current = Table(
    "transmission_current",
    metadata,
    reference("transmission", "transmissions", primary_key=True),
    reference("payment_provider", "payment_providers"),
    text("state"),
    Column("version", sa.Integer, nullable=False),
    Column("attempts", sa.Integer, nullable=False),
    Column("tries", sa.Integer, nullable=False),
    text("batch", nullable=True),  # what the provider calls it
    text("reason", nullable=True),
    instant("due_at"),
    instant("asked_at", nullable=True),
    Index(
        "ix_transmission_current_open",
        "payment_provider",
        "state",
        postgresql_where=sa.text("state IN ('waiting', 'sending', 'unknown', 'accepted', 'parked')"),
    ),
)

# An order goes into one transmission and never into another: it could be paid twice. `account` is what it is paid to,
# whatever becomes of the recipient's enrolment; `told` what the provider's list last said of it.
transmission_orders = Table(
    "transmission_orders",
    metadata,
    reference("order", "orders", primary_key=True),
    reference("transmission", "transmissions", index=True),
    text("account", nullable=True),
    Column("left_out", sa.Boolean, nullable=False, server_default=sa.false()),
    text("told", nullable=True),
)

# What redeems a voucher: the serial number, and the secret one encrypted with the deployment's key. A row goes as soon
# as its order is decided. `told`: its holder was sent a message.
voucher_numbers = Table(
    "voucher_numbers",
    metadata,
    reference("order", "orders", primary_key=True),
    text("serial"),
    Column("number", sa.LargeBinary, nullable=False),
    instant("received_at"),
    Column("told", sa.Boolean, nullable=False, server_default=sa.false()),
    Index("ix_voucher_numbers_untold", "order", postgresql_where=sa.text("NOT told")),
    info={"row_security": f'{ALL_SEEN} OR EXISTS (SELECT FROM core.orders o WHERE o.id = voucher_numbers."order")'},
)

# Vouchers that are to be worth nothing any more: whoever looks at their transmission has the provider cancel them, and
# the order fails with the reason once the provider says so. One that was redeemed before is paid all the same.
voucher_cancellations = mass(
    "voucher_cancellations",
    metadata,
    reference("order", "orders", primary_key=True),
    reference("transmission", "transmissions", index=True),
    text("reason"),  # voucher_expired, voucher_cancelled
    text("note", nullable=True),  # why somebody wants it
    instant("asked_at"),
    Column("audit", sa.BigInteger, nullable=False),
)

# The line to a provider, shared by all workers: whether it is open for us (a circuit breaker), and this minute's count.
payment_lines = Table(
    "payment_lines",
    metadata,
    reference("payment_provider", "payment_providers", primary_key=True),
    text("state"),  # closed: all is well; open: nothing goes out; half_open: one request tries whether it is well again
    Column("failures", sa.Integer, nullable=False),  # one after the other
    Column("openings", sa.Integer, nullable=False),  # since it was last well: each pause is longer than the one before
    instant("until", nullable=True),  # of the pause, or of the request that tries
    instant("minute", nullable=True),
    Column("requests", sa.Integer, nullable=False),  # in that minute
    text("reason", nullable=True),
    instant("changed_at", nullable=True),
    CheckConstraint("state IN ('closed', 'open', 'half_open')", name="state"),
)

# What providers send by themselves, word for word but for secrets of their service; empty once it is older than
# `[retention]` says. A nonce is taken once.
provider_messages = mass(
    "provider_messages",
    metadata,
    identity(),
    reference("payment_provider", "payment_providers"),
    text("nonce"),
    text("digest"),
    Column("body", sa.LargeBinary, nullable=False),
    instant("received_at"),
    UniqueConstraint("payment_provider", "nonce"),
    Index(None, "payment_provider", "digest"),
    # Those whose words are still kept: what is too old is found without reading all that ever came.
    Index("ix_provider_messages_kept", "received_at", postgresql_where=sa.text("body <> ''")),
    noun="provider_messages",
)

# Messages that nobody has read yet.
provider_messages_waiting = Table(
    "provider_messages_waiting",
    metadata,
    reference("message", "provider_messages", primary_key=True),
)

# What became of each: taken (a row of reconciliation), asked (its transmission is asked about), repeated, ...
provider_message_outcomes = mass(
    "provider_message_outcomes",
    metadata,
    reference("message", "provider_messages", primary_key=True),
    text("outcome"),
    text("detail", nullable=True),
    Column("audit", sa.BigInteger, nullable=False),
)

# Whether a provider knows the accounts of its recipients: asked once, answered by a message.
account_checks = mass(
    "account_checks",
    metadata,
    identity(),
    reference("payment_provider", "payment_providers"),
    text("correlation"),
    Column("accounts", sa.Integer, nullable=False),
    instant("asked_at"),
    Column("audit", sa.BigInteger, nullable=False),
    UniqueConstraint("correlation"),
    Index(None, "payment_provider", "id"),
    noun="account_checks",
)

account_check_current = Table(
    "account_check_current",
    metadata,
    reference("account_check", "account_checks", primary_key=True),
    text("state"),  # waiting, asked, answered, failed
    Column("failures", sa.Integer, nullable=True),  # accounts that the provider does not know, once it has answered
    text("reason", nullable=True),
)

account_check_rows = Table(
    "account_check_rows",
    metadata,
    reference("account_check", "account_checks", primary_key=True),
    reference("recipient", "recipients", primary_key=True),
    text("account"),
    text("failure", nullable=True),  # why the provider does not pay to it
    Index(None, "recipient", "account_check"),
    Index("ix_account_check_rows_failed", "account_check", postgresql_where=sa.text("failure IS NOT NULL")),
)
