"""Conversions between a column's value and a FHIR element, both ways. Pure; each form is a pair of functions.

Decimals are exact both ways: text in the kernel, a JSON number in FHIR, never a float.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from imis_core.api import MappingEntry
from imis_fhir.systems import Style, code_read, name_of_system, system_of_name

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(T\S+)?\Z", re.ASCII)
_REFERENCE: Final = re.compile(r"(?:(?P<server>https?://\S+)/)?(?P<type>[A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})\Z")
_DIGITS_MAX: Final = 30


class Wrong(Exception):
    """An element that cannot be read: an issue code, a sentence, and where below the element."""

    def __init__(self, code: str, message: str, below: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.below = below


@frozen
class Surroundings:
    """What a conversion may look at beside the value: the style, the server's base, the whole row, the position."""

    style: Style
    base: str = ""
    row: Mapping[str, Any] | None = None
    position: int = 0
    system: str = ""


Write = Callable[[Any, MappingEntry, Surroundings], Any]
Read = Callable[[Any, MappingEntry, Surroundings], Any]


def _same(value: Any, entry: MappingEntry, around: Surroundings) -> Any:
    return value


def _read_text(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Wrong("value", "expected text")
    return value


def _write_code(value: Any, entry: MappingEntry, around: Surroundings) -> Any:
    if entry.codes:
        return entry.codes.get(str(value))
    return around.style.code(around.system, str(value))


def _read_code(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    text = _read_text(value, entry, around)
    ours = {theirs: ours for ours, theirs in entry.codes.items()}
    if entry.codes and text not in ours:
        raise Wrong("code-invalid", f"expected one of {', '.join(sorted(ours))}")
    return ours[text] if entry.codes else code_read(around.system, text)


def _write_boolean(value: Any, entry: MappingEntry, around: Surroundings) -> bool:
    return bool(value) if not entry.codes else entry.codes.get(str(value)) == "true"


def _read_boolean(value: Any, entry: MappingEntry, around: Surroundings) -> Any:
    if not isinstance(value, bool):
        raise Wrong("value", "expected true or false")
    ours = {theirs: ours for ours, theirs in entry.codes.items()}
    return ours["true" if value else "false"] if entry.codes else value


def _read_date(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    text = _read_text(value, entry, around)
    if not _DATE.match(text):
        raise Wrong("value", f"expected a whole date such as 2021-01-31, found {text[:40]!r}")
    return text[:10]


def number(value: Any) -> Decimal:
    """A JSON number as it was written. Raises `Wrong`."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise Wrong("value", "expected a JSON number")
    exact = Decimal(value)
    if not exact.is_finite() or exact.adjusted() > _DIGITS_MAX or int(exact.as_tuple().exponent) < -_DIGITS_MAX:
        raise Wrong("value", "the number has more digits than can be kept")
    return exact


def _write_decimal(value: Any, entry: MappingEntry, around: Surroundings) -> Decimal:
    return Decimal(str(value))


def _read_decimal(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    return format(number(value), "f")


def _write_quantity(value: Any, entry: MappingEntry, around: Surroundings) -> dict[str, Any]:
    return {"value": Decimal(str(value))}


def _parts(value: Any, *known: str) -> dict[str, Any]:
    """An object with these parts and no others."""
    if not isinstance(value, dict):
        raise Wrong("structure", "expected an object")
    for part in value:
        if part not in known and part != "id":
            raise Wrong("not-supported", f"{part!r} is not kept here", (part,))
    return value


def _read_quantity(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    parts = _parts(value, "value")
    if "value" not in parts:
        raise Wrong("required", "a quantity has a value", ("value",))
    return format(number(parts["value"]), "f")


def _write_money(value: Any, entry: MappingEntry, around: Surroundings) -> dict[str, Any]:
    money: dict[str, Any] = {"value": Decimal(str(value))}
    currency = (around.row or {}).get(entry.of)
    return money if currency is None else {**money, "currency": currency}


def _read_money(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    parts = _parts(value, "value", "currency")
    if "value" not in parts:
        raise Wrong("required", "an amount has a value", ("value",))
    return format(number(parts["value"]), "f")


def _write_reference(value: Any, entry: MappingEntry, around: Surroundings) -> dict[str, Any]:
    return {"reference": f"{entry.of}/{value}"}


def _read_reference(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    """The id of a literal reference to this server, or the value of a logical one."""
    parts = _parts(value, "reference", "type", "display", "identifier")
    if parts.get("type", entry.of) != entry.of:
        raise Wrong("value", f"expected a reference to {entry.of}", ("type",))
    if "reference" in parts:
        return referred(parts["reference"], entry.of, around.base)
    if isinstance(parts.get("identifier"), dict) and isinstance(parts["identifier"].get("value"), str):
        return str(parts["identifier"]["value"])
    raise Wrong("required", f"expected {entry.of}/ID, or an identifier with a value")


def referred(reference: Any, resource: str, base: str) -> str:
    """The id in a reference `Type/id`, relative or below this server's base. Raises `Wrong`."""
    match = _REFERENCE.match(reference) if isinstance(reference, str) else None
    if match is None or match["type"] != resource or match["server"] not in (None, base):
        raise Wrong("value", f"expected a reference {resource}/ID of this server", ("reference",))
    return match["id"]


def _write_logical(value: Any, entry: MappingEntry, around: Surroundings) -> dict[str, Any]:
    return {"identifier": {"system": around.style.naming(entry.of), "value": value}, "display": value}


def _read_logical(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    parts = _parts(value, "identifier", "type", "display")
    identifier = _parts(parts.get("identifier", {}), "system", "value", "type", "use")
    if not isinstance(identifier.get("value"), str):
        raise Wrong("required", f"expected an identifier of the {entry.of}", ("identifier", "value"))
    system = identifier.get("system")
    if system is not None and (not isinstance(system, str) or name_of_system(system) not in (entry.of, "")):
        message = f"expected the system {around.style.naming(entry.of)}"
        raise Wrong("value", message, ("identifier", "system"))
    return str(identifier["value"])


def _write_system(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    return system_of_name(str(value), around.style)


def _read_system(value: Any, entry: MappingEntry, around: Surroundings) -> str:
    text = _read_text(value, entry, around)
    return name_of_system(text) or text


def _first(entry: MappingEntry, around: Surroundings) -> int:
    return around.position + int(entry.of or 1)


def _write_position(value: Any, entry: MappingEntry, around: Surroundings) -> int:
    return _first(entry, around)


def _read_position(value: Any, entry: MappingEntry, around: Surroundings) -> int:
    if value != _first(entry, around) or isinstance(value, bool):
        raise Wrong("value", f"expected {_first(entry, around)}: elements are numbered in their order")
    return int(value)


def _write_count(value: Any, entry: MappingEntry, around: Surroundings) -> int:
    return len(value)


def _never(value: Any, entry: MappingEntry, around: Surroundings) -> Any:
    raise Wrong("not-supported", "this is computed here and cannot be sent")


# Every form with how it is written and how it is read.
FORMS: Final[Mapping[str, tuple[Write, Read]]] = {
    "text": (_same, _read_text),
    "integer": (_same, _never),
    "code": (_write_code, _read_code),
    "boolean": (_write_boolean, _read_boolean),
    "date": (_same, _read_date),
    "decimal": (_write_decimal, _read_decimal),
    "quantity": (_write_quantity, _read_quantity),
    "money": (_write_money, _read_money),
    "reference": (_write_reference, _read_reference),
    "logical": (_write_logical, _read_logical),
    "system": (_write_system, _read_system),
    "position": (_write_position, _read_position),
    "count": (_write_count, _never),
}
