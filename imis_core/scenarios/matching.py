"""Whether a result contains what a scenario expects, and where it first does not (contract.md, 'Scenario files').

A table is contained key by key; a list has the same length and matches element by element; amounts compare as decimals,
dates as dates, true and false only with themselves; nothing and null are the same. Compares plain data, runs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

SHOWN_CHARACTERS: Final = 300
# A text with leading zeros is a code, not an amount: "007" is not "7".
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


@frozen
class Mismatch:
    """The first place where a result is not as expected: `lines.1.payable`, and both sides as they are shown."""

    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        at = f"{self.path}: " if self.path else ""
        return f"{at}expected {self.expected}, found {self.found}"


def first_mismatch(expected: Any, found: Any, absent: Sequence[str] = ()) -> Mismatch | None:
    """Where `found` does not contain `expected`, or has something at a path of `absent`; None if all is as expected."""
    wrong = None if expected is None else _contained(expected, found, "")
    if wrong is not None:
        return wrong
    for path in absent:
        value = _at(found, path)
        if value is not None:
            return Mismatch(path, "nothing", show(value))
    return None


def _contained(expected: Any, found: Any, path: str) -> Mismatch | None:
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return Mismatch(path, "a table", show(found))
        pairs = ((key, item, found.get(key)) for key, item in expected.items())
    elif isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)):
            return Mismatch(path, "a list", show(found))
        if len(expected) != len(found):
            return Mismatch(path, f"a list of {len(expected)}", f"{len(found)}: {show(found)}")
        pairs = ((str(index), item, found[index]) for index, item in enumerate(expected))
    else:
        return None if _equal(expected, found) else Mismatch(path, show(expected), show(found))
    for key, item, other in pairs:
        wrong = _contained(item, other, f"{path}.{key}" if path else str(key))
        if wrong is not None:
            return wrong
    return None


def _equal(expected: Any, found: Any) -> bool:
    if isinstance(expected, bool) or isinstance(found, bool):
        return isinstance(expected, bool) and isinstance(found, bool) and expected == found
    if isinstance(expected, datetime) and isinstance(found, str):
        return _instant(found) == expected
    expected, found = _written(expected), _written(found)
    if expected == found:
        return True
    left, right = _decimal(expected), _decimal(found)
    return left is not None and left == right


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (date, time)) else value


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, (int, Decimal)):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    return None


def _at(found: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, (list, tuple)) and key.isascii() and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def show(value: Any) -> str:
    """A value as JSON on one line, cut when it is long; `nothing` for null."""
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=lambda v: _written(v) if v is not _written(v) else str(v))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
