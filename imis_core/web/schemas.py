"""JSON Schema (2020-12) of attrs classes as the parser reads them and `plain` writes them. Knows no HTTP."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs

from imis_core.parsing import TEXT_MAX, outside_name, plain
from imis_core.values import INT64_MAX, Amount, Money, MonthDay, Percent, Quantity, Rate

Schema = dict[str, Any]
_DECIMAL: Final = r"^[+-]?[0-9]{1,30}(\.[0-9]{1,30})?$"
_POSITIVE: Final = r"^\+?[0-9]{1,30}(\.[0-9]{1,30})?$"


def _exact(description: str, pattern: str, **limits: int) -> Schema:
    whole = {"type": "integer", "format": "int64", "maximum": INT64_MAX, "minimum": -INT64_MAX, **limits}
    return {"description": description, "anyOf": [{"type": "string", "pattern": pattern}, whole]}


# Exact numbers have names of their own, so that generated clients do not fall back to floats.
_NAMED: Final[Mapping[Any, tuple[str, Schema]]] = {
    Amount: ("Amount", _exact('An amount of 0 or more: text such as "445.00" or a whole number', _POSITIVE, minimum=0)),
    Percent: ("Percent", _exact("A percentage from 0 to 100", _POSITIVE, minimum=0, maximum=100)),
    Quantity: ("Quantity", _exact('A quantity: text such as "2.5" or a whole number', _DECIMAL)),
    Rate: ("Rate", _exact('A rate: text such as "1.25" or a whole number', _DECIMAL)),
    Decimal: ("Decimal", _exact('An exact number: text such as "1.25" or a whole number', _DECIMAL)),
    Money: ("Money", {
        "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$",
        "description": "An amount with the decimals of its currency",
    }),
    MonthDay: ("MonthDay", {
        "type": "string", "pattern": "^[0-9]{2}-[0-9]{2}$", "description": "A day of the year such as 01-31",
    }),
}  # fmt: skip
_PLAIN: Final[Mapping[Any, Schema]] = {
    str: {"type": "string", "maxLength": TEXT_MAX},
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int64"},
    date: {"type": "string", "format": "date"},
    datetime: {"type": "string", "format": "date-time"},
    bytes: {"type": "string", "format": "byte", "contentEncoding": "base64"},
}


class Components:
    """The named schemas of a document; classes of one name in two modules get their modules' names before theirs."""

    def __init__(self, classes: Iterable[type]) -> None:
        self._classes: dict[type, None] = {}
        for kind in classes:
            self._gather(kind)
        counts = Counter(kind.__name__ for kind in self._classes)
        reserved = {name for name, _ in _NAMED.values()}
        self._names = {
            kind: kind.__name__ if counts[kind.__name__] == 1 and kind.__name__ not in reserved else _long_name(kind)
            for kind in self._classes
        }

    def _gather(self, kind: Any) -> None:
        own = get_origin(kind) or kind
        if own in _NAMED or own in self._classes:
            return
        if _is_record(own):
            self._classes[own] = None
            attrs.resolve_types(own)
            for attribute in attrs.fields(own):
                self._gather(attribute.type)
            return
        for part in get_args(kind):
            self._gather(part)

    def reference(self, kind: Any) -> Schema:
        """The schema of a type, by reference where it has a name."""
        origin, parts = get_origin(kind), get_args(kind)
        if kind in _NAMED:
            return _ref(_NAMED[kind][0])
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if kind is NoneType:
            return {"type": "null"}
        if origin in (Union, UnionType):
            return {"anyOf": [self.reference(part) for part in parts]}
        if origin is Literal:
            kinds = {str: "string", int: "integer"}
            types = sorted({kinds[type(part)] for part in parts})
            return {"type": types[0] if len(types) == 1 else types, "enum": list(parts)}
        if origin is tuple:
            return {"type": "array", "items": self.reference(parts[0])}
        if inspect.isclass(origin) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.reference(parts[1])}
        own = origin or kind
        return _ref(self._names[own]) if own in self._names else {}

    def schemas(self) -> dict[str, Schema]:
        """All named schemas, sorted."""
        named = dict(_NAMED.values())
        named.update({self._names[kind]: self._record(kind) for kind in self._classes})
        return dict(sorted(named.items()))

    def _record(self, kind: type) -> Schema:
        if hasattr(kind, "__structure__"):
            # A class that reads itself takes several forms, which only its own words tell.
            return {"description": _words(kind)} if _words(kind) else {}
        fields = attrs.fields(kind)
        schema: Schema = {"type": "object", "additionalProperties": False}
        words = _words(kind)
        if words:
            schema["description"] = words
        schema["properties"] = {outside_name(field): self._member(field) for field in fields}
        required = [outside_name(field) for field in fields if field.default is attrs.NOTHING]
        if required:
            schema["required"] = required
        return schema

    def _member(self, field: Any) -> Schema:
        schema = self.reference(field.type)
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, whatever the stubs say
            default = default.factory() if not default.takes_self else attrs.NOTHING
        if default is not attrs.NOTHING and default is not None:
            schema["default"] = plain(default)
        if field.metadata.get("secret") is True:
            schema["format"] = "password"
        return schema


def _is_record(kind: Any) -> bool:
    return inspect.isclass(kind) and attrs.has(kind)


def _words(kind: type) -> str:
    """A class's own docstring, not the one that Python or attrs finds in a base."""
    return inspect.cleandoc(kind.__dict__.get("__doc__") or "")


def _long_name(kind: type) -> str:
    rooms = [part for part in kind.__module__.split(".") if part not in ("imis_core", "commands", "queries")]
    return "_".join([*rooms, kind.__qualname__.replace(".", "_")])


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
