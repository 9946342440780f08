"""Tables of benefit packages: a package of a scheme, and its dated versions with their terms."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, UniqueConstraint

from imis_core.database.tables import day, document, edited, identity, metadata, reference, text

packages = edited(
    "packages",
    metadata,
    identity(),
    text("scheme"),
    text("code"),
    text("currency"),
    UniqueConstraint("scheme", "code"),
    noun="benefit_packages",
)

package_versions = edited(
    "package_versions",
    metadata,
    identity(),
    reference("package", "packages"),
    Column("number", sa.Integer, nullable=False),  # 1, 2, ... in the order of definition
    text("name"),
    day("valid_from"),
    day("valid_to", nullable=True),
    reference("location", "locations", nullable=True),
    document("terms"),  # as given, canonical JSON
    text("digest"),
    UniqueConstraint("package", "valid_from"),
    noun="package_versions",
)
