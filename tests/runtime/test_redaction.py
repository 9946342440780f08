"""Secrets are taken out of whatever a process says."""

from __future__ import annotations

import io
import json
import logging
from typing import TextIO, cast

import pytest

from imis_core.redaction import Redacted, redact, remember

S = "hunter2-Xq9"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://imis:{S}@db.example.org:5432/imis",
        f"postgresql+psycopg://imis:{S}@[::1]/imis?sslmode=require",
        f"connecting with host=db password={S} dbname=imis",
        f"host=db password='{S}' dbname=imis",
        f"Authorization: Bearer {S}abcdef",
        f"{{'authorization': 'Bearer {S}abcdef'}}",
        f"Cookie: __Host-imis-session={S}; other=1",
        f'{{"name": "ann", "password": "{S}"}}',
        json.dumps({"event": json.dumps({"name": "ann", "new_password": S})}),
        f"LogIn(name='ann', password='{S}')",
        f"GET /x?token={S}&a=1",
        f"X-CSRF-Token: '{S}'",
        f'api_key = "{S}"',
        f"$argon2id$v=19$m=65536,t=3,p=4${S}$kF1cf0kVRFy",
        f"DETAIL:  Failing row contains (1, ann, {S}).",
        f"DETAIL:  Key (name)=({S}) already exists.",
        f"-----BEGIN PRIVATE KEY-----\n{S}\n-----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    """Addresses, headers, cookies, JSON in any depth of quotes, arguments, hashes, refused rows and keys."""
    assert S not in redact(text)
    assert "[hidden]" in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "request 12ab to /api/claims/submit failed",
        "the name or the password is wrong",
        "POST http://127.0.0.1:8000/api/auth/token 401",
        "a password has at least 10 characters",
        '{"errors": [{"path": "password", "reason": "too_short"}]}',
        "2021-01-01T12:00:00Z token.revoked 3 rows",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    """A log that says nothing helps nobody."""
    assert redact(text) == text


def test_a_known_secret_is_hidden_wherever_it_stands() -> None:
    """Keys and passwords of databases, by themselves in any line."""
    remember("f00dfeedf00dfeed", None, "abc")
    assert redact("the bytes f00dfeedf00dfeed and abc") == "the bytes [hidden] and abc"


def test_a_traceback_through_the_stream_is_clean() -> None:
    """Whatever writes to it: here the logging library with an exception that repeats a password."""
    there = io.StringIO()
    log = logging.Logger("alone")
    log.addHandler(logging.StreamHandler(cast(TextIO, Redacted(there))))
    try:
        raise ValueError(f"cannot connect to postgresql://imis:{S}@db/imis")
    except ValueError:
        log.exception("failed with password=%s", S)
    assert S not in there.getvalue()
    assert "Traceback" in there.getvalue()
    assert there.getvalue().count("[hidden]") >= 2
