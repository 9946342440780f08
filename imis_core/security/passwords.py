"""Passwords (argon2id) and tokens (random, only their digest is kept)."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

PASSWORD_MIN: Final = 10
_hasher: Final = PasswordHasher()
# Verified when the name is unknown, so that the answer takes as long as for a wrong password.
_DECOY: Final = "$argon2id$v=19$m=65536,t=3,p=4$6MJ6GLlBLMNcEDk5IkjLSw$kF1cf0kVRFyQ5RRTqM6Nq6kVPNcFd3vB0Lk0N5rHqYk"


def hash_password(password: str) -> str:
    """An argon2id hash of a password."""
    return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether a password fits; takes as long for a user without one."""
    try:
        return _hasher.verify(stored or _DECOY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def new_token() -> str:
    """A bearer token of 256 random bits."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()
