"""The plugin's own tables: accidents with what follows from them. Who sees the person sees the accident.

Amounts are whole minor units; wages before an accident are exact fractions of them, kept as text ("5000000/3"), because
they are not rounded before use. `award_amounts` says for every award what each day is worth, so that payroll is a join.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from imis_core.api import (
    ALL_SEEN,
    claims,
    day,
    declare_personal,
    document,
    edited,
    employers,
    identity,
    mass,
    minor,
    package_versions,
    persons,
    plugin_metadata,
    reference,
    text,
)

SCHEMA: Final = "eii"
metadata: Final = plugin_metadata(SCHEMA)


def _by_person() -> dict[str, Any]:
    """Who sees the person sees the row."""
    return {
        "scope": lambda table, caller: caller.sees_person_of(table.c.person),
        "row_security": f"{ALL_SEEN} OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)",
    }


def _by_accident() -> dict[str, Any]:
    """Who sees the accident sees what belongs to it."""

    def scope(table: sa.Table, caller: Any) -> sa.ColumnElement[bool]:
        if caller.everywhere:
            return sa.true()
        theirs = sa.table("accidents", sa.column("id"), sa.column("person"), schema=SCHEMA).c
        return sa.exists().where(theirs.id == table.c.accident, caller.sees_person_of(theirs.person))

    return {
        "scope": scope,
        "row_security": f"{ALL_SEEN} OR EXISTS (SELECT FROM eii.accidents a WHERE a.id = accident)",
    }


def _by_award() -> dict[str, Any]:
    """Who sees the award sees its amounts; they are read beside it."""
    return {"row_security": f"{ALL_SEEN} OR EXISTS (SELECT FROM eii.awards a WHERE a.id = award)"}


def _core(name: str, table: sa.Table, *, index: bool = False) -> Column[int]:
    """A foreign key to one of the kernel's tables."""
    return Column(name, sa.BigInteger, sa.ForeignKey(table.c.id), nullable=False, index=index)


def _flag(name: str) -> Column[bool]:
    return Column(name, sa.Boolean, nullable=False, server_default=sa.false())


accidents = edited(
    "accidents",
    metadata,
    identity(),
    text("code"),
    text("scheme"),
    _core("package_version", package_versions, index=True),  # in force on the day of the accident, kept
    _core("person", persons, index=True),
    _core("employer", employers, index=True),
    text("form"),  # accident | disease
    day("occurred_on"),  # of a disease: when it began
    day("reported_on"),
    text("reported_by"),  # employer | worker | family
    text("place", nullable=True),  # where it happened
    text("how", nullable=True),
    text("disease", nullable=True),
    text("exposure", nullable=True),
    text("override_reason", nullable=True),
    text("status"),  # reported | accepted | declined | appealed
    text("kind", nullable=True),  # work | commuting | non_work, once accepted
    day("decided_on", nullable=True),
    text("reason", nullable=True),  # of the latest decision or appeal
    text("monthly_wage", nullable=True),  # exact, in minor units
    text("daily_wage", nullable=True),
    text("currency"),
    day("died_on", nullable=True),
    _flag("extended"),  # the temporary benefit's maximum
    document("steps"),  # how the wage was computed
    UniqueConstraint("code"),
    noun="accidents",
    **_by_person(),
)

certificates = mass(
    "certificates",
    metadata,
    identity(),
    reference("accident", f"{SCHEMA}.accidents", index=True),
    day("first_day"),
    day("last_day"),
    text("doctor", nullable=True),
    day("certified_on"),
    Column("audit", sa.BigInteger, nullable=False),
    CheckConstraint("first_day <= last_day", name="order"),
    **_by_accident(),
)

# Amounts that are paid once: temporary benefit of a period, lump sums, grants, what a guarantee still owes.
lumps = mass(
    "lumps",
    metadata,
    identity(),
    reference("accident", f"{SCHEMA}.accidents", index=True),
    Column("award", sa.BigInteger, nullable=True),  # it comes with, if with one
    _core("person", persons, index=True),
    text("kind"),  # period | lump_sum | once | guarantee | remarriage | funeral
    text("scheme"),
    _core("package_version", package_versions),
    day("due_on"),
    Column("days", sa.Integer, nullable=True),  # of a period
    minor("amount_minor"),
    text("currency"),
    document("steps"),
    Column("audit", sa.BigInteger, nullable=False),
    Index("ix_lumps_package_version_due_on", "package_version", "due_on"),
    CheckConstraint("amount_minor >= 0", name="amount"),
    **_by_accident(),
)

# Pensions and lump sums that were awarded: to the injured person (`self`) or to survivors.
awards = edited(
    "awards",
    metadata,
    identity(),
    reference("accident", f"{SCHEMA}.accidents", index=True),
    _core("person", persons, index=True),
    text("relationship"),  # self | spouse | child | orphan | parent | other
    text("scheme"),
    _core("package_version", package_versions, index=True),
    text("kind"),  # pension | lump_sum
    text("per"),  # month | day | once
    text("currency"),
    day("starts"),
    day("ends", nullable=True),  # the last day, known by age or by an event
    text("ended_by", nullable=True),  # recovery | death | remarriage | age | studies | other | replaced
    Column("share", sa.Numeric, nullable=True),  # percent of the full rate when it was awarded
    minor("once_minor", nullable=True),
    minor("awarded_minor"),  # per month, day or once, on its first day
    Column("revision", sa.Integer, nullable=False),  # of its amounts
    day("corrected_from", nullable=True),  # the earliest day whose amount changed after it may have been paid
    Column("proof_months", sa.Integer, nullable=True),  # a proof of life is due this often
    day("indexed_until", nullable=True),  # the latest indexation that it had
    noun="awards",
    **_by_accident(),
)

# What a day (or a month) of an award is worth, in every revision; the award names the one that holds.
award_amounts = mass(
    "award_amounts",
    metadata,
    reference("award", f"{SCHEMA}.awards"),
    Column("revision", sa.Integer, nullable=False),
    day("starts"),
    day("ends", nullable=True),
    minor("amount_minor"),
    Column("audit", sa.BigInteger, nullable=False),
    PrimaryKeyConstraint("award", "revision", "starts"),
    **_by_award(),
)

# The full rate of an accident's survivors, from each day on.
full_rates = mass(
    "full_rates",
    metadata,
    reference("accident", f"{SCHEMA}.accidents"),
    day("starts"),
    minor("amount_minor"),
    Column("audit", sa.BigInteger, nullable=False),
    PrimaryKeyConstraint("accident", "starts"),
    **_by_accident(),
)

# How an award to the injured person came about.
assessments = edited(
    "assessments",
    metadata,
    Column("id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.awards.id"), primary_key=True),  # the award's
    reference("accident", f"{SCHEMA}.accidents", index=True),
    day("assessed_on"),
    text("degree"),  # exact decimals, percent
    text("counted"),
    text("combined"),
    Column("children", sa.Integer, nullable=False),
    _flag("attendance"),
    day("review_on", nullable=True),
    day("replaced_from", nullable=True),  # by a later assessment of the same accident
    text("status"),  # decided | appealed
    text("reason", nullable=True),
    document("steps"),
    **_by_accident(),
)

# Proofs of life, as they were given.
proofs = mass(
    "proofs",
    metadata,
    reference("award", f"{SCHEMA}.awards"),
    day("alive_on"),
    Column("audit", sa.BigInteger, nullable=False),
    PrimaryKeyConstraint("award", "alive_on"),
    **_by_award(),
)

# What was paid too much and is taken back from an award in instalments.
recoveries = mass(
    "recoveries",
    metadata,
    identity(),
    reference("award", f"{SCHEMA}.awards", index=True),
    minor("amount_minor"),
    minor("instalment_minor"),
    text("currency"),
    day("agreed_on"),
    Column("audit", sa.BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0 AND instalment_minor > 0", name="amounts"),
    **_by_award(),
)

# What a package version pays of medical care, by kind of cover: of an accident, or of an employed person without one.
medical_terms = Table(
    "medical_terms",
    metadata,
    Column("package_version", sa.BigInteger, sa.ForeignKey(package_versions.c.id), primary_key=True),
    Column("cover_kind", sa.Text, primary_key=True),
    Column("share_micro", sa.BigInteger, nullable=False),  # percent x 10**6 that the scheme pays
    minor("ceiling_minor", nullable=True),  # per accident, or per person and calendar year; null: none
)

# Which accident a claim is of.
claim_accidents = mass(
    "claim_accidents",
    metadata,
    Column("claim", sa.BigInteger, sa.ForeignKey(claims.c.id), primary_key=True),
    reference("accident", f"{SCHEMA}.accidents", index=True),
    **_by_accident(),
)

declare_personal(
    metadata,
    """
    accidents: reported_by=name place=text how=text exposure=text override_reason=text reason=text
    accidents: | code scheme form disease status kind monthly_wage daily_wage currency steps
    assessments: reason=text | degree counted combined status steps
    awards: | relationship scheme kind per currency ended_by
    certificates: doctor=name |
    lumps: | kind scheme currency steps
    medical_terms: | cover_kind
    recoveries: | currency
    """,
)
