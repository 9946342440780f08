"""Outside data into frozen attrs classes and back: strict, exact, all problems at once with their paths.

One cattrs converter serves commands, settings, package terms and results. It knows types, not rules.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Hashable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin

import attrs
from attrs import evolve
from cattrs import BaseValidationError, ClassValidationError, Converter, IterableValidationError
from cattrs.errors import ForbiddenExtraKeysError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from imis_core.errors import Problem, suggestion
from imis_core.values import INT64_MAX, Amount, Money, MonthDay, Percent, Quantity, Rate

T = TypeVar("T")

TEXT_MAX: Final = 10_000  # characters of one text field; larger ones are attachments, not fields
DEPTH_MAX: Final = 64  # lists and tables inside one another in a free value
DIGITS_MAX: Final = 60  # places before and after the point of a decimal; more is no quantity of anything
PROBLEMS_MAX: Final = 1000  # told about one input; who has more starts with these
UNKNOWN_MAX: Final = 20  # unknown fields of one table that are named with a suggestion
KEY_SHOWN: Final = 60  # characters of an unknown key that a path repeats
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_DECIMAL = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?\Z")
_MONTH_DAY = re.compile(r"\d{2}-\d{2}\Z")


class Invalid(ValueError):
    """A value that does not fit its field: a stable reason and a sentence with the way out."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidInput(Exception):
    """All problems of one input."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in problems))
        self.problems = problems


def _show(value: object) -> str:
    """A value in a message: short, and harmless however large, deep or odd it is."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > INT64_MAX:
        return "a number larger than can be kept"
    text = repr(value[:KEY_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= KEY_SHOWN else text[: KEY_SHOWN - 3] + "..."


def _segment(key: object) -> str:
    """A key as a part of a path: short, printable, and valid Unicode."""
    text = str(key)[:KEY_SHOWN]
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _text(value: object, _: object = None) -> str:
    if not isinstance(value, str):
        raise Invalid("type", f"expected text, found {_show(value)}")
    if len(value) > TEXT_MAX:
        raise Invalid("too_long", f"the text has {len(value)} characters, at most {TEXT_MAX} are kept")
    if "\x00" in value:
        raise Invalid("nul", "the text contains a NUL character; remove it")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Invalid("encoding", "the text is not valid Unicode (a lone surrogate)") from None
    return value


def _whole(value: object, _: object = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid("type", f"expected a whole number, found {_show(value)}")
    if abs(value) > INT64_MAX:
        raise Invalid("range", "the number is larger than can be kept")
    return value


def _boolean(value: object, _: object = None) -> bool:
    if not isinstance(value, bool):
        raise Invalid("type", f"expected true or false, found {_show(value)}")
    return value


def _decimal(value: object, _: object = None) -> Decimal:
    if isinstance(value, bool):
        raise Invalid("type", f"expected a decimal as text, found {_show(value)}")
    if isinstance(value, int):
        if abs(value) > INT64_MAX:
            raise Invalid("range", "the number is larger than can be kept")
        return Decimal(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise Invalid("format", "the number is not finite")
        if value.adjusted() > DIGITS_MAX or cast(int, value.as_tuple().exponent) < -DIGITS_MAX:
            raise Invalid("range", "the number has more digits than can be kept")
        return value
    if isinstance(value, float):
        raise Invalid("float", f'{value!r} is a binary fraction, which is not exact; write it as text: "{value}"')
    if isinstance(value, str):
        return _decimal_text(value)
    raise Invalid("type", f"expected a decimal as text, found {_show(value)}")


@lru_cache(4096)  # prices and quantities of a batch are a few
def _decimal_text(value: str) -> Decimal:
    if not _DECIMAL.match(value) or not value.isascii():
        raise Invalid("format", f'expected a decimal such as "445.00", found {_show(value)}')
    try:
        return Decimal(value)
    except InvalidOperation:  # pragma: no cover - the pattern admits only what Decimal reads
        raise Invalid("format", f"expected a decimal, found {_show(value)}") from None


def _amount(value: object, _: object = None) -> Decimal:
    amount = _decimal(value)
    if amount < 0:
        raise Invalid("negative", f"expected an amount of 0 or more, found {amount}")
    return amount


def _percent(value: object, _: object = None) -> Decimal:
    percent = _decimal(value)
    if not 0 <= percent <= 100:
        raise Invalid("range", f"expected a percentage from 0 to 100, found {percent}")
    if -cast(int, percent.as_tuple().exponent) > 6:
        raise Invalid("range", "a percentage has at most six decimals")
    return percent


def _day(value: object, _: object = None) -> date:
    if isinstance(value, datetime):
        raise Invalid("type", f"expected a date without a time, found {_show(value)}")
    if isinstance(value, date):
        return value
    if isinstance(value, str) and _DATE.match(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise Invalid("date", f"there is no such day: {value}") from None
    raise Invalid("date", f"expected a date such as 2021-01-31, found {_show(value)}")


def _content(value: object, _: object = None) -> bytes:
    """A file's bytes, written as base64; how large it may be is for the room to say."""
    if not isinstance(value, str):
        raise Invalid("type", f"expected base64 text, found {_show(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("base64", "expected base64 (RFC 4648, with padding, without line breaks)") from None


def _month_day(value: object, _: object = None) -> str:
    text = _text(value)
    if _MONTH_DAY.match(text):
        try:
            date.fromisoformat(f"2001-{text}")  # a common year: 02-29 is no yearly date
            return text
        except ValueError:
            pass
    raise Invalid("date", f"expected a day of the year such as 01-31, found {_show(value)}")


def _choice(value: object, literal: Any) -> Any:
    choices = get_args(literal)
    if value not in choices or isinstance(value, bool):
        known = [str(choice) for choice in choices]
        hint = suggestion(value, known) if isinstance(value, str) else ""
        raise Invalid("choice", f"expected one of {', '.join(known)}; found {_show(value)}{hint}")
    return value


def _free(value: object, _: object = None) -> Any:
    """A free value as it came, if JSON and the database can hold it: bounded in depth, text valid, numbers finite."""
    problems: list[Problem] = []
    _hold(value, "", 0, problems)
    if problems:
        raise InvalidInput(tuple(problems))
    return value


def _hold(value: object, path: str, depth: int, problems: list[Problem]) -> None:
    if value is None or isinstance(value, (bool, date)):
        return
    try:
        if isinstance(value, str):
            _text(value)
        elif isinstance(value, int):
            _whole(value)
        elif isinstance(value, Decimal):
            _decimal(value)
        elif isinstance(value, float):
            if not isfinite(value):
                raise Invalid("format", "the number is not finite")
        elif depth >= DEPTH_MAX:
            raise Invalid("too_deep", f"lists and tables lie at most {DEPTH_MAX} levels deep")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                _text(key)
                _hold(item, f"{path}.{_segment(key)}" if path else _segment(key), depth + 1, problems)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                _hold(item, f"{path}.{index}" if path else str(index), depth + 1, problems)
        else:
            raise Invalid("type", f"a value of the type {type(value).__name__} cannot be kept")
    except Invalid as error:
        problems.append(Problem(path, error.reason, error.message))


def _mapping_expected(value: object) -> NoReturn:
    raise Invalid("type", f"expected a table of fields, found {_show(value)}")


def _exactly(*kinds: Any) -> Callable[[Any], bool]:
    def check(kind: Any) -> bool:
        return any(kind is k for k in kinds)

    return check


def _with_origin(*origins: Any) -> Callable[[Any], bool]:
    def check(kind: Any) -> bool:
        return get_origin(kind) in origins

    return check


def make_converter() -> Converter:
    """A converter with the framework's strict reading of every basic type."""
    converter = Converter(detailed_validation=True, forbid_extra_keys=True, prefer_attrib_converters=False)
    hooks: list[tuple[Any, Callable[..., Any]]] = [
        (str, _text), (int, _whole), (bool, _boolean), (Decimal, _decimal), (date, _day),
        (bytes, _content),
    ]  # fmt: skip
    for kind, hook in hooks:
        converter.register_structure_hook(kind, hook)
    named: dict[Any, Callable[..., Any]] = {
        Amount: _amount, Percent: _percent, Quantity: _decimal, Rate: _decimal, MonthDay: _month_day,
    }  # fmt: skip
    for kind, hook in named.items():
        converter.register_structure_hook_func(_exactly(kind), hook)
    converter.register_structure_hook_func(_with_origin(Literal), _choice)
    converter.register_structure_hook_func(_exactly(Any, object), _free)

    def optional(kind: Any) -> Callable[..., Any]:
        inner = without_none(kind)
        read = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None else read(value, inner)

    def is_optional(kind: Any) -> bool:
        return without_none(kind) is not kind

    converter.register_structure_hook_factory(is_optional, optional)

    def listing(kind: Any) -> Callable[..., Any]:
        inner = get_args(kind)[0]
        read = converter.get_structure_hook(inner)

        def structure(value: object, _: object) -> tuple[Any, ...]:
            if not isinstance(value, (list, tuple)):
                raise Invalid("type", f"expected a list, found {_show(value)}")
            try:
                return tuple([read(item, inner) for item in value])
            except Exception:
                # The slow second walk exists only to name every bad element.
                wrong = []
                for index, item in enumerate(value):
                    try:
                        read(item, inner)
                    except Exception as error:
                        error.add_note(IterableValidationNote(f"at index {index}", index, inner))
                        wrong.append(error)
                raise IterableValidationError("list", wrong, kind) from None

        return structure

    def is_listing(kind: Any) -> bool:
        return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)

    converter.register_structure_hook_factory(is_listing, listing)

    def table(kind: Any) -> Callable[..., Any]:
        _, inner = get_args(kind)
        read = converter.get_structure_hook(inner)

        def structure(value: object, _: object) -> dict[str, Any]:
            if not isinstance(value, Mapping):
                _mapping_expected(value)
            result, wrong = {}, []
            for key, item in value.items():
                try:
                    result[_text(key)] = read(item, inner)
                except Exception as error:
                    error.add_note(IterableValidationNote(f"at key {key}", key, inner))
                    wrong.append(error)
            if wrong:
                raise IterableValidationError("table", wrong, kind)
            return result

        return structure

    converter.register_structure_hook_factory(_with_origin(dict, Mapping), table)

    def record(kind: Any) -> Callable[..., Any]:
        own = getattr(get_origin(kind) or kind, "__structure__", None)
        if own is not None:
            # A class that reads itself: `read(value, kind)` gives it the converter for its parts.
            return lambda value, _: own(kind, value, converter.structure)
        renames = {a.name: override(rename=outside_name(a)) for a in attrs.fields(kind) if outside_name(a) != a.name}
        generated = make_dict_structure_fn(
            kind,
            converter,
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
            **renames,  # type: ignore[arg-type]
        )

        def structure(value: object, _: object) -> Any:
            if not isinstance(value, Mapping):
                _mapping_expected(value)
            return generated(value, kind)

        return structure

    converter.register_structure_hook_factory(attrs.has, record)
    return converter


def without_none(kind: Any) -> Any:
    """`X` for `X | None`; other types as they are."""
    if get_origin(kind) in (Union, UnionType):
        rest = [part for part in get_args(kind) if part is not NoneType]
        if len(rest) == 1:
            return rest[0]
    return kind


def outside_name(attribute: Any) -> str:
    """A field's name outside: `from_` is written `from`, because Python keeps the plain word."""
    return cast(str, attribute.metadata.get("name") or attribute.name.rstrip("_"))


_CONVERTER: Final = make_converter()


@cache
def _reader(kind: Any) -> Callable[[Any, Any], Any]:
    return _CONVERTER.get_structure_hook(kind)


def parse(value: object, kind: type[T]) -> T:
    """`value` (JSON- or TOML-like) as an instance of `kind`. Raises `InvalidInput` with every problem and its path."""
    try:
        return cast(T, _reader(cast(Hashable, kind))(value, kind))
    except Exception as error:
        raise InvalidInput(tuple(problems_of(error)[:PROBLEMS_MAX])) from None


def problems_of(error: BaseException) -> list[Problem]:
    """The problems in an error of the converter, with dotted paths. Anything unforeseen is raised again."""
    if isinstance(error, ClassValidationError):
        fields_, plain = error.group_exceptions()
        found = []
        for inner, note in fields_:
            field = attrs.fields_dict(error.cl)[note.name] if attrs.has(error.cl) else None
            name = note.name if field is None else outside_name(field)
            told = _field_problems(inner)
            if field is not None and field.metadata.get("secret"):
                told = [evolve(p, message=_SECRET.get(p.reason, _HIDDEN)) for p in told]
            found += [p.at(name) for p in told]
        for inner in plain:
            found += problems_of(inner)
        return found
    if isinstance(error, IterableValidationError):
        elements, plain = error.group_exceptions()
        found = [p.at(_segment(note.index)) for inner, note in elements for p in problems_of(inner)]
        for inner in plain:
            found += problems_of(inner)
        return found
    if isinstance(error, ForbiddenExtraKeysError):
        known = [outside_name(a) for a in attrs.fields(error.cl)]
        extra = sorted((_segment(key) for key in error.extra_fields), key=str)
        found = [
            Problem(key, "unknown", f"there is no field {key!r} here{suggestion(key, known)}")
            for key in extra[:UNKNOWN_MAX]
        ]
        if len(extra) > UNKNOWN_MAX:
            found.append(
                Problem("", "unknown", f"there are {len(extra) - UNKNOWN_MAX} more fields that are unknown here")
            )
        return found
    if isinstance(error, Invalid):
        return [Problem("", error.reason, error.message)]
    if isinstance(error, InvalidInput):
        return list(error.problems)
    if isinstance(error, BaseValidationError):
        return [p for inner in error.exceptions for p in problems_of(inner)]
    raise error


_HIDDEN: Final = "this is not what is expected here; what was sent is not repeated"
_SECRET: Final = {"required": "this field is required", "type": "expected text; what was sent is not repeated"}


def _field_problems(error: BaseException) -> list[Problem]:
    if isinstance(error, KeyError):
        return [Problem("", "required", "this field is required")]
    return problems_of(error)


# A float is never a result; free values of a request may have one.
_SAME: Final = frozenset({NoneType, str, bool, int, float})


def plain(value: Any) -> Any:
    """A result as JSON-like data: amounts as strings, dates as ISO text, `from_` as `from`."""
    kind = type(value)
    return value if kind in _SAME else _writer(cast(Hashable, kind))(value)


@cache
def _writer(kind: Any) -> Callable[[Any], Any]:
    """How values of a type are written outside; found once for each type."""
    if issubclass(kind, (str, bool, int, float)):
        return lambda value: value
    if issubclass(kind, Money):
        return str
    if issubclass(kind, (tuple, list)):
        return lambda value: [item if type(item) in _SAME else plain(item) for item in value]
    if issubclass(kind, Mapping):
        return lambda value: {str(key): plain(item) for key, item in value.items()}
    own = getattr(kind, "__plain__", None)
    if own is not None:
        return cast(Callable[[Any], Any], own)  # what a class that reads itself was read from
    if attrs.has(kind):
        return _record_writer(kind)
    if issubclass(kind, datetime):
        return lambda value: value.isoformat().replace("+00:00", "Z")
    if issubclass(kind, date):
        return date.isoformat
    if issubclass(kind, Decimal):
        return lambda value: format(value, "f")
    if issubclass(kind, bytes):
        return lambda value: base64.b64encode(value).decode("ascii")
    raise TypeError(f"{kind.__name__} has no outside form")


def _record_writer(kind: type[attrs.AttrsInstance]) -> Callable[[Any], Any]:
    names = [(a.name, outside_name(a)) for a in attrs.fields(kind)]

    def write(value: Any) -> dict[str, Any]:
        return {
            name: found if type(found := getattr(value, attribute)) in _SAME else plain(found)
            for attribute, name in names
        }

    return write


__all__ = [
    "Invalid",
    "InvalidInput",
    "make_converter",
    "outside_name",
    "parse",
    "plain",
    "problems_of",
    "without_none",
]
