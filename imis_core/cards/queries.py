"""Queries of cards: which were issued, the published key set, the revocation list, and whether a card is good."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.beneficiaries.tables import persons
from imis_core.cards.keys import KeyRing, key_set
from imis_core.cards.revoking import NOUN, sign_list, worthless_sql
from imis_core.cards.showing import is_worthless
from imis_core.cards.tables import card_revocations, cards
from imis_core.cards.verifying import verify
from imis_core.context import Context
from imis_core.coverage.covered import COVERED
from imis_core.errors import ImisError, Refusal, not_found, refused
from imis_core.queries import Listing, query


@frozen(kw_only=True)
class ListCards:
    scheme: str | None = None
    person: str | None = None
    number: str | None = None


@frozen(kw_only=True)
class CardListed:
    """`status`: good, revoked, ended (after `last_day`), or void (its cover is suspended or ended before its time)."""

    id: str
    serial: str
    number: str
    scheme: str
    package: str
    first_day: date
    last_day: date
    issued_at: datetime
    status: str
    reason: str | None


@query("cards.list", input=ListCards, result=CardListed, listing=True)
def list_cards(context: Context, asked: ListCards) -> Listing | Refusal:
    """List the cards that were issued, with what became of each."""
    cover = COVERED.subquery("cover")
    worthless = cards.c.serial.in_(worthless_sql(context.today))
    select = (
        sa.select(
            cards, card_revocations.c.reason, cover.c.number, cover.c.scheme, cover.c.package_code,
            worthless.label("worthless"),
        )
        .join(cover, cover.c.id == cards.c.member)
        .join(persons, persons.c.id == cover.c.person)
        .outerjoin(card_revocations, card_revocations.c.card == cards.c.id)
        .where(context.scoped(cards), context.scoped(persons))
    )  # fmt: skip
    if asked.scheme is not None:
        select = select.where(cover.c.scheme == asked.scheme)
    for path, name in (("person", asked.person), ("number", asked.number)):
        if name is not None:
            person = resolve_persons(context, {name}).get(name)
            if person is None:
                return not_found(path, "person", name)
            select = select.where(cover.c.person == person.id)

    def build(rows: Sequence[Any]) -> list[CardListed]:
        identities = context.ids.encode_all(NOUN, [row.id for row in rows])
        return [
            CardListed(
                id=identity, serial=bytes(row.serial).hex(), number=row.number, scheme=row.scheme,
                package=row.package_code, first_day=row.first_day, last_day=row.last_day, issued_at=row.issued_at,
                status=_status(row, context.today), reason=row.reason,
            )
            for identity, row in zip(identities, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (cards.c.id,), build)


def _status(row: Any, today: date) -> str:
    if row.reason is not None:
        return "revoked"
    return "ended" if row.last_day < today else "void" if row.worthless else "good"


@frozen(kw_only=True)
class NoQuestion:
    pass


@frozen(kw_only=True)
class KeySet:
    """A JSON Web Key Set (RFC 8037): what verifies cards, the newest key first."""

    keys: tuple[dict[str, str], ...]


@query("cards.keys", input=NoQuestion, result=KeySet)
def keys(context: Context, _: NoQuestion) -> KeySet:
    """Show the public keys that verify cards; they are no secret."""
    return KeySet(keys=tuple(key_set(KeyRing(context.app.keys).public())["keys"]))


@frozen(kw_only=True)
class Revoked:
    """`list` is the signed list (COSE_Sign1) in Base64; `cards` how many it names."""

    list: str
    cards: int
    as_of: datetime


@query("cards.revoked", input=NoQuestion, result=Revoked)
def revoked(context: Context, _: NoQuestion) -> Revoked:
    """Make the signed list of cards that have not ended and are not good any more, for verifiers without connection."""
    key = KeyRing(context.app.keys).signing()
    if key is None:
        raise refused("cards.no_key", "no card was issued yet, so there is nothing to revoke")
    if not context.caller.everywhere:
        raise refused("permission.denied", "the list names cards of all places; ask a user of scope `all` for it")
    serials = [bytes(serial) for serial in context.execute(worthless_sql(context.today)).scalars()]
    message = sign_list(context.settings.name, context.now, serials, key)
    return Revoked(list=base64.b64encode(message).decode(), cards=len(serials), as_of=context.now)


@frozen(kw_only=True)
class VerifyCard:
    """`code` is the text of the card's QR code; `on` a day, by default this moment."""

    code: str
    on: date | None = None


@frozen(kw_only=True)
class CardVerified:
    """`reason` of a card that is not good: unreadable, unknown_key, bad_signature, not_yet_valid, expired, revoked.

    What it says is there once the signature is good. It is what was true when it was printed; what a person is covered
    for is answered by `eligibility.check`.
    """

    good: bool
    reason: str | None = None
    number: str | None = None
    name: str | None = None
    birth_date: date | None = None
    sex: str | None = None
    scheme: str | None = None
    package: str | None = None
    first_day: date | None = None
    last_day: date | None = None


@query("cards.verify", input=VerifyCard, result=CardVerified)
def verify_card(context: Context, asked: VerifyCard) -> CardVerified:
    """Tell whether a card is good: its signature, its days, and whether it was revoked or its cover ended."""
    try:
        verdict = verify(asked.code, KeyRing(context.app.keys).public(), None, now=context.now, on=asked.on)
    except ImisError as error:
        return CardVerified(good=False, reason=error.code.partition(".")[2])
    card = verdict.card
    reason = "revoked" if is_worthless(context, card.serial) else verdict.reason
    return CardVerified(
        good=reason is None, reason=reason, number=card.number, name=card.name, birth_date=card.birth_date,
        sex=card.sex, scheme=card.scheme, package=card.package, first_day=card.first_day, last_day=card.last_day,
    )  # fmt: skip


QUERIES = (list_cards, keys, revoked, verify_card)
