"""Taking cards back, and the list that tells those who check cards without a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.cards.credentials import ISSUED, ISSUER, sign_claims, verified_claims
from imis_core.cards.keys import PublicKey, SigningKey
from imis_core.cards.tables import card_revocations, cards
from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.covered import COVERED
from imis_core.coverage.states import ACTIVE
from imis_core.coverage.tables import coverages
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning
from imis_core.errors import Problem, Refusal, invalid, not_found, refused

NOUN: Final = "cards"
SERIAL_BYTES: Final = 8  # random, so that a serial tells nothing and two never meet
SERIALS: Final = -70002  # the claim with the serials, one after another (RFC 8392: below -65536 is private use)


@frozen(kw_only=True)
class RevokeCard:
    """`card` by id or serial. The reason stays with the card."""

    card: str
    reason: str


@frozen(kw_only=True)
class CardRevoked:
    id: str
    serial: str
    status: str


@command("cards.revoke", input=RevokeCard, result=CardRevoked)
def revoke(context: Context, items: tuple[RevokeCard, ...]) -> list[CardRevoked | Refusal]:
    """Take cards back: they stand in the revocation list until their last day."""
    found = _named(context, [item.card for item in items])
    outcomes: list[CardRevoked | Refusal] = []
    chosen: dict[int, str] = {}
    for item in items:
        card = found.get(item.card)
        if not item.reason.strip():
            outcomes.append(invalid(Problem("reason", "required", "say why the card is taken back, such as 'lost'")))
        elif card is None:
            outcomes.append(not_found("card", "card", item.card))
        elif card.revoked is not None or card.id in chosen:
            outcomes.append(Refusal("cards.wrong_state", f"the card {item.card} is revoked already"))
        else:
            chosen[card.id] = item.reason
            identity = context.ids.encode(NOUN, card.id)
            outcomes.append(CardRevoked(id=identity, serial=bytes(card.serial).hex(), status="revoked"))
    revoke_cards(context, chosen)
    return outcomes


def revoke_cards(context: Context, reasons: Mapping[int, str]) -> None:
    """Write that cards are revoked, each with its reason; one statement."""
    if reasons:
        insert_returning(
            context.connection,
            card_revocations,
            {
                "card": list(reasons),
                "revoked_at": [context.now] * len(reasons),
                "reason": [reason.strip() for reason in reasons.values()],
                "audit": [context.audit] * len(reasons),
            },
            conflict="(card) DO NOTHING",
        )


def _named(context: Context, names: Sequence[str]) -> dict[str, Any]:
    """The cards that are named by id or serial and that the caller may see, with `revoked` set where they are."""
    by_id = {number: name for name in names if (number := context.ids.decode(NOUN, name)) is not None}
    by_serial = {serial: name for name in names if (serial := _serial(name)) is not None}
    rows = context.execute(
        sa.select(cards, card_revocations.c.card.label("revoked"))
        .outerjoin(card_revocations, card_revocations.c.card == cards.c.id)
        .where(
            sa.or_(
                cards.c.id == any_of(by_id),
                cards.c.serial == any_of(by_serial, sa.LargeBinary),
            ),
            context.scoped(cards),
        )
    ).all()
    found = {by_id[row.id]: row for row in rows if row.id in by_id}
    return found | {by_serial[s]: row for row in rows if (s := bytes(row.serial)) in by_serial}


def _serial(name: str) -> bytes | None:
    try:
        serial = bytes.fromhex(name)
    except ValueError:
        return None
    return serial if len(serial) == SERIAL_BYTES else None


def worthless_sql(today: date) -> sa.Select[Any]:
    """Serials of cards that have not ended by what they say, and are not good any more.

    They were revoked, or the cover they were issued for is suspended, terminated, or ended before its time (death,
    leaving the group). Computed when it is asked for, so that nothing has to follow a death to the cards.
    """
    cover = COVERED.add_columns(coverages.c.state.label("cover_state")).subquery("cover")
    revoked = sa.exists().where(card_revocations.c.card == cards.c.id)
    ended = sa.and_(cover.c.effective_to < today, cover.c.effective_to < cards.c.last_day)
    return (
        sa.select(cards.c.serial)
        .join(cover, cover.c.id == cards.c.member)
        .where(cards.c.last_day >= today, sa.or_(revoked, cover.c.cover_state != ACTIVE, ended))
        .order_by(cards.c.id)
    )


@frozen
class RevocationList:
    """What a verifier knows of cards that are not good any more: as of when, and their serials."""

    issuer: str
    as_of: datetime
    serials: frozenset[bytes]


def sign_list(issuer: str, as_of: datetime, serials: Iterable[bytes], key: SigningKey) -> bytes:
    """A revocation list as a signed message: eight bytes a card beside some hundred."""
    return sign_claims({ISSUER: issuer, ISSUED: int(as_of.timestamp()), SERIALS: b"".join(serials)}, key)


def read_list(message: bytes, keys: Sequence[PublicKey]) -> RevocationList:
    """A revocation list whose signature is good. Raises `cards.unreadable_list`, and as `credentials.read` does."""
    claims = verified_claims(message, keys)
    try:
        joined = claims[SERIALS]
        if not isinstance(joined, bytes) or len(joined) % SERIAL_BYTES:
            raise ValueError
        serials = frozenset(joined[i : i + SERIAL_BYTES] for i in range(0, len(joined), SERIAL_BYTES))
        return RevocationList(str(claims[ISSUER]), datetime.fromtimestamp(int(claims[ISSUED]), UTC), serials)
    except (LookupError, ValueError, TypeError, OverflowError):
        raise refused(
            "cards.unreadable_list", "this is no revocation list; take one from `imis cards revoked`"
        ) from None
