"""What a card says, as signed text: CWT claims in COSE_Sign1, compressed, in Base45, as MOSIP's claim 169 has it.

Claims of RFC 8392: `iss` (the deployment), `nbf`, `exp`, `iat`, `cti` (the card's serial); claim 169, the person:
number, full name, birth date, sex; and a claim of our own, the membership: scheme, package, first and last day. Neither
photo nor anything of health is in it. This module knows no database and no files.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import cbor2
from attrs import frozen
from cwt import COSE, COSEKey
from cwt.exceptions import CWTError

from imis_core.cards import base45
from imis_core.cards.keys import PublicKey, SigningKey
from imis_core.errors import ImisError, refused

ISSUER, EXPIRES, NOT_BEFORE, ISSUED, SERIAL = 1, 4, 5, 6, 7  # RFC 8392, section 3.1
IDENTITY: Final = 169  # registered by MOSIP: identity data of a person in a QR code
ID, FULL_NAME, BIRTH_DATE, GENDER = 1, 4, 8, 9  # of claim 169
_GENDERS: Final = {"M": 1, "F": 2, "O": 3}
_SEXES: Final = {number: sex for sex, number in _GENDERS.items()}
MEMBERSHIP: Final = -70001  # of ours: RFC 8392 leaves keys below -65536 to private use
SCHEME, PACKAGE, FIRST_DAY, LAST_DAY = 1, 2, 3, 4  # of the membership; days as numbers YYYYMMDD
COSE_KEY_ID: Final = 4  # in the header of COSE
_NO_CBOR: Final = (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError)
CONTENT_MAX: Final = 4096  # bytes once unpacked; a card has some 200


@frozen(kw_only=True)
class Card:
    """What a card says. Days are the deployment's; `issued_at` and the two limits are instants."""

    issuer: str
    serial: bytes
    issued_at: datetime
    not_before: datetime
    expires_at: datetime
    number: str
    name: str | None
    birth_date: date
    sex: str
    scheme: str
    package: str
    first_day: date
    last_day: date


def sign(card: Card, key: SigningKey) -> str:
    """The text of a card's QR code; the same card and key give the same text."""
    identity: dict[int, Any] = {ID: card.number}
    if card.name:
        identity[FULL_NAME] = card.name
    identity |= {BIRTH_DATE: f"{card.birth_date:%Y%m%d}", GENDER: _GENDERS[card.sex]}
    membership = {
        SCHEME: card.scheme, PACKAGE: card.package, FIRST_DAY: _day_number(card.first_day),
        LAST_DAY: _day_number(card.last_day),
    }  # fmt: skip
    claims = {
        ISSUER: card.issuer, EXPIRES: int(card.expires_at.timestamp()), NOT_BEFORE: int(card.not_before.timestamp()),
        ISSUED: int(card.issued_at.timestamp()), SERIAL: card.serial, IDENTITY: identity, MEMBERSHIP: membership,
    }  # fmt: skip
    return base45.encode(zlib.compress(sign_claims(claims, key), 9))


def read(text: str, keys: Sequence[PublicKey]) -> Card:
    """What a card says once its signature is found good under one of the keys; dates are not judged here.

    Raises `cards.unreadable` for what is no card, `cards.unknown_key` for one signed with another key, and
    `cards.bad_signature` for one that was changed.
    """
    # Some readers hand on a prefix or a line end that the printer's software put there.
    claims = verified_claims(_unpacked(text.strip("\r\n\t")), keys)
    try:
        identity, membership = claims[IDENTITY], claims[MEMBERSHIP]
        return Card(
            issuer=str(claims[ISSUER]),
            serial=bytes(claims[SERIAL]),
            issued_at=_instant(claims[ISSUED]),
            not_before=_instant(claims[NOT_BEFORE]),
            expires_at=_instant(claims[EXPIRES]),
            number=str(identity[ID]),
            name=identity.get(FULL_NAME),
            birth_date=datetime.strptime(identity[BIRTH_DATE], "%Y%m%d").date(),  # noqa: DTZ007 - a day, no instant
            sex=_SEXES[identity[GENDER]],
            scheme=str(membership[SCHEME]),
            package=str(membership[PACKAGE]),
            first_day=_day(membership[FIRST_DAY]),
            last_day=_day(membership[LAST_DAY]),
        )
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError):
        raise refused("cards.unreadable", "the code is signed, but it is no membership card") from None


def sign_claims(claims: dict[int, Any], key: SigningKey) -> bytes:
    """Claims as a tagged COSE_Sign1 message, signed with EdDSA; the header names the key."""
    signer = COSE.new(alg_auto_inclusion=True, kid_auto_inclusion=True)
    return bytes(signer.encode_and_sign(cbor2.dumps(claims), COSEKey.from_jwk(key.jwk())))


def verified_claims(message: bytes, keys: Sequence[PublicKey]) -> dict[Any, Any]:
    """The claims of a message that one of the keys signed. Raises as `read` does."""
    named = _key_named(message)
    chosen = [key for key in keys if key.id == named]
    if not chosen:
        raise refused(
            "cards.unknown_key",
            f"it is signed with the key {named}, which is not in the key set; fetch the newest key set",
        )
    try:
        claims = cbor2.loads(COSE.new().decode(message, [COSEKey.from_jwk(key.jwk()) for key in chosen]))
    except CWTError:
        raise refused("cards.bad_signature", "the signature is not good: the content was changed or forged") from None
    except _NO_CBOR:
        raise _unreadable() from None
    if not isinstance(claims, dict):
        raise _unreadable()
    return claims


def _key_named(message: bytes) -> str:
    """The id of the key that a message names in its header."""
    try:
        tagged = cbor2.loads(message)
        protected, unprotected = tagged.value[0], tagged.value[1]
        headers = {**unprotected, **(cbor2.loads(protected) if protected else {})}
        return str(headers[COSE_KEY_ID].decode("ascii"))
    except (*_NO_CBOR, LookupError, AttributeError):
        raise _unreadable() from None


def _unpacked(text: str) -> bytes:
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base45.decode(text), CONTENT_MAX)
    except (ValueError, zlib.error):
        raise _unreadable() from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise _unreadable()
    return content


def _unreadable() -> ImisError:
    return refused("cards.unreadable", "this is no code of a membership card; scan it again, all of it")


def _instant(seconds: Any) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _day_number(day: date) -> int:
    return int(f"{day:%Y%m%d}")


def _day(number: int) -> date:
    return date(number // 10000, number // 100 % 100, number % 100)
