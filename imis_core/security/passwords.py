"""Passwords (argon2id) and tokens (random, only their digest is kept); which passwords are guessed first."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from imis_core.errors import Problem
from imis_core.security.common_passwords import COMMON

_hasher: Final = PasswordHasher()
# Verified when the name is unknown, so that the answer takes as long as for a wrong password.
_DECOY: Final = "$argon2id$v=19$m=65536,t=3,p=4$6MJ6GLlBLMNcEDk5IkjLSw$kF1cf0kVRFyQ5RRTqM6Nq6kVPNcFd3vB0Lk0N5rHqYk"
PASSWORD_MAX: Final = 1000  # characters
# Rows of keyboards and alphabets, and how fingers go over them.
_ROWS: Final = (
    "012345678901", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "azertyuiop", "qsdfghjklm",
    "qwertzuiop", "1qaz2wsx3edc4rfv5tgb6yhn7ujm", "1q2w3e4r5t6y7u8i9o0p",
)  # fmt: skip
_LOOKS_LIKE: Final = str.maketrans("013457@$!", "oleastasi")
_RUN: Final = 4  # characters of a keyboard's row in a row count as one


def hash_password(password: str) -> str:
    """An argon2id hash of a password."""
    return _hasher.hash(_composed(password))


def verify_password(stored: str | None, password: str) -> bool:
    """Whether a password fits; takes as long for a user without one."""
    try:
        return _hasher.verify(stored or _DECOY, _composed(password)) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def _composed(password: str) -> str:
    """One form for the same letters: keyboards and systems write an accent as one character or as two."""
    return unicodedata.normalize("NFC", password)


def password_problems(password: str, name: str, least: int, path: str = "password") -> list[Problem]:
    """What is wrong with a new password of the user `name`: too short, the name itself, or one that many take.

    What it may contain is nobody's business: length and rarity are what stops guessing.
    """
    if len(password) < least:
        return [Problem(path, "too_short", f"a password has at least {least} characters")]
    if len(password) > PASSWORD_MAX:
        return [Problem(path, "too_long", f"a password has at most {PASSWORD_MAX} characters")]
    read, own = _readings(password), _readings(name) - {""}
    if read & {form for one in own for form in (one, one * 2, one[::-1])}:
        return [Problem(path, "name", "a password is not the user's name, whatever stands around it")]
    if read & COMMON or _is_simple(password.casefold()):
        message = "this password is among the first that are tried; take some words that do not belong together"
        return [Problem(path, "common", message)]
    return []


def _readings(word: str) -> set[str]:
    """A word without what people put around and into it: `P@ssw0rd2024!` and `1password` are `password`."""
    word = re.sub(r"[\W\d_]+\Z", "", unicodedata.normalize("NFKC", word).casefold())
    both_ends = re.sub(r"\A[\W\d_]+", "", word)
    return {re.sub(r"[\W\d_]+", "", form.translate(_LOOKS_LIKE)) for form in (word, both_ends)}


def _is_simple(word: str) -> bool:
    """Whether a word is a few characters over and over, or made of rows of a keyboard."""
    if len(set(word)) <= 3:
        return True
    for size in range(1, len(word) // 2 + 1):
        if word == (word[:size] * (len(word) // size + 1))[: len(word)] and size <= _RUN:
            return True
    left, at = 0, 0
    while at < len(word):
        run = _run_from(word, at)
        if run < _RUN:
            left, run = left + 1, 1
        at += run
    return left <= 2


def _run_from(word: str, at: int) -> int:
    """How many characters from a place on follow a row of a keyboard, forwards or backwards."""
    longest = 0
    for row in _ROWS:
        for line in (row, row[::-1]):
            size = 0
            while at + size < len(word) and word[at : at + size + 1] in line:
                size += 1
            longest = max(longest, size)
    return longest


def new_token() -> str:
    """A bearer token of 256 random bits."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def csrf_of(session: str) -> str:
    """The token that pages of a session send with what they change; another site's page cannot know it."""
    return hmac.new(session.encode(), b"imis csrf", "sha256").hexdigest()
