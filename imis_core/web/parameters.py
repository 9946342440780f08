"""Query strings into plain data, guided by the fields of a query's input class. Judging the values is the parser's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import parse_qsl

import attrs
import msgspec

from imis_core.errors import ImisError, Problem, invalid
from imis_core.parsing import outside_name, without_none
from imis_core.values import Amount, MonthDay, Percent, Quantity, Rate

PARAMETERS_MAX: Final = 1000
_WHOLE: Final = re.compile(r"-?\d{1,19}\Z", re.ASCII)
_TEXTS: Final = (str, date, Decimal, Amount, MonthDay, Percent, Quantity, Rate)
Pairs = Sequence[tuple[str, str]]


def pairs_of(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values in order. Raises `input.invalid` for text that is not UTF-8 and for too many of them."""
    try:
        text = query_string.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except UnicodeDecodeError:
        raise ImisError(invalid(Problem("", "encoding", "the query string is not UTF-8 in percent signs"))) from None
    except ValueError:
        message = f"the query string has more than {PARAMETERS_MAX} parameters"
        raise ImisError(invalid(Problem("", "too_many", message))) from None


@cache
def fields_of(kind: type) -> dict[str, Any]:
    """The outside names of an input class's fields with their resolved types, without `None`."""
    attrs.resolve_types(kind)
    return {outside_name(a): without_none(a.type) for a in attrs.fields(kind)}


def read_parameters(pairs: Pairs, kind: type) -> dict[str, Any]:
    """Plain data for the input class: numbers, `true` and `false`, lists, and JSON text for nested values.

    A list is a repeated parameter, one with commas, or JSON. What does not fit stays text, so that the parser says what
    it expected there; names that the class does not have are left for it too. Raises `input.invalid` for a repeated
    parameter that is no list.
    """
    gathered: dict[str, list[str]] = {}
    for name, value in pairs:
        gathered.setdefault(name, []).append(value)
    fields = fields_of(kind)
    problems = [
        Problem(name, "repeated", "this parameter is given more than once and is no list")
        for name, values in gathered.items()
        if len(values) > 1 and not is_list(fields.get(name))
    ]
    if problems:
        raise ImisError(invalid(*problems))
    return {name: _value(values, fields.get(name, str)) for name, values in gathered.items()}


def is_list(kind: Any) -> bool:
    """Whether a field takes a list."""
    return get_origin(kind) is tuple


def is_scalar(kind: Any) -> bool:
    """Whether a field's value is written as it is; others are JSON text."""
    return kind in _TEXTS or kind in (int, bool) or get_origin(kind) is Literal


def _value(values: list[str], kind: Any) -> Any:
    if not is_list(kind):
        return _single(values[0], kind)
    inner = without_none(get_args(kind)[0])
    if len(values) == 1 and values[0].lstrip().startswith("["):
        return _json(values[0])
    if len(values) == 1 and is_scalar(inner):
        values = values[0].split(",") if values[0] else []
    return [_single(value, inner) for value in values]


def _single(value: str, kind: Any) -> Any:
    if kind is bool:
        return {"true": True, "false": False}.get(value, value)
    if kind is int or (get_origin(kind) is Literal and value not in get_args(kind)):
        return int(value) if _WHOLE.match(value) else value
    return value if is_scalar(kind) else _json(value)


def _json(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return value
