"""Tables of cards: which covers have a card, and which cards were taken back. What a card says is stored nowhere.

A cover of a person has one good card at a time; another one is issued only when the one before is revoked.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, UniqueConstraint

from imis_core.coverage.tables import coverage_members
from imis_core.database.tables import ALL_SEEN, day, identity, instant, mass, metadata, reference, text

cards = mass(
    "cards",
    metadata,
    identity(),
    reference("member", "coverage_members"),
    Column("ordinal", sa.Integer, nullable=False),  # 1, then one more for each card of this cover that was revoked
    Column("serial", sa.LargeBinary, nullable=False),  # random; what the revocation list names
    instant("issued_at"),
    day("first_day"),
    day("last_day"),
    Column("audit", sa.BigInteger, nullable=False),
    UniqueConstraint("member", "ordinal"),
    UniqueConstraint("serial"),
    Index("ix_cards_last_day", "last_day"),  # the revocation list looks at cards that have not ended
    Index("ix_cards_audit", "audit"),
    noun="cards",
    scope=lambda table, caller: (
        sa.true()
        if caller.everywhere
        else sa.exists().where(
            coverage_members.c.id == table.c.member, caller.sees_person_of(coverage_members.c.person)
        )
    ),
    row_security=(
        f"{ALL_SEEN} OR EXISTS (SELECT FROM core.coverage_members m JOIN core.persons p ON p.id = m.person"
        " WHERE m.id = member)"
    ),
)

card_revocations = mass(
    "card_revocations",
    metadata,
    Column("card", sa.BigInteger, sa.ForeignKey("core.cards.id"), primary_key=True),
    instant("revoked_at"),
    text("reason"),
    Column("audit", sa.BigInteger, nullable=False),
    Index("ix_card_revocations_audit", "audit"),
    scope=lambda table, caller: (
        sa.true()
        if caller.everywhere
        else sa.exists().where(cards.c.id == table.c.card, cards.info["scope"](cards, caller))
    ),
    row_security=f"{ALL_SEEN} OR EXISTS (SELECT FROM core.cards c WHERE c.id = card)",
)
