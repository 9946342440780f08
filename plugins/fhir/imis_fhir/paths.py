"""The places of a FHIR mapping: `item[*].productOrService.coding:item.code`, in the words of element definitions.

`name:slice` is the element of a list that a slice names, `name[*]` every element, `name:slice[*]` every one of a slice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from attrs import frozen

from imis_core.api import MappingEntry

EACH: Final = "*"
_SEGMENT: Final = re.compile(r"([A-Za-z]+)(?::([a-z0-9][a-z0-9-]*))?(\[\*\])?\Z")
Indexes = tuple[int, ...]


class WrongPath(ValueError):
    """A place that cannot be read."""


@frozen
class Segment:
    """One step: an element, in a list if it has a slice or a star."""

    name: str
    slice: str = ""
    star: bool = False

    @property
    def listed(self) -> bool:
        return self.star or bool(self.slice)


@cache
def parse_path(path: str) -> tuple[Segment, ...]:
    """The steps of a place. Raises `WrongPath`."""
    found = []
    for part in path.split("."):
        match = _SEGMENT.match(part)
        if match is None:
            raise WrongPath(f"{part!r} in {path!r} is no element, slice (name:slice) or list (name[*])")
        found.append(Segment(match[1], match[2] or "", match[3] is not None))
    return tuple(found)


def stars(entry: MappingEntry) -> int:
    """How many lists an entry's place goes through."""
    return sum(segment.star for segment in parse_path(entry.path))


def system_around(segments: tuple[Segment, ...]) -> str:
    """The code system in whose coding a place lies, '' outside of one."""
    return next((s.slice for s in reversed(segments) if s.name == "coding"), "")


def values(row: Any, column: str) -> Iterator[tuple[Indexes, Any]]:
    """What stands in a column of a result, with its positions in the lists on the way; nothing for what is absent."""
    first, _, rest = column.partition(".")
    if first == EACH:
        for position, item in enumerate(row or ()):
            for indexes, value in values(item, rest) if rest else [((), item)]:
                yield (position, *indexes), value
        return
    found = row.get(first) if isinstance(row, dict) else None
    if found is None:
        return
    if rest:
        yield from values(found, rest)
    else:
        yield (), found


def expression(path: tuple[str | int, ...], resource: str) -> str:
    """A concrete place as FHIRPath: `Claim.item[0].net`."""
    text = resource
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text
