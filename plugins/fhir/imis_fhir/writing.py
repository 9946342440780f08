"""A row of a query as a FHIR resource, by the lines of a mapping. Pure: the same row gives the same resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imis_core.api import MappingEntry, ResourceMapping
from imis_fhir.forms import FORMS, Surroundings
from imis_fhir.paths import Indexes, Segment, parse_path, system_around, values
from imis_fhir.systems import Style


class _Elements(dict[tuple[str, int], Any]):
    """A list in the making: elements by slice and position, in order of their first mention."""


def to_fhir(mapping: ResourceMapping, row: Mapping[str, Any], style: Style) -> dict[str, Any]:
    """The resource of a row; what the row does not have is left out."""
    root: dict[str, Any] = {"resourceType": mapping.resource, "id": row["id"]}
    if "version" in row:
        root["meta"] = {"versionId": str(row["version"])}
    for entry in mapping.entries:
        segments = parse_path(entry.path)
        for indexes, value in _values(entry, row):
            around = Surroundings(style, "", row, indexes[-1] if indexes else 0, system_around(segments))
            written = FORMS[entry.form][0](value, entry, around)
            if written is not None:
                _place(root, segments, indexes, written, style)
    finished: dict[str, Any] = _finished(root)
    return finished


def _values(entry: MappingEntry, row: Mapping[str, Any]) -> list[tuple[Indexes, Any]]:
    if entry.column is None:
        return [((), entry.value)]
    return [(indexes, value) for indexes, value in values(dict(row), entry.column) if value != ""]


def _place(root: dict[str, Any], segments: tuple[Segment, ...], indexes: Indexes, value: Any, style: Style) -> None:
    """Put a value where the steps lead; slices bring what all their elements say."""
    node, position = root, iter(indexes)
    for segment in segments[:-1]:
        if segment.listed:
            elements = node.setdefault(segment.name, _Elements())
            key = (segment.slice, next(position) if segment.star else 0)
            fixed = {} if segment.star or not segment.slice else style.slice(segment.name, segment.slice)
            node = elements.setdefault(key, fixed)
        else:
            node = node.setdefault(segment.name, {})
    last = segments[-1]
    if last.listed:
        node.setdefault(last.name, _Elements())[last.slice, next(position) if last.star else 0] = value
    else:
        node[last.name] = value


def _finished(node: Any) -> Any:
    if isinstance(node, _Elements):
        return [_finished(element) for element in node.values()]
    if isinstance(node, dict):
        return {name: _finished(part) for name, part in node.items()}
    return node
