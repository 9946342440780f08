"""Tables of coverage: policies, the persons they cover, suspensions, and the contributions paid for them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import DATERANGE, ExcludeConstraint

from imis_core.database.tables import ALL_SEEN, day, edited, identity, mass, metadata, minor, reference, text

_HOLDER_SEEN = (
    f'{ALL_SEEN} OR EXISTS (SELECT FROM core.groups g WHERE g.id = "group")'
    " OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)"
    " OR id IN (SELECT m.coverage FROM core.coverage_members m"
    " WHERE m.person = ANY ((SELECT core.scope_persons())::bigint[]))"
)

coverages = edited(
    "coverages",
    metadata,
    identity(),
    text("scheme"),
    reference("package", "packages", index=True),
    reference("package_version", "package_versions", index=True),
    reference("group", "groups", nullable=True, index=True),
    reference("person", "persons", nullable=True, index=True),
    reference("renews", "coverages", nullable=True),
    text("state"),  # idle | active | suspended | expired | terminated
    day("enrolled_on"),
    day("starts"),
    day("ends"),
    day("last_payment"),
    day("effective_from", nullable=True),  # first day of cover, once paid
    day("terminated_on", nullable=True),  # last day of cover of a terminated policy
    text("currency"),
    minor("value_minor"),  # the whole contribution
    minor("subsidy_minor"),  # the part that somebody else owes
    minor("due_minor"),  # value - subsidy: the household's own part
    CheckConstraint('("group" IS NULL) <> (person IS NULL)', name="holder"),
    noun="coverages",
    scope=lambda table, caller: caller.sees_holder(table.c.group, table.c.person),
    row_security=_HOLDER_SEEN,
)

# The persons whom a policy counts, in order of registration.
coverage_members = edited(
    "coverage_members",
    metadata,
    identity(),
    reference("coverage", "coverages", index=True),
    reference("package", "packages"),
    reference("person", "persons", index=True),
    Column("ordinal", sa.Integer, nullable=False),
    day("joined_on"),
    day("effective_from", nullable=True),  # null: as the policy
    Column("late", sa.Boolean, nullable=False, server_default=sa.false()),
    # Days on which no other policy of this package may cover the person; empty once lapsed, expired or terminated.
    Column("held", DATERANGE, nullable=False),
    ExcludeConstraint(
        (sa.text("int8range(person, person, '[]')"), "&&"),
        (sa.text("int8range(package, package, '[]')"), "&&"),
        ("held", "&&"),
        using="gist",
    ),
    noun="coverage_members",
)

coverage_suspensions = Table(
    "coverage_suspensions",
    metadata,
    identity(),
    reference("coverage", "coverages", index=True),
    day("suspended_on"),
    day("resumed_on", nullable=True),  # first day covered again
)

# What a late joiner added to the contribution, in minor units (less than 0: what it shrank by).
coverage_dues = mass(
    "coverage_dues",
    metadata,
    identity(),
    reference("coverage", "coverages", index=True),
    reference("member", "coverage_members"),
    day("due_on"),
    minor("value_minor"),
    minor("subsidy_minor"),
    minor("due_minor"),
    Column("audit", sa.BigInteger, nullable=False),
)

# The parts of contributions that others owe, by category of households (or by rule).
coverage_subsidies = mass(
    "coverage_subsidies",
    metadata,
    identity(),
    reference("coverage", "coverages", index=True),
    text("category"),
    minor("amount_minor"),
    Column("audit", sa.BigInteger, nullable=False),
)

# What is owed for a category in all, and what of it was settled.
subsidy_accounts = Table(
    "subsidy_accounts",
    metadata,
    Column("scheme", sa.Text, primary_key=True),
    Column("category", sa.Text, primary_key=True),
    minor("owed_minor"),
    minor("settled_minor"),
)

# What was paid for a policy, by an employer for a month of wages, or of the subsidies of a category.
contributions = mass(
    "contributions",
    metadata,
    identity(),
    text("scheme"),
    reference("coverage", "coverages", nullable=True, index=True),
    reference("employer", "employers", nullable=True),
    day("month", nullable=True),
    text("category", nullable=True),
    minor("amount_minor"),
    text("currency"),
    day("paid_on"),
    text("receipt"),
    text("method"),
    text("payer", nullable=True),
    text("override_reason", nullable=True),
    Column("audit", sa.BigInteger, nullable=False),
    UniqueConstraint("scheme", "receipt"),
    Index("ix_contributions_audit", "audit"),
    Index("ix_contributions_employer_month", "employer", "month", postgresql_where=sa.text("employer IS NOT NULL")),
    CheckConstraint("num_nonnulls(coverage, employer, category) = 1", name="one_purpose"),
    CheckConstraint("(employer IS NULL) = (month IS NULL)", name="month"),
    noun="contributions",
    scope=lambda table, caller: caller.sees_coverage_of(table.c.coverage),
)

# What a holder was told of a policy, once each: that it ends and may be renewed, that a photo is old, that it ended.
coverage_reminders = mass(
    "coverage_reminders",
    metadata,
    identity(),
    reference("coverage", "coverages"),
    text("kind"),  # renewal | photo | expiry
    reference("person", "persons", nullable=True),  # whose photo
    reference("package_version", "package_versions", nullable=True),  # what a renewal is offered to
    day("told_on"),
    Column("notification", sa.BigInteger, nullable=True),  # null: there is nobody to tell
    Column("audit", sa.BigInteger, nullable=False),
    Index("uq_coverage_reminders_once", "coverage", "kind", sa.text("coalesce(person, 0)"), unique=True),
)

# Contributions that were taken back: their receipts stay used.
contribution_reversals = mass(
    "contribution_reversals",
    metadata,
    reference("contribution", "contributions", primary_key=True),
    text("reason"),
    day("reversed_on"),
    Column("audit", sa.BigInteger, nullable=False),
)

# Refunds of what was paid too much, approved together and paid together.
refund_batches = mass(
    "refund_batches",
    metadata,
    identity(),
    text("scheme"),
    day("approved_on"),
    Column("approved_by", sa.BigInteger, nullable=False),
    Column("audit", sa.BigInteger, nullable=False),
    noun="refund_batches",
)

# A credit that is to be paid out, or was. It takes the credit from `taken_on` on, unless it gave it back (`states`):
# the day it was prepared, or its order was tried again.
contribution_refunds = edited(
    "contribution_refunds",
    metadata,
    identity(),
    text("scheme"),
    reference("coverage", "coverages", index=True),
    reference("batch", "refund_batches", nullable=True, index=True),
    minor("amount_minor"),
    text("currency"),
    text("reason"),
    text("state"),
    text("rejection", nullable=True),  # why it was refused
    day("prepared_on"),
    day("taken_on"),
    Column("prepared_by", sa.BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0", name="amount"),
    Index("ix_contribution_refunds_open", "scheme", postgresql_where=sa.text("state = 'prepared'")),
    noun="contribution_refunds",
    scope=lambda table, caller: caller.sees_coverage_of(table.c.coverage),
    row_security=f"{ALL_SEEN} OR EXISTS (SELECT FROM core.coverages c WHERE c.id = coverage)",
)

# What was paid too much for a policy and was taken by the one that follows it.
coverage_credits = mass(
    "coverage_credits",
    metadata,
    identity(),
    reference("given_by", "coverages", index=True),
    reference("taken_by", "coverages", index=True),
    day("moved_on"),
    minor("minor"),
    Column("audit", sa.BigInteger, nullable=False),
)
