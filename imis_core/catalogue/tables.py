"""Tables of the catalogue: items with dated prices, price lists with complete dated versions, diagnoses."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.database.tables import day, edited, identity, metadata, minor, reference, text

items = edited(
    "items",
    metadata,
    identity(),
    text("code"),
    text("name"),
    text("kind"),
    text("category", nullable=True),
    text("care_type"),
    Column("frequency_days", sa.Integer, nullable=True),
    Column("max_quantity_thousandths", sa.BigInteger, nullable=True),
    Column("sexes", ARRAY(sa.Text), nullable=False),
    Column("ages", ARRAY(sa.Text), nullable=False),
    text("bundle", nullable=True),  # flat | fee_for_service; null: no bundle
    UniqueConstraint("code"),
    noun="items",
)

# What a bundle holds; a part is never a bundle itself.
item_bundle_parts = Table(
    "item_bundle_parts",
    metadata,
    reference("item", "items", primary_key=True),
    reference("part", "items", primary_key=True, index=True),
    Column("quantity_thousandths", sa.BigInteger, nullable=False),
)

# The price of an item from a day on; '-infinity' is stood for by 0001-01-01: it holds from the beginning.
item_prices = Table(
    "item_prices",
    metadata,
    reference("item", "items", primary_key=True),
    day("valid_from", primary_key=True),
    minor("price_minor"),
    text("currency"),
)

price_lists = edited(
    "price_lists",
    metadata,
    identity(),
    text("code"),
    text("currency"),
    UniqueConstraint("code"),
    noun="price_lists",
)

price_list_versions = edited(
    "price_list_versions",
    metadata,
    identity(),
    reference("price_list", "price_lists"),
    day("valid_from"),
    text("digest"),
    UniqueConstraint("price_list", "valid_from"),
    noun="price_list_versions",
)

price_list_prices = Table(
    "price_list_prices",
    metadata,
    reference("price_list_version", "price_list_versions", primary_key=True),
    reference("item", "items", primary_key=True),
    minor("price_minor", nullable=True),  # null: the catalogue's price of the day
)

diagnoses = edited(
    "diagnoses",
    metadata,
    identity(),
    text("code"),
    text("name"),
    UniqueConstraint("code"),
    noun="diagnoses",
)
