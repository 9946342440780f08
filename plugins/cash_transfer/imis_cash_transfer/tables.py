"""The plugin's own tables: scores, enrolments with their frozen lists, and beneficiaries with their states.

A holder is a group or a person, never both. Nothing here holds money that is owed: that is the kernel's payroll.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint

from imis_core.api import (
    PersonMove,
    day,
    declare_personal,
    document,
    edited,
    groups,
    identity,
    mass,
    minor,
    package_versions,
    packages,
    persons,
    plugin_metadata,
    reference,
    text,
)

SCHEMA: Final = "cash_transfer"
metadata: Final = plugin_metadata(SCHEMA)

_HOLDER_SEEN: Final = (
    '(SELECT core.scope_is_all()) OR EXISTS (SELECT FROM core.groups g WHERE g.id = "group")'
    " OR EXISTS (SELECT FROM core.persons p WHERE p.id = person)"
)
_SEEN: Final[dict[str, Any]] = {
    "scope": lambda table, caller: caller.sees_holder(table.c.group, table.c.person),
    "row_security": _HOLDER_SEEN,
}


def _of(name: str, table: Table, *, nullable: bool = False, index: bool = False) -> Column[int]:
    """A foreign key into the kernel's tables."""
    return Column(name, sa.BigInteger, ForeignKey(table.c.id), nullable=nullable, index=index)


def _holder() -> tuple[Any, ...]:
    return (
        _of("group", groups, nullable=True, index=True),
        _of("person", persons, nullable=True, index=True),
        CheckConstraint('("group" IS NULL) <> (person IS NULL)', name="holder"),
    )


# Every score that was ever computed, with what each variable added.
scores = mass(
    "scores",
    metadata,
    identity(),
    _of("package", packages),
    _of("package_version", package_versions),
    *_holder(),
    day("scored_on"),  # the reference date
    Column("score", sa.Numeric, nullable=False),
    document("steps"),  # [[name, what it added as text], ...] in the order of the terms
    Column("audit", sa.BigInteger, nullable=False),
    noun="cash_transfer_scores",
    **_SEEN,
)

# The score that counts: the last one, unless scoring again was refused because an answer is missing.
score_current = Table(
    "score_current",
    metadata,
    reference("score_row", f"{SCHEMA}.scores", primary_key=True),
    _of("package", packages),
    *_holder(),
    Column("score", sa.Numeric, nullable=False),
    UniqueConstraint("package", "group"),
    UniqueConstraint("package", "person"),
    info=dict(_SEEN),
)

# A selection that was proposed, and its approval. Sums and states only: who is in it stands in the lines.
enrolments = edited(
    "enrolments",
    metadata,
    identity(),
    text("scheme"),
    _of("package", packages, index=True),
    _of("package_version", package_versions),
    day("reference_date"),
    text("state"),  # awaiting_approval | approved
    Column("listed", sa.BigInteger, nullable=False),  # lines, whoever may see them
    minor("cost_minor"),  # per cycle, of those selected
    text("currency"),
    Column("proposed_by", sa.BigInteger, nullable=False),
    Column("approved_by", sa.BigInteger, nullable=True),
    noun="targeting",
)

# The list as it was proposed: frozen.
enrolment_lines = mass(
    "enrolment_lines",
    metadata,
    identity(),
    reference("enrolment", f"{SCHEMA}.enrolments", index=True),
    *_holder(),
    text("outcome"),  # selected | waiting | not_selected
    Column("rank", sa.BigInteger, nullable=True),
    Column("score", sa.Numeric, nullable=True),
    text("reason", nullable=True),
    **_SEEN,
)

# Who ever was more than potential in a package: one row for good. A person follows a merge, else nothing changes.
beneficiaries = Table(
    "beneficiaries",
    metadata,
    identity(),
    text("scheme"),
    _of("package", packages),
    *_holder(),
    UniqueConstraint("package", "group"),
    UniqueConstraint("package", "person"),
    info={"noun": "cash_transfer_beneficiaries", **_SEEN},
)

# The present state, changed in bulk once per move. It names nobody; `beneficiaries` says who may see a row.
beneficiary_current = Table(
    "beneficiary_current",
    metadata,
    Column("beneficiary", sa.BigInteger, ForeignKey(f"{SCHEMA}.beneficiaries.id"), primary_key=True),
    _of("package", packages),
    text("state"),
    day("since"),
    Column("version", sa.Integer, nullable=False),
    Index("ix_beneficiary_current_package_state", "package", "state"),
)

# All states with their reasons: the history. `since` never goes back within one beneficiary.
beneficiary_states = mass(
    "beneficiary_states",
    metadata,
    Column("beneficiary", sa.BigInteger, ForeignKey(f"{SCHEMA}.beneficiaries.id"), primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    text("state"),
    day("since"),
    text("reason", nullable=True),
    Column("enrolment", sa.BigInteger, ForeignKey(f"{SCHEMA}.enrolments.id"), nullable=True),
    Column("audit", sa.BigInteger, nullable=False),
)

# Places of a package that are taken, by the location where their holders live now, whoever may see them: a caller
# whose scope is a district must neither overfill a quota of the region nor learn who fills it. Who was merged into
# another person takes no place besides that one.
OCCUPIED: Final = """
CREATE FUNCTION cash_transfer.occupied(wanted bigint[]) RETURNS TABLE (package bigint, place bigint, taken bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT b.package, coalesce(g.place, p.place), count(*)
    FROM cash_transfer.beneficiary_current c
    JOIN cash_transfer.beneficiaries b ON b.id = c.beneficiary
    LEFT JOIN core.groups g ON g.id = b."group"
    LEFT JOIN core.persons p ON p.id = b.person
    WHERE c.package = ANY (wanted) AND c.state IN ('active', 'suspended') AND p.merged_into IS NULL
    GROUP BY b.package, coalesce(g.place, p.place)
$$;
"""
metadata.info.setdefault("functions", []).append(OCCUPIED)

# A merged person's place in a package goes over to the kept one, unless that one has its own. Scores stay: the kept
# person's answers are scored anew.
PERSON_MOVES: Final = (
    PersonMove(
        beneficiaries,
        "person",
        "EXISTS (SELECT FROM cash_transfer.beneficiaries k WHERE k.person = n.kept AND k.package = t.package)",
    ),
)

declare_personal(
    metadata,
    """
    beneficiaries: | scheme
    beneficiary_current: | state
    beneficiary_states: reason=text | state
    enrolment_lines: | outcome reason
    enrolments: | scheme state currency
    scores: | steps
    """,
)
