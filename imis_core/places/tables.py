"""Tables of places: the dated tree of locations, and the providers that stand in it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import DATERANGE, ExcludeConstraint

from imis_core.database.tables import day, edited, identity, metadata, reference, text

locations = edited(
    "locations",
    metadata,
    identity(),
    text("code"),
    text("name"),
    text("level"),
    reference("parent", "locations", nullable=True, index=True),
    day("closed_on", nullable=True),  # merged or split away: no new entries from this day on
    UniqueConstraint("code"),
    noun="locations",
)

# What a location was called and where it belonged on a day: business time, kept beside the history of changes.
location_periods = Table(
    "location_periods",
    metadata,
    identity(),
    reference("location", "locations"),
    Column("valid", DATERANGE, nullable=False),
    text("name"),
    reference("parent", "locations", nullable=True),
    ExcludeConstraint((sa.text("int8range(location, location, '[]')"), "&&"), ("valid", "&&"), using="gist"),
)

providers = edited(
    "providers",
    metadata,
    identity(),
    text("code"),
    text("name"),
    text("kind"),
    text("level", nullable=True),
    text("sub_level", nullable=True),
    text("legal_form", nullable=True),
    text("care_type"),
    reference("location", "locations", nullable=True, index=True),
    day("contract_from", nullable=True),
    day("contract_to", nullable=True),
    day("closed_on", nullable=True),
    UniqueConstraint("code"),
    noun="providers",
)

provider_price_lists = Table(
    "provider_price_lists",
    metadata,
    reference("provider", "providers", primary_key=True),
    reference("price_list", "price_lists", primary_key=True),
    Column("ordinal", sa.Integer, nullable=False),  # an item in two lists: the first list named
    Index("ix_provider_price_lists_price_list", "price_list"),
)

# The places whose people a provider serves, and which share of each.
provider_catchments = Table(
    "provider_catchments",
    metadata,
    reference("provider", "providers", primary_key=True),
    reference("location", "locations", primary_key=True, index=True),
    Column("share_micro", sa.BigInteger, nullable=False),  # percent x 10**6 of its population
)
