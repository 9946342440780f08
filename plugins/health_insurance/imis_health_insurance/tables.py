"""The plugin's own tables: package terms flattened for the kernel's joins. They hold no money and no decisions.

They are a projection of `core.package_versions.terms`, written when a version is stored.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Table

from imis_core.api import (
    day,
    declare_personal,
    document,
    items,
    minor,
    package_versions,
    plugin_metadata,
    providers,
    text,
)

SCHEMA: Final = "health_insurance"
metadata: Final = plugin_metadata(SCHEMA)

# Categories of claims that a package may count, and those that it may cap.
COUNTED: Final = ("hospitalisation", "visit", "consultation", "surgery", "delivery", "antenatal")
CAPPED: Final = ("surgery", "delivery", "antenatal", "hospitalisation", "consultation")


def _version() -> Column[int]:
    return Column("package_version", sa.BigInteger, ForeignKey(package_versions.c.id), primary_key=True)


# Deductible, ceiling, counts and caps of a package version; a level is treatment | person | policy, amounts in minor
# units, counts are claims per person and policy period. Null: no limit.
package_limits = Table(
    "package_limits",
    metadata,
    _version(),
    text("deductible_level", nullable=True),
    minor("deductible_general", nullable=True),
    minor("deductible_inpatient", nullable=True),
    minor("deductible_outpatient", nullable=True),
    text("ceiling_level", nullable=True),
    minor("ceiling_general", nullable=True),
    minor("ceiling_inpatient", nullable=True),
    minor("ceiling_outpatient", nullable=True),
    Column("hospital_by_facility", sa.Boolean, nullable=False),
    *(Column(f"max_{category}", sa.BigInteger, nullable=True) for category in COUNTED),
    *(minor(f"cap_{category}", nullable=True) for category in CAPPED),
    minor("extra_member_ceiling", nullable=True),
    minor("max_policy_ceiling", nullable=True),
    Column("threshold_members", sa.BigInteger, nullable=True),
    # A list of {name, condition, percent_micro, amount_minor}, the first that matches.
    document("copayments", nullable=True),
)

# What a version pays for an item, for each visit type and age: six rows per item.
item_terms = Table(
    "item_terms",
    metadata,
    _version(),
    Column("item", sa.BigInteger, ForeignKey(items.c.id), primary_key=True),
    Column("visit_type", sa.Text, primary_key=True),
    Column("adult", sa.Boolean, primary_key=True),
    text("price_origin"),
    minor("fixed_limit_minor", nullable=True),  # per unit; null: no fixed limit, 0: unlimited
    Column("share_micro", sa.BigInteger, nullable=False),  # percent x 10**6 that the scheme pays
    Column("waiting_months", sa.Integer, nullable=False, server_default="0"),
    Column("max_provisions", sa.BigInteger, nullable=True),  # units per person and policy period; null: unlimited
    text("ceiling_exclusion", nullable=True),  # hospital | non_hospital | both: uses no ceiling
)

# Use of care by month of the target date, facility and category: kept up to date from the events of valuation.
utilisation = Table(
    "utilisation",
    metadata,
    Column("scheme", sa.Text, primary_key=True),
    day("month", primary_key=True),
    Column("provider", sa.BigInteger, ForeignKey(providers.c.id), primary_key=True),
    Column("category", sa.Text, primary_key=True),
    Column("claims", sa.BigInteger, nullable=False),
    minor("approved_minor"),
    minor("payable_minor"),
    text("currency"),
    info={"scope": lambda table, caller: caller.sees_provider(table.c.provider)},
)

declare_personal(
    metadata,
    """
    item_terms: | visit_type price_origin ceiling_exclusion
    package_limits: | deductible_level ceiling_level copayments
    utilisation: | scheme category currency
    """,
)
