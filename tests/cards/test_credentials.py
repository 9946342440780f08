"""What a card says survives signing and reading; whatever was changed, cut or signed by another is refused."""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime
from pathlib import Path

import cbor2
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from imis_core.cards import base45
from imis_core.cards.credentials import Card, read, sign, sign_claims
from imis_core.cards.keys import KeyRing, key_set, read_key_set
from imis_core.cards.revoking import read_list, sign_list
from imis_core.cards.verifying import verify
from imis_core.errors import ImisError

NOW = datetime(2021, 6, 1, 12, tzinfo=UTC)
CARD = Card(
    issuer="nepal-hib", serial=b"\x01\x02\x03\x04\x05\x06\x07\x08", issued_at=datetime(2021, 1, 5, 9, tzinfo=UTC),
    not_before=datetime(2021, 1, 1, tzinfo=UTC), expires_at=datetime(2022, 1, 1, tzinfo=UTC), number="123456789",
    name="Anna Bhattarai", birth_date=date(1980, 1, 2), sex="F", scheme="hib", package="FAMILY",
    first_day=date(2021, 1, 1), last_day=date(2021, 12, 31),
)  # fmt: skip


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "keys")
    ring.first(date(2021, 1, 1))
    return ring


def code_of(ring: KeyRing, card: Card = CARD) -> str:
    key = ring.signing()
    assert key is not None
    return sign(card, key)


def refusal(code: str, ring: KeyRing) -> str:
    with pytest.raises(ImisError) as error:
        read(code, ring.public())
    return error.value.code


def test_a_card_is_read_as_it_was_signed(ring: KeyRing) -> None:
    assert read(code_of(ring), ring.public()) == CARD


def test_the_published_key_set_is_enough(ring: KeyRing) -> None:
    """A verifier has the key set as JSON and nothing secret."""
    published = key_set(ring.public())
    assert all("d" not in key for key in published["keys"])
    assert read(code_of(ring), read_key_set(published)) == CARD


def test_the_shape_is_that_of_claim_169(ring: KeyRing) -> None:
    """Base45, zlib, COSE_Sign1 (tag 18) with EdDSA, claims of RFC 8392, and claim 169 with its own keys; no photo."""
    message = cbor2.loads(zlib.decompress(base45.decode(code_of(ring))))
    assert message.tag == 18
    assert cbor2.loads(message.value[0])[1] == -8
    claims = cbor2.loads(message.value[2])
    assert claims[169] == {1: "123456789", 4: "Anna Bhattarai", 8: "19800102", 9: 2}
    assert (claims[1], claims[4], claims[5], claims[7]) == ("nepal-hib", 1640995200, 1609459200, CARD.serial)
    assert claims[-70001] == {1: "hib", 2: "FAMILY", 3: 20210101, 4: 20211231}


def test_a_code_of_another_issuer_of_claim_169_is_unpacked_and_its_key_is_unknown(ring: KeyRing) -> None:
    """A public test vector of claim 169: the envelope is understood, but it names no key and no membership."""
    code = (
        "6BF590B20FFWJWG.FKJ05H7B0XKA8FA9DIWENPEJ/5P$DPQE88EB$CBECP9ERZC04E21DDF3/E96007F3ORAO001KL580 B9%W5*B9C+9%R864"
        "6%86HKESED1/DRTC5UA QE$345$CVQEX.DX88WBK0NG8PB4 O/38TL6XDALLKLPQATHO.3ZPJMUAVQFSB1:+B*21V FWMC6SU439YU774475LJ"
        "2U5T02$VBSIMLQ3:6J.E1-1STM$4"
    )
    assert refusal(code, ring) == "cards.unreadable"


def test_a_person_without_a_name_has_a_card(ring: KeyRing) -> None:
    """Names may be absent where a deployment says so."""
    nameless = evolve(CARD, name=None)
    assert read(code_of(ring, nameless), ring.public()) == nameless


@given(position=st.integers(0, 2**32), flip=st.integers(1, 255))
def test_whatever_byte_is_changed_it_is_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    ring = KeyRing(tmp_path_factory.mktemp("ring") / "keys")
    ring.first(date(2021, 1, 1))
    message = bytearray(zlib.decompress(base45.decode(code_of(ring))))
    message[position % len(message)] ^= flip
    changed = base45.encode(zlib.compress(bytes(message)))
    assert refusal(changed, ring) in ("cards.unreadable", "cards.unknown_key", "cards.bad_signature")


@given(st.text(max_size=200))
def test_any_other_text_is_no_card(text: str) -> None:
    with pytest.raises(ImisError) as error:
        read(text, [])
    assert error.value.code in ("cards.unreadable", "cards.unknown_key")


def test_a_code_that_unpacks_without_end_is_refused(ring: KeyRing) -> None:
    """A few bytes that unpack to megabytes cost nothing."""
    assert refusal(base45.encode(zlib.compress(b"\x00" * 50_000_000)), ring) == "cards.unreadable"


def test_something_else_signed_with_our_key_is_no_card(ring: KeyRing) -> None:
    """A revocation list is signed with the same key and passes for no card."""
    key = ring.signing()
    assert key is not None
    code = base45.encode(zlib.compress(sign_claims({1: "nepal-hib"}, key)))
    assert refusal(code, ring) == "cards.unreadable"


def test_rotation_keeps_old_cards_good_and_destroys_the_old_secret(ring: KeyRing, tmp_path: Path) -> None:
    """The new key signs, the old one only verifies; forgotten, its cards are worthless."""
    before, old = code_of(ring), ring.public()[0]
    new = ring.rotate(date(2022, 1, 1))
    assert ring.signing() == new
    assert read(before, ring.public()) == CARD
    stored = (tmp_path / "keys" / "cards.json").read_text()
    assert stored.count('"d"') == 1
    assert (tmp_path / "keys" / "cards.json").stat().st_mode & 0o777 == 0o600
    ring.forget([old.id])
    assert refusal(before, ring) == "cards.unknown_key"


def test_a_damaged_key_file_is_named(ring: KeyRing, tmp_path: Path) -> None:
    (tmp_path / "keys" / "cards.json").write_text("{")
    with pytest.raises(ImisError) as error:
        ring.signing()
    assert error.value.code == "keys.invalid"


def test_days_are_judged_by_the_instant_or_by_the_day(ring: KeyRing) -> None:
    """The last day counts to its end, where the deployment is."""
    code = code_of(ring)

    def reason(now: datetime, on: date | None = None) -> str | None:
        return verify(code, ring.public(), None, now=now, on=on).reason

    assert reason(NOW) is None
    assert reason(datetime(2021, 12, 31, 23, 59, 59, tzinfo=UTC)) is None
    assert reason(datetime(2022, 1, 1, tzinfo=UTC)) == "expired"
    assert reason(datetime(2020, 12, 31, 23, 59, tzinfo=UTC)) == "not_yet_valid"
    assert reason(NOW, date(2021, 12, 31)) is None
    assert reason(NOW, date(2022, 1, 1)) == "expired"


def test_a_revocation_list_is_signed_and_short(ring: KeyRing) -> None:
    """Eight bytes a card; changed, it is refused."""
    key = ring.signing()
    assert key is not None
    serials = [bytes([n]) * 8 for n in range(200)] + [CARD.serial]
    message = sign_list("nepal-hib", NOW, serials, key)
    assert len(message) < 8 * len(serials) + 150
    listed = read_list(message, ring.public())
    assert listed.as_of == NOW
    assert verify(code_of(ring), ring.public(), listed, now=NOW).reason == "revoked"
    with pytest.raises(ImisError) as error:
        read_list(message.replace(CARD.serial, b"\x00" * 8), ring.public())
    assert error.value.code == "cards.bad_signature"
