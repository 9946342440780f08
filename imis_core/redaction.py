"""Secrets out of texts: what must not stand in a log, a traceback or a stored error, whoever wrote it there.

The first wall is that nothing of ours writes a secret: fields say `repr=False`, statements hide their parameters,
inputs are masked before the audit. This is the second one, for libraries and for what somebody adds later: whatever a
process writes to standard error goes through it (`guarded_standard_error`).
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO, cast

HIDDEN: Final = "[hidden]"
_LEAST: Final = 6  # characters; a shorter secret stands in too many words to be looked for
_Q: Final = r"\\*[\"']"  # a quote, as it is or escaped in a JSON line of a log
# Names whose values are secrets, in JSON, Python, TOML, headers and query strings.
_NAMES: Final = (
    r"(?:[\w-]*(?:password|passwd|passphrase|passwort|secret|api[_-]?key|private[_-]?key|access[_-]?token|csrf)[\w-]*"
    r"|token|pwd|authorization|cookie|set-cookie)"
)
_PATTERNS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        (r"(\b[a-z][a-z0-9+.-]*://[^\s:/@\"']*):[^\s/\"']+@", rf"\1:{HIDDEN}@"),  # postgresql://user:password@host
        (r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", rf"\1 {HIDDEN}"),
        (r"(imis-session=)[^\s;,\"'\\]+", rf"\1{HIDDEN}"),
        (r"\$argon2[a-z]*\$[^\s'\")\\]+", HIDDEN),
        (rf"(\b{_NAMES}(?:{_Q})?\s*(?:=>|[:=])\s*{_Q})(?!\[hidden)(?:(?!{_Q}).)+", rf"\1{HIDDEN}"),
        (rf"(\b{_NAMES}=)(?!{_Q}|\[hidden)[^\s&;,\"')\]]+", rf"\1{HIDDEN}"),
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", HIDDEN),
        # PostgreSQL repeats a whole row where one is refused.
        (r"(DETAIL:\s*)(?:Failing row contains|Key )[^\n\\]*", rf"\1{HIDDEN}"),
    )
)


class _Known:
    """The secrets that this process holds: hidden wherever they stand, whatever stands before them."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def add(self, secrets: tuple[str | None, ...]) -> None:
        with self._lock:
            found = {*self._secrets, *(s for s in secrets if s is not None and len(s) >= _LEAST)}
            self._secrets = tuple(sorted(found, key=len, reverse=True))

    def hide(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


_known: Final = _Known()  # as global as the process's standard error is


def remember(*secrets: str | None) -> None:
    """Hide these in whatever this process says from now on: passwords of databases, keys."""
    _known.add(secrets)


def redact(text: str) -> str:
    """A text without known secrets, and without what looks like one."""
    text = _known.hide(text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class Redacted:
    """A text stream that lets no secret through; in everything else it is the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded_standard_error() -> Iterator[None]:
    """Let no secret through the standard error of this process, whoever writes: logs, tracebacks, libraries."""
    before = sys.stderr
    if not isinstance(before, Redacted):
        sys.stderr = cast(TextIO, Redacted(before))
    try:
        yield
    finally:
        sys.stderr = before
