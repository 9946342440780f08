"""Tables of the room payroll: cycles, payrolls, entitlements with their amounts and states, budgets.

An entitlement is an insert-only identity, guaranteed here: one per package, cycle and beneficiary, or per source where
it has one. What it was computed to be stands per payroll in `entitlement_amounts`, its history in `entitlement_states`,
and where it stands now in the narrow `entitlement_current`, the only one of its tables that changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint

from imis_core.database.tables import by_place, day, document, edited, identity, instant, mass, metadata, minor, text
from imis_core.database.tables import reference as foreign
from imis_core.payroll.states import OPEN_SQL

cycles = edited(
    "cycles",
    metadata,
    identity(),
    text("scheme"),
    foreign("package", "packages", nullable=True),  # null: of every package of the scheme
    text("code"),
    day("starts"),
    day("ends"),
    UniqueConstraint("scheme", "code"),
    noun="cycles",
)

payrolls = edited(
    "payrolls",
    metadata,
    identity(),
    text("scheme"),
    foreign("package", "packages"),
    foreign("package_version", "package_versions"),
    foreign("cycle", "cycles", index=True),  # the payrolls of a cycle
    foreign("place", "locations", nullable=True),  # limited to the place and those below it
    text("currency"),
    text("state"),
    text("reason", nullable=True),  # of a rejection
    Column("maker", sa.BigInteger, nullable=False),
    instant("generated_at"),
    noun="payrolls",
    **by_place(),
)

entitlements = mass(
    "entitlements",
    metadata,
    identity(),
    text("scheme"),
    foreign("package", "packages"),
    foreign("cycle", "cycles"),
    foreign("group", "groups", nullable=True),
    foreign("person", "persons", nullable=True),
    Column("place", sa.BigInteger, nullable=True),  # the beneficiary's at generation: who may see it
    text("source_kind"),
    Column("source", sa.BigInteger, nullable=False),  # 0: regular, else an award, a lump sum, a period
    Column("once", sa.Boolean, nullable=False),  # paid once in all cycles
    Column("audit", sa.BigInteger, nullable=False),
    CheckConstraint('("group" IS NULL) <> (person IS NULL)', name="one_beneficiary"),
    UniqueConstraint(
        "package", "cycle", "group", "person", "source_kind", "source",
        name="uq_entitlements_beneficiary", postgresql_nulls_not_distinct=True,
    ),
    Index(
        "uq_entitlements_once", "package", "source_kind", "source", unique=True, postgresql_where=sa.text("once")
    ),
    # What has a source is known by it alone, whoever it is paid to by now.
    Index(
        "uq_entitlements_source", "package", "cycle", "source_kind", "source", unique=True,
        postgresql_where=sa.text("source <> 0 AND NOT once"),
    ),
    # What an award or a lump sum was paid so far; regular entitlements (source 0) have none.
    Index("ix_entitlements_source", "source", postgresql_where=sa.text("source <> 0")),
    noun="entitlements",
    **by_place(),
)  # fmt: skip

# What it was computed to be, once per payroll that it belonged to; the key answers which entitlements a payroll had.
entitlement_amounts = mass(
    "entitlement_amounts",
    metadata,
    foreign("payroll", "payrolls", primary_key=True),
    foreign("entitlement", "entitlements", primary_key=True),
    Column("package_version", sa.BigInteger, nullable=False),
    minor("amount_minor"),
    document("steps"),  # pairs of name and minor units; zero steps left out
)

entitlement_states = mass(
    "entitlement_states",
    metadata,
    foreign("entitlement", "entitlements", primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    text("state"),
    text("reason", nullable=True),
    Column("audit", sa.BigInteger, nullable=False),
)

entitlement_current = Table(
    "entitlement_current",
    metadata,
    foreign("entitlement", "entitlements", primary_key=True),
    foreign("payroll", "payrolls"),
    text("state"),
    Column("version", sa.Integer, nullable=False),
    minor("amount_minor"),
    # Cancelled together with its payroll: it moves into the next one. One that was cancelled by itself does not.
    Column("free", sa.Boolean, nullable=False, server_default="false"),
    # What a payroll still has to settle: its approval, its rejection, and whether anything is left after a payment.
    Index(
        "ix_entitlement_current_open",
        "payroll",
        postgresql_where=sa.text(f"state IN ({OPEN_SQL})"),
    ),
    postgresql_with={"fillfactor": 60},  # as order_current
)

# Earlier cycles that an entitlement makes good, as its payroll computed it: they count as having theirs.
entitlement_arrears = mass(
    "entitlement_arrears",
    metadata,
    foreign("cycle", "cycles", primary_key=True),
    foreign("entitlement", "entitlements", primary_key=True),
    foreign("payroll", "payrolls", primary_key=True),
)

# Reserved and spent are counted always, also before a budget is set: reserved is what approved and held entitlements
# with an order are worth, spent what paid ones are.
budgets = Table(
    "budgets",
    metadata,
    foreign("package", "packages", primary_key=True),
    minor("budget_minor", nullable=True),
    minor("reserved_minor", server_default="0"),
    minor("spent_minor", server_default="0"),
)

# What a beneficiary owes back. It is taken from later entitlements of the scheme, whatever package they are of.
recoveries = edited(
    "recoveries",
    metadata,
    identity(),
    text("scheme"),
    text("code"),
    foreign("group", "groups", nullable=True),
    foreign("person", "persons", nullable=True),
    Column("place", sa.BigInteger, nullable=True),  # the beneficiary's when it was opened: who may see it
    foreign("order", "orders", nullable=True),  # the payment that it takes back
    minor("amount_minor"),
    text("currency"),
    # At most so much of an entitlement: an amount, a share in hundredths of a percent, or the lower of both.
    minor("instalment_minor", nullable=True),
    Column("share_hundredths", sa.Integer, nullable=True),
    text("reason"),
    text("state"),
    minor("written_off_minor", server_default="0"),  # not taken any more when it was ended: given up, or
    minor("repaid_minor", server_default="0"),  # that part of it which came back as cash
    day("opened_on"),
    CheckConstraint('("group" IS NULL) <> (person IS NULL)', name="one_beneficiary"),
    CheckConstraint("instalment_minor IS NOT NULL OR share_hundredths IS NOT NULL", name="instalment"),
    UniqueConstraint("code"),
    Index("ix_recoveries_open", "scheme", postgresql_where=sa.text("state = 'open'")),
    Index("ix_recoveries_order", "order", postgresql_where=sa.text('"order" IS NOT NULL')),
    noun="recoveries",
    **by_place(),
)

# What a payroll took of an entitlement for a recovery. It counts while the entitlement stands in that payroll and is
# neither cancelled nor reversed: what is given up gives its instalment back.
recovery_deductions = mass(
    "recovery_deductions",
    metadata,
    foreign("payroll", "payrolls", primary_key=True),
    foreign("entitlement", "entitlements", primary_key=True),
    foreign("recovery", "recoveries", index=True),
    minor("amount_minor"),
)
