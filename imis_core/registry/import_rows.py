"""Rows of a staged import: text as it stands in the file into a person's fields, and everything that is wrong with it.

Every wrong field is told once, with one of the codes `required`, `format`, `choice`, `not_unique`. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, get_args

from attrs import define, field, frozen

from imis_core.beneficiaries.attributes import taken_values
from imis_core.beneficiaries.persons import (
    Identifier,
    NewPerson,
    PersonChecks,
    Places,
    Sex,
    taken_numbers,
)
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.parsing import Invalid, InvalidInput, parse

FIELDS: Final = (
    "number", "given_name", "family_name", "sex", "birth_date", "location", "identifiers", "identifier_system",
    "identifier_value", "attributes",
)  # fmt: skip
ATTRIBUTE: Final = "attributes."  # before the name of an attribute in a column's name
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
# What the checks of a person say, in the words of an import (contract-kernel.md, registry.import).
_CODES: Final = {
    "required": "required", "choice": "choice", "not_found": "choice", "closed": "choice", "not_unique": "not_unique",
}  # fmt: skip


@frozen
class RowError:
    """One thing wrong with a row: the column, a stable code, and a sentence."""

    field: str
    code: str
    message: str


@define
class StagedRow:
    """A row at work. `person` None: it cannot be loaded."""

    errors: list[RowError] = field(factory=list)
    person: NewPerson | None = None
    place: int | None = None

    @property
    def valid(self) -> bool:
        return self.person is not None and not self.errors


@frozen(kw_only=True)
class _Fields:
    """A row's fields as the checks of a person take them."""

    number: str | None
    given_name: str | None
    family_name: str | None
    sex: Any
    birth_date: date | None
    location: str | None
    identifiers: tuple[Identifier, ...]
    attributes: Mapping[str, Any] | None


class RowChecks:
    """Reads and checks all rows of a file at once, with the same rules as a registration: a constant number of
    statements."""

    def __init__(self, context: Context, rows: Sequence[Mapping[str, Any]]) -> None:
        self._context = context
        self._rows = rows
        self._checks = PersonChecks(context, [_cell(row, "number") for row in rows])
        self._places = Places(context, [_cell(row, "location") for row in rows])
        declared = context.settings.deployment.attributes
        self._declared = {name: rule.type for name, rule in (declared or {}).items() if rule.of == "person"}
        self.rule = self._checks.rule

    def check(self) -> list[StagedRow]:
        """Each row with its errors in the order of the fields; of two equal numbers the later row is wrong."""
        drafts = [self._read(row) for row in self._rows]
        staged = [row for row, _, _ in drafts]
        self._unique_numbers(drafts)
        self._unique_values(drafts)
        for row, data in zip(staged, self._rows, strict=True):
            order = {name: index for index, name in enumerate(dict.fromkeys((*FIELDS, *data)))}
            row.errors.sort(key=lambda error: order.get(error.field.partition(".")[0], len(order)))
            if row.errors:
                row.person = None
        return staged

    def _read(self, data: Mapping[str, Any]) -> tuple[StagedRow, str | None, dict[str, str]]:
        """The row, its number, and the columns in which its attributes stand."""
        row = StagedRow()
        wrong: dict[str, RowError] = {}

        def say(name: str, code: str, message: str) -> None:
            wrong.setdefault(name, RowError(name, code, message))

        columns: dict[str, str] = {}
        attributes = self._attributes(data, columns, say)
        for name in data:
            if name not in FIELDS and name not in columns.values():
                say(name, "format", f"there is no field {name[:60]!r} of a person; name an attribute attributes.NAME")
        identifiers = _identifiers(data, say)
        sex = _cell(data, "sex")
        if sex is not None and sex not in get_args(Sex):
            say("sex", "choice", f"expected one of {', '.join(get_args(Sex))}; found {sex[:60]!r}")
        birth_date: date | None = None
        if (born := _cell(data, "birth_date")) is not None:
            try:
                birth_date = parse(born, date)
            except InvalidInput as error:
                say("birth_date", "format", error.problems[0].message)
        number = _cell(data, "number")
        if number is not None and (refusal := self._checks.numbers.refusal("number", number)) is not None:
            say("number", "format", refusal.problems[0].message if refusal.problems else refusal.message)
        place = self._places.check("location", _cell(data, "location"))
        if isinstance(place, Refusal):
            problem = place.problems[0]
            say("location", _CODES.get(problem.reason, "format"), problem.message)
        fields = _Fields(
            number=number, given_name=_cell(data, "given_name"), family_name=_cell(data, "family_name"), sex=sex,
            birth_date=birth_date, location=None, identifiers=identifiers, attributes=attributes or None,
        )  # fmt: skip
        problems, checked = self._checks.problems(fields)
        for problem in problems:
            say(_column(problem.path, columns), _CODES.get(problem.reason, "format"), problem.message)
        row.errors = list(wrong.values())
        row.place = place if isinstance(place, int) else None
        if birth_date is not None and sex is not None:
            row.person = NewPerson(
                number, fields.given_name, fields.family_name, sex, birth_date, row.place, identifiers, checked
            )
        return row, number, columns

    def _attributes(self, data: Mapping[str, Any], columns: dict[str, str], say: Any) -> dict[str, Any]:
        """Attributes from columns `attributes.NAME`, from columns named like a declared one, or from one table."""
        found: dict[str, Any] = {}
        for column, cell in data.items():
            if column == "attributes":
                if isinstance(cell, Mapping):
                    found |= cell
                    columns |= dict.fromkeys(cell, column)
                elif cell not in (None, ""):
                    say(column, "format", "expected a table of attributes, or columns attributes.NAME")
                continue
            name = column.removeprefix(ATTRIBUTE)
            if column.startswith(ATTRIBUTE) or (column in self._declared and column not in FIELDS):
                columns[name] = column
                if (text := _cell(data, column)) is not None:
                    found[name] = text
        return {name: self._typed(name, value) for name, value in found.items()}

    def _typed(self, name: str, value: Any) -> Any:
        """A declared attribute's text as its type reads it; what does not fit stays text, and the checks say so."""
        kind = self._declared.get(name)
        if not isinstance(value, str):
            return value
        if kind == "int" and value.strip().removeprefix("-").isdecimal() and value.isascii():
            return int(value)
        if kind == "bool" and value.lower() in (*_TRUE, *_FALSE):
            return value.lower() in _TRUE
        return value

    def _unique_numbers(self, drafts: Sequence[tuple[StagedRow, str | None, Any]]) -> None:
        taken = taken_numbers(self._context, [number for _, number, _ in drafts if number is not None])
        seen: set[str] = set()
        for row, number, _ in drafts:
            if number is None or any(error.field == "number" for error in row.errors):
                continue
            if number in taken:
                row.errors.append(RowError("number", "not_unique", f"the number {number!r} belongs to another person"))
            elif number in seen:
                message = f"the number {number!r} stands in an earlier row already"
                row.errors.append(RowError("number", "not_unique", message))
            seen.add(number)

    def _unique_values(self, drafts: Sequence[tuple[StagedRow, str | None, dict[str, str]]]) -> None:
        people = [row.person for row, _, _ in drafts if row.person is not None]
        taken = taken_values(self._context, "person", (pair for p in people for pair in p.attributes.unique))
        for row, _, columns in drafts:
            for pair in row.person.attributes.unique if row.person is not None else ():
                if pair in taken:
                    message = f"another person has {pair[0]} = {pair[1][:60]!r} already"
                    row.errors.append(RowError(_column(f"{ATTRIBUTE}{pair[0]}", columns), "not_unique", message))
                taken.add(pair)


def _cell(row: Mapping[str, Any], name: str) -> str | None:
    """A cell's text without blanks around it; None for an empty one."""
    value = row.get(name)
    if value is None:
        return None
    text = value if isinstance(value, str) else value.isoformat() if isinstance(value, date) else str(value)
    return text.strip() or None


def _column(path: str, columns: Mapping[str, str]) -> str:
    """The column that a problem's path is about."""
    first, _, rest = path.partition(".")
    if first != "attributes":
        return first
    return columns.get(rest.partition(".")[0], path)


def _identifiers(data: Mapping[str, Any], say: Any) -> tuple[Identifier, ...]:
    """From `identifiers` (a list of tables, or text `system:value; system:value`), or a pair of columns."""
    cell = data.get("identifiers")
    found: list[Identifier] = []
    if isinstance(cell, str) and cell.strip():
        for part in cell.split(";"):
            system, colon, value = part.partition(":")
            if not (colon and system.strip() and value.strip()):
                say("identifiers", "format", "write identifiers as system:value, several with a semicolon between them")
                return ()
            found.append(Identifier(system=system.strip(), value=value.strip()))
    elif cell not in (None, "", []):
        try:
            found += parse(cell, tuple[Identifier, ...])
        except (InvalidInput, Invalid):
            say("identifiers", "format", "write identifiers as tables of system and value")
            return ()
    giver, given = _cell(data, "identifier_system"), _cell(data, "identifier_value")
    if giver is not None and given is not None:
        found.append(Identifier(system=giver, value=given))
    elif given is not None:
        say("identifier_system", "required", "say which system gave the identifier")
    elif giver is not None:
        say("identifier_value", "required", "the identifier is missing")
    return tuple(found)


__all__ = ["ATTRIBUTE", "FIELDS", "RowChecks", "RowError", "StagedRow"]
