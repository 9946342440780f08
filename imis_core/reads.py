"""Who read which person: what a query tells of persons leaves one row, written in the transaction of the answer.

The door finds the persons by the fields that name one, in what was asked and in the answer, whatever room or plugin
they come from; a handler adds those that its answer names in another way (`context.tells_of`). What a contracted
provider looked up outside its scope is in the log of look-ups already. Commands leave their audit entry instead.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import attrs
import sqlalchemy as sa

from imis_core.context import Context
from imis_core.parsing import outside_name
from imis_core.security.caller import SYSTEM

# Fields of inputs and results that name a person by number or id. Some name other things too: those are passed over.
PERSON_FIELDS: Final = frozenset({
    "about", "alternate", "beneficiary", "dropped", "entity", "first", "head", "holder", "kept", "number", "payee",
    "person", "persons", "primary", "recipient", "reporter", "second", "subject",
})  # fmt: skip
_INSERT: Final = sa.text(
    'INSERT INTO core.reads (at, "user", query, persons) SELECT :at, :user, :query, array_agg(id ORDER BY id) '
    "FROM core.persons WHERE number = ANY(CAST(:numbers AS text[])) OR id = ANY(CAST(:ids AS bigint[])) "
    "HAVING count(*) > 0"
)


def log_reads(context: Context, result: type, asked: Mapping[str, Any], answer: Any) -> None:
    """Note the persons that an answer tells of: one statement, none if it tells of nobody."""
    if context.caller.user == SYSTEM:
        return
    names = set(names_in({k: v for k, v in asked.items() if k in PERSON_FIELDS})) | context.told_names
    if tells_of_persons(result):
        names.update(names_in(answer))
    names -= context.logged
    ids = set(context.told)
    context.told.clear()
    context.told_names.clear()
    numbers = []
    for name in names:
        number = context.ids.decode("persons", name)
        if number is None:
            numbers.append(name)
        else:
            ids.add(number)
    if numbers or ids:
        context.execute(
            _INSERT,
            {"at": context.now, "user": context.caller.user, "query": context.command, "numbers": sorted(numbers),
             "ids": sorted(ids)},
        )  # fmt: skip


def names_in(value: Any, within: bool = False) -> Iterator[str]:
    """The texts that stand in fields which name persons."""
    if isinstance(value, str):
        if within:
            yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from names_in(part, key in PERSON_FIELDS)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from names_in(part, within)


@cache
def tells_of_persons(kind: Any) -> bool:
    """Whether a result of this class can name a person; of tables without a class it is taken to be so."""
    return _tells(kind, frozenset())


def _tells(kind: Any, seen: frozenset[Any]) -> bool:
    if kind in (str, int, bool, float, bytes, type(None)) or kind in seen:
        return False
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return False
    if arguments and not (isinstance(origin, type) and issubclass(origin, Mapping)):
        return any(_tells(part, seen) for part in arguments if part is not Ellipsis)
    if isinstance(kind, type) and attrs.has(kind):
        hints = typing.get_type_hints(kind)
        return any(outside_name(a) in PERSON_FIELDS or _tells(hints[a.name], seen | {kind}) for a in attrs.fields(kind))
    return not (isinstance(kind, type) and kind.__module__ in ("datetime", "decimal", "imis_core.values"))
