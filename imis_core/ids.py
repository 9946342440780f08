"""Outside identifiers: one AES block of (noun number, bigint) under the deployment's key, written as a UUID.

Nothing is stored for them: the same entity always has the same id, and an id tells a stranger neither how many
entities there are nor which came first. The key is kept and backed up with the deployment (`keys/ids.key`).
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from imis_core.errors import refused
from imis_core.redaction import remember

KEY_BYTES: Final = 16
SEALS_KEY_BYTES: Final = 32  # of the key of the audit's seals (imis_core/audit_seals.py)
BLOCK: Final = 16
NONCE: Final = 12  # bytes
# Numbers below 1000 are the kernel's; plugins take theirs from 1000 up in their manifests.
KERNEL_NOUNS: Final[dict[str, int]] = {
    "locations": 1, "providers": 2, "items": 3, "price_lists": 4, "diagnoses": 5, "persons": 6, "groups": 7,
    "memberships": 8, "benefit_packages": 9, "package_versions": 10, "coverages": 11, "coverage_members": 12,
    "contributions": 13, "claims": 14, "payment_requests": 15, "payment_providers": 16, "pay_points": 17,
    "recipients": 18, "orders": 19, "users": 20, "approvals": 21, "ledger_entries": 22, "price_list_versions": 23,
    "jobs": 24, "audit": 25, "events": 26, "registry_imports": 27, "duplicates": 28, "merges": 29, "employers": 30,
    "employments": 31, "cycles": 32, "payrolls": 33, "entitlements": 34, "notifications": 35, "attachments": 36,
    "registration_periods": 37, "cards": 60, "bank_files": 61, "transmissions": 62, "provider_messages": 63,
    "account_checks": 64, "recoveries": 66, "book_comparisons": 75,
    "contribution_refunds": 76, "refund_batches": 77,
    "logins": 38,
}  # fmt: skip


class Ids:
    """Encodes and decodes outside ids of the nouns it knows."""

    def __init__(self, key: bytes, nouns: Mapping[str, int]) -> None:
        self._key = key
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - single unrelated blocks, no stream
        self._wrapper = AESGCM(hmac.digest(key, b"wrapped", "sha256"))  # a key of its own: one key, one purpose
        self._numbers = {**KERNEL_NOUNS, **nouns}
        self._names = {number: noun for noun, number in self._numbers.items()}

    def encode(self, noun: str, number: int) -> str:
        """The outside id of one entity."""
        return self.encode_all(noun, (number,))[0]

    def encode_all(self, noun: str, numbers: Iterable[int]) -> list[str]:
        """The outside ids of many entities of a noun, in order."""
        prefix = self._numbers[noun].to_bytes(8, "big")
        encryptor = self._cipher.encryptor()
        digits = encryptor.update(b"".join(prefix + n.to_bytes(8, "big") for n in numbers)).hex()
        return [_uuid(digits[i : i + 2 * BLOCK]) for i in range(0, len(digits), 2 * BLOCK)]

    def seal(self, secret: str) -> str:
        """A stand-in for a secret in digests: the same for the same secret, and not to be guessed without the key."""
        return hmac.new(self._key, secret.encode("utf-8", "backslashreplace"), "sha256").hexdigest()

    def wrap(self, content: bytes, purpose: str = "") -> bytes:
        """Content that nobody is to read or change until it comes back, such as the place of a page that a caller keeps
        or a secret that lies in a row: encrypted and signed. It opens for the same `purpose` only."""
        nonce = os.urandom(NONCE)
        return nonce + self._wrapper.encrypt(nonce, content, purpose.encode())

    def unwrap(self, wrapped: bytes, purpose: str = "") -> bytes | None:
        """The content of what `wrap` gave for this purpose; None for anything else."""
        try:
            return self._wrapper.decrypt(wrapped[:NONCE], wrapped[NONCE:], purpose.encode())
        except (InvalidTag, ValueError):
            return None

    def decode(self, noun: str, outside: str) -> int | None:
        """The number of an entity of this noun; None if the text is no id of it."""
        entity = self.decode_any(outside)
        return entity[1] if entity is not None and entity[0] == noun else None

    def decode_all(self, noun: str, outside: Sequence[str]) -> list[int | None]:
        """The numbers of many ids of one noun, each None where the text is no id of it; in one go, for files."""
        blocks = [_block(text) for text in outside]
        raw = self._cipher.decryptor().update(b"".join(block for block in blocks if block is not None))
        prefix = self._numbers[noun].to_bytes(8, "big")
        found = (raw[i : i + BLOCK] for i in range(0, len(raw), BLOCK))
        plain = (b"" if block is None else next(found) for block in blocks)
        return [int.from_bytes(one[8:], "big") if one[:8] == prefix else None for one in plain]

    def decode_any(self, outside: str) -> tuple[str, int] | None:
        """Noun and number of an id; None if the text is no id at all."""
        block = _block(outside)
        if block is None:
            return None
        raw = self._cipher.decryptor().update(block)
        noun = self._names.get(int.from_bytes(raw[:8], "big"))
        return None if noun is None else (noun, int.from_bytes(raw[8:], "big"))


def _block(outside: str) -> bytes | None:
    """What an id's digits stand for; None for a text that is none."""
    if len(outside) != 36 or outside.count("-") != 4:
        return None
    try:
        block = bytes.fromhex(outside.replace("-", ""))
    except ValueError:
        return None
    return block if len(block) == BLOCK and _uuid(block.hex()) == outside.lower() else None


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def load_key(folder: Path, name: str = "ids", length: int = KEY_BYTES) -> bytes:
    """The deployment's key `keys/NAME.key`, made once with mode 0600. Raises `keys.invalid` for a damaged one."""
    path = folder / "keys" / f"{name}.key"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = path.with_name(f"{name}.key.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(length).hex() + "\n")
        try:
            with suppress(FileExistsError):
                os.link(fresh, path)  # the first of two processes wins; both read the winner's key
        finally:
            fresh.unlink()
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        key = b""
    remember(key.hex())
    if len(key) != length:
        raise refused("keys.invalid", f"{path} is damaged; restore it from the backup ({_LOST[name]})")
    return key


_LOST: Final = {
    "ids": "outside ids depend on it",
    "seals": "without it the seals of the audit log prove nothing",
}
