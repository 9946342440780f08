"""The kinds of files that can be imported: which command takes them, and how rows become its input.

Kinds know field names only; files, batches and reports are the business of `imis_core.imports.loading`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Union, get_args, get_origin

import attrs
from attrs import field, frozen

from imis_core.parsing import outside_name

LIST_SEPARATOR: Final = "|"  # of several codes in one cell
Row = dict[str, Any]


@frozen
class Entity:
    """One input of a command, and the rows of the file that it was made from (numbers from 1)."""

    rows: tuple[int, ...]
    data: Row
    after: tuple[tuple[str, Row], ...] = ()  # commands that follow it if it is accepted, on the same person
    digest: bytes = b""


@frozen
class ImportKind:
    """A kind of file.

    `aliases` are other names of fields; `key` is the field by which several rows make one entity (None: each row is
    one); `build` turns the rows of an entity, fields as text, into the command's input; `place` is the field that a
    path of place names fills; `attributes` are columns that go into the entity's attributes.
    """

    name: str
    command: str
    fields: tuple[str, ...]
    build: Callable[[Sequence[Row]], Row]
    aliases: Mapping[str, str] = field(factory=dict)
    key: str | None = None
    place: str | None = None
    attributes: tuple[str, ...] = ()
    lines: bool = False  # it takes a second file of lines


def reader(kind: type) -> Callable[[Row], Row]:
    """Turns cells into what a command's input class expects: whole numbers, true and false, lists; text stays text."""
    readers: dict[str, Callable[[str], Any]] = {}
    attrs.resolve_types(kind)
    for attribute in attrs.fields(kind):
        plain_type = _without_none(attribute.type)
        if plain_type is int:
            readers[outside_name(attribute)] = _whole
        elif plain_type is bool:
            readers[outside_name(attribute)] = _boolean
        elif get_origin(plain_type) is tuple and not attrs.has(get_args(plain_type)[0]):
            readers[outside_name(attribute)] = lambda cell: [part.strip() for part in cell.split(LIST_SEPARATOR)]

    def read(row: Row) -> Row:
        return {
            name: readers[name](value) if name in readers and isinstance(value, str) else value
            for name, value in row.items()
            if value is not None
        }

    return read


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        inner = [a for a in get_args(kind) if a is not type(None)]
        return inner[0] if len(inner) == 1 else kind
    return kind


def _whole(cell: str) -> Any:
    return int(cell) if cell.removeprefix("-").isdecimal() and cell.isascii() and len(cell) < 20 else cell


def _boolean(cell: str) -> Any:
    return {"true": True, "false": False}.get(cell.lower(), cell)


_PERSON_FIELDS: Final = ("number", "given_name", "family_name", "sex", "birth_date")


def _one(rows: Sequence[Row]) -> Row:
    return dict(rows[0])


def _facility(rows: Sequence[Row]) -> Row:
    row = dict(rows[0])
    starts, ends = row.pop("contract_from", None), row.pop("contract_to", None)
    if starts is not None:
        row["contract"] = {"from": starts} if ends is None else {"from": starts, "to": ends}
    return row


def _person(rows: Sequence[Row]) -> Row:
    row = dict(rows[0])
    system, value = row.pop("identifier_system", None), row.pop("identifier_value", None)
    if value is not None:
        row["identifiers"] = [*row.get("identifiers", ()), {"system": system or "", "value": value}]
    return row


def _price_list(rows: Sequence[Row]) -> Row:
    prices = {str(row.get("item")): row.get("price") for row in rows}
    first = {k: v for k, v in rows[0].items() if k not in ("item", "price")}
    return {**first, "prices": prices}


def _household(rows: Sequence[Row]) -> Row:
    """The first row names the household's place; a member with a number alone is an existing person."""
    members = []
    for row in rows:
        member = _person([{k: v for k, v in row.items() if k not in ("code", "kind", "location")}])
        existing = row.get("number") is not None and not {"given_name", "family_name", "sex", "birth_date"} & set(member)
        if not existing and row.get("location") is not None:
            member["location"] = row["location"]
        members.append(member)
    group = {k: rows[0][k] for k in ("code", "kind", "location") if rows[0].get(k) is not None}
    return {**group, "members": members}


def _claim(rows: Sequence[Row]) -> Row:
    return dict(rows[0])


KINDS: Final[Mapping[str, ImportKind]] = {
    kind.name: kind
    for kind in (
        ImportKind("locations", "locations.add", ("code", "name", "level", "parent"), _one),
        ImportKind(
            "facilities", "providers.register",
            ("code", "name", "kind", "level", "care_type", "location", "price_lists", "contract_from", "contract_to"),
            _facility, {"facility_id": "code"}, place="location",
        ),
        ImportKind(
            "items", "catalogue.define_item",
            ("code", "name", "kind", "category", "care_type", "price", "frequency_days", "max_quantity", "sexes",
             "ages", "currency", "valid_from"),
            _one,
        ),
        ImportKind(
            "price_lists", "catalogue.define_price_list", ("code", "valid_from", "currency", "item", "price"),
            _price_list, key="code",
        ),
        ImportKind("diagnoses", "catalogue.add_diagnosis", ("code", "name"), _one),
        ImportKind(
            "persons", "beneficiaries.register_person",
            (*_PERSON_FIELDS, "death_date", "location", "identifier_system", "identifier_value", "phone"),
            _person, {"person_id": "number"}, place="location", attributes=("phone",),
        ),
        ImportKind(
            "households", "beneficiaries.register_group",
            ("code", "kind", "location", "relationship", "recipient", *_PERSON_FIELDS, "identifier_system",
             "identifier_value", "phone"),
            _household, {"household": "code", "household_id": "code", "member_person_id": "number"},
            key="code", place="location", attributes=("phone",),
        ),
        ImportKind(
            "claims", "claims.submit",
            ("code", "scheme", "provider", "number", "from", "to", "claimed_on", "visit_type", "diagnosis", "secondary"),
            _claim, {"claim_id": "code", "facility": "provider", "facility_id": "provider", "person_id": "number"},
            lines=True,
        ),
    )
}  # fmt: skip
LINE_FIELDS: Final = ("claim", "line", "item", "quantity", "price")
LINE_ALIASES: Final = {"claim_id": "claim"}

__all__ = ["KINDS", "LINE_ALIASES", "LINE_FIELDS", "Entity", "ImportKind", "Row", "reader"]
