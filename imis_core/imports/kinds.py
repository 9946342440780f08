"""The kinds of files that can be imported: which command takes them, and how rows become its input.

Kinds know field names only; files, batches and reports are the business of `imis_core.imports.loading`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

import attrs
from attrs import field, frozen

from imis_core.errors import Refusal
from imis_core.parsing import outside_name, without_none

LIST_SEPARATOR: Final = "|"  # of several codes in one cell
Row = dict[str, Any]


@frozen
class Entity:
    """One input of a command, and the rows of the file that it was made from (numbers from 1).

    `key` is what a later entity replaces, `digest` stands for the whole content; where nothing is replaced both are the
    same. `repeated` of the rows say again what another one says. `follows` are (field, cell) for `ImportKind.follows`.
    `refusal` is what is wrong before the command is asked. `part_rows` are the rows of its members, or of its
    lines in their own file.
    """

    rows: tuple[int, ...]
    data: Row
    key: bytes
    digest: bytes
    repeated: int = 0
    follows: tuple[tuple[str, str], ...] = ()
    part_rows: tuple[int, ...] = ()
    refusal: Refusal | None = None


@frozen
class ImportKind:
    """A kind of file.

    `build` turns the rows of an entity, fields as text, into the command's input. `aliases` are other names of fields;
    `group_by` the fields by which several rows make one entity (none: each row is one), the first of them its code;
    `shared` those that all its rows must agree on; `replaces` the fields that name what a later row replaces (none:
    nothing is replaced); `place` the field that a path of place names fills; `attributes` columns that go into the
    entity's attributes; `follows` fields that a further command on the same person takes: its name and its field.
    """

    name: str
    command: str
    fields: tuple[str, ...]
    build: Callable[[Sequence[Row]], Row]
    aliases: Mapping[str, str] = field(factory=dict)
    group_by: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    place: str | None = None
    attributes: tuple[str, ...] = ()
    follows: Mapping[str, tuple[str, str]] = field(factory=dict)
    lines: bool = False  # it takes a second file of lines


def reader(kind: type) -> Callable[[Row], Row]:
    """Turns cells into what a command's input class expects: whole numbers, true and false, lists; text stays text."""
    readers: dict[str, Callable[[str], Any]] = {}
    attrs.resolve_types(kind)
    for attribute in attrs.fields(kind):
        plain_type = without_none(attribute.type)
        if plain_type is int:
            readers[outside_name(attribute)] = whole_number
        elif plain_type is bool:
            readers[outside_name(attribute)] = true_or_false
        elif get_origin(plain_type) is tuple and not attrs.has(get_args(plain_type)[0]):
            readers[outside_name(attribute)] = lambda cell: [part.strip() for part in cell.split(LIST_SEPARATOR)]

    def read(row: Row) -> Row:
        return {
            name: readers[name](value) if name in readers and isinstance(value, str) else value
            for name, value in row.items()
            if value is not None
        }

    return read


def whole_number(cell: str) -> Any:
    """A cell as a whole number; what is none stays text, for the command to refuse."""
    return int(cell) if cell.removeprefix("-").isdecimal() and cell.isascii() and len(cell) < 20 else cell


def true_or_false(cell: str) -> Any:
    """A cell as true or false; what is neither stays text, for the command to refuse."""
    return {"true": True, "false": False}.get(cell.lower(), cell)


_PERSON_FIELDS: Final = ("number", "given_name", "family_name", "sex", "birth_date")


def _one(rows: Sequence[Row]) -> Row:
    return dict(rows[0])


def _facility(rows: Sequence[Row]) -> Row:
    row = dict(rows[0])
    starts, ends = row.pop("contract_from", None), row.pop("contract_to", None)
    contract = {name: day for name, day in (("from", starts), ("to", ends)) if day is not None}
    if contract:
        row["contract"] = contract
    return row


def _person(rows: Sequence[Row]) -> Row:
    row = dict(rows[0])
    system, value = row.pop("identifier_system", None), row.pop("identifier_value", None)
    if value is not None:
        row["identifiers"] = [*row.get("identifiers", ()), {"system": system or "", "value": value}]
    return row


def _price_list(rows: Sequence[Row]) -> Row:
    prices = {row["item"]: row.get("price") for row in rows if "item" in row}
    first = {k: v for k, v in rows[0].items() if k not in ("item", "price")}
    return {**first, "prices": prices}


def _household(rows: Sequence[Row]) -> Row:
    """The first row names the household's place; a member with a number alone is an existing person."""
    members = []
    for row in rows:
        member = _person([{k: v for k, v in row.items() if k not in ("code", "kind", "location")}])
        existing = row.get("number") is not None and not {"given_name", "family_name", "sex", "birth_date"} & set(
            member
        )
        if not existing and row.get("location") is not None:
            member["location"] = row["location"]
        members.append(member)
    group = {k: rows[0][k] for k in ("code", "kind", "location") if rows[0].get(k) is not None}
    return {**group, "members": members}


KINDS: Final[Mapping[str, ImportKind]] = {
    kind.name: kind
    for kind in (
        ImportKind("locations", "locations.add", ("code", "name", "level", "parent"), _one),
        ImportKind(
            "facilities", "providers.register",
            ("code", "name", "kind", "level", "sub_level", "legal_form", "care_type", "location", "price_lists",
             "contract_from", "contract_to"),
            _facility, {"facility_id": "code"}, place="location",
        ),
        ImportKind(
            "items", "catalogue.define_item",
            ("code", "name", "kind", "category", "care_type", "price", "frequency_days", "max_quantity", "sexes",
             "ages", "currency", "valid_from"),
            _one, replaces=("code", "valid_from"),
        ),
        ImportKind(
            "price_lists", "catalogue.define_price_list", ("code", "valid_from", "currency", "item", "price"),
            _price_list, group_by=("code", "valid_from"), shared=("currency",), replaces=("code", "valid_from"),
        ),
        ImportKind("diagnoses", "catalogue.add_diagnosis", ("code", "name"), _one, replaces=("code",)),
        ImportKind(
            "persons", "beneficiaries.register_person",
            (*_PERSON_FIELDS, "death_date", "location", "identifier_system", "identifier_value", "phone"),
            _person, {"person_id": "number"}, place="location", attributes=("phone",),
            follows={"death_date": ("beneficiaries.record_death", "on")},
        ),
        ImportKind(
            "households", "beneficiaries.register_group",
            ("code", "kind", "location", "relationship", "recipient", *_PERSON_FIELDS, "identifier_system",
             "identifier_value", "phone"),
            _household, {"household": "code", "household_id": "code", "member_person_id": "number"},
            group_by=("code",), shared=("kind",), place="location", attributes=("phone",),
        ),
        ImportKind(
            "claims", "claims.submit",
            ("code", "scheme", "provider", "number", "from", "to", "claimed_on", "visit_type", "diagnosis",
             "secondary"),
            _one, {"claim_id": "code", "facility": "provider", "facility_id": "provider", "person_id": "number"},
            lines=True,
        ),
    )
}  # fmt: skip
LINE_FIELDS: Final = ("claim", "line", "item", "quantity", "price")
LINE_ALIASES: Final = {"claim_id": "claim"}

__all__ = [
    "KINDS",
    "LINE_ALIASES",
    "LINE_FIELDS",
    "Entity",
    "ImportKind",
    "Row",
    "reader",
    "true_or_false",
    "whole_number",
]
