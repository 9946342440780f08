"""The words and signs of an expression's text, with their positions. Knows no grammar."""

from __future__ import annotations

import re
from typing import Final, Literal

from attrs import frozen

from imis_core.criteria.expressions import ExpressionError

KEYWORDS: Final = frozenset(
    ("and", "or", "not", "in", "is", "missing", "true", "false", "date", "members", "where", "of", "on")
)
DIGITS_MAX: Final = 30  # of a number, before and after the point
_TOKEN: Final = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<quoted>`(?:[^`]|``)+`)"
    r"|(?P<sign><=|>=|!=|[=<>+\-*()\[\],.])"
)
_HINTS: Final = {
    "'": "this text has no closing quote; a quote within a text is written twice",
    "`": "this name has no closing backtick, or is empty",
    '"': "text stands in single quotes, a name that is no plain word in backticks",
    "/": "there is no division; multiply the other side",
    "!": "unequal is written !=",
    "&": "both conditions are joined by the word and",
    "|": "alternatives are joined by the word or",
}

TokenKind = Literal["number", "word", "keyword", "text", "quoted", "sign", "end"]


@frozen
class Token:
    """`value` is what the text means: without quotes, doubled quotes single. `position` counts from 1."""

    kind: TokenKind
    value: str
    position: int


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, the last one `end`. Raises `ExpressionError` at what belongs to no token."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(_HINTS.get(text[at], f"{text[at]!r} is no sign of the language"), at + 1)
        kind, value = match.lastgroup, match.group()
        if kind == "number":
            _check_number(value, text[match.end() : match.end() + 1], at + 1)
            found.append(Token("number", value, at + 1))
        elif kind == "word":
            found.append(Token("keyword" if value in KEYWORDS else "word", value, at + 1))
        elif kind == "text":
            found.append(Token("text", _storable(value[1:-1].replace("''", "'"), at + 1), at + 1))
        elif kind == "quoted":
            found.append(Token("quoted", _storable(value[1:-1].replace("``", "`"), at + 1), at + 1))
        elif kind == "sign":
            found.append(Token("sign", value, at + 1))
        at = match.end()
    found.append(Token("end", "the end", len(text) + 1))
    return found


def _check_number(value: str, following: str, position: int) -> None:
    whole, _, decimals = value.partition(".")
    if len(whole) > DIGITS_MAX or len(decimals) > DIGITS_MAX:
        raise ExpressionError(f"a number has at most {DIGITS_MAX} digits before and after its point", position)
    if following and (following.isalnum() or following in "_."):
        raise ExpressionError("a number is digits, and perhaps a point and digits after it", position)


def _storable(value: str, position: int) -> str:
    """What the database could not hold can equal nothing in it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ExpressionError("the text is not valid Unicode (a lone surrogate)", position) from None
    if "\x00" in value:
        raise ExpressionError("the text contains a NUL character; remove it", position)
    return value
