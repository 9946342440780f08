"""Issuing cards to persons who are covered.

A person's cover has one good card; asking again gives the same one. A card ends with the cover that it was issued for,
and a renewal needs another one. What it says is signed anew each time it is printed, from what is known then.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_groups, resolve_persons
from imis_core.beneficiaries.tables import persons
from imis_core.benefit_packages.tables import packages
from imis_core.cards.credentials import Card, sign
from imis_core.cards.keys import KeyRing, SigningKey
from imis_core.cards.revoking import NOUN, SERIAL_BYTES, revoke_cards
from imis_core.cards.tables import card_revocations, cards
from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.covered import COVERED
from imis_core.coverage.states import ACTIVE
from imis_core.coverage.tables import coverage_members, coverages
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning
from imis_core.errors import Problem, Refusal, invalid, not_found, refused
from imis_core.places.lookup import places_below, resolve_locations

MEMBERS: Final = "coverage_members"
CARDS: Final = 500  # of one call, unless it asks for less
CARDS_MAX: Final = 2000


@frozen(kw_only=True)
class IssueCards:
    """For whom: persons covered under a scheme or package, by a policy, of a group, or below a location.

    `after` goes on behind the card of that id, as the answer's `next` says; `limit` is at most 2,000. `reissue`, a
    reason such as "lost": the good cards of these persons are revoked, and they get other ones.
    """

    scheme: str | None = None
    package: str | None = None
    coverage: str | None = None
    group: str | None = None
    person: str | None = None
    number: str | None = None
    location: str | None = None
    reissue: str | None = None
    after: str | None = None
    limit: int = CARDS


@frozen(kw_only=True)
class IssuedCard:
    """A card. `code` is the text of its QR code; `serial` is what a revocation list names; days as the card says."""

    id: str
    serial: str
    number: str
    person: str
    name: str | None
    birth_date: date
    sex: str
    scheme: str
    package: str
    group: str | None
    first_day: date
    last_day: date
    code: str


@frozen(kw_only=True)
class CardsIssued:
    """`issued` are new, the others are there already; `next` is set where more persons follow."""

    issued: int
    cards: tuple[IssuedCard, ...]
    next: str | None = None


@command("cards.issue", input=IssueCards, result=CardsIssued)
def issue(context: Context, items: tuple[IssueCards, ...]) -> list[CardsIssued | Refusal]:
    """Issue membership cards to covered persons; a constant number of statements for each item, whatever its size."""
    return [_issue(context, item) for item in items]


def _issue(context: Context, item: IssueCards) -> CardsIssued | Refusal:
    asked = _asked(context, item)
    if isinstance(asked, Refusal):
        return asked
    rows = context.execute(asked.order_by(coverage_members.c.id).limit(item.limit + 1)).all()
    more, rows = len(rows) > item.limit, rows[: item.limit]
    members = [row.id for row in rows]
    good, ordinals = _good_cards(context, members)
    if item.reissue is not None and good:
        revoke_cards(context, {card.id: item.reissue for card in good.values()})
        good = {}
    fresh = [row for row in rows if row.id not in good]
    if fresh:
        _write(context, fresh, ordinals)
        good, _ = _good_cards(context, members)
    key = _signing_key(context) if rows else None
    shown = [show(context, row, good[row.id], key) for row in rows if key is not None]
    following = context.ids.encode(MEMBERS, members[-1]) if more else None
    return CardsIssued(issued=len(fresh), cards=tuple(shown), next=following)


def _asked(context: Context, item: IssueCards) -> sa.Select[Any] | Refusal:
    """The persons asked for who are covered now or are to be, as a select of `COVERED`."""
    m = coverage_members.c
    select = COVERED.add_columns(
        persons.c.given_name, persons.c.family_name, persons.c.birth_date, persons.c.sex
    ).where(
        context.scoped(coverages), context.scoped(persons), coverages.c.state == ACTIVE,
        coverages.c.effective_from.is_not(None),
    )  # fmt: skip
    covered = select.selected_columns
    select = select.where(covered.effective_to >= context.today, covered.effective_from <= covered.effective_to)
    named = [item.scheme, item.package, item.coverage, item.group, item.person, item.number, item.location]
    if not any(name is not None for name in named):
        return invalid(Problem("scheme", "required", "say whose cards: a scheme, coverage, group, person or location"))
    if not 1 <= item.limit <= CARDS_MAX:
        return invalid(Problem("limit", "range", f"limit is 1 to {CARDS_MAX}"))
    if item.reissue is not None and not item.reissue.strip():
        return invalid(Problem("reissue", "required", "say why the cards are issued again, such as 'lost'"))
    for path, noun, column, given in (
        ("coverage", "coverages", coverages.c.id, item.coverage), ("after", MEMBERS, m.id, item.after),
    ):  # fmt: skip
        if given is not None:
            number = context.ids.decode(noun, given)
            if number is None:
                return not_found(path, path, given)
            select = select.where(column > number if path == "after" else column == number)
    if item.scheme is not None:
        if item.scheme not in context.settings.schemes:
            return invalid(Problem("scheme", "unknown", f"there is no scheme {item.scheme!r}"))
        select = select.where(coverages.c.scheme == item.scheme)
    if item.package is not None:
        select = select.where(packages.c.code == item.package)
    if item.group is not None:
        group = resolve_groups(context, {item.group}).get(item.group)
        if group is None:
            return not_found("group", "group", item.group)
        select = select.where(coverages.c.group == group.id)
    for path, given in (("person", item.person), ("number", item.number)):
        if given is not None:
            person = resolve_persons(context, {given}).get(given)
            if person is None:
                return not_found(path, "person", given)
            select = select.where(m.person == person.id)
    if item.location is not None:
        place = resolve_locations(context, {item.location}, within_scope=True).get(item.location)
        if place is None:
            return not_found("location", "location", item.location)
        below = places_below(context.connection, [place.id])
        select = select.where(persons.c.place == any_of(below))
    return select


def _good_cards(context: Context, members: Sequence[int]) -> tuple[dict[int, Any], dict[int, int]]:
    """The good card of each member, and the highest ordinal of any. One statement."""
    found = context.execute(
        sa.select(cards, card_revocations.c.card.label("revoked"))
        .outerjoin(card_revocations, card_revocations.c.card == cards.c.id)
        .where(cards.c.member == any_of(members))
        .order_by(cards.c.ordinal)
    ).all()
    return {row.member: row for row in found if row.revoked is None}, {row.member: row.ordinal for row in found}


def _write(context: Context, rows: Sequence[Any], ordinals: Mapping[int, int]) -> None:
    """A card for each row. Of two calls at once the first one's card is the person's: the key decides."""
    insert_returning(
        context.connection,
        cards,
        {
            "member": [row.id for row in rows],
            "ordinal": [ordinals.get(row.id, 0) + 1 for row in rows],
            "serial": [secrets.token_bytes(SERIAL_BYTES) for _ in rows],
            "issued_at": [context.now] * len(rows),
            "first_day": [row.effective_from for row in rows],
            "last_day": [row.effective_to for row in rows],
            "audit": [context.audit] * len(rows),
        },
        conflict="(member, ordinal) DO NOTHING",
    )


def _signing_key(context: Context) -> SigningKey:
    """The key that signs. It is made for the first card of a deployment, and never silently made anew."""
    ring = KeyRing(context.app.keys)
    key = ring.signing()
    if key is not None:
        return key
    ours = context.execute(sa.select(cards.c.id).where(cards.c.audit != context.audit).limit(1)).first()
    if ours is not None:
        raise refused(
            "cards.keys_lost",
            "the key that signed the cards so far is gone; restore keys/cards.json from the backup, or accept that all "
            "printed cards become worthless: imis cards rotate-keys",
        )
    return ring.first(context.today)


def show(context: Context, row: Any, card: Any, key: SigningKey) -> IssuedCard:
    """A card with its signed text. `row` is of `COVERED` with the person's columns, `card` of `cards`."""
    name = " ".join(part for part in (row.given_name, row.family_name) if part) or None
    said = Card(
        issuer=context.settings.name, serial=bytes(card.serial), issued_at=card.issued_at,
        not_before=start_of(context, card.first_day), expires_at=start_of(context, card.last_day + timedelta(days=1)),
        number=row.number, name=name, birth_date=row.birth_date, sex=row.sex, scheme=row.scheme,
        package=row.package_code, first_day=card.first_day, last_day=card.last_day,
    )  # fmt: skip
    return IssuedCard(
        id=context.ids.encode(NOUN, card.id), serial=said.serial.hex(), number=said.number,
        person=context.ids.encode("persons", row.person), name=name, birth_date=said.birth_date, sex=said.sex,
        scheme=said.scheme, package=said.package, group=row.group_code, first_day=said.first_day,
        last_day=said.last_day, code=sign(said, key),
    )  # fmt: skip


def start_of(context: Context, day: date) -> datetime:
    """The instant at which a day of the deployment begins."""
    return datetime.combine(day, time(), ZoneInfo(context.settings.deployment.timezone))


@frozen(kw_only=True)
class RotateKeys:
    """`forget`: ids of older keys that are taken out of the key set: their cards are no longer good anywhere."""

    forget: tuple[str, ...] = ()


@frozen(kw_only=True)
class KeysRotated:
    """`key` signs from now on; `known` are all keys of the key set, the newest first."""

    key: str
    known: tuple[str, ...]


@command("cards.rotate_keys", input=RotateKeys, result=KeysRotated)
def rotate_keys(context: Context, items: tuple[RotateKeys, ...]) -> list[KeysRotated | Refusal]:
    """Sign with a new key from now on; the secret of the one before is destroyed, and its cards stay good."""
    ring = KeyRing(context.app.keys)
    outcomes: list[KeysRotated | Refusal] = []
    for item in items:
        unknown = sorted(set(item.forget) - {key.id for key in ring.public()})
        if unknown:
            outcomes.append(not_found("forget", "key of cards", unknown[0]))
            continue
        key = ring.rotate(context.today)
        ring.forget(item.forget)
        outcomes.append(KeysRotated(key=key.public.id, known=tuple(k.id for k in ring.public())))
    return outcomes
