"""Tables of claims: what was asked, what the checks found, what was valuated, and where each claim stands.

All but `claim_current` are insert-only: a claim's states and results are its history. Rejections and states are small
numbers here; their names are in `claims.states` and `eligibility.rejections`.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.claims.functions import FUNCTIONS
from imis_core.claims.states import NAMES
from imis_core.database.tables import ALL_SEEN, day, edited, identity, instant, mass, metadata, minor, reference, text

claims = mass(
    "claims",
    metadata,
    identity(),
    text("scheme"),
    text("code"),
    reference("provider", "providers"),
    reference("person", "persons"),
    # The facility's place at submission: who may see the claim. Frozen with the claim, like everything on it.
    Column("place", sa.BigInteger, nullable=True),
    day("from_date"),
    day("to_date"),
    day("target_date"),
    day("claimed_on"),
    text("visit_type"),
    text("facility_level", nullable=True),  # frozen: a facility that is upgraded later changes no result
    Column("adult", sa.Boolean, nullable=False),  # the patient on the target date
    reference("diagnosis", "diagnoses"),
    Column("secondary", ARRAY(sa.BigInteger), nullable=True),
    text("category"),
    text("currency"),
    minor("claimed_minor"),
    Column("audit", sa.BigInteger, nullable=False),
    reference("restored_from", "claims", nullable=True),  # the rejected claim that this one was restored from
    UniqueConstraint("code"),
    Index("ix_claims_person_target_date", "person", "target_date"),
    Index("ix_claims_provider_target_date", "provider", "target_date"),
    Index("ix_claims_restored_from", "restored_from", postgresql_where=sa.text("restored_from IS NOT NULL")),
    noun="claims",
    scope=lambda table, caller: caller.sees_claim(table.c.place, table.c.provider),
    row_security=(
        f"{ALL_SEEN} OR place = ANY ((SELECT core.scope_places())::bigint[])"
        " OR provider = ANY ((SELECT core.scope_providers())::bigint[])"
    ),
)

claim_lines = mass(
    "claim_lines",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("line", sa.SmallInteger, primary_key=True),  # from 1, in the order of entry
    reference("item", "items"),
    Column("service", sa.Boolean, nullable=False),  # valuated after the products; frozen like the level
    Column("quantity_thousandths", sa.BigInteger, nullable=False),
    minor("price_minor"),  # asked, per unit
)

# The verdict of the checks on a line, once per claim; what a reviewer decided since stands in `claim_line_reviews`.
claim_line_checks = mass(
    "claim_line_checks",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("line", sa.SmallInteger, primary_key=True),
    Column("rejection", sa.SmallInteger, nullable=True),  # null: passed
    Column("quantity_thousandths", sa.BigInteger, nullable=False),  # approved
    minor("list_price_minor", nullable=True),
    # The cover that pays: kind, its id, and the package version it was made under.
    text("cover_kind", nullable=True),
    Column("cover", sa.BigInteger, nullable=True),
    Column("package_version", sa.BigInteger, nullable=True),
    # Frozen like the facility's level: which of the package's co-payments holds, and how many members the policy covers
    # on the day. Null: none; not asked.
    Column("copayment", sa.SmallInteger, nullable=True),
    Column("members", sa.Integer, nullable=True),
)

# A medical review of a claim, counted from 1; and its verdicts, a row for every line of the claim, also for those that
# it left as they were: the lines in force are those of the review that `claim_current` names (`claims.verdicts`).
claim_reviews = mass(
    "claim_reviews",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("review", sa.Integer, primary_key=True),
    reference("reviewer", "users"),
    instant("reviewed_at"),
    Column("audit", sa.BigInteger, nullable=False),
)

claim_line_reviews = mass(
    "claim_line_reviews",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("line", sa.SmallInteger, primary_key=True),
    Column("review", sa.Integer, primary_key=True),
    Column("rejection", sa.SmallInteger, nullable=True),  # null: passed
    Column("quantity_thousandths", sa.BigInteger, nullable=False),  # approved
    minor("price_minor", nullable=True),  # the reviewer's, per unit; null: as the terms say
    text("justification", nullable=True),  # of the last review that spoke of the line; null: none did
    # The cover that pays at this price, with what the checks keep of theirs; null: the one that the checks chose.
    text("cover_kind", nullable=True),
    Column("cover", sa.BigInteger, nullable=True),
    Column("package_version", sa.BigInteger, nullable=True),
    Column("copayment", sa.SmallInteger, nullable=True),
    Column("members", sa.Integer, nullable=True),
)

# The covers that let a line pass where more than one did, in order of the person's effective date: among them a review
# that sets a price finds the one that pays (`claims.payers`).
claim_line_payers = mass(
    "claim_line_payers",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("line", sa.SmallInteger, primary_key=True),
    Column("ordinal", sa.SmallInteger, primary_key=True),
    text("cover_kind"),
    Column("cover", sa.BigInteger, nullable=False),
    Column("package_version", sa.BigInteger, nullable=False),
    Column("copayment", sa.SmallInteger, nullable=True),
    Column("members", sa.Integer, nullable=True),
)

claim_states = mass(
    "claim_states",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    Column("state", sa.SmallInteger, nullable=False, info={"names": NAMES}),
    Column("rejection", sa.SmallInteger, nullable=True),
    text("reason", nullable=True),  # of a withdrawal
    Column("audit", sa.BigInteger, nullable=False),
)

# The only mutable table of a claim: where it stands now, moved in bulk once per step.
claim_current = Table(
    "claim_current",
    metadata,
    reference("claim", "claims", primary_key=True),
    text("scheme"),
    Column("state", sa.SmallInteger, nullable=False),
    Column("version", sa.Integer, nullable=False),
    Column("valuation", sa.Integer, nullable=False, server_default="0"),  # the valid run of the results; 0: none yet
    Column("review", sa.Integer, nullable=False, server_default="0"),  # the review in force; 0: none yet
    # Chosen for medical review, which it waits for (`claims.selecting`).
    Column("awaits_review", sa.Boolean, nullable=False, server_default=sa.false()),
    # Checked claims are the work list of `claims.process`; valuated ones that of payment requests.
    Index("ix_claim_current_open", "scheme", "state", "claim", postgresql_where=sa.text("state IN (1, 4)")),
    Index("ix_claim_current_awaits_review", "claim", postgresql_where=sa.text("awaits_review")),
    info={"scope": lambda table, caller: caller.sees_claim_of(table.c.claim)},
)

# Why a claim was chosen for medical review: `value`, `random`, `deviation`, `by_hand` or a plugin's word.
claim_selections = mass(
    "claim_selections",
    metadata,
    identity(),
    reference("claim", "claims", index=True),
    text("reason"),
    text("note", nullable=True),  # of a choice by hand
    Column("audit", sa.BigInteger, nullable=False),
)

# What patients were asked about the care that was claimed for, and what they said.
claim_feedback = edited(
    "claim_feedback",
    metadata,
    identity(),
    reference("claim", "claims", unique=True),
    text("status"),  # asked | answered
    day("asked_on", nullable=True),  # null: said without being asked
    day("answered_on", nullable=True),
    Column("care_given", sa.Boolean, nullable=True),
    Column("items_received", sa.Boolean, nullable=True),
    Column("paid", sa.Boolean, nullable=True),
    Column("rating", sa.SmallInteger, nullable=True),
    text("note", nullable=True),
    reference("recorded_by", "users", nullable=True),
    scope=lambda table, caller: caller.sees_claim_of(table.c.claim),
)

# What the claims of a diagnosis asked in a calendar year (by target date), counted anew each day by a job.
claim_averages = Table(
    "claim_averages",
    metadata,
    Column("scheme", sa.Text, primary_key=True),
    Column("year", sa.Integer, primary_key=True),
    reference("diagnosis", "diagnoses", primary_key=True),
    Column("claims", sa.BigInteger, nullable=False),
    Column("claimed_minor", sa.Numeric, nullable=False),  # a sum of many claims may pass 64 bits
)

claim_results = mass(
    "claim_results",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("line", sa.SmallInteger, primary_key=True),
    Column("valuation", sa.Integer, primary_key=True),
    minor("unit_price_minor"),
    # Thousandths of a minor unit: before the line is rounded, a quantity of 0.333 makes fractions.
    Column("limited_milli", sa.BigInteger, nullable=False),  # quantity x price, after a fixed limit
    Column("deducted_milli", sa.BigInteger, nullable=False),
    Column("copaid_minor", sa.BigInteger, nullable=False, server_default="0"),  # of the amounts as they are shown
    minor("shared_minor"),  # after co-insurance and co-payment, rounded half up
    Column("capped_minor", sa.BigInteger, nullable=False, server_default="0"),  # what the category cap took away
    minor("above_ceiling_minor"),
    minor("payable_minor"),
)

claim_valuations = mass(
    "claim_valuations",
    metadata,
    reference("claim", "claims", primary_key=True),
    Column("valuation", sa.Integer, primary_key=True),
    minor("approved_minor"),
    minor("payable_minor"),
    Column("audit", sa.BigInteger, nullable=False),
    Index("ix_claim_valuations_audit", "audit"),  # subscribers read a run by its entry
)

# What covers have used up, per counter; locked in the order of the key. person 0: the whole cover.
cover_usage = Table(
    "cover_usage",
    metadata,
    Column("cover_kind", sa.Text, primary_key=True),
    Column("cover", sa.BigInteger, primary_key=True),
    Column("person", sa.BigInteger, primary_key=True),
    Column("counter", sa.Text, primary_key=True),  # deductible.general, ceiling.inpatient, ...
    Column(
        "used", sa.BigInteger, nullable=False
    ),  # deductibles in thousandths of a minor unit, ceilings in minor units
)

payment_requests = edited(
    "payment_requests",
    metadata,
    identity(),
    text("scheme"),
    reference("provider", "providers", nullable=True),
    day("from_date"),
    day("to_date"),
    text("state"),  # requested | approved | rejected
    Column("claims", sa.Integer, nullable=False),
    minor("amount_minor"),
    text("currency"),
    reference("requested_by", "users"),
    text("reason", nullable=True),
    noun="payment_requests",
    # A request for every facility belongs to callers who see everything.
    scope=lambda table, caller: caller.sees_provider(table.c.provider),
    row_security=(
        f"{ALL_SEEN} OR provider = ANY ((SELECT core.scope_providers())::bigint[])"
        " OR EXISTS (SELECT FROM core.providers f WHERE f.id = provider"
        " AND f.location = ANY ((SELECT core.scope_places())::bigint[]))"
    ),
)

payment_request_claims = Table(
    "payment_request_claims",
    metadata,
    reference("request", "payment_requests", primary_key=True),
    reference("claim", "claims", primary_key=True),
    Column("open", sa.Boolean, nullable=False),  # false: the request was rejected and the claim is free again
    Index("uq_payment_request_claims_open", "claim", unique=True, postgresql_where=sa.text("open")),
)

metadata.info.setdefault("functions", []).extend(FUNCTIONS)
