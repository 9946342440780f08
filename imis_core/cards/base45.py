"""Base45 (RFC 9285): bytes as characters that a QR code holds in its compact alphanumeric mode."""

from __future__ import annotations

from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


def encode(content: bytes) -> str:
    """Three characters for each two bytes, two for a last single one."""
    characters = []
    for start in range(0, len(content), 2):
        pair = content[start : start + 2]
        number = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            number, value = divmod(number, 45)
            characters.append(ALPHABET[value])
    return "".join(characters)


def decode(text: str) -> bytes:
    """The bytes of `encode`. Raises `ValueError` for anything else."""
    content = bytearray()
    for start in range(0, len(text), 3):
        triple = text[start : start + 3]
        if len(triple) == 1 or any(character not in _VALUES for character in triple):
            raise ValueError("not Base45")
        number = sum(_VALUES[character] * 45**place for place, character in enumerate(triple))
        size = len(triple) - 1
        if number >= 256**size:
            raise ValueError("not Base45")
        content += number.to_bytes(size, "big")
    return bytes(content)
