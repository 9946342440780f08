"""References in scenario files: `$policy.members.0.id` stands for a part of an earlier step's result. Runs nothing.

A text that is one reference takes over the part as it is (a list stays a list); inside a longer text the part is
written out. `$$` is a dollar sign; a dollar sign that no name follows stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from imis_core.errors import suggestion

_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[A-Za-z_]\w*)(?P<path>(?:\.\w+)*))")


class UnknownReference(Exception):
    """A reference to a result that was not saved, or to a part that it does not have."""


def resolve(value: Any, saved: Mapping[str, Any]) -> Any:
    """`value` with every reference in its texts replaced; keys of tables stay. Raises `UnknownReference`."""
    if isinstance(value, str):
        return _resolve_text(value, saved)
    if isinstance(value, Mapping):
        return {key: resolve(item, saved) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(item, saved) for item in value]
    return value


def _resolve_text(text: str, saved: Mapping[str, Any]) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole is not None and whole["name"] is not None:
        return _part(whole, saved)
    return _REFERENCE.sub(lambda match: "$" if match["dollar"] else _written(match, saved), text)


def _written(match: re.Match[str], saved: Mapping[str, Any]) -> str:
    part = _part(match, saved)
    if isinstance(part, bool) or not isinstance(part, (str, int)):
        raise UnknownReference(f"{match[0]} is no text or number, so it cannot stand inside a longer text")
    return str(part)


def _part(match: re.Match[str], saved: Mapping[str, Any]) -> Any:
    name = match["name"]
    if name not in saved:
        known = ", ".join(saved) or "none"
        raise UnknownReference(f"{match[0]}: no result is saved as {name!r} (saved: {known}){suggestion(name, saved)}")
    part, at = saved[name], f"${name}"
    for key in match["path"].split(".")[1:]:
        if isinstance(part, Mapping) and key in part:
            part = part[key]
        elif isinstance(part, list) and key.isascii() and key.isdigit() and int(key) < len(part):
            part = part[int(key)]
        else:
            raise UnknownReference(f"{match[0]}: {at} has no {key!r}{_offered(part)}")
        at += f".{key}"
    return part


def _offered(part: Any) -> str:
    if isinstance(part, Mapping):
        return f" (it has {', '.join(map(str, part)) or 'nothing'})"
    if isinstance(part, list):
        return f" (a list of {len(part)}, counted from 0)"
    return " (it has no parts)"
