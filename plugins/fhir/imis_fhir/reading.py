"""A FHIR resource as the input of a command, by the lines of a mapping. Pure, and strict: nothing is dropped unseen.

Every element that no line of the mapping takes is a problem at its place, except what only a reader needs (`text`,
`display`) and what the server gives (`id`, `meta`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from imis_core.api import MappingEntry, ResourceMapping
from imis_fhir.forms import FORMS, Surroundings, Wrong
from imis_fhir.paths import Indexes, Segment, parse_path, system_around
from imis_fhir.systems import STYLES, Style

Place = tuple[str | int, ...]
_OF_THE_SERVER: Final = frozenset({"resourceType", "id", "meta", "text"})
_FOR_READERS: Final = frozenset({"display", "userSelected"})
_MODIFIERS: Final = frozenset({"modifierExtension", "implicitRules"})


@frozen
class Issue:
    """One thing wrong: FHIR's issue code, where, and a sentence. `unkept`: a lenient client may let it go."""

    code: str
    place: Place
    message: str
    unkept: bool = False


@define
class Reading:
    """What was read: the command's input, the problems, and from where each field of the input came."""

    data: dict[str, Any] = field(factory=dict)
    issues: list[Issue] = field(factory=list)
    places: dict[str, Place] = field(factory=dict)
    taken: set[Place] = field(factory=set)


@define
class _Reader:
    mapping: ResourceMapping
    resource: Mapping[str, Any]
    style: Style
    base: str
    slices: dict[tuple[str, ...], list[str]] = field(factory=dict)  # of each list, in order of the mapping
    reading: Reading = field(factory=Reading)

    def read(self) -> Reading:
        for entry in self.mapping.entries:
            for name, slice_ in _slices_of(parse_path(entry.path)):
                known = self.slices.setdefault(name, [])
                if slice_ not in known:
                    known.append(slice_)
        for entry in self.mapping.entries:
            self._entry(entry)
        self._leftovers()
        return self.reading

    def _entry(self, entry: MappingEntry) -> None:
        segments = parse_path(entry.path)
        system = system_around(segments)
        for indexes, place, value in self._located(self.resource, segments, (), (), ()):
            if value is None:
                if entry.required:
                    self.reading.issues.append(Issue("required", place, "this element is required here"))
                continue
            around = Surroundings(self.style, self.base, None, indexes[-1] if indexes else 0, system)
            try:
                self._take(entry, indexes, place, value, around)
            except Wrong as wrong:
                at = (*place, *wrong.below)
                self.reading.taken.add(place)
                self.reading.issues.append(Issue(wrong.code, at, wrong.message, wrong.code == "not-supported"))

    def _take(self, entry: MappingEntry, indexes: Indexes, place: Place, value: Any, around: Surroundings) -> None:
        if entry.column is not None and entry.into is None and not entry.accepts and entry.form != "position":
            return  # shown only: left over, so that it is told
        if entry.column is None:
            # A fixed value is compared as it stands; a code in a coding, whatever style it is written in.
            read = FORMS["code"][1](value, entry, around) if entry.form == "code" else value
            if read != entry.value and read not in entry.accepts:
                raise Wrong("value", f"expected {entry.value!r}, found {str(value)[:60]!r}")
        else:
            read = FORMS[entry.form][1](value, entry, around)
            if entry.accepts and read not in entry.accepts:
                raise Wrong("code-invalid", f"expected one of {', '.join(entry.accepts)}")
        self.reading.taken.add(place)
        if entry.into is not None:
            concrete = _put(self.reading.data, entry.into, indexes, read)
            self.reading.places[concrete] = place

    def _located(
        self, node: Any, segments: tuple[Segment, ...], indexes: Indexes, place: Place, names: tuple[str, ...]
    ) -> Iterator[tuple[Indexes, Place, Any]]:
        """Where the steps lead, with None where the last step is missing."""
        segment, rest = segments[0], segments[1:]
        here = (*place, segment.name)
        if not isinstance(node, dict):
            return
        found = node.get(segment.name)
        if not segment.listed:
            if not rest or found is None:
                yield indexes, here if not rest else (*here, *(s.name for s in rest)), found if not rest else None
            else:
                yield from self._located(found, rest, indexes, here, (*names, segment.name))
            return
        elements: list[Any] = found if isinstance(found, list) else []
        chosen = self._chosen(elements, segment, (*names, segment.name))
        if not chosen and not segment.star:
            yield indexes, (*here, *(s.name for s in rest)), None
        for count, position in enumerate(chosen):
            further = (*indexes, count) if segment.star else indexes
            at = (*here, position)
            self._mark_slice(elements[position], segment, at)
            if rest:
                yield from self._located(elements[position], rest, further, at, (*names, segment.name))
            else:
                yield further, at, elements[position]

    def _chosen(self, elements: list[Any], segment: Segment, names: tuple[str, ...]) -> list[int]:
        """The elements of a list that belong to a slice.

        Those that say so; and what says nothing known goes to the first slice without one, or to the list as a whole:
        a code in a foreign system is looked up as the deployment's own.
        """
        owners: dict[int, str] = {}
        for position, element in enumerate(elements):
            for slice_ in self.slices[names]:
                if slice_ and _says(element, segment.name, slice_):
                    owners.setdefault(position, slice_)
        free = [s for s in self.slices[names] if s not in owners.values()]
        for position in range(len(elements)):
            if position not in owners and free:
                owners[position] = free[0]
                if not self._repeats(names, free[0]):
                    free.pop(0)
        return [position for position in range(len(elements)) if owners.get(position) == segment.slice]

    def _repeats(self, names: tuple[str, ...], slice_: str) -> bool:
        depth = len(names)
        return any(
            tuple(s.name for s in segments[:depth]) == names and segments[depth - 1].slice == slice_
            and segments[depth - 1].star
            for segments in (parse_path(entry.path) for entry in self.mapping.entries) if len(segments) >= depth
        )  # fmt: skip

    def _mark_slice(self, element: Any, segment: Segment, at: Place) -> None:
        """What makes the element one of its slice has been understood by finding it."""
        if segment.name in ("coding", "identifier") and isinstance(element, dict) and segment.slice:
            self.reading.taken.update((*at, part) for part in ("system", "type", "use") if part in element)
        elif segment.slice and isinstance(element, dict):
            self.reading.taken.update((*at, part) for part in self.style.slice(segment.name, segment.slice))

    def _leftovers(self) -> None:
        for place in _leaves(self.resource, ()):
            last = place[-1]
            if place[0] in _OF_THE_SERVER or last in _FOR_READERS or self._is_taken(place):
                continue
            names = [part for part in place if isinstance(part, str)]
            if any(name in _MODIFIERS for name in names):
                message = "this changes the meaning of the resource and is not understood here"
                self.reading.issues.append(Issue("not-supported", place, message))
            elif not (last == "id" or (last == "text" and len(names) > 1)):
                self.reading.issues.append(Issue("not-supported", place, "this element is not kept here", True))

    def _is_taken(self, place: Place) -> bool:
        return any(place[:length] in self.reading.taken for length in range(1, len(place) + 1))


def from_fhir(mapping: ResourceMapping, resource: Mapping[str, Any], style: Style, base: str = "") -> Reading:
    """The input of the mapping's command, with every problem of the resource; `base` is this server's own."""
    return _Reader(mapping, resource, style, base).read()


def _slices_of(segments: tuple[Segment, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    names: tuple[str, ...] = ()
    for segment in segments:
        names = (*names, segment.name)
        if segment.listed:
            yield names, segment.slice


def _says(element: Any, name: str, slice_: str) -> bool:
    """Whether an element has all that a slice's elements say, in either style."""
    fixed = [style.slice(name, slice_) for style in STYLES]
    return any(one and _contains(element, one) for one in fixed)


def _contains(element: Any, fixed: Any) -> bool:
    if isinstance(fixed, dict):
        return isinstance(element, dict) and all(_contains(element.get(k), v) for k, v in fixed.items())
    if isinstance(fixed, list):
        return isinstance(element, list) and all(any(_contains(e, f) for e in element) for f in fixed)
    return bool(element == fixed)


def _leaves(node: Any, place: Place) -> Iterator[Place]:
    if isinstance(node, dict) and (node or not place):
        for name, part in node.items():
            yield from _leaves(part, (*place, name))
    elif isinstance(node, list) and node:
        for position, part in enumerate(node):
            yield from _leaves(part, (*place, position))
    else:
        yield place


def _put(data: dict[str, Any], into: str, indexes: Indexes, value: Any) -> str:
    """Put a value at a dotted place of the input, `*` being the next of the indexes; the concrete place."""
    position = iter(indexes)
    steps: list[str | int] = [next(position) if step == "*" else step for step in into.split(".")]
    node: Any = data
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fresh: Any = value if following is None else [] if isinstance(following, int) else {}
        if isinstance(step, int):
            node.extend({} for _ in range(step + 1 - len(node)))
            if following is None or not node[step]:
                node[step] = fresh
            node = node[step]
        else:
            node = node[step] if following is not None and step in node else node.setdefault(step, fresh)
    return ".".join(str(step) for step in steps)
