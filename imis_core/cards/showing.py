"""A card that somebody shows at one of our doors: who it is of, and whether it is still worth anything.

Whoever holds a card may learn that, wherever its person lives: the signed code proves that it was given out. So these
look past the caller's scope, at this card alone.
"""

from __future__ import annotations

import sqlalchemy as sa

from imis_core.cards.credentials import read
from imis_core.cards.keys import KeyRing
from imis_core.cards.revoking import worthless_sql
from imis_core.cards.tables import card_revocations, cards
from imis_core.context import Context
from imis_core.errors import refused


def is_worthless(context: Context, serial: bytes) -> bool:
    """Whether a card was revoked, or the cover that it was issued for does not stand any more."""
    return _found(context, worthless_sql(context.today).where(cards.c.serial == serial))


def number_of_card(context: Context, code: str) -> str:
    """The number of the person whose card it is; the days are the cover's matter, not the card's.

    Raises `cards.unreadable`, `cards.unknown_key`, `cards.bad_signature`, and `cards.revoked` for one that was taken
    back, such as a lost one.
    """
    card = read(code, KeyRing(context.app.keys).public())
    revoked = sa.select(cards.c.id).join(card_revocations, card_revocations.c.card == cards.c.id)
    if _found(context, revoked.where(cards.c.serial == card.serial)):
        raise refused("cards.revoked", "this card was taken back; ask for the person's number, and keep the card")
    return card.number


def _found(context: Context, select: sa.Select[tuple[object]]) -> bool:
    with context.app.database.query(context.app.system) as connection:
        return connection.execute(select).first() is not None
