"""Descriptions of how the kernel's and the plugins' nouns look in another format: columns and places, both ways.

A *surface* is a plugin that speaks such a format and says in its manifest how its mappings are checked; any plugin may
contribute mappings for its own nouns. What the places, forms and filters mean is the surface's matter: here only what
they say of queries and commands is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin

import attrs
from attrs import field, frozen

from imis_core.errors import Problem
from imis_core.parsing import outside_name, without_none

if TYPE_CHECKING:
    from imis_core.commands import Command
    from imis_core.queries import Query

EACH: Final = "*"  # in a column: every item of a list


@frozen(kw_only=True)
class MappingEntry:
    """One line of a mapping: a place in the other format, and what stands there.

    `column` is a dotted path in the query's results (`lines.*.item`); without one, `value` always stands there.
    `into` is where the command's input takes it (`lines.*.item`); without one, it is shown and never read.
    `form` names a conversion of the surface's, `of` is the conversion's argument, `codes` translates values of ours
    into values of theirs. `required`: what is read in must have it. `accepts`: other values that may stand there when
    it is read, which mean no difference to us.
    """

    path: str
    column: str | None = None
    into: str | None = None
    value: Any = None
    form: str = "text"
    of: str = ""
    codes: Mapping[str, str] = field(factory=dict)
    required: bool = False
    accepts: tuple[str, ...] = ()


@frozen(kw_only=True)
class MappingFilter:
    """One way to search: the surface's parameter, its kind, and the query's fields that its parts go to."""

    name: str
    form: str
    fields: Mapping[str, str]
    of: str = ""
    codes: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class ResourceMapping:
    """How a noun looks in a surface: `resource` is its name there, `query` the listing that reads it.

    Every result of the query has `id`, and the query has a filter `id`; `version`, if results have it, counts changes.
    `command` creates one, if it can be created.
    """

    surface: str
    resource: str
    noun: str
    query: str
    entries: tuple[MappingEntry, ...]
    filters: tuple[MappingFilter, ...] = ()
    command: str | None = None

    @property
    def name(self) -> str:
        return f"{self.surface} {self.resource}"


def mapping_problems(
    mappings: Iterable[tuple[str, ResourceMapping]],
    queries: Mapping[str, Query],
    commands: Mapping[str, Command],
    nouns: Iterable[str],
) -> list[Problem]:
    """Everything that the mappings say of nouns, queries and commands and that is not so."""
    found: list[Problem] = []
    known = frozenset(nouns)
    for plugin, mapping in mappings:
        said = [f"there is no noun {mapping.noun!r}"] if mapping.noun not in known else []
        query = queries.get(mapping.query)
        if query is None or not query.listing:
            said.append(f"{mapping.query!r} is no query with a list")
        else:
            columns = [e.column.lstrip("/") for e in mapping.entries if e.column is not None]
            said += [f"results of {query.name} have no {c!r}" for c in columns if not leads(query.result, c)]
            asked = ["id", *(f for one in mapping.filters for f in one.fields.values())]
            said += [f"{query.name} has no field {f!r}" for f in asked if not leads(query.input, f)]
        command = None if mapping.command is None else commands.get(mapping.command)
        if mapping.command is not None and command is None:
            said.append(f"there is no command {mapping.command!r}")
        if command is not None:
            fields = [e.into for e in mapping.entries if e.into is not None]
            said += [f"{command.name} has no field {f!r}" for f in fields if not leads(command.input, f)]
        where = f"plugins.enabled.{plugin}"
        found += [Problem(where, "mapping", f"plugin {plugin!r}, mapping {mapping.name}: {words}") for words in said]
    return found


def leads(kind: Any, path: str) -> bool:
    """Whether a dotted path leads to something in an attrs class; a table of free values has every name."""
    kind = without_none(kind)
    if not path:
        return True
    first, _, rest = path.partition(".")
    if first == EACH:
        return get_origin(kind) is tuple and leads(get_args(kind)[0], rest)
    if attrs.has(kind):
        attrs.resolve_types(kind)
        fields = {outside_name(a): a.type for a in attrs.fields(kind)}
        return first in fields and leads(fields[first], rest)
    if get_origin(kind) in (Union, UnionType):
        return any(leads(one, path) for one in get_args(kind))
    return isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping)
