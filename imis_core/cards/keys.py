"""The keys that sign cards: one that signs, and older ones that are only known until their last card has ended.

They lie in `keys/cards.json` of the deployment, mode 0600, outside the database, and belong into the backup. Rotation
makes a new key and destroys the secret of the one before; its public part stays in the published key set. The key set
is JSON with Ed25519 keys as RFC 8037 writes them, which any library reads.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imis_core.errors import ImisError, refused

FILE: Final = "cards.json"
_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32


@frozen
class PublicKey:
    """What verifies. `id` stands in the header of each card, `x` is the Ed25519 key, `since` the day it was made."""

    id: str
    x: bytes
    since: date

    def jwk(self) -> dict[str, str]:
        """The key as a JSON Web Key."""
        return {
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
            "kid": self.id, "x": _text(self.x), "since": self.since.isoformat(),
        }  # fmt: skip


@frozen
class SigningKey:
    """The secret part, and the key that verifies what it signs."""

    public: PublicKey
    secret: bytes = field(repr=False)

    def jwk(self) -> dict[str, str]:
        return {**self.public.jwk(), "d": _text(self.secret)}


def key_set(keys: Sequence[PublicKey]) -> dict[str, Any]:
    """What is published: a JSON Web Key Set."""
    return {"keys": [key.jwk() for key in keys]}


def read_key_set(document: Any) -> list[PublicKey]:
    """The keys of a published key set. Raises `cards.key_set`."""
    try:
        keys = [PublicKey(k["kid"], _bytes(k["x"]), date.fromisoformat(k["since"])) for k in document["keys"]]
        if not keys or any(len(key.x) != _KEY_BYTES or not key.id for key in keys):
            raise ValueError
    except (LookupError, TypeError, ValueError, AttributeError):
        raise refused(
            "cards.key_set", "this is no key set of membership cards; take one from `imis cards keys`"
        ) from None
    return keys


class KeyRing:
    """The deployment's keys for cards, in its folder `keys`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def public(self) -> list[PublicKey]:
        """The keys that verify, the newest first; empty before the first one was made."""
        return [key for key, _ in self._read()]

    def signing(self) -> SigningKey | None:
        """The key that signs now; None before the first one was made."""
        for key, secret in self._read():
            if secret is not None:
                return SigningKey(key, secret)
        return None

    def first(self, today: date) -> SigningKey:
        """The key that signs, made if there is none yet: the first of two processes makes it for both."""
        with self._locked():
            return self.signing() or self._add(today)

    def rotate(self, today: date) -> SigningKey:
        """A new key signs from now on; the secret of the one before is gone, and what it signed stays good."""
        with self._locked():
            return self._add(today)

    def forget(self, ids: Sequence[str]) -> None:
        """Take keys out of the key set; their cards are no longer good anywhere. The one that signs stays."""
        with self._locked():
            self._write([(key, secret) for key, secret in self._read() if secret is not None or key.id not in ids])

    def _add(self, today: date) -> SigningKey:
        secret = Ed25519PrivateKey.generate()
        fresh = PublicKey(secrets.token_hex(_ID_BYTES), secret.public_key().public_bytes_raw(), today)
        self._write([(fresh, secret.private_bytes_raw()), *((key, None) for key in self.public())])
        return SigningKey(fresh, secret.private_bytes_raw())

    def _read(self) -> list[tuple[PublicKey, bytes | None]]:
        try:
            document = json.loads(self._path.read_text("ascii"))
        except FileNotFoundError:
            return []
        except ValueError:
            raise self._damaged() from None
        try:
            public = read_key_set(document)
            secret = [None if k.get("d") is None else _bytes(k["d"]) for k in document["keys"]]
        except (ImisError, ValueError, TypeError, AttributeError):
            raise self._damaged() from None
        return list(zip(public, secret, strict=True))

    def _write(self, keys: Sequence[tuple[PublicKey, bytes | None]]) -> None:
        listed: list[Mapping[str, str]] = [
            key.jwk() if secret is None else SigningKey(key, secret).jwk() for key, secret in keys
        ]
        fresh = self._path.with_name(f"{FILE}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump({"keys": listed}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        finally:
            fresh.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _damaged(self) -> ImisError:
        return refused(
            "keys.invalid", f"{self._path} is damaged; restore it from the backup (it signs membership cards)"
        )


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
