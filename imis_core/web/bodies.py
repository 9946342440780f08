"""Request bodies into plain data: strict JSON within bounds. What the data means is the commands' matter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from imis_core.errors import ImisError, Problem, Refusal, invalid, refused

_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode
BODY_MAX: Final = 20 * 1024 * 1024  # bytes of one request
DEPTH_MAX: Final = 64  # objects and lists inside one another
_CHARSETS: Final = frozenset({"", "utf-8", "utf8", "us-ascii"})


def read_body(body: bytes, content_type: str | None, *, exact: bool = False) -> Any:
    """The body's one object or list. Raises `input.invalid` with the position, or `http.unsupported_media_type`.

    Fractions arrive as floats, which no exact field takes, or with `exact` as decimals; NaN, lone surrogates and other
    encodings are refused here.
    """
    _check_content_type(content_type or "")
    try:
        data = _exactly(body) if exact else msgspec.json.decode(body)
    except RecursionError:
        raise _not_json("depth", f"it is nested more than {DEPTH_MAX} levels deep") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise _not_json("json", _reason(body, error)) from None
    # Counting brackets costs nothing; only a body with many of them is walked.
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _deeper_than(data, DEPTH_MAX):
        raise _not_json("depth", f"it is nested more than {DEPTH_MAX} levels deep")
    if not isinstance(data, (dict, list)):
        raise _not_json("type", "expected one object or a list of objects")
    return data


def _check_content_type(content_type: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charset = next((p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset=")), "")
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        message = f"the body is {media_type[:60]!r}; send JSON with `Content-Type: application/json`"
        raise refused("http.unsupported_media_type", message)
    if charset not in _CHARSETS:
        raise refused("http.unsupported_media_type", f"the body is in {charset[:30]!r}; JSON is always UTF-8")


def _not_json(reason: str, message: str) -> ImisError:
    refusal = invalid(Problem("", reason, message))
    return ImisError(Refusal(refusal.code, f"the body cannot be read: {message}", refusal.problems))


def _reason(body: bytes, error: Exception) -> str:
    if not body:
        return "it is empty"
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        return f"it is not UTF-8 (byte {wrong.start})"
    hint = "; check its \\u escapes" if b"\\u" in body else ""
    return f"{error} ({len(body)} bytes){hint}"


def _deeper_than(data: Any, levels: int) -> bool:
    layer = [data]
    for _ in range(levels + 1):
        layer = [
            part for whole in layer for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, (dict, list))
        ]  # fmt: skip
        if not layer:
            return False
    return True
